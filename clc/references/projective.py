"""Projective maps between pictures: from and to the corners of an alignment, and the warp in floats. Encoder only."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from clc.bitstream.alignment import CORNER_BITS, MAX_CORNER_Q4, Alignment
from clc.errors import InputError
from clc.pictures.picture import Picture
from clc.references.warp import Warped

MAX_SCALE = 4.0
"""Largest ratio between a side of the target and its image in the reference, and of its inverse."""

# From positions that count from the centre of the first pixel (OpenCV) to positions from the picture's edge.
_TO_EDGE = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])

FloatArray = npt.NDArray[np.float64]


def quantise(matrix: FloatArray, size: tuple[int, int]) -> Alignment | None:
    """The alignment of a projective map (3, 3), for a target of `size` (height, width), with corners in 1/16 px.

    None where the map mirrors or folds the target, scales a side by more than `MAX_SCALE`, or reaches too far.
    """
    height, width = size
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], dtype=np.float64) @ matrix.T
    if corners[:, 2].min() <= 1e-9:
        return None
    points = corners[:, :2] / corners[:, 2:]
    rounded = np.rint(points * (1 << CORNER_BITS)).ravel()
    if np.abs(rounded).max() > MAX_CORNER_Q4:
        return None
    right, down = points[[1, 3]] - points[[0, 2]], points[[2, 3]] - points[[0, 1]]
    scales = np.concatenate([np.hypot(*right.T) / width, np.hypot(*down.T) / height])
    if scales.min() < 1 / MAX_SCALE or scales.max() > MAX_SCALE:
        return None
    try:
        return Alignment(tuple(int(corner) for corner in rounded))
    except InputError:  # the corners do not span a convex quadrilateral
        return None


def matrix_of(alignment: Alignment, size: tuple[int, ...]) -> FloatArray:
    """The projective map (3, 3), in px, of an alignment's corners for a target of `size` (height, width)."""
    height, width = size
    corners = np.array(alignment.corners_q4, dtype=np.float32).reshape(4, 2) / (1 << CORNER_BITS)
    target = np.array([[0, 0], [width, 0], [0, height], [width, height]], dtype=np.float32)
    return np.asarray(cv2.getPerspectiveTransform(target, corners), dtype=np.float64)


def warp_in_float(picture: Picture, matrix: FloatArray, size: tuple[int, ...]) -> Warped:
    """A picture of uint8 warped by `matrix` (3, 3) onto a target of `size` (height, width), and what it covers.

    Nearly the same as `clc.references.warp.warp`, and faster.
    """
    shape = size[1], size[0]
    centres = np.linalg.inv(_TO_EDGE) @ matrix @ _TO_EDGE
    flags = cv2.WARP_INVERSE_MAP | cv2.INTER_CUBIC
    warped = cv2.warpPerspective(picture, centres, shape, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    ones = np.ones(picture.shape[:2], dtype=np.uint8)
    inside = cv2.warpPerspective(ones, centres, shape, flags=cv2.WARP_INVERSE_MAP | cv2.INTER_NEAREST)
    return Warped(warped.astype(np.uint8), inside.astype(np.bool_))
