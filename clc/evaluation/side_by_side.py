"""Pictures side by side: what each codec makes of the same picture with about the same number of bytes.

The report shows these beside the figures. The quality of each baseline is searched for until its file is as large as
the file of the codec under test, so that the eye compares equal bytes and nothing else. A baseline that cannot code the
picture is not shown, and the reason stands in its place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from clc.console import text_of
from clc.evaluation.coders import Coder
from clc.evaluation.measure import PICTURE_ERRORS
from clc.evaluation.metrics import bits_per_pixel, psnr_db

CROP_PX = 208
"""Five crops stand beside each other in the report, a pixel for a pixel."""


@dataclass(frozen=True)
class Crop:
    """A crop of one codec's picture; bytes, bpp and PSNR are those of the whole picture, not of the crop."""

    codec: str
    quality: float
    bytes: int
    bpp: float
    psnr_db: float
    crop_HW3: NDArray[np.uint8]


@dataclass(frozen=True)
class SideBySide:
    """One picture as the original crop and as every codec returned it; `left_out` says which did not, and why."""

    name: str
    original_HW3: NDArray[np.uint8]
    crops: tuple[Crop, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)


def side_by_side(
    name: str, image_HW3: NDArray[np.uint8], test: Coder, quality: float, baselines: Sequence[Coder]
) -> SideBySide:
    """Code a picture with `test` at `quality`, and with every baseline at the quality that comes nearest in bytes.

    A baseline that raises over the picture is left out; what `test` raises goes through.
    """
    top, left = _busiest_corner(image_HW3)
    window = (slice(top, top + CROP_PX), slice(left, left + CROP_PX))
    data = test.encode(image_HW3, quality)
    crops = [_crop(test, quality, data, image_HW3, window)]
    left_out: dict[str, str] = {}
    for baseline in baselines:
        try:
            nearest, coded = match_bytes(baseline, image_HW3, len(data))
            crops.append(_crop(baseline, nearest, coded, image_HW3, window))
        except PICTURE_ERRORS as error:
            left_out[baseline.name] = text_of(error)
    return SideBySide(name, image_HW3[window], tuple(crops), left_out)


def match_bytes(coder: Coder, image_HW3: NDArray[np.uint8], target_bytes: int) -> tuple[float, bytes]:
    """Find the whole quality 0..100 whose file is nearest to `target_bytes`, by bisection; return it with the file."""
    low, high = 0, 100
    tried: dict[int, bytes] = {}
    while low <= high:
        middle = (low + high) // 2
        tried[middle] = coder.encode(image_HW3, middle)
        if len(tried[middle]) < target_bytes:
            low = middle + 1
        else:
            high = middle - 1
    quality = min(tried, key=lambda one: abs(len(tried[one]) - target_bytes))
    return float(quality), tried[quality]


def _crop(coder: Coder, quality: float, data: bytes, image_HW3: NDArray[np.uint8], window: tuple[slice, slice]) -> Crop:
    decoded_HW3 = coder.decode(data)
    bpp = bits_per_pixel(len(data), image_HW3)
    return Crop(coder.name, quality, len(data), bpp, psnr_db(image_HW3, decoded_HW3), decoded_HW3[window])


def _busiest_corner(image_HW3: NDArray[np.uint8]) -> tuple[int, int]:
    """Return top and left of the crop with the most horizontal and vertical change, on a grid of half a crop."""
    grey_HW = image_HW3.astype(np.float32).mean(axis=2)
    change_HW = np.zeros_like(grey_HW)
    change_HW[:, 1:] += np.abs(np.diff(grey_HW, axis=1))
    change_HW[1:] += np.abs(np.diff(grey_HW, axis=0))
    rows, columns = (_starts(size_px) for size_px in grey_HW.shape)
    corners = [(top, left) for top in rows for left in columns]
    return max(corners, key=lambda c: float(change_HW[c[0] : c[0] + CROP_PX, c[1] : c[1] + CROP_PX].mean()))


def _starts(size_px: int) -> list[int]:
    last = max(0, size_px - CROP_PX)
    return sorted({*range(0, last, CROP_PX // 2), last})
