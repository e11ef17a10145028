"""`archive.parquet`, the table of an archive of very many pictures: the rows of `clc.archive.table` as Parquet.

The columns are those of `archive.json`, with digests and ids as their bytes, references in three columns, and nothing
(null) where a cell there is empty. Format, version, model and digest stand as JSON in the metadata of the schema, under
`clc-archive`; the digest is the same as that of `archive.json`. Needs the extra `parquet`.

A reader trusts nothing here either. No column can unfold to more than its rows: names are read as what differs among
them, and refused where one stands twice.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

from clc.archive.manifest import Manifest, broken
from clc.archive.table import (
    FORMAT,
    MAX_BYTES,
    VERSION,
    Row,
    check_format,
    head,
    lines_of,
    manifest_of,
    refuse_to_write,
    rows_of,
    short,
    whole,
)
from storage.extras import need

need("parquet", "pyarrow")

import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

MAX_PICTURES = 1 << 22
_ROWS_AT_ONCE = 1 << 14
_ROWS_OF_A_GROUP = 1 << 16
_REFERENCES = ("reference_1", "reference_2", "reference_3")
_PATHS = ["name", "stream"]

_SCHEMA = pa.schema(
    [
        pa.field("name", pa.binary(), nullable=False),
        pa.field("id", pa.binary(8), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("quality", pa.float64(), nullable=False),
        pa.field("source_bytes", pa.int64(), nullable=False),
        pa.field("source_sha256", pa.binary(32), nullable=False),
        pa.field("alone_bytes", pa.int64(), nullable=False),
        *(pa.field(name, pa.int32()) for name in _REFERENCES),
        pa.field("check", pa.binary(8)),
        pa.field("pixels_sha256", pa.binary(32)),
        pa.field("stream", pa.binary()),
    ]
)
_KEY = FORMAT.encode()


def written(manifest: Manifest) -> bytes:
    """The bytes of `archive.parquet`; the inverse of `read`. Raises `InputError` for more than that takes."""
    told = json.dumps(head(manifest, lines_of(manifest)), sort_keys=True)
    sink = io.BytesIO()
    with pq.ParquetWriter(
        sink,
        _SCHEMA.with_metadata({_KEY: told.encode()}),
        compression="zstd",
        write_page_checksum=True,
        use_dictionary=["width", "height", "quality"],
        write_statistics=False,
    ) as file:
        rows = rows_of(manifest)
        while group := [_values(row) for _, row in zip(range(_ROWS_OF_A_GROUP), rows, strict=False)]:
            columns = zip(*group, strict=True)
            arrays = [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
            file.write_table(pa.table(arrays, schema=file.schema), row_group_size=_ROWS_OF_A_GROUP)
    data = sink.getvalue()
    with pq.ParquetFile(pa.BufferReader(data)) as file:
        refuse_to_write(_excess(file))
    return data


def read(data: bytes) -> Manifest:
    """The table whose bytes are given. Raises `StorageError`, which says what is wrong."""
    try:
        with pq.ParquetFile(pa.BufferReader(data)) as file:
            _check(file)
        with pq.ParquetFile(pa.BufferReader(data), read_dictionary=_PATHS, page_checksum_verification=True) as file:
            told = json.loads((file.metadata.metadata or {}).get(_KEY, b"null"))
            check_format(told, (VERSION,))
            return manifest_of(told, _rows(file))
    except (pa.ArrowException, OSError, RecursionError, ValueError) as error:
        reason, *_ = str(error).splitlines() or [type(error).__name__]
        raise broken(f"it is no intact Parquet file ({reason})") from error


def _check(file: pq.ParquetFile) -> None:
    """Refuses a file of other columns, or of more than a reader takes, before any of it is unfolded."""
    if [(field.name, field.type) for field in file.schema_arrow] != [(field.name, field.type) for field in _SCHEMA]:
        raise broken("its columns are not those of its version")
    excess = _excess(file)
    if excess:
        raise broken(excess)


def _excess(file: pq.ParquetFile) -> str:
    """What of a file is more than a reader takes, "" where nothing is."""
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    rows = max(file.metadata.num_rows, sum(group.num_rows for group in groups))
    if rows > MAX_PICTURES:
        return f"it has {rows} pictures, and may have {MAX_PICTURES}"
    size = sum(group.column(number).total_uncompressed_size for group in groups for number in range(group.num_columns))
    return f"it unfolds to {size} bytes, and may to {MAX_BYTES}" if size > MAX_BYTES else ""


def _rows(file: pq.ParquetFile) -> Iterator[Row]:
    size = 0
    for batch in file.iter_batches(_ROWS_AT_ONCE):
        for field in _SCHEMA:
            if not field.nullable and batch.column(field.name).null_count:
                raise broken(f"a picture has no {field.name}")
        for name in _PATHS:
            _refuse_twice(name, batch.column(name))
        for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            size += len(values[0]) + len(values[-1] or b"")
            if size > MAX_BYTES:  # the same names again in another batch
                raise broken(f"its names take more than {MAX_BYTES} bytes")
            yield _cells(values)


def _refuse_twice(name: str, column: Any) -> None:
    """Names are unique: else a few bytes of a file could become gigabytes here."""
    used = column.indices.drop_null()
    if len(used.unique()) != len(used):
        raise broken(f"two pictures have the same {name}")


def _values(row: Row) -> list[Any]:
    """A row of `archive.json` as the values of the columns here."""
    name, id_, *numbers, of_source, alone, references, check, pixels, stream = whole(row)
    numbers[3] = float(numbers[3])
    return [
        _bytes_of(name),
        bytes.fromhex(id_),
        *numbers,
        _digest_bytes(of_source),
        alone,
        *(references + [None] * len(_REFERENCES))[: len(_REFERENCES)],
        bytes.fromhex(check) or None,
        _digest_bytes(pixels),
        _bytes_of(stream) or None,
    ]


def _cells(values: tuple[Any, ...]) -> Row:
    """The inverse of `_values`."""
    name, id_, n_bytes, width, height, quality, of_file, of_source, alone, *references, check, pixels, stream = values
    is_whole = quality.is_integer()
    cells = [
        _text(name),
        id_.hex(),
        n_bytes,
        width,
        height,
        int(quality) if is_whole else quality,
        of_file,
        _letters(of_source),
        alone,
        [one for one in references if one is not None],
        (check or b"").hex(),
        _letters(pixels or b""),
        _text(stream or b""),
    ]
    return short(cells)


def _bytes_of(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _letters(digest: bytes) -> str:
    return base64.b64encode(digest).decode().rstrip("=")


def _digest_bytes(letters: str) -> bytes | None:
    return base64.b64decode(letters + "=") if letters else None
