"""Near-duplicates: copies are found through what people do to pictures, and textures raise no false alarm."""

import io

import numpy as np
import pytest
from PIL import Image

from clc.pictures.near_duplicates import find_duplicates, fingerprint


def as_jpeg(image_HW3, quality):
    buffer = io.BytesIO()
    Image.fromarray(image_HW3).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def resized(image_HW3, width, height):
    return np.asarray(Image.fromarray(image_HW3).resize((width, height), Image.Resampling.LANCZOS))


COPIES = {
    "the same bytes": lambda image: image,
    "JPEG at quality 30": lambda image: as_jpeg(image, 30),
    "half the size": lambda image: resized(image, 96, 88),
    "twice the size": lambda image: resized(image, 384, 352),
    "darker": lambda image: (image * 0.6).astype(np.uint8),
    "more contrast": lambda image: np.clip((image - 128.0) * 1.3 + 128, 0, 255).astype(np.uint8),
    "mirrored": lambda image: image[:, ::-1],
    "upside down": lambda image: image[::-1],
    "a quarter turn": lambda image: np.rot90(image),
    "grey": lambda image: np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8),
}


@pytest.mark.parametrize("change", COPIES.values(), ids=COPIES.keys())
def test_a_changed_copy_is_found(make_scene_HW3, change) -> None:
    known = [fingerprint(f"scene {seed}", make_scene_HW3(seed)) for seed in range(6)]
    (found,) = find_duplicates([fingerprint("copy", change(make_scene_HW3(3)))], known)
    assert (found.evaluated, found.known) == ("copy", "scene 3")


def test_different_scenes_are_no_duplicates(make_scene_HW3) -> None:
    evaluated = [fingerprint(f"e{seed}", make_scene_HW3(seed)) for seed in range(8)]
    known = [fingerprint(f"k{seed}", make_scene_HW3(seed)) for seed in range(100, 120)]
    assert find_duplicates(evaluated, known) == []


def make_sky(seed):
    """A bright gradient with grain: every sky has the same difference hash, but other detail."""
    generator = np.random.default_rng(seed)
    rows = np.linspace(90 + 5 * seed, 180, 256)[:, None, None]
    sky = rows + np.linspace(0, 30, 256)[None, :, None] + generator.normal(0, 20, (256, 256, 1))
    return np.repeat(np.clip(sky, 0, 255), 3, axis=2).astype(np.uint8)


def make_grass(seed):
    """Grain of one spectrum, as grass or gravel, other in every seed."""
    grain = np.random.default_rng(seed).normal(size=(256, 256))
    for axis in (0, 1):
        grain = sum(np.roll(grain, shift, axis) for shift in range(5))
    return np.repeat(np.clip(120 + 25 * grain / grain.std(), 0, 255)[..., None], 3, axis=2).astype(np.uint8)


@pytest.mark.parametrize("make", [make_sky, make_grass, lambda seed: np.zeros((256, 256, 3), np.uint8)])
def test_flat_and_textured_patches_raise_no_alarm(make) -> None:
    evaluated = [fingerprint(f"e{seed}", make(seed)) for seed in range(4)]
    known = [fingerprint(f"k{seed}", make(seed)) for seed in range(4, 10)]
    assert find_duplicates(evaluated, known) == []


def test_a_copy_of_grass_is_found_all_the_same() -> None:
    known = [fingerprint(f"k{seed}", make_grass(seed)) for seed in range(4)]
    assert [one.known for one in find_duplicates([fingerprint("e", as_jpeg(make_grass(2), 60))], known)] == ["k2"]


def test_nothing_known_means_nothing_found(scene_HW3) -> None:
    assert find_duplicates([fingerprint("e", scene_HW3)], []) == []


def test_pictures_of_one_pixel_raise_no_alarm() -> None:
    dots = [fingerprint(f"{value}", np.full((1, 1, 3), value, np.uint8)) for value in (3, 200)]
    assert find_duplicates(dots[:1], dots[1:]) == []
