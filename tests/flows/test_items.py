"""`items.parquet`: what an ingest writes is what every later stage reads."""

from dataclasses import replace
from pathlib import Path

import pytest

from flows.items import ITEMS, Item, RefusedPicture, read_items, write_items
from storage.errors import StorageError
from storage.tables import read_table, write_table

ORIGIN = {"row": "natural", "source": "a test", "licence": "CC0"}
REFUSED = RefusedPicture(item_id="failed-000000", name="b", photo="b", reason="no picture", **ORIGIN)


def item(number: int, part: str) -> Item:
    return Item(
        item_id=f"i{number}", name=f"n{number}", photo=f"p{number}", part=part, blob="ab", width=3, height=2, **ORIGIN
    )


ITEMS_OF_ALL_PARTS = [item(0, "training"), item(1, "dictionary"), item(2, "training")]


def test_items_come_back_in_order_and_refused_pictures_do_not(tmp_path: Path) -> None:
    write_items(tmp_path, ITEMS_OF_ALL_PARTS, [REFUSED])
    assert read_items(tmp_path) == ITEMS_OF_ALL_PARTS


def test_one_part_is_read_alone(tmp_path: Path) -> None:
    write_items(tmp_path, ITEMS_OF_ALL_PARTS, [REFUSED])
    assert [found.item_id for found in read_items(tmp_path, "training")] == ["i0", "i2"]
    assert read_items(tmp_path, "evaluation") == []


def test_refused_picture_is_a_row_with_a_reason_and_no_picture(tmp_path: Path) -> None:
    write_items(tmp_path, ITEMS_OF_ALL_PARTS, [REFUSED])
    table = read_table(tmp_path / "items.parquet")
    assert table.schema.equals(ITEMS)
    last = table.to_pylist()[-1]
    assert (last["status"], last["reason"]) == ("failed", "no picture")
    assert {last[name] for name in ("part", "blob", "width", "height")} == {None}


def test_losses_come_back_and_a_table_of_an_earlier_release_has_none(tmp_path: Path) -> None:
    lost = replace(item(0, "training"), losses=("16 bits", "a frame"))
    write_items(tmp_path, [lost, item(1, "training")], [REFUSED])
    assert read_items(tmp_path) == [lost, item(1, "training")]
    table = read_table(tmp_path / "items.parquet")
    write_table(tmp_path / "items.parquet", table.drop_columns(["losses"]))
    assert read_items(tmp_path) == [item(0, "training"), item(1, "training")]
    write_table(tmp_path / "items.parquet", table.drop_columns(["blob"]))
    with pytest.raises(StorageError, match="lacks blob; run ingest-images again"):
        read_items(tmp_path)


def test_photos_of_one_name_and_different_pixels_are_different_photos() -> None:
    one, other = (replace(item(0, "training"), item_id=f"{digit * 16}-0-0") for digit in "ab")
    patch = replace(one, item_id=f"{'a' * 16}-64-0", name="n0 64-0")
    assert one.photo == other.photo
    assert one.identity != other.identity
    assert one.identity == patch.identity


def test_missing_table_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"items\.parquet is missing"):
        read_items(tmp_path)
