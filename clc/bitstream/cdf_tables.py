"""Integer CDF tables for the range coder, made from real distributions.

`clc.bundle.export` calls it, and nothing when coding: floating point is used, so two machines may disagree about the
last bit of a table. The integers are stored in the bundle with their digest and never rebuilt.
"""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from clc.bitstream.range_coder import TOTAL_MASS, CdfTable, Int32Array, IntegerArray
from clc.errors import InputError

SIGMA_MIN, SIGMA_MAX, SIGMA_COUNT = 0.11, 128.0, 64
"""Range and number of the scales, in symbol units."""

REACH_IN_SIGMA = 6.0
"""Largest value of a Gaussian table, in standard deviations."""

COUNTED = 64
"""Symbols up to this magnitude are counted, and tables that reach no further are fitted to the counts."""

PRIOR_COUNT = 200.0
"""Symbols for which the Gaussian counts beside those found."""

FloatArray = npt.NDArray[np.float64]


def sigma_levels() -> FloatArray:
    """Return the scales of the Gaussian tables, float64 (64,), in symbol units, log-spaced from 0.11 to 128."""
    return np.geomspace(SIGMA_MIN, SIGMA_MAX, SIGMA_COUNT)


def gaussian_table(sigmas: FloatArray, least_reach: int = 10) -> CdfTable:
    """Return one table for each sigma (n,): N(0, sigma^2) integrated over the unit bins around -S..S.

    S is six sigma, but at least `least_reach`. The tails beyond are folded into the edges, which mean "at least this
    far" to the coder. Every value keeps a mass of 1/65536, so that a wide table of a small sigma costs about
    2 S / 65536 * 1.44 bits a symbol more than the Gaussian. Raises `InputError` for a sigma that is not positive and
    finite, a `least_reach` below 1, or a table with more values than there is mass.
    """
    if sigmas.ndim != 1 or sigmas.size == 0 or not bool(np.all(np.isfinite(sigmas) & (sigmas > 0))):
        raise InputError("Gaussian tables: sigmas must be a list of positive finite numbers")
    if least_reach < 1:
        raise InputError(f"Gaussian tables: least_reach must be at least 1, not {least_reach}")
    reaches = [max(least_reach, math.ceil(REACH_IN_SIGMA * float(sigma))) for sigma in sigmas]
    pmfs = [_gaussian_pmf(float(sigma), reach) for sigma, reach in zip(sigmas, reaches, strict=True)]
    return table_from_pmf(pmfs, [-reach for reach in reaches])


def fitted_table(sigmas: FloatArray, counts: npt.NDArray[np.int64], least_reach: int = 10) -> CdfTable:
    """Return the tables of `gaussian_table`, fitted to `counts`, int64 (n, 129): how often -64..64 occurred in each.

    The Gaussian counts as 200 symbols, so that a table with few counts stays close to it. Both signs share their
    counts. A table that reaches beyond 64 stays Gaussian. Raises `InputError` as `gaussian_table` does, and for counts
    of another shape or below 0.
    """
    gaussian = gaussian_table(sigmas, least_reach)
    if counts.shape != (gaussian.n_tables, 2 * COUNTED + 1) or bool((counts < 0).any()):
        raise InputError(f"fitted tables: counts must be ({gaussian.n_tables}, {2 * COUNTED + 1}), not {counts.shape}")
    pmfs = []
    for sigma, offset, row in zip(sigmas, gaussian.offsets, counts, strict=True):
        reach = -int(offset)
        pmf = _gaussian_pmf(float(sigma), reach)
        if reach <= COUNTED:
            both = (row + row[::-1]).astype(np.float64) / 2.0
            found = both[COUNTED - reach : COUNTED + reach + 1].copy()
            found[0] += both[: COUNTED - reach].sum()
            found[-1] += both[COUNTED + reach + 1 :].sum()
            pmf = (found + PRIOR_COUNT * pmf) / (found.sum() + PRIOR_COUNT)
        pmfs.append(pmf)
    return table_from_pmf(pmfs, gaussian.offsets)


def table_from_pmf(pmfs: Sequence[FloatArray], offsets: Sequence[int] | IntegerArray) -> CdfTable:
    """Return one table for each probability mass function, float64 (n_t,), of the values from `offsets[t]` on.

    A function need not sum to 1; its ends should hold the folded tails. Every value keeps a mass of at least 1/65536.
    Raises `InputError` where a row is not finite, negative, all zero, shorter than 2, or longer than 65536.
    """
    if len(pmfs) != len(offsets) or not pmfs:
        raise InputError(f"CDF tables: {len(pmfs)} distributions for {len(offsets)} offsets")
    rows = [_cumulate(_integer_masses(pmf)) for pmf in pmfs]
    return _stack(rows, [int(offset) for offset in offsets])


def merge(a: CdfTable, b: CdfTable) -> CdfTable:
    """Return the tables of `a` followed by those of `b`: an index into `b` shifts by `a.n_tables`."""
    rows = [table.cdf[t, : table.lengths[t]] for table in (a, b) for t in range(table.n_tables)]
    return _stack(rows, [*a.offsets.tolist(), *b.offsets.tolist()])


def digest(table: CdfTable) -> str:
    """Return the sha256 (64 hex digits) of the integers of `table`, the same on every machine."""
    hasher = hashlib.sha256(b"clc CdfTable 1\n")
    for array in (table.cdf, table.lengths, table.offsets):
        hasher.update(f"{array.shape}\n".encode())
        hasher.update(array.astype("<i4").tobytes())
    return hasher.hexdigest()


def _gaussian_pmf(sigma: float, reach: int) -> FloatArray:
    """Probabilities of -reach..reach, float64 (2 reach + 1,), from erfc so that the tails keep their digits."""
    above = np.array([0.5 * math.erfc((k + 0.5) / (sigma * math.sqrt(2))) for k in range(reach)])
    positive = np.concatenate((above[:-1] - above[1:], above[-1:]))
    return np.concatenate((positive[::-1], [1.0 - 2.0 * above[0]], positive))


def _integer_masses(pmf: FloatArray) -> npt.NDArray[np.int64]:
    """Round `pmf` (n,) to integers >= 1 that sum to `TOTAL_MASS`, staying proportional above the floor of 1."""
    weights = np.asarray(pmf, dtype=np.float64)
    if weights.ndim != 1 or not 2 <= weights.size <= TOTAL_MASS:
        raise InputError(f"CDF tables: a distribution needs 2 to {TOTAL_MASS} values, not {weights.shape}")
    if not bool(np.all(np.isfinite(weights) & (weights >= 0))) or weights.sum() <= 0:
        raise InputError("CDF tables: a distribution must be finite, not negative, and not all zero")
    weights = weights / weights.sum()
    low, high = 0.0, float(TOTAL_MASS)
    for _ in range(100):  # bisection of the scale; more steps than a float64 has bits
        scale = (low + high) / 2
        if np.maximum(1.0, scale * weights).sum() > TOTAL_MASS:
            high = scale
        else:
            low = scale
    ideal = np.maximum(1.0, low * weights)
    masses: npt.NDArray[np.int64] = np.floor(ideal).astype(np.int64)
    missing = TOTAL_MASS - int(masses.sum())
    masses[np.argsort(masses - ideal, kind="stable")[:missing]] += 1
    return masses


def _cumulate(masses: npt.NDArray[np.int64]) -> Int32Array:
    cumulated: Int32Array = np.concatenate(([0], np.cumsum(masses), [TOTAL_MASS])).astype(np.int32)
    return cumulated


def _stack(rows: Sequence[Int32Array], offsets: Sequence[int]) -> CdfTable:
    lengths = np.array([row.size for row in rows], dtype=np.int32)
    cdf = np.zeros((len(rows), int(lengths.max())), dtype=np.int32)
    for t, row in enumerate(rows):
        cdf[t, : row.size] = row
    return CdfTable(cdf, lengths, np.array(offsets))
