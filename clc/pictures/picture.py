"""What a picture is inside the project, and by which endings its files are found.

A picture is a uint8 array (height, width, 3) of sRGB levels. `clc.pictures.images` makes one of any file; functions
that take an array from outside check it with `check_picture`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from clc.errors import InputError

Picture = npt.NDArray[np.uint8]

Plane = npt.NDArray[np.uint8]
"""One value a pixel, uint8 (height, width): an alpha plane, 0 clear to 255 opaque."""


class Rectangle(NamedTuple):
    """A part of an upright picture, in pixels from its left top corner."""

    left: int
    top: int
    width: int
    height: int


PICTURE_SUFFIXES = frozenset(
    (
        *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
        *(".webp", ".avif", ".avifs", ".gif", ".bmp", ".dib"),
        *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
        *(".heic", ".heif", ".hif", ".jxl"),  # by the extras of `clc.pictures.formats`; without them each says so
    )
)
"""Endings, in lower case, by which a folder is searched for pictures; a file that is named itself may have any."""


class UnknownRange(ValueError):
    """A sound picture whose samples have no known black and white, so that it cannot become 8 bits."""


def check_picture(image_HW3: Picture, what: str = "a picture") -> Picture:
    """Return `image_HW3` itself; `InputError`, which calls it `what`, unless it is uint8 (H, W, 3) and not empty."""
    if not isinstance(image_HW3, np.ndarray):
        raise InputError(f"{what} is a uint8 array (H, W, 3), not a {type(image_HW3).__name__}")
    if image_HW3.dtype != np.uint8 or image_HW3.ndim != 3 or image_HW3.shape[2] != 3 or image_HW3.size == 0:
        raise InputError(f"{what} is uint8 (H, W, 3), not {image_HW3.dtype} {image_HW3.shape}")
    return image_HW3
