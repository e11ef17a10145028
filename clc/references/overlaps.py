"""Which pictures of a collection overlap, and which of them should be the key pictures of the others.

Training finds its real pairs here; `flows.train` and `clc.codec.cli.collect` choose key pictures. Strips, bursts and
scans are named in the order in which they were taken, so that the pictures that overlap are neighbours: each is
registered against `reach` pictures on either side, and the time is linear in the number of pictures.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from clc.errors import InputError
from clc.pictures.picture import Picture
from clc.references.key_pictures import PicturesInMemory
from clc.references.policy import POLICY
from clc.references.registration import Registrar, Registration

logger = logging.getLogger(__name__)

REACH = 6
"""Pictures on either side of a picture, in the order of the collection, that it is registered against."""


class Overlap(NamedTuple):
    """A picture `target` and a picture `reference` of a collection, by index, that show a part of the same scene."""

    target: int
    reference: int
    registration: Registration

    @property
    def worth(self) -> float:
        """Gain in dB: PSNR of the warped reference above that of a flat prediction, times the covered share."""
        return self.registration.coverage * max(0.0, self.registration.psnr_db - POLICY.flat_db)


def find_overlaps(
    pictures: Sequence[Picture], reach: int = REACH, least_coverage: float = POLICY.overlap_coverage
) -> list[Overlap]:
    """All overlaps of pictures, uint8 (H, W, 3) each, that are at most `reach` apart in their order.

    `least_coverage` is the least share of the target, 0..1, that the reference must cover.
    """
    registrar = Registrar(PicturesInMemory(pictures))
    overlaps = []
    for target, picture in enumerate(pictures):
        for reference in range(max(0, target - reach), min(len(pictures), target + reach + 1)):
            found = registrar.register(picture, reference) if reference != target else None
            if found is not None and found.coverage >= least_coverage:
                overlaps.append(Overlap(target, reference, found))
    logger.info("overlaps_found pictures=%d overlaps=%d", len(pictures), len(overlaps))
    return overlaps


def choose_key_pictures(overlaps: Sequence[Overlap], pictures: int, count: int) -> list[int]:
    """The indexes of `count` key pictures, ascending, of a collection of so many `pictures`.

    They are chosen greedily, one by one, for the largest sum of `Overlap.worth` when every picture takes its best
    reference among those chosen; a chosen picture is its own reference. Raises `InputError` for a count outside
    1..`pictures`.
    """
    if not 1 <= count <= pictures:
        raise InputError(f"{count} key pictures asked for, from {pictures} pictures: say 1 to {pictures}")
    worth = np.zeros((pictures, pictures))
    for overlap in overlaps:
        worth[overlap.target, overlap.reference] = overlap.worth
    np.fill_diagonal(worth, POLICY.key_picture_worth)
    chosen: list[int] = []
    best = np.zeros(pictures)
    for _ in range(count):
        gains = np.maximum(worth - best[:, None], 0.0).sum(axis=0)
        gains[chosen] = -1.0
        chosen.append(int(gains.argmax()))
        best = np.maximum(best, worth[:, chosen[-1]])
    return sorted(chosen)
