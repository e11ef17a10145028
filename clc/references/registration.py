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
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from clc.bitstream.alignment import Alignment, identity
from clc.bitstream.stream import Reference
from clc.pictures.picture import Picture
from clc.references.key_pictures import PictureSource, WarpedKeyPictures
from clc.references.likeness import detail_db as detail_db
from clc.references.likeness import grey_db, is_same_scene, near_squares, shown_share
from clc.references.policy import POLICY
from clc.references.projective import matrix_of, quantise, warp_in_float
from clc.references.refine import Refinement
from clc.references.refine import Registration as Registration
from clc.references.region_search import find_corners
from clc.references.warp import Warped

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

CACHED_ENTRIES = 512
"""Key pictures whose keypoints a `Registrar` keeps, about 1 MB each."""

FloatArray = npt.NDArray[np.float64]
GreyPicture = npt.NDArray[np.uint8]
Item = TypeVar("Item")
Found = TypeVar("Found")


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
        self._corners = lru_cache(CACHED_ENTRIES)(lambda entry: find_corners(pictures.read(entry)))

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
        if not located:
            return []
        warps = WarpedKeyPictures(self._pictures) if warped is None else warped
        refinement = Refinement(target_HW3)

        def refined(one: tuple[Reference, Located]) -> Registration:
            entry, found = one
            corners = partial(self._corners, entry)
            return refinement.refined(self._pictures.read(entry), corners, found.plain, partial(warps.warp, entry))

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


def _locate(target: Keypoints, reference: Keypoints) -> Located | None:
    """How a reference lies to a picture, checked on their grey pictures; None where it does not fit.

    Of the homography and the identity, the latter has to be clearly nearer: `Refinement` compares them to the pixel.
    """
    matrix = find_homography(target, reference)
    by_features = None if matrix is None else _judged(target, reference, quantise(matrix, target.size))
    still = _in_place(target, reference)
    if by_features is None or still is None:
        return by_features or still
    return still if _worth(still) > POLICY.clearly_nearer * _worth(by_features) else by_features


def _in_place(target: Keypoints, reference: Keypoints) -> Located | None:
    """The identity, where two pictures of one size show the same at the same place; None where they do not.

    Photographs of any two places may have the sky above and the ground below, so that means over squares correlate.
    """
    if target.size != reference.size:
        return None
    everywhere = Warped(reference.grey, np.ones(reference.grey.shape, dtype=np.bool_))
    if shown_share(target.grey, everywhere) < POLICY.shown_in_place:
        return None
    return _judged(target, reference, identity(*target.size))


def _judged(target: Keypoints, reference: Keypoints, plain: Alignment | None) -> Located | None:
    """A map with what it covers and how near it is; None for no map, and where it shows another scene.

    Where the reference is nowhere near on the whole (less than `flat_db`), it covers those squares alone that are.
    """
    if plain is None:
        return None
    ours, theirs = (np.diag([*one.scale, 1.0]) for one in (target, reference))
    small = theirs @ matrix_of(plain, target.size) @ np.linalg.inv(ours)
    warped = warp_in_float(reference.grey, small, target.grey.shape)
    if not is_same_scene(target.grey, warped.pixels, warped.inside):
        return None
    whole = Located(plain, warped.inside, grey_db(target.grey, warped), warped.pixels)
    if whole.psnr_db >= POLICY.flat_db:
        return whole
    near = Warped(warped.pixels, warped.inside & near_squares(target.grey, warped.pixels))
    return Located(plain, near.inside, grey_db(target.grey, near), warped.pixels) if near.inside.any() else whole


def _worth(located: Located) -> float:
    """A guess at the bits saved: the covered share times the dB above a flat prediction, at least 1."""
    return located.coverage * max(1.0, located.psnr_db - POLICY.flat_db)
