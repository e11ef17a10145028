"""Near-duplicates between two sets of pictures: evaluation pictures that training or the dictionary has seen.

`flows.leakage` refuses them. Two pictures count as near-duplicates when their difference hashes agree **and** their
detail correlates. The hash alone finds candidates fast, but matches any two smooth skies; a candidate is confirmed on
64x64 grey thumbnails without their shading. Copies are found after re-encoding, resizing, mirroring, quarter turns and
changes of brightness or contrast. Another crop of the same photo is not found; `flows.ingest` keeps the crops of a
photo in one part.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

THUMBNAIL_PX = 64
"""Side of a thumbnail."""

HASH_PX = 8
"""Side of a difference hash, which has HASH_PX**2 = 64 bits."""

NEAR_BITS = 16
"""Largest Hamming distance of the hashes of two candidates. It is about 32 for different pictures, but 2 for two skies.
Copies that were re-encoded, resized or brightened reach 5; strong noise or JPEG at quality 10 reaches 16."""

SAME_DETAIL = 0.8
"""Least correlation of the detail of near-duplicates. Patches of different built-in photos, in all eight orientations,
reach 0.52 at most; copies have 0.97, after JPEG at quality 30 or noise of 8 levels 0.89."""

LEAST_DETAIL = 1.5
"""Standard deviation of detail, in grey levels, below which nothing can be recognised (sky, black)."""


@dataclass(frozen=True)
class Fingerprint:
    """A picture's id and its grey thumbnail, float32 (64, 64), levels of 0..255."""

    item_id: str
    thumbnail: NDArray[np.float32]

    @property
    def detail(self) -> NDArray[np.float32]:
        """The thumbnail minus its shading, float32 (64, 64)."""
        return _without_shading(self.thumbnail)


@dataclass(frozen=True)
class Duplicate:
    """The ids of an evaluated and a known picture that are near-duplicates, and the correlation of their detail."""

    evaluated: str
    known: str
    correlation: float


def fingerprint(item_id: str, image_HW3: NDArray[np.uint8]) -> Fingerprint:
    """Return the fingerprint of a picture, uint8 (H, W, 3) of any size."""
    return Fingerprint(item_id, np.asarray(thumbnail_of(_image_of(image_HW3)), dtype=np.float32))


def perceptual_hash(image_HW3: NDArray[np.uint8]) -> str:
    """Return the difference hash of a picture, uint8 (H, W, 3): 16 hex digits, nearly the same for copies."""
    return hash_of(thumbnail_of(_image_of(image_HW3)))


def thumbnail_of(image: Image.Image) -> Image.Image:
    """Return the thumbnail of a picture of Pillow's in mode RGB: 64x64 in mode L."""
    return image.convert("L").resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BOX)


def hash_of(thumbnail: Image.Image) -> str:
    """Return the difference hash of a picture by its thumbnail of `thumbnail_of`; see `perceptual_hash`."""
    return _hash_of(thumbnail.convert("F")).tobytes().hex()


def likeness(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Return the correlation of the detail of two thumbnails, float32 (64, 64); 0 where either shows nothing."""
    return _correlation(_without_shading(a), _without_shading(b))


def have_detail(thumbnails_N6464: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which of many thumbnails, float32 (N, 64, 64), show anything that could be recognised, bool (N,)."""
    levels = thumbnails_N6464.reshape(len(thumbnails_N6464), -1).astype(np.float64)
    shading = np.square(levels @ _shadings()).sum(axis=1)
    energy = np.einsum("ij,ij->i", levels, levels) - shading  # of the detail, whose mean is 0
    told: NDArray[np.bool_] = energy >= LEAST_DETAIL**2 * levels.shape[1]
    return told


def find_duplicates(evaluated: Sequence[Fingerprint], known: Sequence[Fingerprint]) -> list[Duplicate]:
    """Return every pair of an evaluated and a known picture that are near-duplicates in any of eight orientations."""
    if not known:
        return []
    known_hashes_K8 = np.stack([_difference_hash(one.thumbnail) for one in known])
    found: list[Duplicate] = []
    for one in evaluated:
        if float(np.std(one.detail)) < LEAST_DETAIL:
            continue
        best: dict[str, float] = {}
        for turned in _orientations(one.thumbnail):
            near_bits_K = _bits_set(known_hashes_K8 ^ _difference_hash(turned))
            for index in np.flatnonzero(near_bits_K <= NEAR_BITS):
                other = known[int(index)]
                correlation = _correlation(_without_shading(turned), other.detail)
                if correlation >= SAME_DETAIL:
                    best[other.item_id] = max(best.get(other.item_id, 0.0), correlation)
        found += [Duplicate(one.item_id, item_id, value) for item_id, value in best.items()]
    return found


def _image_of(image_HW3: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(image_HW3))


def _difference_hash(thumbnail: NDArray[np.float32]) -> NDArray[np.uint8]:
    return _hash_of(Image.fromarray(thumbnail))


def _hash_of(levels: Image.Image) -> NDArray[np.uint8]:
    """Return the dHash as 8 bytes: of 8 rows of 9 cells, whether each is brighter than the one to its right."""
    resized = levels.resize((HASH_PX + 1, HASH_PX), Image.Resampling.BOX)
    cells = np.frombuffer(resized.tobytes(), np.float32).reshape(HASH_PX, HASH_PX + 1)
    return np.packbits(cells[:, :-1] > cells[:, 1:])


def _bits_set(words_K8: NDArray[np.uint8]) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = np.unpackbits(words_K8, axis=1).sum(axis=1, dtype=np.int64)
    return counts


def _orientations(thumbnail: NDArray[np.float32]) -> Iterable[NDArray[np.float32]]:
    for turns in range(4):
        turned = np.rot90(thumbnail, turns)
        yield np.ascontiguousarray(turned)
        yield np.ascontiguousarray(np.fliplr(turned))


def _without_shading(thumbnail: NDArray[np.float32]) -> NDArray[np.float32]:
    """Subtract the shading: the polynomial of second order in x and y with the least squared error."""
    basis, levels = _shadings(), thumbnail.reshape(-1).astype(np.float64)
    return np.asarray((levels - basis @ (basis.T @ levels)).reshape(thumbnail.shape), dtype=np.float32)


@functools.cache
def _shadings() -> NDArray[np.float64]:
    """Return an orthonormal basis of all shadings, float64 (4096, 6)."""
    axis = np.linspace(-1.0, 1.0, THUMBNAIL_PX)
    x, y = np.meshgrid(axis, axis)
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1).reshape(-1, 6)
    return np.linalg.qr(terms)[0]


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    if min(float(np.std(a)), float(np.std(b))) < LEAST_DETAIL:
        return 0.0
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])
