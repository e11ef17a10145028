"""The tables of Laplace distributions under which latents and weights of a function are range-coded.

`clc.overfitted.coding` uses them. No bundle holds them: they are computed when first needed, by `decimal`, whose
exponential is correctly rounded, and by integers, so that they are the same on every machine; a test holds their
digest.

A table stands for a scale, in steps of a quarter of an octave, and for where the mean lies between two integers, in
steps of 1/16.
"""

from __future__ import annotations

import itertools
from decimal import Context, Decimal
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from clc.bitstream.range_coder import TOTAL_MASS, CdfTable

LOG_SCALE_LOW, LOG_SCALE_HIGH = -4, 5
"""Range of the base-2 logarithm of a scale, the parameter of a Laplace distribution in steps of the latents."""

LEVELS_PER_OCTAVE = 4
LEVELS = (LOG_SCALE_HIGH - LOG_SCALE_LOW) * LEVELS_PER_OCTAVE + 1

MEAN_STEPS = 16
"""Places of a mean between two integers."""


class Reach(NamedTuple):
    """The largest value of a table, in scales, and at least; the coder writes it, and what is larger, a byte longer."""

    scales: int
    least: int


NEAR, FAR = Reach(8, 3), Reach(12, 8)
"""Tables of the first streams, and of all since: where the context network is far off, which it is for about one latent
in 700, the next byte went to a value at the end of its table; that was 1 % of a small file."""

_DIGITS = Context(prec=40)
_UNITS = 1 << 100  # probabilities are integers of this unit before they become masses

Integers = npt.NDArray[np.int64]


def laplace_tables(reach: Reach = FAR) -> CdfTable:
    """All tables, by level and then by the place of the mean; see `table_of`. Takes a tenth of a second once."""
    return _made(reach)


@cache
def _made(reach: Reach) -> CdfTable:
    rows, offsets = [], []
    for level in range(LEVELS):
        exponent = Decimal(LOG_SCALE_LOW) + Decimal(level) / LEVELS_PER_OCTAVE
        scale = _DIGITS.power(Decimal(2), exponent)
        highest = max(reach.least, -int(-scale * reach.scales // 1))
        for place in range(MEAN_STEPS):
            mean = Decimal(place - MEAN_STEPS // 2) / MEAN_STEPS
            rows.append([0, *np.cumsum(_masses(scale, mean, highest)).tolist(), TOTAL_MASS])
            offsets.append(-highest)
    lengths = np.array([len(row) for row in rows], dtype=np.int32)
    cdf = np.zeros((len(rows), int(lengths.max())), dtype=np.int32)
    for row, values in zip(cdf, rows, strict=True):
        row[: len(values)] = values
    return CdfTable(cdf, lengths, np.array(offsets, dtype=np.int32))


def table_of(level: Integers, place: Integers) -> Integers:
    """The index of the table of a level, 0 to `LEVELS` - 1, and of a mean (`place` - 8) / 16 from its integer."""
    return level * MEAN_STEPS + place


def _masses(scale: Decimal, mean: Decimal, highest: int) -> list[int]:
    """Masses of -highest..highest, at least 1 each, 65536 in all; the tails beyond count to the ends."""
    below = _tails(scale, Decimal(1) / 2 + mean, highest)[::-1]  # of -highest + 1/2, ..., -1/2
    above = _tails(scale, Decimal(1) / 2 - mean, highest)  # of 1/2, ..., highest - 1/2
    edges = [0, *below, *(_UNITS - tail for tail in above), _UNITS]
    free = TOTAL_MASS - (2 * highest + 1)
    masses = [1 + (upper - lower) * free // _UNITS for lower, upper in itertools.pairwise(edges)]
    masses[masses.index(max(masses))] += TOTAL_MASS - sum(masses)  # what rounding down left over
    return masses


def _tails(scale: Decimal, first: Decimal, count: int) -> list[int]:
    """The probabilities, in units, of what lies further from the mean than `first`, `first` + 1, ... on one side."""
    tail, decay = (int(_DIGITS.exp(_DIGITS.divide(-x, scale)) * _UNITS) for x in (first, Decimal(1)))
    tails = [tail // 2]
    for _ in range(count - 1):
        tails.append(tails[-1] * decay // _UNITS)
    return tails
