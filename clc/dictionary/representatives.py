"""Which pictures stand for a collection: K-means over their vectors, and the members nearest to its centres."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.cluster import MiniBatchKMeans, kmeans_plusplus

from clc.dictionary.dictionary import Floats, log
from clc.errors import InputError
from clc.retrieval.index import Neighbours, open_index
from clc.retrieval.inverted_lists import InvertedListsIndex

_EPOCHS = 30
_EPOCHS_FROM_SUMMARY = 3
_BATCH_ROWS = 4096
_MOST_PAIRS = 10**11  # 20 minutes of a core, for keys of 256 values
_REFERENCES = 3  # that retrieval gives a picture; M of the paper


@dataclass(frozen=True, eq=False, kw_only=True)
class Representatives:
    """The chosen members of a set of vectors, sorted by how many vectors they stand for, the most first.

    members: int64 (K,), rows of the vectors, no two alike. cluster_sizes: int32 (K,), for how many vectors each is the
    nearest of the chosen; they sum up to the number of vectors. distances: float32 (K,), from the member to the
    centroid that it was chosen for; 0 for one chosen as the farthest from all others. relevances: float64 (K,), what
    `relevance` found of each among all that `build` chose. inertia: the mean squared distance from a vector to the
    nearest of the chosen.
    """

    members: npt.NDArray[np.int64]
    cluster_sizes: npt.NDArray[np.int32]
    distances: Floats
    relevances: npt.NDArray[np.float64]
    inertia: float


class KeySummary(NamedTuple):
    """Points, float32 (P, D), that stand for many more keys, and for how many each does, (P,)."""

    points: Floats
    weights: npt.NDArray[np.floating[Any]]


def build(keys_ND: Floats, entries: int, seed: int, summary: KeySummary | None = None) -> Representatives:
    """Choose `entries` of float32 (N, D): MiniBatchKMeans (k-means++), then the member nearest to each centroid.

    With a `summary` of the vectors (a former choice, and the vectors that are new), the first centres are drawn from
    that, and a tenth of the passes follows; it must hold at least `entries` points.

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
    if entries < len(keys_ND):
        members, distances = _nearest_members(_centroids(keys_ND, entries, seed, summary), keys_ND)
        members, distances = _filled_up(members, distances, keys_ND, entries)
    else:  # nothing to cluster
        members, distances = _different(np.arange(len(keys_ND)), np.zeros(len(keys_ND)), keys_ND)
    if len(members) < entries:
        log.warning("dictionary_entries=%d asked=%d reason=the other vectors equal these", len(members), entries)
    return _representatives(members, distances, keys_ND)


def relevance(keys_KD: Floats, vectors_ND: Floats, references: int = _REFERENCES) -> npt.NDArray[np.float64]:
    """Return how much a collection draws on each entry of a dictionary, float64 (K,); they sum up to N.

    CLC Eq. 3 keeps the TopK entries of the cache by their relevance to the queries. Here the queries are the vectors
    f_1 .. f_N of the collection, and each shares one unit out among the M = `references` entries c_k that retrieval
    would give it, by a softmax over distances in the manner of Eq. 4:

        r_k = sum over n of [k among the M nearest of f_n] exp(-|f_n - c_k|**2 / t) / sum over those M of the same

    with t the mean squared distance of a vector to its nearest entry. Where we differ: a cache evicts as queries come;
    here all queries count at once, at build time, because both ends of a stream must hold the same entries.
    Raises InputError for keys and vectors of different lengths, and for none at all.
    """
    if references < 1:
        raise InputError(f"relevance takes at least one reference, not {references}")
    return _shared_out(_nearest(vectors_ND, keys_KD, references), len(keys_KD))


def prune(selection: Representatives, keys_ND: Floats, entries: int) -> Representatives:
    """Evict all but the `entries` most relevant members of a selection from float32 (N, D): TopK by `relevances`, once.

    Equally relevant members are kept in the order of the selection, and those that are kept keep their relevance. One
    pass, as in the paper: of two entries that are near to one another and much asked for both stay, though one would
    do; `build` with fewer entries spreads them better. Raises InputError for fewer than one entry; a selection that is
    small enough comes back as it is.
    """
    if entries < 1:
        raise InputError(f"a dictionary needs at least one entry, not {entries}")
    if entries >= len(selection.members):
        return selection
    kept = np.sort(np.argsort(-selection.relevances, kind="stable")[:entries])
    return _representatives(selection.members[kept], selection.distances[kept], keys_ND, selection.relevances[kept])


def _representatives(
    members: npt.NDArray[np.int64],
    distances: npt.NDArray[np.floating[Any]],
    keys_ND: Floats,
    relevances: npt.NDArray[np.float64] | None = None,
) -> Representatives:
    """Count for how many vectors each member is the nearest, and sort by it; find relevances that are not known."""
    found = _nearest(keys_ND, keys_ND[members], 1 if relevances is not None else _REFERENCES)
    if relevances is None:
        relevances = _shared_out(found, len(members))
    sizes = np.bincount(found.indices[:, 0], minlength=len(members))
    order = np.lexsort((members, -sizes))
    return Representatives(
        members=members[order],
        cluster_sizes=sizes[order].astype(np.int32),
        distances=distances[order].astype(np.float32),
        relevances=relevances[order],
        inertia=float(np.square(found.distances[:, 0]).mean()),
    )


def _shared_out(found: Neighbours, entries: int) -> npt.NDArray[np.float64]:
    """Share a unit of each query out among the entries that it found, as `relevance` says; float64 (K,)."""
    squared_NM = np.square(found.distances)
    temperature = max(float(squared_NM[:, 0].mean()), np.finfo(np.float32).tiny)
    shares_NM = np.exp((squared_NM[:, :1] - squared_NM) / temperature)
    shares_NM /= shares_NM.sum(axis=1, keepdims=True)
    return np.asarray(np.bincount(found.indices.ravel(), shares_NM.ravel(), minlength=entries), np.float64)


def _centroids(keys_ND: Floats, entries: int, seed: int, summary: KeySummary | None) -> Floats:
    """Run MiniBatchKMeans for a fixed number of passes: no sum whose last digit depends on threads ends it."""
    first: Floats | str = "k-means++"
    if summary is not None:
        first, _ = kmeans_plusplus(summary.points, entries, sample_weight=summary.weights, random_state=seed)
    batch = max(_BATCH_ROWS, 2 * entries)
    kmeans = MiniBatchKMeans(
        n_clusters=entries,
        init=first,
        n_init=1,
        init_size=3 * batch,
        batch_size=batch,
        max_iter=_EPOCHS if summary is None else _EPOCHS_FROM_SUMMARY,
        max_no_improvement=None,
        random_state=seed,
    )
    centroids_KD: Floats = kmeans.fit(np.ascontiguousarray(keys_ND, np.float32)).cluster_centers_
    return centroids_KD


def _nearest_members(centroids_KD: Floats, keys_ND: Floats) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the rows nearest to the centroids and their distances, one row of equal vectors, in the order of rows."""
    found = _nearest(centroids_KD, keys_ND)
    return _different(found.indices[:, 0], found.distances[:, 0], keys_ND)


def _different(
    rows: npt.NDArray[np.int64], distances: npt.NDArray[np.float64], keys_ND: Floats
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Keep one of the rows that hold equal vectors, the one with the smallest distance; in the order of rows."""
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
        gaps = _nearest(keys_ND, keys_ND[members]).distances[:, 0]
    while len(chosen) < entries and gaps.max() > 0:
        chosen.append(gaps.argmax())
        gaps = np.minimum(gaps, _nearest(keys_ND, keys_ND[chosen[-1:]]).distances[:, 0])
    return np.array(chosen, np.int64), np.append(distances, np.zeros(len(chosen) - len(members)))


def _nearest(points_PD: Floats, entries_KD: Floats, count: int = 1) -> Neighbours:
    """Return each point's `count` nearest entries, equal ones by row; distances are exactly 0 between equal vectors.

    Where the pairs are too many, a few neighbours of a hundred are missed (`clc.retrieval.inverted_lists`).
    """
    if len(points_PD) * len(entries_KD) > _MOST_PAIRS:
        return InvertedListsIndex(entries_KD).search(points_PD, count)
    return open_index(entries_KD, "faiss").search(points_PD, count)
