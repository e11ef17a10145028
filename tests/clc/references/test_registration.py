"""Registration finds known maps within a fraction of a pixel, and nothing where nothing fits."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from clc.bitstream.alignment import Alignment, identity
from clc.pictures.images import read_image
from clc.references.key_pictures import PicturesInMemory
from clc.references.likeness import agreement_db, detail_db, fit_brightness
from clc.references.mesh_fit import fit_mesh
from clc.references.projective import quantise
from clc.references.registration import Registrar, Registration, find_keypoints
from clc.references.warp import Warped, warp

Picture = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float64]

HEIGHT, WIDTH = 240, 320
COPR = Path(__file__).parents[4] / "shared" / "data" / "correlated" / "copr"


def texture(height: int, width: int, seed: int) -> Picture:
    """Blobs of several sizes and colours: features for SIFT, and smooth enough to be warped."""
    generator = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for size in (3, 6, 12, 40):
        noise = generator.normal(0, 1, (height // size + 3, width // size + 3, 3))
        total += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(128 + 40 * total, 0, 255).astype(np.uint8)


def seen_through(world_HW3: Picture, matrix: FloatArray) -> Picture:
    """The target (240, 320) whose positions, from the edge, `matrix` maps to those of the world."""
    to_edge = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    centres = np.linalg.inv(to_edge) @ matrix @ to_edge
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpPerspective(world_HW3, centres, (WIDTH, HEIGHT), flags=flags, borderMode=cv2.BORDER_REFLECT)


def errors_px(alignment: Alignment, matrix: FloatArray) -> FloatArray:
    """How far the alignment's corners lie from where the matrix maps them."""
    corners = np.array([[0, 0, 1], [WIDTH, 0, 1], [0, HEIGHT, 1], [WIDTH, HEIGHT, 1]]) @ matrix.T
    found = np.array(alignment.corners_q4).reshape(4, 2) / 16
    distances: FloatArray = np.hypot(*(found - corners[:, :2] / corners[:, 2:]).T)
    return distances


def register(target_HW3: Picture, reference_HW3: Picture) -> Registration | None:
    return Registrar(PicturesInMemory([reference_HW3])).register(target_HW3, 0)


MAPS = {
    "shift": np.array([[1, 0, 12.3], [0, 1, -7.8], [0, 0, 1]]),
    "turn": np.array([[0.9, -0.3, 60], [0.3, 0.9, -30], [0, 0, 1]]),
    "larger": np.array([[1.3, 0.1, -20], [0, 1.4, -15], [0, 0, 1]]),
    "perspective": np.array([[1.05, 0.04, 5], [-0.03, 0.97, 9], [1.5e-4, -1e-4, 1]]),
}


@pytest.mark.parametrize("name", MAPS)
def test_a_known_homography_is_found_within_a_third_of_a_pixel(name: str) -> None:
    world = texture(360, 440, 1)
    target = seen_through(world, MAPS[name])
    found = register(target, world)
    assert found is not None
    inner = warp(world, (HEIGHT, WIDTH), found.plain)
    assert np.median(errors_px(found.plain, MAPS[name])) < 0.3
    assert errors_px(found.plain, MAPS[name]).max() < 0.6  # corners are extrapolated
    assert found.coverage == pytest.approx(inner.inside.mean(), abs=0.03)
    assert found.psnr_db > 33


def test_another_picture_does_not_fit() -> None:
    assert register(texture(HEIGHT, WIDTH, 1), texture(HEIGHT, WIDTH, 2)) is None


def test_the_same_sky_above_another_ground_does_not_fit() -> None:
    shade = np.linspace(90, -90, HEIGHT).astype(np.int64)[:, None, None]
    one, other = (np.clip(texture(HEIGHT, WIDTH, seed) // 2 + 64 + shade, 0, 255).astype(np.uint8) for seed in (1, 2))
    assert register(one, other) is None


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (40, 30)])
def test_flat_and_tiny_pictures_do_not_fit(size: tuple[int, int]) -> None:
    flat = np.full((*size, 3), 100, dtype=np.uint8)
    assert register(flat, texture(HEIGHT, WIDTH, 1)) is None
    assert register(texture(HEIGHT, WIDTH, 1), flat) is None


def test_a_mirrored_picture_does_not_fit() -> None:
    world = texture(HEIGHT, WIDTH, 3)
    assert register(np.ascontiguousarray(world[:, ::-1]), world) is None


def test_registration_is_deterministic() -> None:
    world = texture(360, 440, 4)
    target = seen_through(world, MAPS["perspective"])
    assert register(target, world) == register(target, world)


def test_features_of_a_reference_are_found_once() -> None:
    class Counting:
        def __init__(self) -> None:
            self.asked: list[int] = []

        def read(self, entry: int) -> Picture:
            self.asked.append(entry)
            return np.full((64, 64, 3), entry, dtype=np.uint8)

    pictures = Counting()
    registrar = Registrar(pictures)
    for _ in range(3):
        registrar.register(texture(64, 64, 1), 7)
    assert pictures.asked == [7]


def test_a_bend_gets_a_mesh_that_pays() -> None:
    world = texture(HEIGHT, WIDTH, 5)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    bent_x = x + 3 * np.sin(y / 40)
    target = cv2.remap(world, bent_x, y + 2 * np.cos(x / 50), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    found = register(target, world)
    assert found is not None
    assert found.alignment.mesh is not None
    plain_db = agreement_db(target, warp(world, (HEIGHT, WIDTH), found.plain))
    assert found.psnr_db > plain_db + 6


def test_a_picture_that_lies_flat_gets_no_mesh() -> None:
    world = texture(HEIGHT, WIDTH, 6)
    found = register(world, world)
    assert found is not None
    assert found.alignment == found.plain == identity(HEIGHT, WIDTH)
    assert found.psnr_db == 99.0


def test_the_mesh_of_a_picture_onto_itself_is_zero() -> None:
    world = texture(HEIGHT, WIDTH, 7)
    assert not fit_mesh(world, world, np.eye(3)).any()


def test_a_mesh_found_at_half_size_is_as_good(monkeypatch: pytest.MonkeyPatch) -> None:
    world = texture(HEIGHT - 3, WIDTH - 5, 8)
    target = np.ascontiguousarray(np.roll(world, (-2, 3), axis=(0, 1)))
    monkeypatch.setattr("clc.references.mesh_fit.MAX_PIXELS", world.shape[0] * world.shape[1] // 2)
    mesh = fit_mesh(target, world, np.eye(3))
    assert np.abs(np.median(mesh.reshape(-1, 2), axis=0) - (-12, 8)).max() <= 1


def test_brightness_is_found_in_spite_of_a_hidden_part() -> None:
    reference = texture(HEIGHT, WIDTH, 9)
    target = np.clip(reference * 0.75 + 20, 0, 255).astype(np.uint8)
    target[:80, :80] = 0
    gains, offsets = fit_brightness(target, Warped(reference, np.ones((HEIGHT, WIDTH), dtype=bool)))
    assert max(abs(gain - 48) for gain in gains) <= 1
    assert max(abs(offset - 20) for offset in offsets) <= 2


def test_brightness_is_kept_where_it_pays() -> None:
    reference = texture(HEIGHT, WIDTH, 10)
    found = register(np.clip(reference * 0.7 + 30, 0, 255).astype(np.uint8), reference)
    assert found is not None
    assert not found.alignment.is_neutral_in_brightness
    assert found.plain.is_neutral_in_brightness
    assert found.psnr_db > 40


@pytest.mark.parametrize(
    "matrix",
    [
        np.diag([-1.0, 1.0, 1.0]),  # mirrored
        np.diag([5.0, 5.0, 1.0]),  # five times smaller
        np.diag([0.2, 0.2, 1.0]),  # five times larger
        np.array([[1, 0, 0], [0, 1, 0], [-0.01, 0, 1.0]]),  # a pole within the picture
        np.array([[1, 0, 1e6], [0, 1, 0], [0, 0, 1.0]]),  # too far away
    ],
)
def test_an_implausible_map_is_refused(matrix: FloatArray) -> None:
    assert quantise(matrix, (HEIGHT, WIDTH)) is None


def test_neighbouring_photographs_agree_much_better_with_a_mesh() -> None:
    if not COPR.is_dir():
        pytest.skip("../shared/data/correlated/copr is not there")
    target, reference = (read_image(COPR / f"IMG_00{number}.webp") for number in (22, 25))
    found = register(target, reference)
    assert found is not None
    plain_db = agreement_db(target, warp(reference, (target.shape[0], target.shape[1]), found.plain))
    assert plain_db > 30
    assert found.coverage > 0.7
    assert found.psnr_db > plain_db + 3


def test_the_reported_agreement_is_that_of_the_decoders_warp() -> None:
    world = texture(360, 440, 13)
    darker = np.clip(seen_through(world, MAPS["turn"]) * 0.8 + 5, 0, 255).astype(np.uint8)
    found = register(darker, world)
    assert found is not None
    assert not found.alignment.is_neutral_in_brightness
    warped = warp(world, (HEIGHT, WIDTH), found.alignment)
    assert found.psnr_db == agreement_db(darker, warped)
    assert found.coverage == warped.inside.mean()


def test_threads_change_nothing() -> None:
    worlds = [texture(360, 440, 20 + entry) for entry in range(4)]
    target = seen_through(worlds[2], MAPS["turn"])
    found = []
    for threads in (1, 3):
        registrar = Registrar(PicturesInMemory(worlds), threads)
        located = registrar.locate(find_keypoints(target), [3, 2, 1, 0, 2])
        assert [one is not None for one in located] == [False, True, False, False, True]
        found.append(registrar.refine(target, [(2, one) for one in located if one is not None]))
    assert found[0] == found[1]
    assert len(found[0]) == 2


def test_what_is_located_in_small_agrees_with_the_decoders_warp() -> None:
    world = texture(900, 1100, 14)
    size = 640, 800
    target = np.ascontiguousarray(world[100 : 100 + size[0], 400 : 400 + size[1]])
    reference = np.ascontiguousarray(world[:, :900])
    (located,) = Registrar(PicturesInMemory([reference])).locate(find_keypoints(target), [0])
    assert located is not None
    assert located.covered.size <= 120_000
    warped = warp(reference, size, located.plain)
    assert located.coverage == pytest.approx(warped.inside.mean(), abs=0.01)
    assert located.covered[:, : located.covered.shape[1] // 2].all()
    assert located.psnr_db > 30


def test_detail_is_what_a_coarse_copy_lacks() -> None:
    flat = np.full((64, 64, 3), 90, dtype=np.uint8)
    board = flat + (np.indices((64, 64)).sum(axis=0) % 2 * 20).astype(np.uint8)[:, :, None]
    assert detail_db(flat) == 99.0
    assert detail_db(board) == pytest.approx(10 * np.log10(255**2 / 100))
    assert detail_db(flat[:3, :5]) == 99.0


def test_agreement_counts_covered_pixels_only() -> None:
    target = texture(HEIGHT, WIDTH, 15)
    inside = np.zeros((HEIGHT, WIDTH), dtype=bool)
    assert agreement_db(target, Warped(target, inside)) == 99.0
    inside[:, :100] = True
    shifted = target ^ 1
    shifted[:, 100:] = 0
    assert agreement_db(target, Warped(shifted, inside)) == pytest.approx(10 * np.log10(255**2))
