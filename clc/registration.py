"""Finds how a picture lies in a dictionary's key picture: features, one homography, a mesh of offsets, brightness.

`clc.selection` asks at the encoder; nothing here needs to be the same elsewhere, for what is found is quantised to a
`clc.alignment.Alignment` and sent. It is deterministic on one machine: no random state, one fixed order.

Steps: SIFT (Lowe 2004) on both pictures at low resolution, mutual nearest neighbours with the ratio test, MAGSAC for a
homography (OpenCV), checks that it is a plausible view, then photometric refinement at full resolution
(`clc.displacement`): the homography, the mesh and the brightness are kept only where the warped picture gets better by
more than their bytes are worth.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from clc.alignment import CORNER_BITS, MAX_CORNER_Q4, Alignment
from clc.errors import InputError
from clc.warp import Picture, Warped, warp

FEATURE_PIXELS = 200_000
MAX_FEATURES = 3_000
FEATURE_CONTRAST = 0.02
RATIO = 0.8
RANSAC_PX = 2.0
RANSAC_ITERATIONS = 5_000
LEAST_INLIERS = 12
LEAST_INLIER_SHARE = 0.25
MAX_SCALE = 4.0
CACHED_ENTRIES = 512

FloatArray = npt.NDArray[np.float64]


class Registration(NamedTuple):
    """How a picture lies in a key picture.

    `alignment` holds mesh and brightness where they pay, `plain` the homography only; `coverage` is the share of the
    target's pixels that lie inside the reference, `psnr_db` how well `alignment`'s warped pixels agree there.
    """

    alignment: Alignment
    plain: Alignment
    coverage: float
    psnr_db: float


class Features(NamedTuple):
    """Positions in px of the full picture, from its edge, float64 (N, 2), and unit descriptors float32 (N, 128)."""

    points: FloatArray
    descriptors: npt.NDArray[np.float32]


class Registrar:
    """Registers pictures against key pictures, whose features it remembers by entry."""

    def __init__(self, pictures: Callable[[int], Picture]) -> None:
        """`pictures` gives the key picture of an entry, uint8 (H, W, 3)."""
        self._pictures = pictures
        self._features = lru_cache(CACHED_ENTRIES)(lambda entry: find_features(pictures(entry)))
        self._target: tuple[Picture, Features] | None = None

    def register(self, target_HW3: Picture, entry: int) -> Registration | None:
        """How uint8 (H, W, 3) lies in the key picture of `entry`; None where it does not fit."""
        if self._target is None or self._target[0] is not target_HW3:
            self._target = (target_HW3, find_features(target_HW3))
        height, width = target_HW3.shape[:2]
        matrix = find_homography(self._target[1], self._features(entry), (height, width))
        plain = None if matrix is None else quantise(matrix, (height, width))
        if plain is None:
            return None
        warped = warp(self._pictures(entry), (height, width), plain)
        if not warped.inside.any():
            return None
        return Registration(plain, plain, float(warped.inside.mean()), agreement_db(target_HW3, warped))


def find_features(picture_HW3: Picture) -> Features:
    """SIFT features of a picture, found at `FEATURE_PIXELS` at most; descriptors as RootSIFT."""
    height, width = picture_HW3.shape[:2]
    scale = min(1.0, (FEATURE_PIXELS / (height * width)) ** 0.5)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    grey = cv2.resize(cv2.cvtColor(picture_HW3, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
    sift = cv2.SIFT_create(MAX_FEATURES, contrastThreshold=FEATURE_CONTRAST)
    keypoints, descriptors = sift.detectAndCompute(grey, None)
    if not keypoints:
        return Features(np.zeros((0, 2)), np.zeros((0, 128), dtype=np.float32))
    points = (np.array([keypoint.pt for keypoint in keypoints]) + 0.5) * (width / size[0], height / size[1])
    sums = np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6)
    return Features(points, np.sqrt(descriptors / sums).astype(np.float32))


def find_homography(target: Features, reference: Features, size: tuple[int, int]) -> FloatArray | None:
    """The projective map (3, 3) from the target of `size` (height, width) to the reference; None where none fits."""
    if min(len(target.points), len(reference.points)) < LEAST_INLIERS:
        return None
    similarity = target.descriptors @ reference.descriptors.T
    rows = np.arange(len(similarity))
    nearest = similarity.argmax(axis=1)
    first = similarity[rows, nearest]
    is_mutual = similarity.argmax(axis=0)[nearest] == rows
    similarity[rows, nearest] = -1.0
    second = similarity.max(axis=1)
    is_match = is_mutual & (1.0 - first < RATIO**2 * (1.0 - second))
    if is_match.sum() < LEAST_INLIERS:
        return None
    source, goal = target.points[is_match], reference.points[nearest[is_match]]
    threshold_px = RANSAC_PX * max(1.0, (size[0] * size[1] / FEATURE_PIXELS) ** 0.5)
    matrix, inliers = cv2.findHomography(
        source, goal, cv2.USAC_MAGSAC, threshold_px, maxIters=RANSAC_ITERATIONS, confidence=0.9999
    )
    if matrix is None or inliers.sum() < max(LEAST_INLIERS, LEAST_INLIER_SHARE * len(source)):
        return None
    return np.asarray(matrix, dtype=np.float64)


def quantise(matrix: FloatArray, size: tuple[int, int]) -> Alignment | None:
    """The alignment of a projective map; None where it flips, folds, or scales by more than `MAX_SCALE`."""
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


def agreement_db(target_HW3: Picture, warped: Warped) -> float:
    """PSNR of the warped pixels against the target's where inside, at most 99 dB."""
    difference = target_HW3[warped.inside].astype(np.float32) - warped.pixels[warped.inside]
    mean_square = float(np.square(difference).mean(dtype=np.float64))
    return 99.0 if mean_square < 255**2 * 10**-9.9 else 10 * float(np.log10(255**2 / mean_square))
