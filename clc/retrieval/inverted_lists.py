"""An index for more keys than can be measured while one waits: faiss' inverted lists of vectors of a byte a value.

K-means cuts the keys into about 2 * sqrt(K) lists, and a query reads the few whose centres are nearest to it. The
contract: of the neighbours of its own keys, at least `RECALL` are found; how many lists that takes is measured when the
index is built, and stored with it. What is found is measured and ordered as by every index
(`clc.retrieval.index`), so distances are exact. `clc.dictionary.saved_index` says when it is taken, and keeps it beside
the dictionary. Needs the extra `pipeline`.
"""

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clc.retrieval.index import Floats, Neighbours, candidates, checked, ranked
from storage.arrays import read_arrays, read_metadata, write_arrays
from storage.digest import sha256_bytes
from storage.errors import StorageError
from storage.extras import need

log = logging.getLogger(__name__)

RECALL = 0.97
"""Share of the nearest neighbours that an index is built to find for its keys: for other queries a little less."""

_PROBED = 512  # keys whose neighbours say how many lists to read
_NEIGHBOURS = 3
_TRAINING_ROWS_A_LIST = 48  # faiss asks for 39 or more
_ARRAY = "faiss"
_KEYS = "keys_sha256"


class InvertedListsIndex:
    """faiss' IndexIVF with a byte a value: a quarter of the keys' memory, and far fewer of them read for a query."""

    def __init__(self, keys_KD: Floats, seed: int = 0) -> None:
        """Cluster keys, float32 (K, D), and measure how many lists to read. Raises InputError, MissingExtra."""
        need("pipeline", "faiss")
        self._keys_KD = np.ascontiguousarray(checked(keys_KD))
        count, dimension = keys_KD.shape
        lists = max(1, min(2 ** round(math.log2(2 * math.sqrt(count))), count // _TRAINING_ROWS_A_LIST))
        generator = np.random.default_rng(seed)
        rows = np.sort(generator.permutation(count)[: lists * _TRAINING_ROWS_A_LIST])
        self._inverted = _untrained(dimension, lists)
        self._inverted.train(self._keys_KD[rows])
        self._inverted.add(self._keys_KD)
        self._inverted.nprobe, found = self._lists_to_read(np.sort(generator.permutation(count)[:_PROBED]))
        log.info("index_built keys=%d lists=%d read=%d recall=%.4f", count, lists, self._inverted.nprobe, found)

    def search(self, queries_QD: Floats, count: int) -> Neighbours:
        """Search; see `clc.retrieval.index.Index.search`. Neighbours may be missed, for others that are farther."""
        queries_QD = np.ascontiguousarray(checked(queries_QD, self._keys_KD.shape[1]))
        found_QC = self._found(queries_QD, candidates(count, self._keys_KD), self._inverted.nprobe)
        # Fewer keys than asked for may stand in the lists that are read; then all lists are.
        lacking = (found_QC < 0).any(axis=1)
        if lacking.any():
            found_QC[lacking] = self._found(queries_QD[lacking], found_QC.shape[1], self._inverted.nlist)
        return ranked(self._keys_KD, queries_QD, found_QC, count)

    def save(self, path: Path) -> None:
        """Write the index without the keys, as safetensors. Raises StorageError."""
        import faiss

        arrays = {_ARRAY: faiss.serialize_index(self._inverted)}
        write_arrays(path, arrays, {_KEYS: _digest(self._keys_KD)})

    @staticmethod
    def load(path: Path, keys_KD: Floats) -> "InvertedListsIndex":
        """Read what `save` wrote of the same keys. Raises StorageError, also for an index of other keys."""
        need("pipeline", "faiss")
        import faiss

        arrays = read_arrays(path)
        keys_KD = np.ascontiguousarray(checked(keys_KD))
        if _ARRAY not in arrays or read_metadata(path).get(_KEYS) != _digest(keys_KD):
            raise StorageError(f"{path} is no index of these keys: remove it, and build the dictionary again")
        loaded = object.__new__(InvertedListsIndex)
        loaded._keys_KD = keys_KD
        try:
            loaded._inverted = faiss.deserialize_index(arrays[_ARRAY])
        except RuntimeError as error:
            reason = str(error).splitlines()[-1:]
            raise StorageError(
                f"{path} is no index that this faiss reads ({reason}): build the dictionary again"
            ) from error
        return loaded

    def _found(self, queries_QD: Floats, kept: int, lists: int) -> npt.NDArray[np.int64]:
        import faiss

        found_QC: npt.NDArray[np.int64]
        parameters = faiss.SearchParametersIVF(nprobe=lists)  # type: ignore[call-arg]
        _, found_QC = self._inverted.search(queries_QD, kept, params=parameters)
        return found_QC

    def _lists_to_read(self, probed: npt.NDArray[np.int64]) -> tuple[int, float]:
        """Return about the fewest lists that hold enough of these keys' neighbours, and the share that they hold."""
        import faiss

        queries_QD = self._keys_KD[probed]
        wanted = min(_NEIGHBOURS + 1, len(self._keys_KD))
        kept = candidates(wanted, self._keys_KD)
        exact = ranked(self._keys_KD, queries_QD, faiss.knn(queries_QD, self._keys_KD, kept)[1], wanted)
        read = 1
        while True:
            # A key is its own nearest neighbour, which says nothing.
            found = recall(self._found(queries_QD, kept, read), exact.indices, but_Q=probed)
            if found >= RECALL or read >= self._inverted.nlist:
                return read, found
            read = min(read + max(1, read // 5), int(self._inverted.nlist))


def recall(
    found_QC: npt.NDArray[np.int64], exact_QM: npt.NDArray[np.int64], but_Q: npt.NDArray[np.int64] | None = None
) -> float:
    """Return which share of the exact neighbours is among those found; of query q, neighbour `but_Q[q]` not counted."""
    is_counted_QM = np.ones(exact_QM.shape, np.bool_) if but_Q is None else exact_QM != but_Q[:, np.newaxis]
    is_found_QM = (exact_QM[:, :, np.newaxis] == found_QC[:, np.newaxis]).any(axis=2)
    counted = int(is_counted_QM.sum())
    return float((is_found_QM & is_counted_QM).sum()) / counted if counted else 1.0


def _untrained(dimension: int, lists: int) -> Any:
    import faiss

    return faiss.index_factory(dimension, f"IVF{lists},SQ8")


def _digest(keys_KD: Floats) -> str:
    return sha256_bytes(keys_KD.data.cast("B"))
