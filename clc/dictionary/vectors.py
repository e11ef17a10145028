"""The files of one shard of described pictures: their vectors, and row by row alike what each picture is.

`clc.dictionary.extraction` writes a shard as `STEM.safetensors` and `STEM.parquet`; `build-dictionary` reads it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import pyarrow as pa

from clc.pictures.picture import Rectangle
from storage.arrays import read_arrays, write_arrays
from storage.errors import StorageError
from storage.tables import read_table, write_table

_VECTORS = "features"

Identity = tuple[str, int | None, int | None]
"""What a vector describes: an item's id, its width and its height."""


@dataclass(frozen=True, kw_only=True)
class StoredPicture:
    """A picture with its provenance: `blob` is the sha256 of its file in the blob store.

    `left`, `top`, `width` and `height` are the rectangle of it, in pixels; None where it is the whole picture.
    """

    item_id: str
    photo: str
    blob: str
    name: str
    source: str
    licence: str
    left: int | None = None
    top: int | None = None
    width: int | None = None
    height: int | None = None

    @property
    def rectangle(self) -> Rectangle | None:
        """Where the picture lies in its blob; None where it is all of it."""
        if self.left is None or self.top is None or self.width is None or self.height is None:
            return None
        return Rectangle(self.left, self.top, self.width, self.height)

    @property
    def identity(self) -> Identity:
        """What tells this picture from all others, in any run.

        An id says which pixels a photo has, and where a patch begins in it, but not how large the patch is.
        """
        return self.item_id, self.width, self.height


COLUMNS = tuple(field.name for field in fields(StoredPicture))
"""The columns of `STEM.parquet`: the fields of `StoredPicture`."""

PLACE = ("left", "top", "width", "height")
"""Those of them that say which rectangle of a blob the picture is; files of earlier releases have none of them."""

_SCHEMA = pa.schema(
    [pa.field(name, pa.int32()) if name in PLACE else pa.field(name, pa.string(), nullable=False) for name in COLUMNS]
)


def write_shard(
    stem: Path, vectors_ND: np.ndarray[tuple[int, int], np.dtype[np.float32]], pictures: Sequence[StoredPicture]
) -> tuple[Path, Path]:
    """Write the vectors, float32 (n, D), and the n pictures that they describe; return both paths.

    Raises StorageError where the files cannot be written.
    """
    arrays, table = stem.with_suffix(".safetensors"), stem.with_suffix(".parquet")
    write_arrays(arrays, {_VECTORS: vectors_ND})
    write_table(table, pa.Table.from_pylist([asdict(picture) for picture in pictures], _SCHEMA))
    return arrays, table


def read_vectors(path: Path, sha256: str | None = None) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Return the vectors of a shard, float32 (n, D), checking the file's `sha256` where given. Raises StorageError."""
    vectors = read_arrays(path, sha256).get(_VECTORS)
    if vectors is None or vectors.ndim != 2 or vectors.dtype != np.float32:
        raise StorageError(f"{path} holds no float32 vectors: run extract-features again")
    return vectors


def read_pictures(path: Path) -> list[StoredPicture]:
    """Return the pictures that a shard's vectors describe, in the order of the vectors. Raises StorageError."""
    wanted = [name for name in COLUMNS if name not in PLACE]
    return [StoredPicture(**row) for row in read_table(path, wanted, optional=PLACE).to_pylist()]
