"""The warp: exact integers, right positions, bounded work."""

import hashlib
import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from clc.bitstream.alignment import Alignment, identity, mesh_shape, without_brightness
from clc.bitstream.regions import Regions
from clc.errors import InputError, LimitError
from clc.references.warp import Warped, compose, warp, with_brightness

Picture = npt.NDArray[np.uint8]


def texture(height: int, width: int, seed: int = 0) -> Picture:
    """Smooth random blobs, uint8 (height, width, 3), from integers only: the same on every machine."""
    noise = np.random.default_rng(seed).integers(0, 256, (height + 16, width + 16, 3))
    for axis in (0, 1):
        total = np.cumsum(noise, axis=axis)
        noise = (
            np.take(total, range(8, total.shape[axis]), axis) - np.take(total, range(total.shape[axis] - 8), axis)
        ) // 8
    stretched = (noise[4 : 4 + height, 4 : 4 + width] - 128) * 4 + 128
    return np.clip(stretched, 0, 255).astype(np.uint8)


def moved(height: int, width: int, dx_q4: int, dy_q4: int) -> Alignment:
    steps = (dx_q4, dy_q4) * 4
    return Alignment(tuple(c + s for c, s in zip(identity(height, width).corners_q4, steps, strict=True)))


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (32, 32), (33, 31), (65, 129), (200, 300)])
def test_a_picture_aligned_to_itself_is_the_very_same(size: tuple[int, int]) -> None:
    picture = texture(*size)
    warped = warp(picture, size, identity(*size))
    assert np.array_equal(warped.pixels, picture)
    assert warped.inside.all()


def test_a_mesh_of_zeros_changes_nothing() -> None:
    picture = texture(90, 70)
    alignment = Alignment((30, -50, 1000, 20, 0, 1500, 1300, 1400))
    still = Alignment(alignment.corners_q4, mesh=np.zeros((*mesh_shape(80, 75), 2), dtype=np.int8))
    assert np.array_equal(warp(picture, (80, 75), still).pixels, warp(picture, (80, 75), alignment).pixels)


def test_whole_pixels_move_without_filtering_and_leave_the_outside_black() -> None:
    picture = texture(60, 80) | 1
    warped = warp(picture, (60, 80), moved(60, 80, 16 * 30, -16 * 7))
    assert np.array_equal(warped.pixels[7:, :50], picture[:-7, 30:])
    expected = np.zeros((60, 80), dtype=bool)
    expected[7:, :50] = True
    assert np.array_equal(warped.inside, expected)
    assert not warped.pixels[~expected].any()


def test_a_constant_mesh_moves_by_quarter_pixels() -> None:
    picture = texture(60, 80)
    mesh = np.zeros((*mesh_shape(60, 80), 2), dtype=np.int8)
    mesh[:, :, 0], mesh[:, :, 1] = 6, -3
    corners = identity(60, 80).corners_q4
    by_mesh = warp(picture, (60, 80), Alignment(corners, mesh=mesh))
    by_corners = warp(picture, (60, 80), moved(60, 80, 24, -12))
    assert np.array_equal(by_mesh.pixels, by_corners.pixels)
    assert np.array_equal(by_mesh.inside, by_corners.inside)


def test_a_half_turn_reverses_the_picture() -> None:
    picture = texture(40, 70)
    turned = warp(picture, (40, 70), Alignment((70 * 16, 40 * 16, 0, 40 * 16, 70 * 16, 0, 0, 0)))
    assert np.array_equal(turned.pixels, picture[::-1, ::-1])


def test_a_quarter_turn_transposes_the_picture() -> None:
    picture = texture(40, 70)
    turned = warp(picture, (70, 40), Alignment((70 * 16, 0, 70 * 16, 40 * 16, 0, 0, 0, 40 * 16)))
    assert np.array_equal(turned.pixels, picture[:, ::-1].transpose(1, 0, 2))


def test_an_edge_repeats_its_pixels_under_the_filter() -> None:
    picture = np.full((20, 20, 3), 255, dtype=np.uint8)
    warped = warp(picture, (20, 20), moved(20, 20, 7, 5))
    assert (warped.pixels[warped.inside] == 255).all()


def test_positions_follow_the_projective_map() -> None:
    """A ramp keeps its values under a cubic filter, so the warped ramp shows where each pixel was taken."""
    ramp = np.zeros((256, 256, 3), dtype=np.uint8)
    ramp[:, :, 0], ramp[:, :, 1] = np.arange(256)[None, :], np.arange(256)[:, None]
    height, width = 150, 190
    corners = np.array([[10, 20], [200, 40], [25, 190], [215, 230]])
    warped = warp(ramp, (height, width), Alignment(tuple(int(c) for c in (16 * corners).ravel())))
    assert warped.inside.all()
    u, v = (np.arange(width) + 0.5) / width, (np.arange(height)[:, None] + 0.5) / height
    p0, p1, p2, p3 = corners.astype(float)
    g, h = np.linalg.solve(np.stack([p1 - p3, p2 - p3], axis=1), p0 - p1 - p2 + p3)
    for axis in (0, 1):
        numerator = p0[axis] * (1 - u - v) + (1 + g) * p1[axis] * u + (1 + h) * p2[axis] * v
        expected = numerator / (1 + g * u + h * v) - 0.5
        assert np.abs(warped.pixels[:, :, axis] - expected).max() < 0.8


def test_brightness_is_gain_then_offset_by_colour() -> None:
    picture = texture(30, 30)
    corners = identity(30, 30).corners_q4
    warped = warp(picture, (30, 30), Alignment(corners, (32, 64, 100), (0, -128, 127)))
    for colour, (gain, offset) in enumerate(((32, 0), (64, -128), (100, 127))):
        expected = np.clip((picture[:, :, colour].astype(int) * gain + 32 >> 6) + offset, 0, 255)
        assert np.array_equal(warped.pixels[:, :, colour], expected)


def test_brightness_comes_after_the_view_as_if_with_it() -> None:
    reference = np.random.default_rng(5).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    corners = (-30 * 16, 0, 60 * 16, 40, 0, 50 * 16, 66 * 16, 52 * 16)
    seen = Alignment(corners, (70, 64, 50), (-9, 0, 30))
    unlit = warp(reference, (64, 96), without_brightness(seen))
    found, whole = with_brightness(unlit, seen), warp(reference, (64, 96), seen)
    assert 0.2 < whole.inside.mean() < 0.9
    assert np.array_equal(found.pixels, whole.pixels)
    assert np.array_equal(found.inside, whole.inside)


def test_the_first_part_that_covers_a_pixel_gives_it() -> None:
    left, right = texture(40, 60, 1), texture(40, 60, 2)
    a = warp(left, (40, 60), moved(40, 60, 16 * 40, 0))
    b = warp(right, (40, 60), moved(40, 60, -16 * 10, 0))
    both = compose([a, b])
    assert np.array_equal(both.pixels[:, :20], left[:, 40:])
    assert np.array_equal(both.pixels[:, 20:], right[:, 10:50])
    assert both.inside.all()
    assert not np.array_equal(compose([b, a]).pixels, both.pixels)


def test_a_composition_leaves_its_parts_alone() -> None:
    a = Warped(np.zeros((4, 4, 3), dtype=np.uint8), np.zeros((4, 4), dtype=bool))
    b = Warped(np.ones((4, 4, 3), dtype=np.uint8), np.ones((4, 4), dtype=bool))
    compose([a, b])
    assert not a.inside.any()
    assert not a.pixels.any()


def test_what_cannot_be_composed_is_refused() -> None:
    part = warp(texture(8, 8), (8, 8), identity(8, 8))
    with pytest.raises(InputError, match="composed"):
        compose([])
    with pytest.raises(InputError, match="composed"):
        compose([part, warp(texture(8, 8), (8, 9), identity(8, 9))])


def test_a_reference_far_away_covers_nothing() -> None:
    warped = warp(texture(20, 20), (50, 50), moved(50, 50, 1_000_000, -1_000_000))
    assert not warped.inside.any()
    assert not warped.pixels.any()


def test_the_largest_numbers_stay_within_their_widths() -> None:
    """A quadrilateral at the bounds, thin and steep, with the largest offsets, on odd sizes: nothing overflows."""
    limit = 1 << 20
    mesh = np.full((*mesh_shape(47, 33), 2), -128, dtype=np.int8)
    mesh[::2] = 127
    for corners in (
        (-limit, -limit, limit, -limit, -limit, limit, limit, limit),
        (limit, limit, -limit, limit, limit, -limit, -limit, -limit),
        (-limit, -limit, limit, limit - 1, -limit, 1 - limit, limit, limit),
        (-limit, -limit, limit, -limit, -limit, limit, 1, 0),
    ):
        warped = warp(texture(30, 30), (47, 33), Alignment(corners, mesh=mesh))
        assert not warped.pixels[~warped.inside].any()


def test_corners_may_be_numpys_integers() -> None:
    corners = (-900_000, 60, 900_000, -100, 200, 900_000, 900_000, 880_000)
    ours, theirs = Alignment(corners), Alignment(tuple(np.array(corners)))
    assert np.array_equal(warp(texture(9, 9), (99, 70), ours).inside, warp(texture(9, 9), (99, 70), theirs).inside)


def test_a_mesh_of_another_size_is_refused() -> None:
    alignment = Alignment(identity(64, 64).corners_q4, mesh=np.zeros((3, 4, 2), dtype=np.int8))
    with pytest.raises(InputError, match="mesh"):
        warp(texture(64, 64), (64, 64), alignment)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 4), (0, 8, 3)])
def test_a_reference_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"px|uint8"):
        warp(np.zeros(shape, dtype=np.uint8), (8, 8), identity(8, 8))


def test_a_target_over_the_cap_is_refused_before_allocating() -> None:
    with pytest.raises(LimitError):
        warp(texture(8, 8), (65_535, 65_535), identity(8, 8))


def test_memory_stays_near_the_pictures_own() -> None:
    height, width = 500, 600
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    tracemalloc.start()
    try:
        warp(picture, (height, width), moved(height, width, 5, 7))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 13 * height * width + 6 * 2**20


def digest() -> str:
    """sha256 of a warp that uses every part: perspective, edges, a mesh, brightness."""
    generator = np.random.default_rng(11)
    mesh = generator.integers(-9, 10, (*mesh_shape(150, 200), 2)).astype(np.int8)
    corners = (-150, 60, 3300, -100, 200, 2500, 2900, 2800)
    warped = warp(texture(160, 190, 3), (150, 200), Alignment(corners, (60, 66, 70), (3, 0, -5), mesh))
    return hashlib.sha256(warped.pixels.tobytes() + warped.inside.tobytes()).hexdigest()


DIGEST = "adf158596d7daa9d1917eea5b0d613dac80661ebd7b8fb0ef7e6a36e06d58914"


@pytest.mark.parametrize("threads", ["1", "2"])
def test_the_warp_has_the_same_bits_under_any_number_of_threads(threads: str) -> None:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    done = subprocess.run(
        [sys.executable, __file__],
        env={**os.environ, **dict.fromkeys(names, threads), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == DIGEST


if __name__ == "__main__":
    sys.stdout.write(digest() + "\n")


def test_a_block_that_moves_shows_what_lies_at_its_offset() -> None:
    picture = texture(70, 90)
    blocks = np.ones((5, 6), dtype=np.uint8)
    blocks[1, 2], blocks[4, 5], blocks[0, 0] = 2, 3, 0
    regions = Regions(16, ((4 * 20, -4 * 9), (-4 * 30 - 2, 0)), blocks)
    whole = replace(identity(70, 90), regions=regions)
    warped = warp(picture, (70, 90), whole)
    expected = picture.copy()
    expected[16:32, 32:48] = picture[7:23, 52:68]
    expected[64:, 80:] = warp(picture, (70, 90), moved(70, 90, -16 * 30 - 8, 0)).pixels[64:, 80:]
    expected[:16, :16] = 0
    assert np.array_equal(warped.pixels, expected)
    assert not warped.inside[:16, :16].any()
    assert warped.inside.sum() == 70 * 90 - 16 * 16


def test_a_block_that_moves_beyond_the_reference_is_outside() -> None:
    picture = texture(64, 64) | 1
    farthest = Regions(32, ((1 << 18, -(1 << 18)), (-4 * 8, 0)), np.array([[2, 3], [3, 1]], dtype=np.uint8))
    inside = warp(picture, (64, 64), replace(identity(64, 64), regions=farthest)).inside
    assert not inside[:32, :32].any()
    assert inside[:32, 32:].all()
    assert inside[32:, 8:].all()
    assert not inside[32:, :8].any()


def test_regions_of_another_size_are_refused() -> None:
    regions = Regions(16, (), np.ones((4, 4), dtype=np.uint8))
    with pytest.raises(InputError, match="blocks of 16 px"):
        warp(texture(64, 64), (65, 64), replace(identity(65, 64), regions=regions))
