"""Which pictures stand for a collection: K-means over their vectors, and the members nearest to its centres."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist
from sklearn.cluster import MiniBatchKMeans

from clc.dictionary.dictionary import Floats, log
from clc.errors import InputError

_EPOCHS = 30
_BATCH_ROWS = 4096
_BLOCK_VALUES = 1 << 24


@dataclass(frozen=True, eq=False, kw_only=True)
class Representatives:
    """The chosen members of a set of vectors, sorted by how many vectors they stand for, the most first.

    members: int64 (K,), rows of the vectors, no two alike. cluster_sizes: int32 (K,), for how many vectors each is the
    nearest of the chosen; they sum up to the number of vectors. distances: float32 (K,), from the member to the
    centroid that it was chosen for; 0 for one chosen as the farthest from all others.
    """

    members: npt.NDArray[np.int64]
    cluster_sizes: npt.NDArray[np.int32]
    distances: Floats


def build(keys_ND: Floats, entries: int, seed: int) -> Representatives:
    """Choose `entries` of float32 (N, D): MiniBatchKMeans (k-means++), then the member nearest to each centroid.

    A member is chosen once, and of equal vectors only one; the places that this leaves go to the vectors farthest from
    all chosen ones. Fewer than `entries` come back only where the vectors hold fewer different ones; the log says so.
    The same vectors and seed give the same selection on one machine. Raises InputError.
    """
    if keys_ND.ndim != 2 or not np.isfinite(keys_ND).all():
        raise InputError(f"a dictionary is chosen from finite vectors (N, D), not {keys_ND.shape}")
    if entries < 1:
        raise InputError(f"a dictionary needs at least one entry, not {entries}")
    if entries > len(keys_ND):
        raise InputError(
            f"{entries} entries asked for, but there are only {len(keys_ND)} vectors: "
            f"ask for at most {len(keys_ND)} entries, or ingest more pictures"
        )
    members, distances = _nearest_members(_centroids(keys_ND, entries, seed), keys_ND)
    members, distances = _filled_up(members, distances, keys_ND, entries)
    if len(members) < entries:
        log.warning("dictionary_entries=%d asked=%d reason=the other vectors equal these", len(members), entries)
    return _representatives(members, distances, keys_ND)


def relevance(keys_KD: Floats, vectors_ND: Floats, references: int = 3) -> npt.NDArray[np.float64]:
    """Return how much a collection draws on each entry of a dictionary, float64 (K,); they sum up to N.

    CLC Eq. 3 keeps the TopK entries of the cache by their relevance to the queries. Here the queries are the vectors
    f_1 .. f_N of the collection, and each shares one unit out among the M = `references` entries c_k that retrieval
    would give it, by a softmax over distances in the manner of Eq. 4:

        r_k = sum over n of [k among the M nearest of f_n] exp(-|f_n - c_k|**2 / t) / sum over those M of the same

    with t the mean squared distance of a vector to its nearest entry. Where we differ: a cache evicts as queries come;
    here all queries count at once, at build time, because both ends of a stream must hold the same entries.
    Raises InputError for keys and vectors of different lengths, and for none at all.
    """
    if keys_KD.ndim != 2 or vectors_ND.ndim != 2 or keys_KD.shape[1] != vectors_ND.shape[1]:
        raise InputError(f"keys {keys_KD.shape} and vectors {vectors_ND.shape} must be (K, D) and (N, D)")
    if references < 1 or not len(keys_KD) or not len(vectors_ND):
        raise InputError("relevance takes at least one entry, one vector and one reference")
    block_rows = max(1, _BLOCK_VALUES // len(keys_KD))
    blocks = [vectors_ND[start : start + block_rows] for start in range(0, len(vectors_ND), block_rows)]
    nearest = np.concatenate([_distances(block, keys_KD).min(axis=1) for block in blocks])
    temperature = max(float(np.square(nearest).mean()), np.finfo(np.float32).tiny)
    total = np.zeros(len(keys_KD))
    for block in blocks:
        distances_BK = _distances(block, keys_KD)
        found_BM = np.argsort(distances_BK, axis=1, kind="stable")[:, :references]
        squared_BM = np.square(np.take_along_axis(distances_BK, found_BM, axis=1))
        shares_BM = np.exp((squared_BM[:, :1] - squared_BM) / temperature)
        np.add.at(total, found_BM, shares_BM / shares_BM.sum(axis=1, keepdims=True))
    return total


def prune(selection: Representatives, keys_ND: Floats, entries: int, references: int = 3) -> Representatives:
    """Keep the `entries` most relevant members of a selection from float32 (N, D): TopK by `relevance`, once.

    Equally relevant members are kept in the order of the selection. One pass, as in the paper: of two entries that are
    near to one another and much asked for both stay, though one would do; `build` with fewer entries spreads them
    better. Raises InputError for fewer than one entry; a selection that is small enough comes back as it is.
    """
    if entries < 1:
        raise InputError(f"a dictionary needs at least one entry, not {entries}")
    if entries >= len(selection.members):
        return selection
    scores = relevance(keys_ND[selection.members], keys_ND, references)
    kept = np.sort(np.argsort(-scores, kind="stable")[:entries])
    return _representatives(selection.members[kept], selection.distances[kept], keys_ND)


def _representatives(
    members: npt.NDArray[np.int64], distances: npt.NDArray[np.floating[Any]], keys_ND: Floats
) -> Representatives:
    """Count for how many vectors each member is the nearest, and sort by it."""
    sizes = np.bincount(_nearest(keys_ND, keys_ND[members])[0], minlength=len(members))
    order = np.lexsort((members, -sizes))
    return Representatives(
        members=members[order],
        cluster_sizes=sizes[order].astype(np.int32),
        distances=distances[order].astype(np.float32),
    )


def _centroids(keys_ND: Floats, entries: int, seed: int) -> Floats:
    """Run MiniBatchKMeans for a fixed number of passes: no sum whose last digit depends on threads ends it."""
    batch = max(_BATCH_ROWS, 2 * entries)
    kmeans = MiniBatchKMeans(
        n_clusters=entries,
        init="k-means++",
        n_init=1,
        init_size=3 * batch,
        batch_size=batch,
        max_iter=_EPOCHS,
        max_no_improvement=None,
        random_state=seed,
    )
    centroids_KD: Floats = kmeans.fit(np.ascontiguousarray(keys_ND, np.float32)).cluster_centers_
    return centroids_KD


def _nearest_members(centroids_KD: Floats, keys_ND: Floats) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the rows nearest to the centroids and their distances, one row of equal vectors, in the order of rows."""
    rows, distances = _nearest(centroids_KD, keys_ND)
    closest_first = np.argsort(distances, kind="stable")
    _, kept = np.unique(keys_ND[rows[closest_first]], axis=0, return_index=True)
    chosen = closest_first[kept]
    chosen = chosen[np.argsort(rows[chosen])]
    return rows[chosen], distances[chosen]


def _filled_up(
    members: npt.NDArray[np.int64], distances: npt.NDArray[np.float64], keys_ND: Floats, entries: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Add the vector farthest from all chosen ones until there are `entries`, or until none differs from them."""
    chosen = list(members)
    if len(chosen) < entries:
        _, gaps = _nearest(keys_ND, keys_ND[members])
    while len(chosen) < entries and gaps.max() > 0:
        chosen.append(gaps.argmax())
        gaps = np.minimum(gaps, _distances(keys_ND, keys_ND[chosen[-1:]])[:, 0])
    return np.array(chosen, np.int64), np.append(distances, np.zeros(len(chosen) - len(members)))


def _nearest(points_PD: Floats, candidates_CD: Floats) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return each point's nearest candidate (its row, the first of several) and the distance, float64 (P,)."""
    rows, distances = np.empty(len(points_PD), np.int64), np.empty(len(points_PD))
    block_rows = max(1, _BLOCK_VALUES // len(candidates_CD))
    for start in range(0, len(points_PD), block_rows):
        block = slice(start, start + block_rows)
        distances_BC = _distances(points_PD[block], candidates_CD)
        rows[block] = distances_BC.argmin(axis=1)
        distances[block] = distances_BC.min(axis=1)
    return rows, distances


def _distances(points_PD: Floats, candidates_CD: Floats) -> npt.NDArray[np.float64]:
    """Return Euclidean distances, float64 (P, C), exactly 0 between equal vectors."""
    distances: npt.NDArray[np.float64] = cdist(points_PD, candidates_CD)
    return distances
