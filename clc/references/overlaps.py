"""Which pictures of a collection overlap, and which of them should be the key pictures of the others.

Strips, bursts and scans come in the order of their names, so that a picture's partners are among its neighbours: each
picture is registered against `reach` pictures on either side, which is linear in the collection. Called by training
(real pairs) and by whoever makes a bundle for a collection.
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


class Overlap(NamedTuple):
    """Picture `target` is partly seen in picture `reference`; `registration` says how."""

    target: int
    reference: int
    registration: Registration

    @property
    def worth(self) -> float:
        """Share of the target that is covered, times the dB by which the reference beats a flat prediction."""
        return self.registration.coverage * max(0.0, self.registration.psnr_db - POLICY.flat_db)


def find_overlaps(
    pictures: Sequence[Picture], reach: int = REACH, least_coverage: float = POLICY.overlap_coverage
) -> list[Overlap]:
    """All overlaps of pictures at most `reach` apart in their order, uint8 (H, W, 3) each."""
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
    """The `count` of so many pictures that are worth most to all, by greedy choice; ascending.

    A picture takes its best reference among the chosen; a chosen one has itself. Raises `InputError` for a count that
    is not within 1 and the number of pictures.
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
