"""Decoded references on disk: read again where they are what they were, and made again where they are not."""

from pathlib import Path

import numpy as np
import pytest

from clc.archive.layout import Archive
from clc.archive.packed import Packed
from clc.archive.pixel_cache import PixelCache
from clc.codec.codec import Codec
from storage.digest import sha256_bytes
from tests.conftest import Picture

ID = bytes(range(8))


def digest(image: Picture) -> str:
    return sha256_bytes(image.tobytes())


def test_a_picture_is_read_again(tmp_path: Path, photo: Picture) -> None:
    cache = PixelCache(tmp_path / "cache")
    assert cache.read(ID, digest(photo)) is None
    cache.keep(ID, photo)
    again = cache.read(ID, digest(photo))
    assert again is not None
    assert np.array_equal(again, photo)
    assert cache.read(ID, "0" * 64) is None


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:4], lambda data: b"\xff" * len(data)])
def test_what_was_damaged_is_not_believed(tmp_path: Path, photo: Picture, damage: object) -> None:
    cache = PixelCache(tmp_path)
    cache.keep(ID, photo)
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    assert cache.read(ID, digest(photo)) is None


def test_another_size_in_the_head_is_not_believed(tmp_path: Path, photo: Picture) -> None:
    cache = PixelCache(tmp_path)
    cache.keep(ID, photo)
    (path,) = tmp_path.iterdir()
    path.write_bytes(b"\xff" * 8 + path.read_bytes()[8:])
    assert cache.read(ID, digest(photo)) is None


def test_the_oldest_go_where_room_is_short(tmp_path: Path, photo: Picture) -> None:
    cache = PixelCache(tmp_path, most_bytes=2 * photo.nbytes + 100)
    for number in range(3):
        cache.keep(bytes([number] * 8), photo)
    left = [number for number in range(3) if cache.read(bytes([number] * 8), digest(photo)) is not None]
    assert len(left) == 2
    assert 2 in left
    PixelCache(tmp_path / "none", most_bytes=10).keep(ID, photo)
    assert not (tmp_path / "none").exists()


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path, photo: Picture) -> None:
    (tmp_path / "file").write_text("of a user")
    PixelCache(tmp_path / "file").keep(ID, photo)
    assert (tmp_path / "file").read_text() == "of a user"


def test_references_are_decoded_once_for_all_readers(
    tmp_path: Path, packed: tuple[Path, Packed], shipped: Codec
) -> None:
    archive = Archive(packed[0])
    key = next(picture for picture in archive.manifest.pictures if picture.pixels_sha256)
    first, second = (archive.referred(shipped, PixelCache(tmp_path)) for _ in range(2))
    assert np.array_equal(first.read(bytes.fromhex(key.id)), second.read(bytes.fromhex(key.id)))
    assert (first.decoded, second.decoded) == (1, 0)
