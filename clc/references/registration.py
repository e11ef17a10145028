"""Registration of a picture against key pictures: keypoints, one homography, a mesh of offsets, brightness.

`clc.codec.search.selection` calls it at the encoder, and `clc.references.overlaps` for collections. Nothing here needs
to be the same elsewhere: what is found is quantised to a `clc.bitstream.alignment.Alignment` and sent. It is
deterministic on one machine: no random state, one fixed order.

1. SIFT keypoints (Lowe 2004) on both pictures at low resolution, which is faster than at full resolution and matches
   more of trees and grass.
2. Mutual nearest neighbours with the ratio test, then a homography by MAGSAC (OpenCV).
3. Checks that the homography is a plausible view of the same scene.
4. A mesh of offsets (`clc.references.mesh_fit`) and a brightness by colour, each kept where it saves more bytes than it
   takes, by an estimate from the error before and after.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from clc.bitstream.alignment import CORNER_BITS, GAIN_BITS, MAX_CORNER_Q4, Alignment, pack_alignment
from clc.bitstream.stream import Reference
from clc.errors import InputError
from clc.pictures.picture import Picture
from clc.references.key_pictures import PictureSource, WarpedKeyPictures
from clc.references.mesh_fit import fit_mesh
from clc.references.policy import POLICY
from clc.references.warp import Warped, with_brightness

KEYPOINT_PIXELS = 120_000
"""Pixels to which a larger picture is scaled down to find keypoints."""

MAX_KEYPOINTS = 2_000
"""Keypoints of a picture, the strongest of those found."""

KEYPOINT_CONTRAST = 0.02
"""SIFT's contrast threshold, half of OpenCV's default."""

RATIO = 0.8
"""Largest distance of a match over that of the second nearest descriptor (Lowe 2004, section 7.1)."""

RANSAC_PX, RANSAC_ITERATIONS = 2.0, 5_000
"""MAGSAC's threshold, px at the scale of the keypoints, and its largest number of iterations."""

LEAST_INLIERS, LEAST_INLIER_SHARE = 12, 0.25
"""Matches, and share of all matches, that must agree with a homography."""

MAX_SCALE = 4.0
"""Largest ratio between a side of the target and its image in the reference, and of its inverse."""

CACHED_ENTRIES = 512
"""Key pictures whose keypoints a `Registrar` keeps, about 1 MB each."""

CORRELATION_PX = 8
"""Side of the squares whose means are compared between pictures."""

BLOCK_PX = 32
"""Side of the blocks over which `bytes_saved` averages the error."""

_MEAN_OF_COLOURS = np.full((1, 3), 1 / 3)
# From positions that count from the centre of the first pixel (OpenCV) to positions from the picture's edge.
_TO_EDGE = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])

FloatArray = npt.NDArray[np.float64]
GreyPicture = npt.NDArray[np.uint8]
WarpTo = Callable[[tuple[int, int], Alignment], Warped]
Item = TypeVar("Item")
Found = TypeVar("Found")


class Registration(NamedTuple):
    """The alignment of a picture to a key picture.

    - `alignment` has mesh and brightness where they save bytes, `plain` the homography alone.
    - `coverage` is the share of the target that the reference covers, 0..1.
    - `psnr_db` is the PSNR of the reference warped by `alignment` against the target, where it covers it.
    """

    alignment: Alignment
    plain: Alignment
    coverage: float
    psnr_db: float


class Located(NamedTuple):
    """The homography from a picture to a key picture, judged at the size at which keypoints are found.

    `covered` bool (h, w) says where the reference covers the target, `grey` uint8 (h, w) is what it shows there;
    `psnr_db` is the PSNR of the grey levels.
    """

    plain: Alignment
    covered: npt.NDArray[np.bool_]
    psnr_db: float
    grey: GreyPicture

    @property
    def coverage(self) -> float:
        """Share of the target that the reference covers, 0..1."""
        return float(self.covered.mean())


class Keypoints(NamedTuple):
    """The N SIFT keypoints of a picture.

    - `points` float64 (N, 2): x and y in px of the full picture, from its edge.
    - `descriptors` float32 (N, 128): RootSIFT unit vectors (Arandjelovic and Zisserman 2012).
    - `grey` uint8 (h, w): the scaled-down picture in which they were found.
    - `size`: height and width of the full picture, px.
    """

    points: FloatArray
    descriptors: npt.NDArray[np.float32]
    grey: GreyPicture
    size: tuple[int, int]

    @property
    def scale(self) -> tuple[float, float]:
        """Width and height of `grey` over those of the full picture."""
        return self.grey.shape[1] / self.size[1], self.grey.shape[0] / self.size[0]


class Registrar:
    """Registers pictures against key pictures, and keeps the keypoints of these. Threads may share it."""

    def __init__(self, pictures: PictureSource, threads: int = 1) -> None:
        """`pictures` gives the key picture of an entry; one call works on up to `threads` entries at once."""
        self._pictures, self._threads = pictures, threads
        self._keypoints = lru_cache(CACHED_ENTRIES)(lambda entry: find_keypoints(pictures.read(entry)))

    def keypoints(self, entry: Reference) -> Keypoints:
        """The keypoints of the key picture of an entry."""
        return self._keypoints(entry)

    def register(self, target_HW3: Picture, entry: Reference) -> Registration | None:
        """The registration of a picture, uint8 (H, W, 3), against the key picture of `entry`; None where none fits."""
        (located,) = self.locate(find_keypoints(target_HW3), [entry])
        return None if located is None else self.refine(target_HW3, [(entry, located)])[0]

    def locate(self, target: Keypoints, entries: Sequence[Reference]) -> list[Located | None]:
        """The homographies of a picture to the key pictures of `entries`, in their order; None where none fits.

        It takes a fraction of the time of `refine`, and so serves to choose the entries to refine.
        """
        return self._in_threads(lambda entry: _locate(target, self._keypoints(entry)), entries)

    def refine(
        self,
        target_HW3: Picture,
        located: Sequence[tuple[Reference, Located]],
        warped: WarpedKeyPictures | None = None,
    ) -> list[Registration]:
        """Registrations from the homographies that `locate` found of entries, in the order given.

        `target_HW3` is uint8 (H, W, 3). `warped` keeps the warps, for whoever codes the picture with them afterwards.
        """
        warps = WarpedKeyPictures(self._pictures) if warped is None else warped

        def refined(one: tuple[Reference, Located]) -> Registration:
            entry, found = one
            return _refine(target_HW3, self._pictures.read(entry), found.plain, partial(warps.warp, entry))

        return self._in_threads(refined, located)

    def _in_threads(self, work: Callable[[Item], Found], items: Sequence[Item]) -> list[Found]:
        """The results of `work` for all items, in order; OpenCV and numpy release Python's global lock."""
        if min(self._threads, len(items)) < 2:
            return [work(item) for item in items]
        with ThreadPoolExecutor(self._threads) as pool:
            return list(pool.map(work, items))


def find_keypoints(picture_HW3: Picture) -> Keypoints:
    """The SIFT keypoints of a picture, uint8 (H, W, 3), found at no more than `KEYPOINT_PIXELS`."""
    height, width = picture_HW3.shape[:2]
    shrink = min(1.0, (KEYPOINT_PIXELS / (height * width)) ** 0.5)
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    full = cv2.cvtColor(picture_HW3, cv2.COLOR_RGB2GRAY)
    grey: GreyPicture = cv2.resize(full, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    sift: Any = cv2.SIFT.create(MAX_KEYPOINTS, contrastThreshold=KEYPOINT_CONTRAST)
    keypoints, descriptors = sift.detectAndCompute(grey, None)
    if not keypoints:
        return Keypoints(np.zeros((0, 2)), np.zeros((0, 128), dtype=np.float32), grey, (height, width))
    points = (np.array([keypoint.pt for keypoint in keypoints]) + 0.5) * (width / size[0], height / size[1])
    sums = np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6)
    return Keypoints(points, np.sqrt(descriptors / sums).astype(np.float32), grey, (height, width))


def find_homography(target: Keypoints, reference: Keypoints) -> FloatArray | None:
    """The projective map, float64 (3, 3) in px of the full pictures, from target to reference; None where none fits."""
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
    threshold_px = RANSAC_PX * max(1.0, (target.size[0] * target.size[1] / KEYPOINT_PIXELS) ** 0.5)
    matrix, inliers = cv2.findHomography(
        source, goal, cv2.USAC_MAGSAC, threshold_px, maxIters=RANSAC_ITERATIONS, confidence=0.9999
    )
    if matrix is None or inliers.sum() < max(LEAST_INLIERS, LEAST_INLIER_SHARE * len(source)):
        return None
    return np.asarray(matrix, dtype=np.float64)


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


def agreement_db(target_HW3: Picture, warped: Warped) -> float:
    """PSNR in dB, at most 99, of a warped reference against the target, where it covers it."""
    n_values = int(warped.inside.sum()) * 3
    total = cv2.norm(target_HW3, warped.pixels, cv2.NORM_L2SQR, warped.inside.view(np.uint8))
    return _decibels(total / n_values) if n_values else 99.0


def detail_db(picture_HW3: Picture) -> float:
    """PSNR in dB, at most 99, of a picture's means over squares of `CORRELATION_PX`: low for much detail."""
    height, width = picture_HW3.shape[:2]
    size = max(1, width // CORRELATION_PX), max(1, height // CORRELATION_PX)
    means = cv2.resize(picture_HW3, size, interpolation=cv2.INTER_AREA)
    blurred = cv2.resize(means, (width, height), interpolation=cv2.INTER_NEAREST)
    return _decibels(cv2.norm(picture_HW3, blurred, cv2.NORM_L2SQR) / picture_HW3.size)


def is_same_scene(target_HW: GreyPicture, warped_HW: GreyPicture, covered: npt.NDArray[np.bool_]) -> bool:
    """Whether a warped reference covers enough of a target, and means over squares correlate there (`POLICY`).

    Both are grey, uint8 (h, w); `covered` is bool (h, w).
    """
    if covered.mean() < POLICY.scene_coverage:
        return False
    share = _coarse(covered.astype(np.float32))
    ours, theirs = (_coarse((grey * covered).astype(np.float32)) for grey in (target_HW, warped_HW))
    is_covered = share > 0.5
    if is_covered.sum() < 4:
        return False
    ours, theirs = ours[is_covered] / share[is_covered], theirs[is_covered] / share[is_covered]
    ours, theirs = ours - ours.mean(), theirs - theirs.mean()
    return float(ours @ theirs) > POLICY.scene_correlation * float(np.linalg.norm(ours) * np.linalg.norm(theirs)) > 0


def fit_brightness(target_HW3: Picture, warped: Warped) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Gains in 1/64 and offsets in levels, of R, G, B, that fit a warped reference to the target.

    Least squares over means of squares, in which noise does not lower the gain. The fifth with the largest errors is
    left out, because it may show something else.
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
    """Estimate of the bytes that the codec saves with the warped reference `after` instead of `before`.

    A pixel costs `active_share` / 2 * log2(error + `coded_error`) bits, with the mean squared error of its block of
    `BLOCK_PX` and the constants of `POLICY`.
    """
    both = (before.inside & after.inside).view(np.uint8)
    count = _sums(both)
    costs = []
    for warped in (before, after):
        difference = cv2.absdiff(target_HW3, warped.pixels)
        squared = cv2.transform(cv2.multiply(difference, difference, dtype=cv2.CV_32F), _MEAN_OF_COLOURS)
        error = _sums(cv2.multiply(squared, both, dtype=cv2.CV_32F)) / np.maximum(count, 1)
        costs.append(np.log2(error + POLICY.coded_error))
    return float((count * (costs[0] - costs[1])).sum()) * POLICY.active_share / 2 / 8


def _locate(target: Keypoints, reference: Keypoints) -> Located | None:
    """The homography between two pictures, checked on their grey pictures; None where it does not fit."""
    matrix = find_homography(target, reference)
    plain = None if matrix is None else quantise(matrix, target.size)
    if plain is None:
        return None
    ours, theirs = (np.diag([*one.scale, 1.0]) for one in (target, reference))
    small = theirs @ _matrix(plain, target.size) @ np.linalg.inv(ours)
    grey, covered = _warp_in_float(reference.grey, small, target.grey.shape)
    if not is_same_scene(target.grey, grey, covered):
        return None
    total = cv2.norm(target.grey, grey, cv2.NORM_L2SQR, covered.view(np.uint8))
    return Located(plain, covered, _decibels(total / int(covered.sum())), grey)


def _warp_in_float(
    picture: Picture, matrix: FloatArray, size: tuple[int, ...]
) -> tuple[Picture, npt.NDArray[np.bool_]]:
    """A picture of uint8 warped by `matrix` (3, 3) onto a target of `size` (height, width), and what it covers.

    Nearly the same as `clc.references.warp.warp`, and faster.
    """
    shape = size[1], size[0]
    centres = np.linalg.inv(_TO_EDGE) @ matrix @ _TO_EDGE
    flags = cv2.WARP_INVERSE_MAP | cv2.INTER_CUBIC
    warped = cv2.warpPerspective(picture, centres, shape, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    ones = np.ones(picture.shape[:2], dtype=np.uint8)
    inside = cv2.warpPerspective(ones, centres, shape, flags=cv2.WARP_INVERSE_MAP | cv2.INTER_NEAREST)
    return warped.astype(np.uint8), inside.astype(np.bool_)


def _refine(target_HW3: Picture, reference_HW3: Picture, plain: Alignment, warp_to: WarpTo) -> Registration:
    """Add a mesh and a brightness to `plain` where they save bytes; `warp_to` warps the reference."""
    size = target_HW3.shape[0], target_HW3.shape[1]
    matrix = _matrix(plain, size)
    with_mesh = replace(plain, mesh=fit_mesh(target_HW3, reference_HW3, matrix))
    best = with_mesh, warp_to(size, with_mesh)
    without_mesh = Warped(*_warp_in_float(reference_HW3, matrix, size))
    if not _saves(target_HW3, (plain, without_mesh), best):
        best = plain, warp_to(size, plain)
    gain_q6, offset = fit_brightness(target_HW3, best[1])
    brightened = replace(best[0], gain_q6=gain_q6, offset=offset)
    after = brightened, with_brightness(best[1], brightened)
    if _saves(target_HW3, best, after):
        best = after
    return Registration(best[0], plain, float(best[1].inside.mean()), agreement_db(target_HW3, best[1]))


def _saves(target_HW3: Picture, before: tuple[Alignment, Warped], after: tuple[Alignment, Warped]) -> bool:
    """Whether the codec saves more bytes with `after` than its alignment takes beyond that of `before`."""
    spent_bytes = len(pack_alignment(after[0])) - len(pack_alignment(before[0]))
    return bytes_saved(target_HW3, before[1], after[1]) > spent_bytes


def _matrix(alignment: Alignment, size: tuple[int, ...]) -> FloatArray:
    """The projective map (3, 3), in px, of an alignment's corners for a target of `size` (height, width)."""
    height, width = size
    corners = np.array(alignment.corners_q4, dtype=np.float32).reshape(4, 2) / (1 << CORNER_BITS)
    target = np.array([[0, 0], [width, 0], [0, height], [width, height]], dtype=np.float32)
    return np.asarray(cv2.getPerspectiveTransform(target, corners), dtype=np.float64)


def _coarse(values_HW: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Means over squares of about `CORRELATION_PX`, at least one along each side."""
    height, width = values_HW.shape
    size = max(1, width // CORRELATION_PX), max(1, height // CORRELATION_PX)
    return cv2.resize(values_HW, size, interpolation=cv2.INTER_AREA).astype(np.float32)


def _sums(values_HW: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Sums over blocks of `BLOCK_PX`, with zeros beyond the edges."""
    height, width = values_HW.shape
    whole = cv2.copyMakeBorder(
        values_HW.astype(np.float32), 0, -height % BLOCK_PX, 0, -width % BLOCK_PX, cv2.BORDER_CONSTANT
    )
    size = whole.shape[1] // BLOCK_PX, whole.shape[0] // BLOCK_PX
    means = cv2.resize(whole, size, interpolation=cv2.INTER_AREA)
    return (means * BLOCK_PX**2).astype(np.float32)


def _decibels(mean_square: float) -> float:
    """PSNR in dB of a mean squared error in levels^2, at most 99."""
    return 99.0 if mean_square < 255**2 * 10**-9.9 else 10 * float(np.log10(255**2 / mean_square))
