"""Regions are found where a picture shows parts of a reference, moved or not, and nowhere else."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from clc.bitstream.alignment import identity, without_regions
from clc.references.key_pictures import PicturesInMemory
from clc.references.likeness import agreement_db
from clc.references.refine import Registration
from clc.references.region_search import find_corners, likely_offsets
from clc.references.registration import Registrar
from clc.references.warp import warp

Picture = npt.NDArray[np.uint8]

HEIGHT, WIDTH = 320, 448


def text(seed: int, height: int = HEIGHT, width: int = WIDTH) -> Picture:
    """Rows of dark strokes on white, as on a page or a screen: the same rows from the same seed."""
    generator = np.random.default_rng(seed)
    page = np.full((height, width, 3), 255, dtype=np.uint8)
    for top in range(8, height - 16, 18):
        for left in range(6, width - 12, 9):
            ends = generator.integers(0, 9, 8).reshape(4, 2) + np.array([left, top])
            colour = tuple(int(level) for level in generator.integers(0, 120, 3))
            for start, end in ((0, 1), (1, 2), (2, 3)):
                cv2.line(page, ends[start].tolist(), ends[end].tolist(), colour, 1)
    return page


def register(target_HW3: Picture, reference_HW3: Picture) -> Registration | None:
    return Registrar(PicturesInMemory([reference_HW3])).register(target_HW3, 0)


def test_a_panel_that_moved_is_taken_from_where_it_was() -> None:
    reference, target = text(1), text(1)
    target[:, 160:] = np.roll(reference[:, 160:], (-36, -9), axis=(0, 1))
    found = register(target, reference)
    assert found is not None
    assert found.alignment.regions is not None
    assert (36, 144) in found.alignment.regions.offsets_q2
    assert found.alignment.corners_q4 == identity(HEIGHT, WIDTH).corners_q4
    moved = found.alignment.regions.offsets_q2.index((36, 144)) + 2
    assert (found.alignment.regions.blocks[1:16, 11:26] == moved).all()
    assert (found.alignment.regions.blocks[:, :9] == 1).all()
    warped = warp(reference, (HEIGHT, WIDTH), found.alignment)
    assert np.array_equal(warped.pixels[16:256, 176:416], target[16:256, 176:416])


def test_what_a_form_is_filled_in_with_is_not_covered() -> None:
    empty = text(2)
    target, reference = empty.copy(), empty.copy()
    target[96:224, 128:320], reference[96:224, 128:320] = text(3, 128, 192), text(4, 128, 192)
    found = register(target, reference)
    assert found is not None
    assert found.alignment.regions is not None
    blocks = found.alignment.regions.blocks
    assert (blocks[7:13, 9:19] == 0).mean() > 0.9
    assert blocks[:5].all()
    assert blocks[15:].all()
    everywhere = warp(reference, (HEIGHT, WIDTH), without_regions(found.alignment))
    assert found.psnr_db > agreement_db(target, everywhere) + 10
    assert found.coverage == pytest.approx((blocks > 0).mean(), abs=1e-9)


def test_a_picture_that_agrees_everywhere_has_no_regions() -> None:
    noise = np.random.default_rng(5).integers(-2, 3, (HEIGHT, WIDTH, 3))
    found = register(np.clip(text(6) + noise, 0, 255).astype(np.uint8), text(6))
    assert found is not None
    assert found.alignment == identity(HEIGHT, WIDTH)


def test_the_identity_is_found_where_features_find_nothing() -> None:
    shade = np.add.outer(np.arange(HEIGHT), np.arange(WIDTH)) // 4
    reference = np.repeat(shade[:, :, None], 3, axis=2).astype(np.uint8)
    target = reference.copy()
    target[100:140, 200:240] = 255 - target[100:140, 200:240]
    found = register(target, reference)
    assert found is not None
    assert found.plain == identity(HEIGHT, WIDTH)
    assert found.psnr_db > 25


def test_offsets_are_those_that_most_corners_share() -> None:
    reference = text(7)
    target = np.roll(reference, (24, 0), axis=(0, 1))
    target[:, 300:] = np.roll(reference[:, 300:], (0, 18), axis=(0, 1))
    offsets = likely_offsets(find_corners(target), find_corners(reference), np.eye(3))
    assert offsets[0] == (0, -96)
    assert (-72, 0) in offsets[:3]
    assert (0, 0) not in offsets


def test_pictures_without_corners_have_no_offsets() -> None:
    flat = np.full((HEIGHT, WIDTH, 3), 200, dtype=np.uint8)
    assert likely_offsets(find_corners(flat), find_corners(text(8)), np.eye(3)) == []
    assert likely_offsets(find_corners(text(8)), find_corners(flat[:20, :20]), np.eye(3)) == []
