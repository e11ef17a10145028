"""Parquet tables: what is read is what was written, or an error."""

import random
from pathlib import Path

import pyarrow as pa
import pytest

from storage import tables
from storage.errors import StorageError
from storage.tables import read_table, table_of, write_table


def sample() -> pa.Table:
    generator = random.Random(1)  # noqa: S311
    return pa.table(
        {
            "item_id": [f"item-{index:04d}" for index in range(500)],
            "value": [generator.random() for _ in range(500)],
            "note": pa.array([None if index % 3 else "noted" for index in range(500)], pa.string()),
        }
    )


def test_table_round_trips_and_columns_are_chosen(tmp_path: Path) -> None:
    write_table(tmp_path / "table.parquet", sample())
    assert read_table(tmp_path / "table.parquet").equals(sample())
    assert read_table(tmp_path / "table.parquet", ["value"]).column_names == ["value"]


def test_flipped_bits_are_refused_or_harmless_but_never_change_a_value(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_table(path, sample())
    intact = path.read_bytes()
    footer_bytes = int.from_bytes(intact[-8:-4], "little") + 8
    generator = random.Random(2)  # noqa: S311
    refused = 0
    for _ in range(200):
        altered = bytearray(intact)
        altered[generator.randrange(4, len(intact) - footer_bytes)] ^= 1 << generator.randrange(8)
        path.write_bytes(altered)
        try:
            assert read_table(path).equals(sample())
        except StorageError:
            refused += 1
    assert refused > 150


def test_truncated_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_table(path, sample())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(StorageError, match="no intact Parquet"):
        read_table(path)


def test_missing_file_and_missing_column_are_storage_errors(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="missing"):
        read_table(tmp_path / "none.parquet")
    write_table(tmp_path / "table.parquet", sample())
    with pytest.raises(StorageError, match="no column absent"):
        read_table(tmp_path / "table.parquet", ["absent", "value"])


@pytest.mark.parametrize("count", [0, 1, 4, 500])
def test_rows_that_are_taken_a_few_at_a_time_make_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(tables, "_ROWS_AT_ONCE", 3)
    whole = sample().slice(0, count)
    rows = whole.to_pylist()
    write_table(tmp_path / "whole.parquet", pa.Table.from_pylist(rows, schema=whole.schema))
    write_table(tmp_path / "taken.parquet", table_of(iter(rows), whole.schema))
    assert (tmp_path / "taken.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert read_table(tmp_path / "taken.parquet").to_pylist() == rows
