"""The keys of all pictures that a dictionary was chosen from, so that a later one need not make them again.

`build-dictionary` writes them beside its dictionary, a kilobyte a picture: `keys.safetensors`, and row by row alike in
`described.parquet` which picture each is of. A key means something only to the reduction that made it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from clc.dictionary.dictionary import Floats
from clc.dictionary.vectors import Identity
from storage.arrays import read_arrays, write_arrays
from storage.errors import StorageError
from storage.tables import read_table, write_table

KEYS_NAME = "keys.safetensors"
DESCRIBED_NAME = "described.parquet"
_KEYS = "keys"
_SCHEMA = pa.schema(
    [pa.field("item_id", pa.string(), nullable=False), pa.field("width", pa.int32()), pa.field("height", pa.int32())]
)


@dataclass(frozen=True, eq=False)
class KnownKeys:
    """Keys, float32 (N, k), and the identities of the N pictures that they are of, in the same order."""

    keys: Floats
    identities: tuple[Identity, ...]

    def write(self, folder: Path) -> None:
        """Write both files into a folder. Raises StorageError."""
        columns = zip(*self.identities, strict=True)
        arrays = [pa.array(values, field.type) for values, field in zip(columns, _SCHEMA, strict=True)]
        write_arrays(folder / KEYS_NAME, {_KEYS: self.keys})
        write_table(folder / DESCRIBED_NAME, pa.Table.from_arrays(arrays, schema=_SCHEMA))

    @staticmethod
    def read(folder: Path) -> "KnownKeys":
        """Read what `write` wrote. Raises StorageError where a file is missing, damaged, or does not fit the other."""
        keys = read_arrays(folder / KEYS_NAME).get(_KEYS)
        rows = read_table(folder / DESCRIBED_NAME, _SCHEMA.names).to_pydict()
        identities = tuple(zip(*(rows[name] for name in _SCHEMA.names), strict=True))
        if keys is None or keys.dtype != np.float32 or keys.ndim != 2 or len(keys) != len(identities):
            raise StorageError(f"{folder / KEYS_NAME} does not hold a key a picture: run build-dictionary again")
        return KnownKeys(keys, identities)

    def rows(self, identities: Sequence[Identity]) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        """Return the row of each picture, int64 (n,); -1 for one that has none."""
        return np.array([self._row_of.get(identity, -1) for identity in identities], np.int64)

    @cached_property
    def _row_of(self) -> dict[Identity, int]:
        return {identity: row for row, identity in enumerate(self.identities)}
