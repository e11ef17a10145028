"""Parquet tables whose pages carry checksums, written whole and checked on every read.

Without the checksums Parquet returns almost every flipped bit as data. They do not cover the footer; the manifest of a
stage does, with the SHA-256 of the whole file (`storage.manifest`). Needs the extra `pipeline`.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from storage.atomic import write_bytes
from storage.errors import StorageError
from storage.extras import need

need("pipeline", "pyarrow")

import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

_ROWS_AT_ONCE = 4096


def write_table(path: Path, table: pa.Table, *, replace: bool = True) -> None:
    """Write `table` as Parquet (zstd, page checksums) in one step; `StorageError` when it cannot."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    write_bytes(path, sink.getvalue(), replace=replace)


def table_of(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Return rows as a table; they are taken a few thousand at a time, for as Python's values they fill the memory."""
    taken = iter(rows)
    batches = []
    while some := [dict(row) for row in islice(taken, _ROWS_AT_ONCE)]:
        batches.append(pa.RecordBatch.from_pylist(some, schema=schema))
    return pa.Table.from_batches(batches, schema=schema).combine_chunks()


def read_table(path: Path, columns: Sequence[str] | None = None, optional: Sequence[str] = ()) -> pa.Table:
    """Read a table, or only the named columns of it, verifying every page that is read.

    Beside `columns`, those of `optional` are read which the table has.

    Raises `StorageError` when the file is missing, damaged, or lacks one of `columns`.
    """
    wanted = None if columns is None else list(columns)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            further = [name for name in optional if name in file.schema_arrow.names]
            table = file.read(columns=None if wanted is None else [*wanted, *further])
    except FileNotFoundError as error:
        raise StorageError(f"{path} is missing") from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise StorageError(f"{path} is no intact Parquet file ({_first_line(error)}); run its stage again") from error
    missing = set(wanted or ()) - set(table.column_names)
    if missing:
        raise StorageError(f"{path} has no column {', '.join(sorted(missing))}; it was written by another version")
    return table


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
