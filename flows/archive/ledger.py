"""The ledger of a packed archive: `ARCHIVE.ledger.parquet` beside it, a row for each picture that was to be packed.

The file knows of which run it is, so that the same run again finds it and does nothing, and no other run replaces it.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from clc.archive.packed import Packed
from clc.archive.wording import WITHOUT_LOSS_DB
from clc.errors import InputError, StorageError
from flows.archive.work import Spent
from flows.items import FAILED, OK
from storage.names import shown_name
from storage.tables import read_table, write_table

SUFFIX = ".ledger.parquet"
_RUN, _TOTALS = b"clc.run", b"clc.totals"

LEDGER = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("losses", pa.list_(pa.string()), nullable=False),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("source_bytes", pa.int64()),
        pa.field("bytes", pa.int64()),
        pa.field("alone_bytes", pa.int64()),
        pa.field("quality", pa.float64()),
        pa.field("max_error", pa.int32()),
        pa.field("psnr_db", pa.float64()),
        pa.field("references", pa.list_(pa.string())),
        pa.field("is_reference", pa.bool_()),
        pa.field("seconds", pa.float64()),
    ]
)
"""The columns. `status` is "ok" or "failed"; what is behind `losses` is null for a picture that failed. Where samples
were promised, `max_error` is by how many levels one is off at most, and `quality` is null; else it is the other way
round. `psnr_db` is null without loss. `references` are names; `seconds` are what workers spent on the picture in the
run that finished the archive."""


@dataclass(frozen=True)
class Ledger:
    """A ledger: the digest of its run, its totals as JSON values, and its rows."""

    run: str
    totals: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]

    @property
    def failed(self) -> list[dict[str, str]]:
        """Name and reason of each picture that is not in the archive."""
        return [{"name": row["name"], "reason": row["reason"]} for row in self.rows if row["status"] == FAILED]

    def write(self, path: Path) -> None:
        """Write the ledger in one step; `StorageError` when it cannot."""
        table = pa.Table.from_pylist([dict(row) for row in self.rows], schema=LEDGER)
        told = {_RUN: self.run.encode(), _TOTALS: json.dumps(dict(self.totals)).encode()}
        write_table(path, table.replace_schema_metadata(told))

    @classmethod
    def read(cls, path: Path) -> "Ledger":
        """The inverse of `write`. Raises `StorageError` for a file that is no ledger."""
        table = read_table(path)
        told = table.schema.metadata or {}
        if not {_RUN, _TOTALS} <= told.keys():
            raise StorageError(f"{path} is no ledger of an archive")
        return cls(told[_RUN].decode(), json.loads(told[_TOTALS]), table.to_pylist())


def ledger_of(archive: Path) -> Path:
    """Where the ledger of an archive lies."""
    return archive.with_name(archive.name + SUFFIX)


def earlier(path: Path, run: str) -> Ledger | None:
    """The ledger that lies at a path, None where nothing does.

    Raises `InputError` for one of another run, or anything else: it is somebody's.
    """
    if not os.path.lexists(path):
        return None
    try:
        ledger = Ledger.read(path)
    except StorageError as error:
        raise InputError(f"{path}: is in the way of the ledger; move it away, or name another archive") from error
    if ledger.run != run:
        raise InputError(
            f"{path}: is the ledger of another run, with other pictures or options; move it away, or name another "
            "archive"
        )
    return ledger


def ledger_rows(packed: Packed, spent: Iterable[Spent]) -> list[dict[str, Any]]:
    """The rows, in order of names, from what was packed and what its calls took."""
    seconds: dict[str, float] = {}
    for one in spent:
        seconds[one.name] = seconds.get(one.name, 0.0) + one.seconds
    shown = {picture.id: shown_name(picture.name) for picture in packed.manifest.pictures}
    losses = dict(packed.losses)
    rows: list[dict[str, Any]] = [
        {
            "name": shown[picture.id],
            "status": OK,
            "reason": "",
            "losses": list(losses.get(picture.name, ())),
            "width": picture.width,
            "height": picture.height,
            "source_bytes": picture.source_bytes,
            "bytes": picture.bytes,
            "alone_bytes": picture.alone_bytes,
            "quality": picture.quality if packed.max_error is None else None,
            "max_error": packed.max_error,
            "psnr_db": _told_db(packed.psnr_db_of.get(picture.name)),
            "references": [shown[one] for one in picture.references],
            "is_reference": bool(picture.pixels_sha256),
            "seconds": seconds.get(picture.name),
        }
        for picture in packed.manifest.pictures
    ]
    rows += [
        {"name": shown_name(name), "status": FAILED, "reason": shown_name(reason), "losses": []}
        for name, reason in packed.failed
    ]
    return sorted(rows, key=lambda row: str(row["name"]))


def _told_db(psnr_db: float | None) -> float | None:
    """A PSNR, dB; None where there is no loss, which has none."""
    return None if psnr_db is None or psnr_db >= WITHOUT_LOSS_DB else psnr_db


def totals_of(packed: Packed) -> dict[str, float]:
    """The figures of a whole archive, everything counted; sizes in bytes.

    A PSNR is left out where there is no loss; where samples were promised, the largest error stands in the place of
    quality and of what is compared at equal PSNR.
    """
    pictures = packed.manifest.pictures
    sources = sum(picture.source_bytes for picture in pictures)
    totals: dict[str, float | None] = {
        "pictures": len(pictures),
        "failed": len(packed.failed),
        "lossy": len(packed.losses),
        "passed_over": sum(packed.passed_over.values()),
        "key_pictures": len(packed.keys),
        "source_bytes": sources,
        "archive_bytes": packed.archive_bytes,
        "alone_bytes": sum(picture.alone_bytes for picture in pictures),
        "alone_bytes_at_psnr": round(packed.alone_bytes_at_psnr) if packed.max_error is None else None,
        "percent_of_sources": 100 * packed.archive_bytes / sources if sources else 0.0,
        "quality": packed.quality if packed.max_error is None else None,
        "max_error": packed.max_error,
        "psnr_db": _told_db(packed.psnr_db),
        "alone_psnr_db": _told_db(packed.alone_psnr_db),
    }
    return {name: value for name, value in totals.items() if value is not None}
