"""How much pictures of a collection show of one another.

For each picture, and each other one that may show the same place, `Seen.cells` says how much coding the picture beside
the other one may save, by squares of a grid: the share of all the picture's detail that the other one shows there. The
other one is laid over it by the homography that registration finds, and as it is (a camera that stands still, a form, a
screen), whichever shows more. It is a guess from pictures that are scaled down; what it is worth in bytes is measured
by `clc.archive.packing.planning`'s trial.

Of up to `ALL_PAIRS` pictures all pairs are looked at. Of more, each is compared with its `NEIGHBOURS` by name, and with
as many that look most alike.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from clc.errors import StorageError
from clc.pictures.picture import Picture
from clc.references.policy import POLICY
from clc.references.registration import Keypoints, Located
from clc.retrieval.index import open_index

ALL_PAIRS = 400
"""Pictures up to which all pairs are looked at."""

NEIGHBOURS = 24
"""Of a larger collection: pictures on either side by name, and as many again that look most alike."""

GRID = 8
"""Squares along each side of the grid."""

FINER = 4
"""Squares along each side of a square of the grid, over which detail and error are averaged."""

LEAST_SHARE = 0.03
"""Of a picture's detail: what shows less of it is passed over."""

NOISE = 10.0
"""Squared levels: error that a coded picture has anyway; to agree better than that saves no bits."""

RESAMPLED = 8
"""Levels by which what was moved and scaled down is off, about, though it is equal."""

FINGERPRINT_PX = 16
"""Side of the grey picture by which pictures that look alike are found among many."""

Floats = npt.NDArray[np.float32]
Grey = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Seen:
    """The P pairs of which the second picture shows some of the first.

    `target` and `reference` int64 (P,) are indexes; `cells` float32 (P, GRID**2) the shares, which add up to 1 where
    a picture shows all of another.
    """

    target: npt.NDArray[np.int64]
    reference: npt.NDArray[np.int64]
    cells: Floats

    @classmethod
    def of(cls, found: Sequence[Sequence[tuple[int, Floats]]]) -> Seen:
        """From what was found for each picture: the index of the other one, and its cells."""
        target = [index for index, others in enumerate(found) for _ in others]
        reference = [other for others in found for other, _ in others]
        cells = [cells for others in found for _, cells in others]
        return cls(
            np.array(target, dtype=np.int64),
            np.array(reference, dtype=np.int64),
            np.stack(cells) if cells else np.zeros((0, GRID**2), dtype=np.float32),
        )

    @property
    def share(self) -> Floats:
        """Of each pair, the share 0..1 of the picture's detail that the other one shows, float32 (P,)."""
        share: Floats = self.cells.sum(axis=1)
        return share

    def shown_in(self, target: int) -> dict[int, Floats]:
        """The cells of each pair with a picture, by the index of the other one."""
        order, targets = self._by_target
        pairs = order[np.searchsorted(targets, target) : np.searchsorted(targets, target, side="right")]
        return {int(self.reference[pair]): self.cells[pair] for pair in pairs}

    @cached_property
    def _by_target(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The places of the pairs in order of their pictures, and these."""
        order = np.argsort(self.target, kind="stable")
        return order, self.target[order]

    def of_pair(self, target: int, reference: int) -> float:
        """The share of one pair; 0 where the second picture shows nothing of the first."""
        return float(self.share[(self.target == target) & (self.reference == reference)].sum())

    def to_bytes(self) -> bytes:
        """The pairs as an npz file."""
        file = io.BytesIO()
        np.savez(file, target=self.target, reference=self.reference, cells=self.cells)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Seen:
        """The inverse of `to_bytes`. Raises `StorageError`."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as told:
                return cls(told["target"], told["reference"], told["cells"])
        except (ValueError, OSError, KeyError) as error:
            raise StorageError(f"what packing kept of its overlaps is damaged ({error}); remove it") from error


def to_compare(fingerprints: Floats) -> list[list[int]]:
    """For each of N pictures, the others that may show the same place, from their fingerprints, (N, D)."""
    count = len(fingerprints)
    if count <= ALL_PAIRS:
        return [[other for other in range(count) if other != one] for one in range(count)]
    alike = open_index(fingerprints).search(fingerprints, NEIGHBOURS * 2 + 1).indices
    near = [range(max(0, one - NEIGHBOURS), min(count, one + NEIGHBOURS + 1)) for one in range(count)]
    both = [dict.fromkeys([*near[one], *(int(other) for other in alike[one])]) for one in range(count)]
    return [[other for other in both[one] if other != one] for one in range(count)]


def fingerprint(picture_HW3: Picture) -> Floats:
    """A picture, uint8 (H, W, 3), as a vector (FINGERPRINT_PX**2,) that brightness and contrast do not change."""
    side = FINGERPRINT_PX, FINGERPRINT_PX
    grey = cv2.resize(picture_HW3, side, interpolation=cv2.INTER_AREA).mean(axis=2, dtype=np.float32)
    grey -= grey.mean()
    vector: Floats = (grey / max(float(np.linalg.norm(grey)), 1e-3)).ravel()
    return vector


def shown(
    target: Keypoints, reference: Keypoints, located: Located | None, max_error: int | None = None
) -> Floats | None:
    """The cells of a pair, float32 (GRID**2,); None where the reference shows too little of the target.

    `located` is what registration found. Pictures of one size are compared as they are, too. With a `max_error` no
    sample may be off by more levels: then likeness is worth nothing, and what is equal is worth all that it takes.
    """
    found = []
    if max_error is not None:
        if located is not None:
            found.append(_equal_cells(target.grey, located.grey, located.covered, max_error + RESAMPLED))
    elif located is not None:
        cells = _cells(target.grey, located.grey, located.covered)
        # A homography alone misses by a pixel here and there what the mesh will mend: half of the guess is coverage.
        trust = trust_of(located.psnr_db) * _cells(target.grey, target.grey, located.covered)
        found.append((cells + trust) / 2)
    if target.size == reference.size and target.grey.shape == reference.grey.shape:
        everywhere = np.ones(target.grey.shape, dtype=np.bool_)
        if max_error is not None:
            found.append(_equal_cells(target.grey, reference.grey, everywhere, max_error))
        else:
            found.append(_cells(target.grey, reference.grey, everywhere))
    best = max(found, key=lambda cells: float(cells.sum()), default=None)
    return best if best is not None and best.sum() >= LEAST_SHARE else None


def trust_of(psnr_db: float) -> float:
    """0 for a reference that agrees no better than a flat one, 1 from 10 dB above that."""
    return min(1.0, max(0.0, (psnr_db - POLICY.flat_db + 5.0) / 10.0))


def worth_of(located: Located) -> float:
    """How much of a picture another one shows, 0..1, less where they agree badly there."""
    return located.coverage * trust_of(located.psnr_db)


def _cells(target: Grey, reference: Grey, covered: npt.NDArray[np.bool_]) -> Floats:
    """Of each square, the share of the whole target's detail that the reference shows there.

    Detail is what a square costs, about the logarithm of its variance above the noise; beside a reference it costs the
    logarithm of what is left of the error.
    """
    ours = target.astype(np.float32)
    detail = np.square(ours - cv2.blur(ours, (9, 9)))
    error = np.where(covered, np.square(ours - reference), detail)
    before, after = _squares(detail), _squares(error)
    saved = np.log((before + NOISE) / (np.minimum(after, before) + NOISE))
    total = float(np.log((before + NOISE) / NOISE).sum())
    if total <= 0:
        return np.zeros(GRID**2, dtype=np.float32)
    cells: Floats = (saved.reshape(GRID, FINER, GRID, FINER).sum(axis=(1, 3)).ravel() / total).astype(np.float32)
    return cells


def _equal_cells(target: Grey, reference: Grey, covered: npt.NDArray[np.bool_], most_error: float) -> Floats:
    """As `_cells`, of squares alone in which no level is further off than the error."""
    ours = target.astype(np.float32)
    detail = _squares(np.square(ours - cv2.blur(ours, (9, 9))))
    is_off = ~covered | (cv2.absdiff(target, reference) > most_error)
    taken = np.log((detail + NOISE) / NOISE)
    saved = np.where(_squares(is_off.astype(np.float32)) > 0, 0, taken)
    total = float(taken.sum())
    if total <= 0:
        return np.zeros(GRID**2, dtype=np.float32)
    cells: Floats = (saved.reshape(GRID, FINER, GRID, FINER).sum(axis=(1, 3)).ravel() / total).astype(np.float32)
    return cells


def _squares(values_HW: Floats) -> Floats:
    """The means over squares, `FINER` a side of each square of the grid, (GRID * FINER, GRID * FINER)."""
    side = GRID * FINER
    means: Floats = cv2.resize(values_HW.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA).astype(
        np.float32
    )
    return means
