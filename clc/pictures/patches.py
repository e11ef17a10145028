"""Squares cut from pictures: the patch that a dictionary entry keeps of a picture."""

from __future__ import annotations

import numpy as np

from clc.pictures.picture import Picture

ENTRY_PX = 256


def entry_patch(picture_HW3: Picture) -> Picture:
    """A dictionary entry's patch, uint8 (256, 256, 3): the top left of the picture, mirrored where it is smaller."""
    missing = [max(0, ENTRY_PX - side) for side in picture_HW3.shape[:2]]
    padded = np.pad(picture_HW3, [(0, missing[0]), (0, missing[1]), (0, 0)], mode="symmetric")
    return np.ascontiguousarray(padded[:ENTRY_PX, :ENTRY_PX])


def middle_patch(picture_HW3: Picture) -> Picture:
    """The patch, uint8 (256, 256, 3), that stands for a whole key picture: its middle, mirrored where it is smaller."""
    top, left = (max(0, side - ENTRY_PX) // 2 for side in picture_HW3.shape[:2])
    return entry_patch(picture_HW3[top:, left:])
