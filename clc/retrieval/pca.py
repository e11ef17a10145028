"""Principal components of more vectors than memory holds; `flows.dictionary` and `clc.bundle` reduce vectors with it.

`fit` reads the vectors shard by shard, a few times over, and keeps a sketch of them whose size depends on their
dimension D and not on their number: randomised subspace iteration on the covariance (Halko, Martinsson and Tropp 2011,
section 4.5), ended by a Rayleigh-Ritz step. It takes 4 * n * D * (components + 64) operations a pass, in three
passes, all in large matrix products. scikit-learn's IncrementalPCA needs one pass and as little memory, but a singular
value decomposition for every few hundred vectors; `bench/reduction.py` measures both.

The result is float; in a stream, only the choice of references depends on it, and that is sent.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clc.errors import InputError
from storage.arrays import read_arrays, write_arrays
from storage.errors import StorageError

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_OVERSAMPLING = 64  # directions beyond those asked for, which make these accurate
_PASSES = 3  # over the vectors, so two iterations and the Rayleigh-Ritz step
_BLOCK_BYTES = 1 << 26


@dataclass(frozen=True, eq=False, kw_only=True)
class Reduction:
    """An affine map from D dimensions to k: subtract `mean`, project onto `components`.

    - `mean` float32 (D,).
    - `components` float32 (k, D): orthonormal rows, by descending variance.
    - `variances` float32 (k,): the sample variance (over n - 1) along each component.
    """

    mean: Floats
    components: Floats
    variances: Floats

    @property
    def dimension(self) -> int:
        """Length D of the vectors that go in."""
        return self.components.shape[1]

    def apply(self, vectors_ND: Floats) -> Floats:
        """Reduce vectors, float32 (N, D), to float32 (N, k). Raises InputError for another shape."""
        if vectors_ND.ndim != 2 or vectors_ND.shape[1] != self.dimension:
            raise InputError(
                f"this reduction takes vectors of {self.dimension} values, but got {vectors_ND.shape}: "
                "use the backbone that the dictionary was built with"
            )
        reduced: Floats = (vectors_ND - self.mean) @ self.components.T
        return reduced

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the three arrays by name, to be stored; the inverse of `from_arrays`."""
        return {"mean": self.mean, "components": self.components, "variances": self.variances}

    @staticmethod
    def from_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> "Reduction":
        """The inverse of `arrays`; others beside the three are ignored. Raises StorageError where they do not fit."""
        names = ("mean", "components", "variances")
        if missing := [name for name in names if name not in arrays]:
            raise StorageError(f"a reduction lacks {', '.join(missing)}: build the dictionary again")
        mean, components, variances = (np.asarray(arrays[name]) for name in names)
        is_fitting = (
            components.ndim == 2 and mean.shape == components.shape[1:] and variances.shape == components.shape[:1]
        )
        if not is_fitting or not all(
            a.dtype == np.float32 and np.isfinite(a).all() for a in (mean, components, variances)
        ):
            raise StorageError(
                f"a reduction's mean {mean.shape}, components {components.shape} and variances {variances.shape} must "
                "be finite float32 of fitting shapes: build the dictionary again"
            )
        return Reduction(mean=mean, components=components, variances=variances)

    def save(self, path: Path) -> None:
        """Write the three arrays to a safetensors file. Raises StorageError."""
        write_arrays(path, self.arrays(), None)

    @staticmethod
    def load(path: Path, sha256: str | None = None) -> "Reduction":
        """Read what `save` wrote, checking the file's `sha256` where given. Raises StorageError."""
        return Reduction.from_arrays(read_arrays(path, sha256))


def fit(shards: Iterable[Floats], components: int, seed: int = 0) -> Reduction:
    """Find the `components` directions of largest variance of the vectors in `shards`, float32 (n_i, D) each.

    `shards` is iterated over several times and so cannot be a generator. One block of about 64 MiB and four arrays of
    D * (components + 64) float64 are in memory, whatever the number of vectors. At most min(n - 1, D) components of n
    vectors exist (one where n = 1); where more are asked for, that many come back and the log says so. The same shards
    and seed give the same result on one machine. Raises InputError for no or unfit vectors and for no components.
    """
    if components < 1:
        raise InputError(f"PCA needs at least one component, not {components}")
    if iter(shards) is shards:
        raise InputError("PCA reads the shards several times: pass something that can be iterated again, no generator")
    # The first pass centres on an estimate and finds the mean: the error costs its basis one direction at most.
    centre = _first_mean(shards)
    width = min(components + _OVERSAMPLING, len(centre))
    basis_DW = np.random.default_rng(seed).standard_normal((len(centre), width), np.float32)
    for _ in range(_PASSES - 1):
        _, centre, product_DW = _scatter_times(shards, centre, basis_DW)
        basis_DW = np.linalg.qr(product_DW)[0].astype(np.float32)
    count, mean, product_DW = _scatter_times(shards, centre, basis_DW)
    within_WW = basis_DW.T.astype(np.float64) @ product_DW
    values, rotation_WW = np.linalg.eigh((within_WW + within_WW.T) / 2)
    kept = min(components, max(count - 1, 1), width)
    if kept < components:
        log.warning("pca_components=%d asked=%d vectors=%d dimension=%d", kept, components, count, len(mean))
    # eigh sorts upwards.
    components_KD = (basis_DW.astype(np.float64) @ rotation_WW[:, ::-1][:, :kept]).T
    variances_K = np.maximum(values[::-1][:kept], 0) / max(count - 1, 1)
    return _reduction(mean, components_KD, variances_K)


def _reduction(mean: Doubles, components_KD: Doubles, variances_K: Doubles) -> Reduction:
    """The reduction of these components, their signs chosen so that the largest entry of each is positive."""
    largest = components_KD[np.arange(len(components_KD)), np.abs(components_KD).argmax(axis=1)]
    signed_KD = components_KD * np.where(largest < 0, -1.0, 1.0)[:, np.newaxis]
    return Reduction(
        mean=mean.astype(np.float32),
        components=np.ascontiguousarray(signed_KD, np.float32),
        variances=variances_K.astype(np.float32),
    )


def _first_mean(shards: Iterable[Floats]) -> Doubles:
    """The mean (D,) of the first shard that is not empty: an estimate of the mean of all vectors."""
    for shard in shards:
        if shard.ndim != 2:
            raise InputError(f"a shard of vectors is (n, D), but this one is {shard.shape}")
        if len(shard):
            centre: Doubles = shard.mean(axis=0, dtype=np.float64)
            return centre
    raise InputError("there are no vectors to find principal components of: extract features from some pictures first")


def _scatter_times(shards: Iterable[Floats], centre: Doubles, basis_DW: Floats) -> tuple[int, Doubles, Doubles]:
    """Read all vectors x once: return their number, their mean, and sum((x - centre) (x - centre)^T) @ basis, (D, W).

    Products are float32 within a block and summed up in float64 over blocks.
    """
    count = 0
    offset_D = np.zeros(len(centre))
    product_DW = np.zeros(basis_DW.shape)
    centre32_D = centre.astype(np.float32)
    for block_ND in _blocks(shards, len(centre)):
        block_ND -= centre32_D
        count += len(block_ND)
        offset_D += block_ND.sum(axis=0, dtype=np.float64)
        product_DW += block_ND.T @ (block_ND @ basis_DW)
    if not np.isfinite(product_DW).all():
        raise InputError("some vectors are not finite: extract the features again")
    return count, centre32_D + offset_D / count, product_DW


def _blocks(shards: Iterable[Floats], dimension: int) -> Iterator[Floats]:
    """Copy the vectors into blocks of about 64 MiB, so that small shards still make large matrix products.

    The caller may write into a block until it asks for the next one.
    """
    rows = max(1, _BLOCK_BYTES // (4 * dimension))
    block_ND = np.empty((rows, dimension), np.float32)
    filled = 0
    for shard in shards:
        if shard.ndim != 2 or shard.shape[1] != dimension:
            raise InputError(
                f"a shard is {shard.shape}, not (n, {dimension}) like the first: extract the features again"
            )
        taken = 0
        while taken < len(shard):
            part = shard[taken : taken + rows - filled]
            block_ND[filled : filled + len(part)] = part
            filled, taken = filled + len(part), taken + len(part)
            if filled == rows:
                yield block_ND
                filled = 0
    if filled:
        yield block_ND[:filled]
