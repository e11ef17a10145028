"""Key pictures: the same pixels come back, whatever their size, and a bundle says what its files are."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clc.errors import InputError, StorageError
from clc.pictures.formats import WEBP_SIDE_PX
from clc.references.key_pictures import (
    LOSSLESS,
    key_pictures_from_json,
    key_pictures_to_json,
    write_key_picture,
)


def picture(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("width", "height", "kind"),
    [
        (1, 1, "webp"),
        (WEBP_SIDE_PX, 2, "webp"),
        (2, WEBP_SIDE_PX, "webp"),
        (WEBP_SIDE_PX + 1, 2, "png"),
        (1, WEBP_SIDE_PX + 1, "png"),
        (65_535, 1, "png"),
    ],
)
def test_lossless_key_picture_comes_back_by_way_of_the_manifest(
    tmp_path: Path, width: int, height: int, kind: str
) -> None:
    image_HW3 = picture(width, height)
    stored = write_key_picture(tmp_path, 7, image_HW3)
    assert (stored.kind, stored.path.name) == (kind, f"0007.{kind}")
    fields = key_pictures_to_json({7: stored})
    assert ("kind" in fields[0]) == (kind == "png")
    found = key_pictures_from_json(tmp_path, fields)
    assert found == {7: stored}
    np.testing.assert_array_equal(found[7].read(), image_HW3)
    with Image.open(stored.path) as file:
        assert (file.format or "").lower() == kind


def test_lossy_format_is_lossless_where_webp_ends(tmp_path: Path) -> None:
    wide, small = picture(WEBP_SIDE_PX + 1, 2), picture(40, 30)
    np.testing.assert_array_equal(write_key_picture(tmp_path, 0, wide, "webp-50").read(), wide)
    assert not np.array_equal(write_key_picture(tmp_path, 1, small, "webp-50").read(), small)


@pytest.mark.parametrize("name", ["png", "webp", "webp-101", "webp-²", "webp--1", "WEBP-50", ""])
def test_unknown_formats_are_refused_for_every_size(tmp_path: Path, name: str) -> None:
    for width in (4, WEBP_SIDE_PX + 1):
        with pytest.raises(InputError, match="no format"):
            write_key_picture(tmp_path, 0, picture(width, 2), name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["gif", "../png", "", None, 3])
def test_kind_that_no_bundle_has_is_refused(tmp_path: Path, kind: object) -> None:
    fields = key_pictures_to_json({0: write_key_picture(tmp_path, 0, picture(4, 4), LOSSLESS)})
    with pytest.raises(StorageError, match="of a kind that no bundle has"):
        key_pictures_from_json(tmp_path, [{**fields[0], "kind": kind}])


@pytest.mark.parametrize("kind", ["pipe", "folder", "dead link", "sparse file of 10 GiB"])
def test_what_stands_in_place_of_a_key_picture_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    stored = write_key_picture(tmp_path, 0, np.zeros((8, 8, 3), np.uint8))
    assert stored.is_there()
    stored.path.unlink()
    if kind == "pipe":
        os.mkfifo(stored.path)
    elif kind == "folder":
        stored.path.mkdir()
    elif kind == "dead link":
        stored.path.symlink_to("gone")
    else:
        with stored.path.open("wb") as file:
            file.truncate(10 * 2**30)
    assert not stored.is_there()
    with pytest.raises(StorageError, match=r"key picture .*0000\.webp: (is a|has 10737418240 bytes)"):
        stored.read()
