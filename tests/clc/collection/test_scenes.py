"""Copies are found however they were made, scenes by what leads from picture to picture, and nothing else is joined."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from clc.collection import scenes as module
from clc.collection.scenes import COPY_BITS, Shot, find_copies, find_scenes
from clc.pictures.near_duplicates import fingerprint


def shot(name: str, image: Image.Image, taken: str = "") -> Shot:
    return Shot(name, fingerprint("", np.asarray(image.convert("RGB"))).thumbnail.astype(np.uint8).tobytes(), taken)


def photo(seed: int) -> Image.Image:
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    return coarse.resize((160, 120), Image.Resampling.BICUBIC)


def scenes(*shots: Shot) -> list[int]:
    return find_scenes(shots, find_copies(shots))


def as_jpeg(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=40)
    return Image.open(buffer)


@pytest.mark.parametrize(
    "copied",
    [
        as_jpeg,
        lambda image: image.resize((80, 60)),
        lambda image: ImageEnhance.Brightness(image).enhance(0.8),
        lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        lambda image: image.transpose(Image.Transpose.ROTATE_90),
        lambda image: image.transpose(Image.Transpose.TRANSVERSE),
    ],
    ids=["jpeg", "smaller", "darker", "mirrored", "turned", "both"],
)
def test_copies_are_found_whatever_was_done_to_them(copied) -> None:
    shots = [shot("x/a.png", photo(0)), shot("b.png", photo(1)), shot("c.png", copied(photo(0)))]
    assert find_copies(shots) == [0, 1, 0]
    assert find_scenes(shots, [0, 1, 0]) == [0, 1, 0]


def test_different_pictures_are_no_copies_and_no_scene() -> None:
    shots = [shot(f"IMG_{seed:04d}.jpg", photo(seed)) for seed in range(60)]
    assert find_copies(shots) == list(range(60))
    assert find_scenes(shots, find_copies(shots)) == list(range(60))


def test_pictures_that_show_nothing_are_copies_of_nothing() -> None:
    assert find_copies([shot(f"{level}.png", Image.new("RGB", (90, 90), (level,) * 3)) for level in (0, 0, 200)]) == [
        0,
        1,
        2,
    ]


def test_a_burst_is_one_scene_by_its_names_and_times() -> None:
    times = ["2024:05:31 12:00:01", "2024:05:31 12:00:03", "2024:05:31 12:00:12", "2024:05:31 12:00:30", "", "x"]
    shots = [shot(f"d/IMG_{number + 8}.jpg", photo(number), taken) for number, taken in enumerate(times)]
    assert scenes(*shots) == [0, 0, 0, 3, 4, 5]
    elsewhere = [shot(f"{number}/IMG.jpg", photo(number), times[0]) for number in range(3)]
    assert scenes(*elsewhere) == [0, 1, 2], "two cameras may press at once"


def test_what_a_fixed_camera_saw_is_one_scene_along_its_sequence() -> None:
    frames = []
    for number in range(8):
        frame = photo(5).copy()
        frame.paste(photo(100 + number).resize((40, 30)), (15 * number, 40))
        frames.append(shot(f"cam/frame-{number}.png", frame))
    others = [shot("cam/note.png", photo(6)), shot("z/frame-0.png", photo(7))]
    found = scenes(*frames, *others)
    assert found == [*[0] * 8, 8, 9]


def test_a_digit_of_an_extension_counts_nothing() -> None:
    taken = "2024:05:31 12:00:01"
    assert scenes(shot("a.jp2", photo(0), taken), shot("a.jp3", photo(1), taken)) == [0, 1]


def test_hashes_of_eight_orientations_are_those_of_what_was_turned() -> None:
    generator = np.random.default_rng(0)
    for levels in (256, 3):  # few levels: cells that are equal
        thumbnails = generator.integers(0, levels, (5, 64, 64)).astype(np.float32)
        turned = [module._hashes(np.ascontiguousarray(each)) for each in module._orientations(thumbnails)]
        np.testing.assert_array_equal(module._oriented_hashes(thumbnails), np.stack(turned, axis=1))


def test_hashes_that_differ_in_as_many_bits_as_copies_do_are_found_by_one_another() -> None:
    generator = np.random.default_rng(1)
    bits = np.uint64(1) << np.arange(64, dtype=np.uint64)
    words = generator.integers(0, 2**64, 2000, dtype=np.uint64)
    changed = np.array([word ^ np.bitwise_or.reduce(generator.choice(bits, COPY_BITS, False)) for word in words])
    found, others = module._keys(words), module._keys(changed)
    assert all(set(a) & set(b) for a, b in zip(found.tolist(), others.tolist(), strict=True))
    assert len(set(found[0].tolist())) == found.shape[1]
