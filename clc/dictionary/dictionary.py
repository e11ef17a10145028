"""Which pictures stand for a collection, and the Parquet file that says so.

`build` clusters the reduced vectors and picks the member nearest to each centroid (CLC, construction of the
dictionary); `prune` evicts all but the most relevant of them (Eq. 3). `Dictionary` is the result with its
provenance: a key to search by, and the picture's address in the blob store. Entry indices go into streams, so their
order is part of a bundle; the conditioning latents are made at export, not here.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clc.pictures.picture import Rectangle
from storage.errors import StorageError
from storage.tables import read_table, write_table

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.float32]

DICTIONARY_NAME = "dictionary.parquet"
"""The dictionary in the folder of a finished build-dictionary."""

_TEXTS = {
    "item_id": "item_ids",
    "photo": "photos",
    "blob": "blobs",
    "name": "names",
    "source": "sources",
    "licence": "licences",
}
_COLUMNS = ("entry", *_TEXTS, "cluster_size", "distance", "key")
_PLACE = Rectangle._fields  # not in files of earlier releases, whose blobs are whole entries
_RELEVANCE = "relevance"  # not in files of earlier releases, which evicted nothing


@dataclass(frozen=True, eq=False, kw_only=True)
class Dictionary:
    """The entries of a dictionary, in the order of their indices; every field holds one value an entry.

    keys: float32 (K, D), reduced vectors to search by. The rest is provenance: the item that the entry is, the photo it
    was cut from, the sha256 of that photo's file in the blob store and the entry's rectangle in it (None where it is
    the whole), its name, source and licence, and what `Representatives` says of it: relevances are float64 (K,), those
    by which the entries were kept where others were evicted (Eq. 3); NaN in what an earlier release wrote.
    """

    keys: Floats
    item_ids: tuple[str, ...]
    photos: tuple[str, ...]
    blobs: tuple[str, ...]
    names: tuple[str, ...]
    sources: tuple[str, ...]
    licences: tuple[str, ...]
    cluster_sizes: npt.NDArray[np.int32]
    distances: Floats
    rectangles: tuple[Rectangle | None, ...]
    relevances: npt.NDArray[np.float64]

    def __len__(self) -> int:
        """Return the number of entries K."""
        return len(self.keys)

    def write(self, path: Path) -> None:
        """Write one row an entry as Parquet. Raises StorageError."""
        texts = {column: pa.array(getattr(self, field), pa.string()) for column, field in _TEXTS.items()}
        key = pa.FixedSizeListArray.from_arrays(pa.array(self.keys.ravel(), pa.float32()), self.keys.shape[1])
        numbers = {
            "entry": pa.array(np.arange(len(self), dtype=np.int32)),
            "cluster_size": pa.array(self.cluster_sizes, pa.int32()),
            "distance": pa.array(self.distances, pa.float32()),
            _RELEVANCE: pa.array(self.relevances, pa.float64()),
        }
        places = [(None,) * len(_PLACE) if one is None else one for one in self.rectangles]
        for name, values in zip(_PLACE, zip(*places, strict=True), strict=True):
            numbers[name] = pa.array(values, pa.int32())
        columns = {**texts, **numbers, "key": key}
        write_table(path, pa.table({name: columns[name] for name in (*_COLUMNS, *_PLACE, _RELEVANCE)}))

    @staticmethod
    def read(path: Path) -> "Dictionary":
        """Read what `write` wrote. Raises StorageError when columns, types, order or values are not a dictionary's."""
        table = read_table(path, _COLUMNS, optional=(*_PLACE, _RELEVANCE)).combine_chunks()
        key_type = table.schema.field("key").type
        is_typed = pa.types.is_fixed_size_list(key_type) and key_type.value_type == pa.float32()
        has_gaps = any(table.column(name).null_count for name in _COLUMNS)
        if not is_typed or has_gaps or table.column("entry").to_pylist() != list(range(len(table))):
            raise StorageError(f"{path} is not a dictionary of entries 0, 1, 2, ...: run build-dictionary again")
        flat = table.column("key").combine_chunks().flatten().to_numpy(zero_copy_only=False)
        keys = flat.reshape(len(table), key_type.list_size)
        if not np.isfinite(keys).all():
            raise StorageError(f"{path} has keys that are not finite: run build-dictionary again")
        return Dictionary(
            keys=keys,
            cluster_sizes=table.column("cluster_size").to_numpy().astype(np.int32),
            distances=table.column("distance").to_numpy().astype(np.float32),
            rectangles=_rectangles(table),
            relevances=_relevances(table),
            **{field: tuple(table.column(column).to_pylist()) for column, field in _TEXTS.items()},
        )


def _rectangles(table: pa.Table) -> tuple[Rectangle | None, ...]:
    if not set(_PLACE) <= set(table.column_names):
        return (None,) * len(table)
    rows = zip(*(table.column(name).to_pylist() for name in _PLACE), strict=True)
    return tuple(None if None in row else Rectangle(*row) for row in rows)


def _relevances(table: pa.Table) -> npt.NDArray[np.float64]:
    if _RELEVANCE not in table.column_names:
        return np.full(len(table), np.nan)
    relevances: npt.NDArray[np.float64] = table.column(_RELEVANCE).to_numpy().astype(np.float64)
    return relevances
