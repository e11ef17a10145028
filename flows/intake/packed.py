"""Archives and tables that hold the bytes of pictures: zip, tar and Parquet, streamed and never extracted."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from clc.errors import InputError
from clc.limits import MAX_PICTURE_FILE_BYTES
from flows.intake.origin import Entry, Names, Unavailable, kind_of
from storage.archives import (
    ARCHIVE_DAMAGED,
    ARCHIVE_SUFFIXES,
    LINK,
    NESTED,
    SPECIAL,
    ArchiveDamaged,
    Member,
    MemberReader,
    MemberRefused,
    open_archive,
)
from storage.names import shown_name

Opener = Callable[[], "contextlib.AbstractContextManager[BinaryIO]"]

TABLE_SUFFIX = ".parquet"
_ROWS_AT_ONCE = 1  # each may be as large as a picture may be
_BYTES_COLUMNS = ("bytes", "image", "image_bytes", "jpg", "jpeg", "png", "webp", "img", "content", "data")
_NAME_COLUMNS = ("name", "file_name", "filename", "path", "key", "__key__", "id", "image_id")
_LICENCE_COLUMNS = ("licence", "license")
EMPTY = "empty"
TOO_LARGE = "member_too_large"


@dataclass
class Archive:
    """A zip or tar archive as an origin; `open_file` opens it, `name` tells its kind."""

    label: str
    identity: str
    name: str
    open_file: Opener
    passed_over: Counter[str] = field(default_factory=Counter)

    def check(self) -> None:
        """Raise `InputError` for a file that is no archive."""
        with self.open_file() as file:
            try:
                open_archive(self.name, file, MAX_PICTURE_FILE_BYTES)
            except ArchiveDamaged as error:
                raise InputError(f"{self.label}: {error}; get or pack it again") from error

    def entries(self) -> Iterator[Entry]:
        """Yield its pictures, and a refused entry where the rest of it cannot be read."""
        self.passed_over.clear()
        names, is_begun = Names(), False
        with self.open_file() as file:
            try:
                reader = open_archive(self.name, file, MAX_PICTURE_FILE_BYTES)
                for member in reader:
                    is_begun = True
                    yield from self._entry(member, reader, names)
            except ArchiveDamaged as error:
                if not is_begun:
                    raise InputError(f"{self.label}: {error}; get or pack it again") from error
                yield Entry(names.unique(self.name), reason=ARCHIVE_DAMAGED, detail=f"the rest is lost: {error}")

    def _entry(self, member: Member, reader: MemberReader, names: Names) -> Iterator[Entry]:
        if not member.is_file:
            return
        kind = kind_of(member.name)
        if kind and member.name.lower().endswith(ARCHIVE_SUFFIXES):
            name = names.unique(shown_name(member.name))
            yield Entry(name, reason=NESTED, detail="an archive within an archive; unpack it first")
            return
        if kind:
            is_special = member.refusal is not None and member.refusal.reason in (LINK, SPECIAL)
            self.passed_over["special" if is_special else kind] += 1
            return
        name = names.unique(shown_name(member.name))
        if member.refusal is not None:
            yield Entry(name, reason=member.refusal.reason, detail=str(member.refusal))
            return
        yield Entry(name, read=lambda into: _read_member(reader, into))


@dataclass
class Table:
    """A Parquet file with a column of bytes as an origin, such as data sets are handed on in."""

    label: str
    identity: str
    name: str
    open_file: Opener
    passed_over: Counter[str] = field(default_factory=Counter)

    def entries(self) -> Iterator[Entry]:
        """Yield its rows, and a refused entry where the rest of it cannot be read."""
        names, is_begun = Names(), False
        with self.open_file() as file:
            try:
                table = pq.ParquetFile(file, page_checksum_verification=True)
                columns = bytes_columns(table.schema_arrow)
                if not columns.picture:
                    raise InputError(
                        f"{self.label} has no column of bytes, or several; call the one that is meant bytes"
                    )
                wanted = [one for one in (columns.picture, columns.name, columns.licence) if one]
                for batch in table.iter_batches(_ROWS_AT_ONCE, columns=wanted, use_threads=False):
                    for row in batch.to_pylist():
                        is_begun = True
                        yield _row_entry(row, columns, names)
            except (pa.ArrowException, OSError, ValueError) as error:
                text = _first_line(error)
                if not is_begun:
                    raise InputError(f"{self.label}: no readable Parquet file ({text}); get it again") from error
                yield Entry(names.unique(self.name), reason=ARCHIVE_DAMAGED, detail=f"the rest is lost: {text}")


@dataclass(frozen=True)
class Columns:
    """Which columns of a table hold the picture, its name and its licence; empty where there is none."""

    picture: str
    name: str = ""
    licence: str = ""


def table_columns(label: str, file: BinaryIO) -> tuple[Columns, list[str]]:
    """Return which columns of an open Parquet file hold pictures, and the names of all. Raises `InputError`."""
    try:
        schema = pq.ParquetFile(file).schema_arrow
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{label}: no readable Parquet file ({_first_line(error)}); get it again") from error
    return bytes_columns(schema), list(schema.names)


def bytes_columns(schema: pa.Schema) -> Columns:
    """Return which columns a table of pictures has; `picture` is empty where none or several could be meant."""
    binary = [one.name for one in schema if _is_bytes(one.type)]
    picture = next((name for name in _BYTES_COLUMNS if name in binary), binary[0] if len(binary) == 1 else "")
    return Columns(picture, named(schema.names, _NAME_COLUMNS), named(schema.names, _LICENCE_COLUMNS))


def named(columns: Sequence[str], wanted: Sequence[str]) -> str:
    """Return the first column that has one of the names, whatever its case; empty where none has."""
    found = {column.strip().lower(): column for column in reversed(columns)}
    return next((found[name] for name in wanted if name in found), "")


def _is_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):  # as `datasets` writes pictures: {bytes, path}
        return any(one.name == "bytes" and _is_bytes(one.type) for one in kind)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)


def _row_entry(row: dict[str, Any], columns: Columns, names: Names) -> Entry:
    value, path = row[columns.picture], ""
    if isinstance(value, dict):
        value, path = value.get("bytes"), str(value.get("path") or "")
    stated = row.get(columns.name) if columns.name else path
    name = names.unique(shown_name(str(stated)) if stated not in (None, "") else f"row-{len(names):07d}")
    licence = shown_name(str(row.get(columns.licence) or ""))
    if not value:
        return Entry(name, licence, reason=EMPTY, detail="the row holds no bytes")
    if len(value) > MAX_PICTURE_FILE_BYTES:
        return Entry(name, licence, reason=TOO_LARGE, detail=f"{len(value)} bytes, more than are read")
    return Entry(name, licence, read=lambda into: into.write(value))


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _read_member(reader: MemberReader, into: BinaryIO) -> int:
    try:
        return reader.read(into)
    except MemberRefused as error:
        raise Unavailable(error.reason, str(error)) from error


def file_identity(path: str) -> str:
    """Return what changes when a file of this machine does: its place, size and time of change."""
    status = Path(path).stat()
    return f"{path} {status.st_size} {status.st_mtime_ns}"
