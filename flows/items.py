"""The table `items.parquet` of an ingest: which pictures there are, where each is stored, and why others were refused.

`flows.ingest` writes it with `write_items`; every later stage reads it with `read_items`, and with nothing else. An
item is one picture that the pipeline works with: a whole photo, or one patch of a photo that was cut.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path

import pyarrow as pa

from clc.pictures.picture import Rectangle
from storage.errors import StorageError
from storage.tables import read_table, table_of, write_table

FILE = "items.parquet"
OK = "ok"
FAILED = "failed"
_LOSSES = "losses"
_PLACE = ("left", "top")
_DIGEST_DIGITS = 16

ITEMS = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("photo", pa.string(), nullable=False),
        pa.field("part", pa.string()),
        pa.field("row", pa.string(), nullable=False),
        pa.field("blob", pa.string()),
        pa.field("left", pa.int32()),
        pa.field("top", pa.int32()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("licence", pa.string(), nullable=False),
        pa.field("losses", pa.list_(pa.string())),
    ]
)
"""The columns of `items.parquet`; from part to height, and losses, they are null where status is "failed".

left and top are null where the item is the whole picture.
"""


@dataclass(frozen=True, kw_only=True)
class Item:
    """A row of status "ok": a picture that the blob store holds.

    `photo` is the name of the picture that the item is, or was cut from. `part` is "dictionary", "training" or
    "evaluation". `row` is "natural", or "pair" for the two pictures that show what references do. `blob` is the SHA-256
    of the photo's own file; the item is all of it, or the rectangle at `left`, `top` of `width` and `height`, in pixels
    of the upright picture. `losses` says what the file held that the item does not.
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
    losses: tuple[str, ...] = ()
    left: int | None = None
    top: int | None = None

    @property
    def rectangle(self) -> Rectangle | None:
        """Where the item lies in its photo; None where it is all of it."""
        if self.left is None or self.top is None:
            return None
        return Rectangle(self.left, self.top, self.width, self.height)

    @property
    def photo_digest(self) -> str:
        """The digest of the photo's pixels, 16 hex digits: the same wherever and whenever the photo is ingested."""
        return self.item_id[:_DIGEST_DIGITS]

    @property
    def identity(self) -> str:
        """The photo's name and the digest of its pixels: the same for all patches of a photo, and for no other photo.

        Names alone are those of files within one source: another source has other photos of the same names.
        """
        return photo_identity(self.photo, self.item_id)


@dataclass(frozen=True, kw_only=True)
class RefusedPicture:
    """A row of status "failed": a picture or folder of the source that cannot be used, and the reason."""

    item_id: str
    name: str
    photo: str
    row: str
    reason: str
    source: str
    licence: str


def write_items(folder: Path, items: Sequence[Item], refused: Sequence[RefusedPicture] = ()) -> None:
    """Write `items.parquet` into a folder, the refused pictures last; `StorageError` when it cannot."""
    good = (vars(item) | {"status": OK, "reason": "", _LOSSES: list(item.losses)} for item in items)
    rows = chain(good, (vars(picture) | {"status": FAILED} for picture in refused))
    write_table(folder / FILE, table_of(rows, ITEMS))


def read_items(folder: Path, part: str | None = None) -> list[Item]:
    """Return the items of a finished ingest, in the table's order: those of one part, or of all.

    Refused pictures are passed over. Raises `StorageError` when the table is missing or damaged. A table of an earlier
    release has no `losses`, or no `left` and `top`: its blobs are whole items, as PNG.
    """
    names = [field.name for field in fields(Item) if field.name not in (_LOSSES, *_PLACE)]
    table = read_table(folder / FILE)
    missing = {*names, "status"} - set(table.column_names)
    if missing:
        raise StorageError(f"{folder / FILE} lacks {', '.join(sorted(missing))}; run ingest-images again")
    items = [
        Item(
            **{name: row[name] for name in names},
            **{name: row.get(name) for name in _PLACE},
            losses=tuple(row.get(_LOSSES) or ()),
        )
        for row in table.to_pylist()
        if row["status"] == OK
    ]
    return [item for item in items if part is None or item.part == part]


def photo_identity(photo: str, item_id: str) -> str:
    """Return what tells the photo of an item from all others: its name, and the digest that the item's id begins with.

    See `Item.identity`.
    """
    return f"{photo} {item_id[:_DIGEST_DIGITS]}"
