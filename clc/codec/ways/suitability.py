"""Does a picture suit the transform? What photographs get at each quality, and how graphics are told from them.

The tables are measured on Kodak's 24 photographs with the shipped model (`python bench/kodak.py`).
"""

from __future__ import annotations

import numpy as np

from clc.pictures.picture import Picture

_QUALITIES = (0.0, 15.0, 30.0, 45.0, 60.0, 75.0, 90.0, 100.0)
_MEAN_PSNR = (27.1, 28.4, 29.7, 31.2, 32.8, 34.4, 36.1, 38.0)
"""Of Kodak's photographs; at quality 100, where it is 37.1, the least that is asked of any picture, 35, and 3 more."""

_QUALITIES_OF_HARDEST = (0.0, 25.0, 50.0, 75.0, 95.0, 100.0)
_HARDEST_PSNR = (22.2, 24.6, 27.5, 30.8, 33.5, 35.0)
"""Half a decibel under kodim13, the hardest of them to code; at quality 100 the least that is asked of any picture."""

_SHORT_BY = 3.0
_FLAT = 0.25
_SMALL_PIXELS = 64 * 64

TRANSFORM_BEST_PSNR = 36.0
"""Up to here, dB, the transform takes fewer bytes for any photograph than AVIF; it reaches 35 to 39 dB."""


def least_psnr(quality: float) -> float:
    """The PSNR, dB, that no picture is to fall short of at a quality: 3 dB under the mean of photographs."""
    return float(np.interp(quality, _QUALITIES, _MEAN_PSNR)) - _SHORT_BY


def photographs_psnr(quality: float) -> float:
    """The PSNR, dB, under which not even the hardest photograph falls at a quality, coded by the transform."""
    return float(np.interp(quality, _QUALITIES_OF_HARDEST, _HARDEST_PSNR))


def is_photograph(image_HW3: Picture) -> bool:
    """Whether a picture, uint8 (H, W, 3), looks like one for which the transform was trained.

    Graphics have areas of one colour: where a quarter of the pixels equals the neighbour, to the right and below alike,
    it is none. Kodak's have up to 0.18 of such, screens from 0.68 on, scans of paper about 0.3. Thumbnails are none
    either: for them headers count.
    """
    if image_HW3.shape[0] * image_HW3.shape[1] <= _SMALL_PIXELS:
        return False
    right = (image_HW3[:, 1:] == image_HW3[:, :-1]).all(axis=2)
    below = (image_HW3[1:] == image_HW3[:-1]).all(axis=2)
    shares = [float(equal.mean()) for equal in (right, below) if equal.size]
    return min(shares, default=1.0) < _FLAT


def psnr_of(squared_error: float) -> float:
    """The PSNR, dB, of a mean squared error of levels 0..255; infinite where there is none."""
    return float("inf") if squared_error == 0 else float(10 * np.log10(255**2 / squared_error))


def squared_error_of(decoded_HW3: Picture, image_HW3: Picture) -> float:
    """The mean squared error of a picture, in levels of 0..255."""
    error = decoded_HW3.astype(np.float32) - image_HW3
    return float(np.square(error).mean(dtype=np.float64))
