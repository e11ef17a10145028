"""Which dictionary entries are most like a picture: nearest neighbours by Euclidean distance.

`clc.codec.search.selection` searches at the encoder, and the indexes found go into the stream, so nothing here needs to
be the same elsewhere. The contract: every exact kind of index gives the same answer. Each proposes candidates, and
`ranked` measures and orders them for all; `clc.retrieval.inverted_lists` is the one that may miss a neighbour.
"""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from clc.errors import InputError
from clc.retrieval.descriptors import Descriptor
from clc.retrieval.pca import Reduction
from storage.extras import need

Floats = npt.NDArray[np.float32]
IndexKind = Literal["exhaustive", "ball_tree", "faiss"]

# Candidates beyond the count asked for, so that the float32 rounding of an index cannot change the answer.
_SPARE = 8
_BLOCK_VALUES = 1 << 24  # float64 values that a search makes at once: 128 MiB


class Neighbours(NamedTuple):
    """Entries by ascending distance, then index: Euclidean `distances` float64 and `indices` int64, of one shape."""

    distances: npt.NDArray[np.float64]
    indices: npt.NDArray[np.int64]


class Index(Protocol):
    """Finds the keys nearest to query vectors; made by `open_index`."""

    def search(self, queries_QD: Floats, count: int) -> Neighbours:
        """Return the `count` nearest of K keys, or all where there are fewer: (Q, min(count, K)) for Q queries.

        `queries_QD` is float32. Raises InputError for queries of another length, values that are not finite, and a
        count below 1.
        """
        ...


class ExhaustiveIndex:
    """All distances, by numpy: enough for the entries of a bundle, and no import for an encoder to wait for."""

    def __init__(self, keys_KD: Floats) -> None:
        """Keep keys, float32 (K, D)."""
        self._keys_KD = checked(keys_KD)
        # About their middle, or the difference of two large squares would be all rounding.
        self._middle_D = keys_KD.mean(axis=0, dtype=np.float64)
        self._centred_KD = keys_KD - self._middle_D
        self._squares_K = np.einsum("kd,kd->k", self._centred_KD, self._centred_KD)

    def search(self, queries_QD: Floats, count: int) -> Neighbours:
        """Search; see `Index.search`."""
        kept = candidates(count, self._keys_KD)

        def propose(queries_BD: Floats) -> npt.NDArray[np.int64]:
            # |k - q|^2 without |q|^2, which orders the keys of a query as well.
            scores_BK = self._squares_K - 2 * ((queries_BD - self._middle_D) @ self._centred_KD.T)
            found_BC: npt.NDArray[np.int64] = np.argsort(scores_BK, axis=1, kind="stable")[:, :kept]
            return found_BC

        checked(queries_QD, self._keys_KD.shape[1])
        found = [
            ranked(self._keys_KD, queries_BD, propose(queries_BD), count)
            for queries_BD in _blocks(queries_QD, len(self._keys_KD))
        ]
        return Neighbours(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


class BallTreeIndex:
    """scikit-learn's ball tree, the index of the CLC paper. Needs the extra `pipeline`."""

    def __init__(self, keys_KD: Floats) -> None:
        """Build the tree over keys, float32 (K, D). Raises MissingExtra."""
        need("pipeline", "sklearn")
        from sklearn.neighbors import BallTree

        self._keys_KD = checked(keys_KD)
        self._tree = BallTree(keys_KD)

    def search(self, queries_QD: Floats, count: int) -> Neighbours:
        """Search; see `Index.search`."""
        candidates_QC = self._tree.query(
            checked(queries_QD, self._keys_KD.shape[1]), candidates(count, self._keys_KD), return_distance=False
        )
        return ranked(self._keys_KD, queries_QD, candidates_QC, count)


class FaissIndex:
    """faiss' exhaustive search, for many keys or many queries at once. Needs the extra `pipeline`."""

    def __init__(self, keys_KD: Floats) -> None:
        """Add keys, float32 (K, D), to an IndexFlatL2. Raises MissingExtra."""
        need("pipeline", "faiss")
        import faiss

        self._keys_KD = checked(keys_KD)
        self._flat = faiss.IndexFlatL2(keys_KD.shape[1])
        self._flat.add(np.ascontiguousarray(keys_KD))

    def search(self, queries_QD: Floats, count: int) -> Neighbours:
        """Search; see `Index.search`."""
        queries_QD = np.ascontiguousarray(checked(queries_QD, self._keys_KD.shape[1]))
        _, candidates_QC = self._flat.search(queries_QD, candidates(count, self._keys_KD))
        return ranked(self._keys_KD, queries_QD, candidates_QC, count)


def open_index(keys_KD: Floats, kind: IndexKind = "exhaustive") -> Index:
    """Index keys, float32 (K, D), with K and D at least 1. Raises InputError.

    `kind` is "exhaustive", or "ball_tree" or "faiss", which need the extra `pipeline` (MissingExtra).
    """
    kinds: dict[str, Callable[[Floats], Index]] = {
        "exhaustive": ExhaustiveIndex,
        "ball_tree": BallTreeIndex,
        "faiss": FaissIndex,
    }
    if kind not in kinds:
        raise InputError(f"no index {kind!r}: say {' or '.join(kinds)}")
    return kinds[kind](keys_KD)


def query_vectors(image_HW3: npt.NDArray[np.uint8], descriptor: Descriptor, reduction: Reduction) -> Floats:
    """Return a picture's queries, float32 (2, D): its vector, and that of its copy turned by 180 degrees.

    The picture is uint8 (H, W, 3). The multi-query of the CLC paper takes a rotated copy; half a turn keeps the
    picture's shape and its grid of pixels.
    """
    turned_HW3 = np.ascontiguousarray(image_HW3[::-1, ::-1])
    return reduction.apply(descriptor.vectors([image_HW3, turned_HW3]))


def multi_query(index: Index, queries_QD: Floats, count: int) -> Neighbours:
    """Return the `count` entries nearest to any of several queries of one picture, shape (min(count, K),).

    The results of all queries are merged by distance; an entry counts once, with its smallest distance. Raises
    InputError.
    """
    found = index.search(queries_QD, count)
    distances, indices = found.distances.ravel(), found.indices.ravel()
    order = np.lexsort((indices, distances))
    _, first = np.unique(indices[order], return_index=True)
    kept = order[np.sort(first)][:count]
    return Neighbours(distances[kept], indices[kept])


def candidates(count: int, keys_KD: Floats) -> int:
    """Return how many of the keys an index is to propose where `count` are asked for. Raises InputError below 1."""
    if count < 1:
        raise InputError(f"a search must ask for at least one entry, not {count}")
    return min(count + _SPARE, len(keys_KD))


def checked(vectors: Floats, dimension: int | None = None) -> Floats:
    """Return the vectors, float32 (n, D), as they are; InputError where they cannot be searched or searched for."""
    if vectors.ndim != 2 or 0 in vectors.shape or vectors.dtype != np.float32 or not np.isfinite(vectors).all():
        raise InputError(f"a search takes finite float32 vectors (n, D), not {vectors.dtype} {vectors.shape}")
    if dimension is not None and vectors.shape[1] != dimension:
        raise InputError(
            f"the dictionary's keys have {dimension} values, but the query has {vectors.shape[1]}: "
            "use the backbone and reduction that the dictionary was built with"
        )
    return vectors


def ranked(keys_KD: Floats, queries_QD: Floats, candidates_QC: npt.NDArray[np.int64], count: int) -> Neighbours:
    """Measure the candidates in float64 and keep the `count` nearest of each query, equal ones by index."""
    distances, indices, done = [], [], 0
    for queries_BD in _blocks(queries_QD, candidates_QC.shape[1] * keys_KD.shape[1]):
        candidates_BC = candidates_QC[done : done + len(queries_BD)]
        done += len(queries_BD)
        differences_BCD = keys_KD[candidates_BC].astype(np.float64) - queries_BD[:, np.newaxis].astype(np.float64)
        distances_BC = np.linalg.norm(differences_BCD, axis=2)
        order_BC = np.lexsort((candidates_BC, distances_BC), axis=1)[:, :count]
        distances.append(np.take_along_axis(distances_BC, order_BC, 1))
        indices.append(np.take_along_axis(candidates_BC, order_BC, 1).astype(np.int64))
    return Neighbours(np.concatenate(distances), np.concatenate(indices))


def _blocks(queries_QD: Floats, values_a_query: int) -> Iterator[Floats]:
    """Cut queries into blocks for which a step that makes so many values a query stays within memory."""
    rows = max(1, _BLOCK_VALUES // values_a_query)
    for start in range(0, len(queries_QD), rows):
        yield queries_QD[start : start + rows]
