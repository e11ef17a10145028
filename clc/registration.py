"""Finds how a picture lies in a dictionary's key picture: features, one homography, a mesh of offsets, brightness.

`clc.selection` asks at the encoder; nothing here needs to be the same elsewhere, for what is found is quantised to a
`clc.alignment.Alignment` and sent. It is deterministic on one machine: no random state, one fixed order.

Steps: SIFT (Lowe 2004) on both pictures at low resolution (faster than at full resolution, and it matches more of
trees and grass), mutual nearest neighbours with the ratio test, MAGSAC for a homography (OpenCV), checks that it is a
plausible view of the same thing, a mesh of offsets (`clc.displacement`), brightness by colour. Mesh and brightness are
kept where they save more than their bytes, by an estimate of what the codec will make of the smaller error.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from clc.alignment import CORNER_BITS, GAIN_BITS, MAX_CORNER_Q4, Alignment, pack_alignment
from clc.displacement import fit_mesh
from clc.errors import InputError
from clc.warp import Picture, Warped, brightness_curves, warp

FEATURE_PIXELS = 120_000
MAX_FEATURES = 2_000
FEATURE_CONTRAST = 0.02
RATIO = 0.8
RANSAC_PX = 2.0
RANSAC_ITERATIONS = 5_000
LEAST_INLIERS = 12
LEAST_INLIER_SHARE = 0.25
MAX_SCALE = 4.0
CACHED_ENTRIES = 512
LEAST_COVERAGE = 0.01
LEAST_CORRELATION = 0.2
CORRELATION_PX = 8
BLOCK_PX = 32
CODED_ERROR = 20.0
"""Mean squared error that the codec leaves anyway (35 dB): what agrees better than that saves no more bits."""
ACTIVE_SHARE = 0.25
"""Coefficients for each pixel whose bits shrink with the error."""

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
        located = self.locate(target_HW3, entry)
        return None if located is None else self.refine(target_HW3, entry, located)

    def locate(self, target_HW3: Picture, entry: int) -> Registration | None:
        """The same by a homography only, for a fifth of the time: for choosing among entries."""
        if self._target is None or self._target[0] is not target_HW3:
            self._target = (target_HW3, find_features(target_HW3))
        size = target_HW3.shape[0], target_HW3.shape[1]
        matrix = find_homography(self._target[1], self._features(entry), size)
        plain = None if matrix is None else quantise(matrix, size)
        if matrix is None or plain is None:
            return None
        warped = warp(self._pictures(entry), size, plain)
        if not is_same_scene(target_HW3, warped):
            return None
        return Registration(plain, plain, float(warped.inside.mean()), agreement_db(target_HW3, warped))

    def refine(self, target_HW3: Picture, entry: int, located: Registration) -> Registration:
        """Adds mesh and brightness to what `locate` found, as far as they pay."""
        size = target_HW3.shape[0], target_HW3.shape[1]
        reference_HW3 = self._pictures(entry)
        warped = warp(reference_HW3, size, located.plain)
        alignment, warped = _refine(target_HW3, reference_HW3, located.plain, warped)
        return Registration(alignment, located.plain, located.coverage, agreement_db(target_HW3, warped))


def find_features(picture_HW3: Picture) -> Features:
    """SIFT features of a picture, found at `FEATURE_PIXELS` at most; descriptors as RootSIFT."""
    height, width = picture_HW3.shape[:2]
    scale = min(1.0, (FEATURE_PIXELS / (height * width)) ** 0.5)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    grey = cv2.resize(cv2.cvtColor(picture_HW3, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
    sift: Any = cv2.SIFT.create(MAX_FEATURES, contrastThreshold=FEATURE_CONTRAST)
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


def is_same_scene(target_HW3: Picture, warped: Warped) -> bool:
    """Whether the warped picture covers anything and resembles the target in its coarse brightness there."""
    if warped.inside.mean() < LEAST_COVERAGE:
        return False
    share = _coarse(warped.inside.astype(np.float32))
    ours, theirs = (
        _coarse(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) * warped.inside.astype(np.float32))
        for picture in (target_HW3, warped.pixels)
    )
    is_covered = share > 0.5
    if is_covered.sum() < 4:
        return False
    ours, theirs = ours[is_covered] / share[is_covered], theirs[is_covered] / share[is_covered]
    ours, theirs = ours - ours.mean(), theirs - theirs.mean()
    return float(ours @ theirs) > LEAST_CORRELATION * float(np.linalg.norm(ours) * np.linalg.norm(theirs)) > 0


def fit_brightness(target_HW3: Picture, warped: Warped) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Gains in 1/64 and offsets by colour that bring the warped pixels nearest to the target.

    Least squares over means of blocks, in which noise does not flatten the gain, without the worst fifth of them, which
    show something else.
    """
    share = _coarse(warped.inside.astype(np.float32))
    is_covered = share > 0.99
    gains, offsets = [], []
    for colour in range(3):
        ours, theirs = (_coarse(p[:, :, colour].astype(np.float32))[is_covered] for p in (target_HW3, warped.pixels))
        gain, offset = 1.0, 0.0
        for _ in range(3):
            distance = np.abs(gain * theirs + offset - ours)
            is_near = distance <= np.quantile(distance, 0.8) if distance.size else distance > 0
            x, y = theirs[is_near], ours[is_near]
            if x.size < 16 or x.var() < 1.0:
                break
            gain = float(((x - x.mean()) * (y - y.mean())).mean() / x.var())
            offset = float(y.mean() - gain * x.mean())
        gains.append(min(max(round(gain * (1 << GAIN_BITS)), 1), 255))
        offsets.append(min(max(round(offset), -128), 127))
    return (gains[0], gains[1], gains[2]), (offsets[0], offsets[1], offsets[2])


def bytes_saved(target_HW3: Picture, before: Warped, after: Warped) -> float:
    """About how many bytes the codec saves because `after` is nearer to the target than `before`.

    Each pixel's active coefficients cost half of log2 of (error + coded error) bits, by blocks of `BLOCK_PX`.
    """
    both = before.inside & after.inside
    count = _sums(both.astype(np.float32))
    costs = []
    for warped in (before, after):
        difference = target_HW3.astype(np.float32) - warped.pixels
        error = _sums(np.square(difference).mean(axis=2) * both) / np.maximum(count, 1)
        costs.append(np.log2(error + CODED_ERROR))
    return float((count * (costs[0] - costs[1])).sum()) * ACTIVE_SHARE / 2 / 8


def _refine(target_HW3: Picture, reference_HW3: Picture, plain: Alignment, warped: Warped) -> tuple[Alignment, Warped]:
    """The alignment with mesh and brightness as far as they pay, and what it gives."""
    size = target_HW3.shape[0], target_HW3.shape[1]
    bent = replace(plain, mesh=fit_mesh(target_HW3, reference_HW3, _matrix(plain, size)))
    best = _cheaper(target_HW3, (plain, warped), (bent, warp(reference_HW3, size, bent)))
    gain_q6, offset = fit_brightness(target_HW3, best[1])
    lit = replace(best[0], gain_q6=gain_q6, offset=offset)
    return _cheaper(target_HW3, best, (lit, _lit(best[1], lit)))


def _cheaper(
    target_HW3: Picture, before: tuple[Alignment, Warped], after: tuple[Alignment, Warped]
) -> tuple[Alignment, Warped]:
    """`after` where it saves more bytes than its alignment adds."""
    spent_bytes = len(pack_alignment(after[0])) - len(pack_alignment(before[0]))
    return after if bytes_saved(target_HW3, before[1], after[1]) > spent_bytes else before


def _lit(warped: Warped, alignment: Alignment) -> Warped:
    """What `clc.warp.warp` makes of `alignment` where `warped` is the same without its brightness."""
    curves = brightness_curves(alignment)
    pixels = np.stack([curves[colour][warped.pixels[:, :, colour]] for colour in range(3)], axis=-1)
    pixels[~warped.inside] = 0
    return Warped(pixels, warped.inside)


def _matrix(alignment: Alignment, size: tuple[int, ...]) -> FloatArray:
    """The projective map (3, 3) of an alignment's corners, in px."""
    height, width = size
    corners = np.array(alignment.corners_q4, dtype=np.float32).reshape(4, 2) / (1 << CORNER_BITS)
    target = np.array([[0, 0], [width, 0], [0, height], [width, height]], dtype=np.float32)
    return np.asarray(cv2.getPerspectiveTransform(target, corners), dtype=np.float64)


def _coarse(values_HW: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Means of squares of `CORRELATION_PX`; a smaller picture's own pixels."""
    height, width = values_HW.shape
    size = max(1, width // CORRELATION_PX), max(1, height // CORRELATION_PX)
    return cv2.resize(values_HW, size, interpolation=cv2.INTER_AREA).astype(np.float32)


def _sums(values_HW: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Sums of squares of `BLOCK_PX`, zeros beyond the edges."""
    height, width = values_HW.shape
    padded = np.pad(values_HW, ((0, -height % BLOCK_PX), (0, -width % BLOCK_PX)))
    blocks = padded.reshape(padded.shape[0] // BLOCK_PX, BLOCK_PX, -1, BLOCK_PX)
    total: npt.NDArray[np.float32] = blocks.sum(axis=(1, 3))
    return total
