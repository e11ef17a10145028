"""Near-duplicates among pictures: what must not stand in the training or dictionary part when it is evaluated on.

Two pictures count as near-duplicates when their difference hashes agree **and** their detail correlates. The hash alone
finds candidates fast, but calls any two smooth skies alike; so a candidate is confirmed on 64x64 grey thumbnails from
which the slow shading was removed. Re-encoding, resizing, brightness, contrast, mirroring and quarter turns are seen
through; a crop elsewhere in the same photo is not, against that the ingest splits by photo.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

THUMBNAIL_PX = 64
HASH_PX = 8
NEAR_BITS = 16
"""Of the 64 bits of a difference hash. Different pictures differ in 32 more or less, but two skies in 2; copies that
were re-encoded, resized or brightened in up to 5, and after strong noise or JPEG at quality 10 in 16."""

SAME_DETAIL = 0.8
"""Correlation of the thumbnails' detail. Over all pairs of patches of different built-in photos, in eight orientations,
it is 0.52 at most; copies reach 0.97, after JPEG at quality 30 or noise of 8 levels 0.89."""

LEAST_DETAIL = 1.5
"""Standard deviation in grey levels below which a thumbnail holds nothing that could be recognised (sky, black)."""


@dataclass(frozen=True)
class Fingerprint:
    """What is kept of a picture to recognise it: its grey thumbnail, float32 (64, 64)."""

    item_id: str
    thumbnail: NDArray[np.float32]

    @property
    def detail(self) -> NDArray[np.float32]:
        """The thumbnail less its best-fitting second-order surface."""
        return _without_shading(self.thumbnail)


@dataclass(frozen=True)
class Duplicate:
    """Two items that show the same picture, with the correlation of their detail (at most 1)."""

    evaluated: str
    known: str
    correlation: float


def fingerprint(item_id: str, image_HW3: NDArray[np.uint8]) -> Fingerprint:
    """Reduce a uint8 (H, W, 3) picture to its grey 64x64 thumbnail, whatever its size."""
    grey = Image.fromarray(np.ascontiguousarray(image_HW3)).convert("L")
    small = grey.resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BOX)
    return Fingerprint(item_id, np.asarray(small, dtype=np.float32))


def find_duplicates(evaluated: Sequence[Fingerprint], known: Sequence[Fingerprint]) -> list[Duplicate]:
    """Return every pair of an evaluated and a known picture that shows the same, in any of the eight orientations."""
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


def _difference_hash(thumbnail: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return 64 bits as 8 bytes: is each of 8x9 cells brighter than the one to its right (dHash)."""
    cells = _resize(thumbnail, HASH_PX + 1, HASH_PX)
    return np.packbits(cells[:, :-1] > cells[:, 1:])


def _resize(thumbnail: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    return np.asarray(Image.fromarray(thumbnail).resize((width, height), Image.Resampling.BOX), dtype=np.float32)


def _bits_set(words_K8: NDArray[np.uint8]) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = np.unpackbits(words_K8, axis=1).sum(axis=1, dtype=np.int64)
    return counts


def _orientations(thumbnail: NDArray[np.float32]) -> Iterable[NDArray[np.float32]]:
    for turns in range(4):
        turned = np.rot90(thumbnail, turns)
        yield np.ascontiguousarray(turned)
        yield np.ascontiguousarray(np.fliplr(turned))


def _without_shading(thumbnail: NDArray[np.float32]) -> NDArray[np.float32]:
    """Subtract the second-order surface that fits best, so that two smooth skies have nothing left in common."""
    axis = np.linspace(-1.0, 1.0, THUMBNAIL_PX)
    x, y = np.meshgrid(axis, axis)
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1).reshape(-1, 6)
    weights, *_ = np.linalg.lstsq(terms, thumbnail.reshape(-1).astype(np.float64), rcond=None)
    shading = (terms @ weights).reshape(thumbnail.shape)
    return np.asarray(thumbnail - shading, dtype=np.float32)


def _correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    if min(float(np.std(a)), float(np.std(b))) < LEAST_DETAIL:
        return 0.0
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])
