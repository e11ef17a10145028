"""PSNR and MS-SSIM: laws first, then the edges."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from clc.errors import InputError
from clc.evaluation.metrics import (
    SMALLEST_SIDE_PX,
    SSIM_WINDOW_PX,
    bits_per_pixel,
    ms_ssim,
    psnr_db,
    psnr_ycbcr_db,
    ssim,
)


def noise(seed: int, height: int = 176, width: int = 192) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_psnr_of_equal_pictures_is_infinite() -> None:
    assert psnr_db(noise(0), noise(0)) == math.inf


def test_psnr_of_black_against_white_is_zero() -> None:
    assert psnr_db(np.zeros((4, 5, 3), np.uint8), np.full((4, 5, 3), 255, np.uint8)) == 0.0


def test_psnr_of_one_level_everywhere_is_that_of_unit_error() -> None:
    a = np.full((7, 3, 3), 100, np.uint8)
    assert psnr_db(a, a + 1) == pytest.approx(10 * math.log10(255**2))


def test_psnr_is_symmetric() -> None:
    assert psnr_db(noise(0), noise(1)) == psnr_db(noise(1), noise(0))


def test_psnr_averages_over_channels_before_the_logarithm() -> None:
    a = np.zeros((8, 8, 3), np.uint8)
    b = a.copy()
    b[..., 0] = 6
    assert psnr_db(a, b) == pytest.approx(10 * math.log10(255**2 / (36 / 3)))


def test_psnr_of_ycbcr_is_that_of_the_planes_weighted_six_to_one_to_one() -> None:
    a, b = noise(0), noise(1)
    planes = [np.asarray(Image.fromarray(one).convert("YCbCr"), np.float64) for one in (a, b)]
    errors = np.square(planes[0] - planes[1]).mean(axis=(0, 1))
    expected = 10 * math.log10(255**2 / ((6 * errors[0] + errors[1] + errors[2]) / 8))
    assert psnr_ycbcr_db(a, b) == pytest.approx(expected, abs=0.01)  # Pillow rounds the planes


def test_psnr_of_ycbcr_of_grey_pictures_is_that_of_brightness_with_its_weight() -> None:
    a = np.full((8, 8, 3), 100, np.uint8)
    assert psnr_ycbcr_db(a, a + 4) == pytest.approx(10 * math.log10(255**2 / (16 * 6 / 8)))
    assert psnr_ycbcr_db(a, a) == math.inf


def test_ssim_of_equal_pictures_is_one_and_of_pictures_below_its_window_nan() -> None:
    assert ssim(noise(0), noise(0)) == pytest.approx(1.0)
    assert ssim(noise(0), noise(1)) < 0.1
    assert math.isnan(ssim(noise(0, SSIM_WINDOW_PX - 1), noise(1, SSIM_WINDOW_PX - 1)))


def test_ms_ssim_of_equal_pictures_is_one() -> None:
    assert ms_ssim(noise(0), noise(0)) == pytest.approx(1.0)


def test_ms_ssim_falls_with_stronger_noise() -> None:
    y, x = np.mgrid[0:192, 0:192]
    smooth = np.repeat((127 + 60 * np.sin(x / 9) * np.cos(y / 13))[..., None], 3, axis=2)
    grain = np.random.default_rng(0).normal(size=smooth.shape)
    a, weak, strong = (np.clip(smooth + level * grain, 0, 255).astype(np.uint8) for level in (0, 6, 25))
    assert 1.0 > ms_ssim(a, weak) > ms_ssim(a, strong) > 0.0


def test_ms_ssim_of_a_picture_too_small_for_five_scales_is_nan() -> None:
    assert math.isnan(ms_ssim(noise(0, SMALLEST_SIDE_PX - 1), noise(1, SMALLEST_SIDE_PX - 1)))
    assert not math.isnan(ms_ssim(noise(0, SMALLEST_SIDE_PX), noise(1, SMALLEST_SIDE_PX)))


@pytest.mark.parametrize("measure", [psnr_db, psnr_ycbcr_db, ssim, ms_ssim])
def test_pictures_of_different_size_are_refused(measure) -> None:
    with pytest.raises(InputError, match="different size"):
        measure(noise(0, 170, 180), noise(0, 170, 181))


@pytest.mark.parametrize("bad", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3))])
def test_what_is_no_rgb_picture_of_bytes_is_refused(bad) -> None:
    with pytest.raises(InputError, match="uint8"):
        psnr_db(bad, bad)


def test_bits_per_pixel_counts_pixels_and_not_samples() -> None:
    assert bits_per_pixel(100, np.zeros((10, 20, 3), np.uint8)) == 4.0
