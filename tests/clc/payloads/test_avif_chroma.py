"""Chroma of AVIF payloads: rounded, where Pillow's encoder by itself rounds it down."""

import io

import numpy as np
import pytest
from PIL import Image

from clc.evaluation.metrics import psnr_db
from clc.payloads import avif_chroma
from clc.payloads.avif import avif_file, avif_payload, can_write, rgb_of
from clc.payloads.avif_chroma import rounding_chroma, rounds_chroma_down
from clc.pictures.picture import Picture

pytestmark = pytest.mark.skipif(not can_write(), reason="this Pillow writes no AVIF")


@pytest.fixture(autouse=True)
def _rounds_down() -> None:
    if not rounds_chroma_down():
        pytest.skip("this Pillow's encoder rounds chroma by itself")


def coded(image: Image.Image, quality: int) -> tuple[int, Picture]:
    payload = avif_payload(image, quality, 8)
    with Image.open(io.BytesIO(avif_file(payload, *image.size))) as file:
        return len(payload), rgb_of(np.asarray(file.convert("RGB")))


def test_the_same_bytes_are_nearer_to_a_photograph_the_more_the_finer_it_is_coded(photo: Picture) -> None:
    given = rounding_chroma(photo)
    gains = []
    for quality in (60, 95, 100):
        plain_bytes, plain = coded(Image.fromarray(photo), quality)
        n_bytes, found = coded(given, quality)
        assert n_bytes < 1.02 * plain_bytes
        gains.append(psnr_db(found, photo) - psnr_db(plain, photo))
    assert gains[0] > 0
    assert gains[1] > 0.3
    assert gains[2] > 2


def test_greys_and_colours_of_whole_chroma_are_given_as_they_are() -> None:
    greys_HW3 = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, 2)
    np.testing.assert_array_equal(np.asarray(rounding_chroma(greys_HW3)), greys_HW3)
    _, decoded_HW3 = coded(rounding_chroma(np.full((64, 64, 3), 255, np.uint8)), 100)
    assert decoded_HW3.min() == 255


def test_no_colour_is_given_further_from_itself_than_a_level_and_a_half_of_chroma() -> None:
    colours_HW3 = np.random.default_rng(7).integers(0, 256, (64, 256, 3), np.uint8)
    given_HW3 = np.asarray(rounding_chroma(colours_HW3))
    assert (given_HW3 != colours_HW3).any(2).mean() > 0.5
    assert np.abs(given_HW3.astype(int) - colours_HW3).max() <= 3


def test_bands_of_a_large_picture_are_as_one(photo: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.asarray(rounding_chroma(photo))
    monkeypatch.setattr(avif_chroma, "_BAND_PX", 1000)
    np.testing.assert_array_equal(np.asarray(rounding_chroma(photo)), whole)


def test_where_chroma_is_rounded_already_nothing_is_changed(photo: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(avif_chroma, "rounds_chroma_down", lambda: False)
    np.testing.assert_array_equal(np.asarray(rounding_chroma(photo)), photo)
