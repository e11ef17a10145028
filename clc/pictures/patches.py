"""The square patch that a dictionary entry keeps: of a picture (`flows.train`), a key picture (`clc.bundle.extend`)."""

from __future__ import annotations

import numpy as np

from clc.pictures.picture import Picture

ENTRY_PX = 256
"""Side of a patch."""


def entry_patch(picture_HW3: Picture) -> Picture:
    """The top left patch of a picture, uint8 (256, 256, 3); a smaller picture is continued by its mirror image."""
    missing = [max(0, ENTRY_PX - side) for side in picture_HW3.shape[:2]]
    padded = np.pad(picture_HW3, [(0, missing[0]), (0, missing[1]), (0, 0)], mode="symmetric")
    return np.ascontiguousarray(padded[:ENTRY_PX, :ENTRY_PX])


def middle_patch(picture_HW3: Picture) -> Picture:
    """The middle patch of a picture, uint8 (256, 256, 3); a smaller picture is continued by its mirror image."""
    top, left = (max(0, side - ENTRY_PX) // 2 for side in picture_HW3.shape[:2])
    return entry_patch(picture_HW3[top:, left:])
