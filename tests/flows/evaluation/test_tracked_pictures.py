"""What MLflow shows of an evaluation: the same pictures whatever the bundle, in part where they are large."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from clc.errors import InputError
from clc.evaluation.measure import NATURAL, PAIR, PictureUnderTest
from flows.evaluation.report import tracked_pictures

SIZES = {"d": (8, 8), "b": (900, 40), "a": (16, 8), "c": (8, 8)}


class Coarse:
    """A codec that drops what is finer than its quality."""

    name = "clc"

    def encode(self, image_HW3: np.ndarray, quality: float) -> bytes:
        if image_HW3.shape[0] == 16:
            raise InputError("no such picture")
        return bytes([int(quality)]) + np.uint16(image_HW3.shape[:2]).tobytes() + image_HW3.tobytes()

    def decode(self, data: bytes) -> np.ndarray:
        height, width = np.frombuffer(data[1:5], np.uint16)
        pixels = np.frombuffer(data[5:], np.uint8).reshape(height, width, 3)
        return np.asarray(pixels // data[0] * data[0], np.uint8)


def picture(name: str, row: str = NATURAL) -> PictureUnderTest:
    pixels = np.random.default_rng(ord(name)).integers(0, 256, (*SIZES[name], 3), np.uint8)
    return PictureUnderTest(name, f"{name}.png", lambda: pixels, row)


def test_the_pictures_with_the_lowest_ids_are_shown_at_two_qualities_and_one_that_fails_is_left_out() -> None:
    pictures = [picture("d"), picture("c", PAIR), picture("b"), picture("a")]
    subject = SimpleNamespace(coders=[Coarse()], qualities=(10.0, 20.0, 30.0, 40.0))
    measuring = cast(Any, SimpleNamespace(subject=subject, pictures=lambda: pictures))
    shown = tracked_pictures(measuring)
    assert [(name, step) for name, step, _ in shown] == [("b.png/original", 0), ("b.png/clc", 10), ("b.png/clc", 30)]
    assert {one.shape for _, _, one in shown} == {(768, 40, 3)}
    np.testing.assert_array_equal(shown[1][2], shown[0][2] // 10 * 10)
    pictures.pop()
    assert [name for name, _, _ in tracked_pictures(measuring)][3] == "d.png/original"
