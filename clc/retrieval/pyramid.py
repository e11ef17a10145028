"""Spatial pyramid pooling (SPP) of feature maps: one vector of fixed length from a map of any size."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from clc.errors import InputError

Floats = npt.NDArray[np.float32]

LEVELS = (1, 2, 4)
"""Cells along each side of the map, level by level."""

CELLS = sum(level * level for level in LEVELS)
"""Cells of all levels: 21."""


def spp(features: npt.NDArray[Any], levels: Sequence[int] = LEVELS) -> Floats:
    """Pool a feature map over a spatial pyramid, by the maximum of each cell (SPP-net, He et al. 2014, section 2.2).

    Takes `features` (C, H, W) or (B, C, H, W), of any size from 1x1 up; returns float32 (C * 21,) or (B, C * 21) for
    the levels 1, 2 and 4. The order is level, row, column, channel. Cell i of n spans floor(i * H / n) to
    ceil((i + 1) * H / n), so that every cell of a map smaller than the grid holds at least one position, which
    neighbours share. Raises InputError for other shapes and for empty maps.
    """
    if features.ndim not in {3, 4} or 0 in features.shape:
        raise InputError(f"a feature map is (C, H, W) or (B, C, H, W) and not empty, but this one is {features.shape}")
    height, width = features.shape[-2:]
    cells = [
        features[..., top:bottom, left:right].max(axis=(-2, -1))
        for level in levels
        for (top, bottom), (left, right) in itertools.product(_spans(height, level), _spans(width, level))
    ]
    pooled: Floats = np.concatenate(cells, axis=-1).astype(np.float32, copy=False)
    return pooled


def _spans(length: int, parts: int) -> list[tuple[int, int]]:
    return [(i * length // parts, -(-(i + 1) * length // parts)) for i in range(parts)]
