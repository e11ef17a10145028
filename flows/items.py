"""The table `items.parquet` of an ingest: which pictures there are, where each is stored, and why others were refused.

`flows.ingest` writes it with `write_items`; every later stage reads it with `read_items`, and with nothing else. An
item is one picture that the pipeline works with: a whole photo, or one patch of a photo that was cut.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pyarrow as pa

from storage.tables import read_table, write_table

FILE = "items.parquet"
OK = "ok"
FAILED = "failed"

ITEMS = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("photo", pa.string(), nullable=False),
        pa.field("part", pa.string()),
        pa.field("row", pa.string(), nullable=False),
        pa.field("blob", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("licence", pa.string(), nullable=False),
    ]
)
"""The columns of `items.parquet`; part, blob, width and height are null where status is "failed"."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """A row of status "ok": a picture that the blob store holds.

    `photo` is the name of the picture that the item is, or was cut from. `part` is "dictionary", "training" or
    "evaluation". `row` is "natural", or "pair" for the two pictures that show what references do. `blob` is the SHA-256
    of the item's PNG; `width` and `height` are in pixels.
    """

    item_id: str
    name: str
    photo: str
    part: str
    row: str
    blob: str
    width: int
    height: int
    source: str
    licence: str


@dataclass(frozen=True, kw_only=True)
class RefusedPicture:
    """A row of status "failed": a picture of the source that cannot be used, and the reason."""

    item_id: str
    name: str
    photo: str
    row: str
    reason: str
    source: str
    licence: str


def write_items(folder: Path, items: Sequence[Item], refused: Sequence[RefusedPicture] = ()) -> None:
    """Write `items.parquet` into a folder, the refused pictures last; `StorageError` when it cannot."""
    rows = [asdict(item) | {"status": OK, "reason": ""} for item in items]
    rows += [asdict(picture) | {"status": FAILED} for picture in refused]
    write_table(folder / FILE, pa.Table.from_pylist(rows, schema=ITEMS))


def read_items(folder: Path, part: str | None = None) -> list[Item]:
    """Return the items of a finished ingest, in the table's order: those of one part, or of all.

    Refused pictures are passed over. Raises `StorageError` when the table is missing or damaged.
    """
    names = [field.name for field in fields(Item)]
    rows = read_table(folder / FILE, [*names, "status"]).to_pylist()
    items = [Item(**{name: row[name] for name in names}) for row in rows if row["status"] == OK]
    return [item for item in items if part is None or item.part == part]
