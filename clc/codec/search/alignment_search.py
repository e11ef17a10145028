"""Which pictures to align to a picture that is coded, and how they are laid over one another. Encoder only.

`clc.codec.search.selection` asks for the key pictures of a dictionary, `clc.archive` for the streams of an archive.
This file needs OpenCV, so it is loaded by encoding beside reference pictures alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from clc.bitstream.stream import Reference
from clc.codec.search.contest import Choice
from clc.pictures.picture import Picture
from clc.references.key_pictures import PictureSource, WarpedKeyPictures
from clc.references.policy import POLICY, ReferencePolicy
from clc.references.registration import (
    Keypoints,
    Located,
    Registrar,
    Registration,
    detail_db,
    find_keypoints,
)


class Sought(Protocol):
    """The picture that is coded: `clc.codec.encoding.Encoding`."""

    image_HW3: Picture
    warped: WarpedKeyPictures


class AlignmentSearch:
    """Registers a picture against reference pictures, whose keypoints it keeps. Threads may share it."""

    def __init__(self, pictures: PictureSource, policy: ReferencePolicy = POLICY) -> None:
        self._registrar, self._policy = Registrar(pictures, torch.get_num_threads()), policy

    def choices(self, sought: Sought, candidates: Sequence[Reference], at_most: int) -> list[Choice]:
        """Choices with the best of `candidates` aligned, the best two, and so on, to `at_most`.

        Each shows what those before leave uncovered. Candidates are entries of a dictionary, or ids of streams; those
        that are likeliest come first.
        """
        detail = detail_db(sought.image_HW3)
        chosen = self._located(find_keypoints(sought.image_HW3), candidates, (at_most, detail))
        refined = self._registrar.refine(sought.image_HW3, chosen, sought.warped)
        fitting = [(entry, found) for (entry, _), found in zip(chosen, refined, strict=True)]
        fitting.sort(key=lambda pair: -_worth(pair[1].coverage, pair[1].psnr_db))
        is_sure = [self._is_sure(found, detail) for _, found in fitting]
        masks = {entry: found.covered for entry, found in chosen}
        return [self._choice(fitting[:count], masks, all(is_sure[:count])) for count in range(1, len(fitting) + 1)]

    def _is_sure(self, found: Registration, detail: float) -> bool:
        """Whether a reference saves bytes for certain. What covers a picture in parts is near it by being chosen so."""
        return found.alignment.regions is None and found.psnr_db >= detail + self._policy.sure_db

    def _choice(
        self,
        fitting: Sequence[tuple[Reference, Registration]],
        masks: Mapping[Reference, npt.NDArray[np.bool_]],
        is_sure: bool,
    ) -> Choice:
        coverage = float(np.logical_or.reduce([masks[reference] for reference, _ in fitting]).mean())
        alignments = tuple(found.alignment for _, found in fitting)
        entries = tuple(reference for reference, _ in fitting if isinstance(reference, int))
        streams = tuple(reference for reference, _ in fitting if isinstance(reference, bytes))
        return Choice(entries, alignments, coverage, is_sure and coverage >= self._policy.sure_coverage, streams)

    def _located(
        self, target: Keypoints, candidates: Sequence[Reference], wanted: tuple[int, float]
    ) -> list[tuple[Reference, Located]]:
        """The candidates to lay over one another; `wanted` are how many at most, and a PSNR in dB.

        The search ends early once candidates that agree with the picture at that PSNR cover nearly all of it.
        """
        at_most, least_db = wanted
        found: list[tuple[Reference, Located]] = []
        chosen: list[tuple[Reference, Located]] = []
        for first in range(0, len(candidates), self._policy.located_at_once):
            some = candidates[first : first + self._policy.located_at_once]
            located = zip(some, self._registrar.locate(target, some), strict=True)
            found += [(reference, one) for reference, one in located if one is not None]
            chosen = covering(found, at_most)
            good = [one.covered for _, one in chosen if one.psnr_db >= least_db]
            if good and np.logical_or.reduce(good).mean() >= self._policy.nearly_all:
                break
        return chosen


def covering(located: Sequence[tuple[Reference, Located]], at_most: int) -> list[tuple[Reference, Located]]:
    """The references to lay over one another: each is the one that is worth most where those before it do not cover.

    At most `at_most`, and none that adds less than `added_coverage` of the picture; equal ones in the order given.
    """
    chosen: list[tuple[Reference, Located]] = []
    while len(chosen) < at_most:
        added = [_added(found, chosen) for _, found in located]
        worth = [_worth(share, found.psnr_db) for share, (_, found) in zip(added, located, strict=True)]
        worth = [value if share >= POLICY.added_coverage else 0.0 for value, share in zip(worth, added, strict=True)]
        if not any(worth):
            break
        chosen.append(located[worth.index(max(worth))])
    return chosen


def _added(found: Located, chosen: Sequence[tuple[Reference, Located]]) -> float:
    """The share of the picture that `found` covers and none of `chosen` does."""
    new = found.covered.copy()
    for _, before in chosen:
        new &= ~before.covered
    return float(new.mean())


def _worth(coverage: float, psnr_db: float) -> float:
    """A guess at the bits saved: the covered share times the dB by which it beats a flat prediction, at least 1."""
    return coverage * max(1.0, psnr_db - POLICY.flat_db)
