"""Windows of a picture in the place of all of it, by which a way that is sure to lose is left out before it is coded.

Coding a graphic by the transform takes two or three seconds for each megapixel, and most are coded another way in the
end. Both ways are tried on the same windows instead, a sixth of the picture or so: where the transform costs clearly
more there, it is not tried on the whole.
"""

from __future__ import annotations

import numpy as np

from clc.pictures.picture import Picture

WINDOW_PX = 128
"""Side of a window: a multiple of what one hyper-latent stands for, so that nothing is padded."""

_ALONG, _ACROSS = 4, 2
_LEAST_SHARE = 3
"""How many times as large as its windows a picture is at least: of smaller ones they spare little."""


def sample_of(image_HW3: Picture) -> Picture | None:
    """Windows of a picture, uint8 (H, W, 3), spread evenly and laid side by side; None where that spares little."""
    height, width = image_HW3.shape[:2]
    rows, columns = (_ACROSS, _ALONG) if width >= height else (_ALONG, _ACROSS)
    is_large = height * width >= _LEAST_SHARE * rows * columns * WINDOW_PX**2
    if not is_large or height < rows * WINDOW_PX or width < columns * WINDOW_PX:
        return None
    tops, lefts = _starts(height, rows), _starts(width, columns)
    lines = [np.hstack([image_HW3[top : top + WINDOW_PX, left : left + WINDOW_PX] for left in lefts]) for top in tops]
    sample: Picture = np.vstack(lines)
    return sample


def _starts(length: int, count: int) -> list[int]:
    """Where `count` windows begin along a side of `length` px, each in the middle of its share."""
    return [(2 * number + 1) * length // (2 * count) - WINDOW_PX // 2 for number in range(count)]
