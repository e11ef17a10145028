"""Which references to try for a picture: entries for their tokens, key pictures for their pixels. Encoder only.

Nothing here needs to be the same elsewhere: the entries and the alignments that are chosen travel in the stream.
`Selector.propose` finds what is worth trying; `cheapest` has the codec code the picture with one proposal after the
other and keeps the one with the least rate + lambda * distortion.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from clc.bundle.bundle import EntryTable
from clc.codec.contest import Choice
from clc.codec.effort import DEFAULT, Effort
from clc.errors import InputError
from clc.limits import MAX_REFERENCES
from clc.model.config import ModelConfig
from clc.pictures.picture import Picture
from clc.retrieval.descriptors import Backbone
from clc.retrieval.index import Index, multi_query, open_index, query_vectors

if TYPE_CHECKING:
    from clc.references.registration import Features, Located, Registrar, Registration, WarpEntry

References = Literal["auto", "none", "tokens", "aligned"] | int

MODES = ("auto", "none", "tokens", "aligned")
LEAST_COVERAGE = 0.03
REMEMBERED = 8
SURE_DB, SURE_COVERAGE = 3.0, 0.5
"""Nearer than a coarse copy by so many dB, an aligned key picture saves bytes wherever it covers, at every quality."""
LOCATED_AT_ONCE = 4
NEARLY_ALL = 0.97


class KeyPictures(NamedTuple):
    """How the pixels of an entry's key picture are read, and warped; both may remember."""

    read: Callable[[int], Picture]
    warp: WarpEntry | None = None


class Selector:
    """Proposes references from the dictionary of a bundle; the model says how many and how they are found."""

    def __init__(self, entries: EntryTable, config: ModelConfig, backbone: Backbone, pictures: KeyPictures) -> None:
        self._entries, self._config, self._backbone, self._pictures = entries, config, backbone, pictures
        self._found: dict[tuple[object, ...], list[Choice]] = {}

    @cached_property
    def _index(self) -> Index:
        return open_index(self._entries.keys)

    @cached_property
    def _registrar(self) -> Registrar:
        # Loaded on first use: OpenCV is for encoding beside key pictures only.
        from clc.references.registration import Registrar

        return Registrar(self._pictures.read, torch.get_num_threads(), self._pictures.warp)

    def propose(
        self, image_HW3: Picture, references: References, entries: Sequence[int] | None, effort: Effort = DEFAULT
    ) -> list[Choice]:
        """The choices worth coding, "no reference" first unless tokens are asked for.

        `entries` restricts the search. What was found for a picture is remembered: coding it at several qualities
        searches once. Raises `InputError` for a mode or an entry that does not exist.
        """
        if references not in MODES and not _is_count(references):
            raise InputError(f"references must be {', '.join(MODES)} or 0..{MAX_REFERENCES}, not {references!r}")
        if entries is not None and not all(0 <= entry < len(self._entries) for entry in entries):
            raise InputError(f"the dictionary has entries 0..{len(self._entries) - 1}, not {list(entries)}")
        if references == "none" or references == 0 or not effort.registered:
            return [Choice()]
        named = None if entries is None else tuple(entries)
        key = (zlib.crc32(image_HW3.tobytes()), image_HW3.shape, references, named, effort)
        if key not in self._found:
            self._found[key] = self._search(image_HW3, references, named, effort)
            while len(self._found) > REMEMBERED:
                del self._found[next(iter(self._found))]
        return self._found[key]

    def _search(
        self, image_HW3: Picture, references: References, entries: tuple[int, ...] | None, effort: Effort
    ) -> list[Choice]:
        at_most = references if isinstance(references, int) else MAX_REFERENCES
        ranked = self._ranked(image_HW3, entries)
        tokens = Choice(tuple(ranked[: min(self._config.token_references, at_most)]))
        if references == "tokens":
            return [tokens]
        aligned = self._aligned(image_HW3, ranked, effort._replace(aligned=min(effort.aligned, at_most)))
        is_tried = references != "aligned" and tokens.references
        return [Choice(), *([tokens] if is_tried else []), *aligned]

    def _ranked(self, image_HW3: Picture, entries: Sequence[int] | None) -> list[int]:
        """Entries by growing distance of their keys to the picture and, in a multi-query, its copy turned by half."""
        queries = query_vectors(image_HW3, self._backbone, self._entries.reduction)
        queries = queries if self._config.multi_query else queries[:1]
        is_nearest_enough = entries is None and not self._entries.pictures
        count = self._config.references if is_nearest_enough else len(self._entries)
        ranked = [int(entry) for entry in multi_query(self._index, queries, count).indices]
        return ranked if entries is None else [entry for entry in ranked if entry in set(entries)]

    def _aligned(self, image_HW3: Picture, ranked: list[int], effort: Effort) -> list[Choice]:
        """The best key picture, then the best two and so on; what the first leaves uncovered the next may show."""
        entries = [entry for entry in ranked if entry in self._entries.pictures][: effort.registered]
        if not entries or not effort.aligned:
            return []
        from clc.references.registration import detail_db, find_features

        detail = detail_db(image_HW3)
        chosen = self._located(find_features(image_HW3), entries, (effort.aligned, detail))
        refined = self._registrar.refine(image_HW3, chosen)
        fitting = [(entry, found) for (entry, _), found in zip(chosen, refined, strict=True)]
        fitting.sort(key=lambda pair: -_worth(pair[1].coverage, pair[1].psnr_db))
        is_sure = [found.psnr_db >= detail + SURE_DB for _, found in fitting]
        masks = {entry: found.covered for entry, found in chosen}
        return [_choice(fitting[:count], masks, all(is_sure[:count])) for count in range(1, len(fitting) + 1)]

    def _located(
        self, target: Features, entries: Sequence[int], wanted: tuple[int, float]
    ) -> list[tuple[int, Located]]:
        """The entries to lay over one another, at most the first of `wanted`.

        No more are looked at once these show nearly all of the picture, each at the second of `wanted` in dB.
        """
        at_most, least_db = wanted
        found: list[tuple[int, Located]] = []
        chosen: list[tuple[int, Located]] = []
        for first in range(0, len(entries), LOCATED_AT_ONCE):
            some = entries[first : first + LOCATED_AT_ONCE]
            located = zip(some, self._registrar.locate(target, some), strict=True)
            found += [(entry, one) for entry, one in located if one is not None]
            chosen = covering(found, at_most)
            good = [one.covered for _, one in chosen if one.psnr_db >= least_db]
            if good and np.logical_or.reduce(good).mean() >= NEARLY_ALL:
                break
        return chosen


def covering(located: Sequence[tuple[int, Located]], at_most: int) -> list[tuple[int, Located]]:
    """Entries to lay over one another: each is the one worth most on what those before it leave uncovered.

    At most `at_most`, and none that adds less than `LEAST_COVERAGE` of the picture; equal ones in the order given.
    """
    chosen: list[tuple[int, Located]] = []
    while len(chosen) < at_most:
        added = [_added(found, chosen) for _, found in located]
        worth = [_worth(share, found.psnr_db) for share, (_, found) in zip(added, located, strict=True)]
        worth = [value if share >= LEAST_COVERAGE else 0.0 for value, share in zip(worth, added, strict=True)]
        if not any(worth):
            break
        chosen.append(located[worth.index(max(worth))])
    return chosen


def _added(found: Located, chosen: Sequence[tuple[int, Located]]) -> float:
    """The share of the picture that `found` covers and none of `chosen` does."""
    new = found.covered.copy()
    for _, before in chosen:
        new &= ~before.covered
    return float(new.mean())


def _choice(
    fitting: Sequence[tuple[int, Registration]], masks: Mapping[int, npt.NDArray[np.bool_]], is_sure: bool
) -> Choice:
    entries = tuple(entry for entry, _ in fitting)
    coverage = float(np.logical_or.reduce([masks[entry] for entry in entries]).mean())
    alignments = tuple(found.alignment for _, found in fitting)
    return Choice(entries, alignments, coverage, is_sure and coverage >= SURE_COVERAGE)


def _worth(coverage: float, psnr_db: float) -> float:
    """A guess at the bits saved: the covered share times the bits by which it beats a flat prediction (about 20 dB)."""
    return coverage * max(1.0, psnr_db - 20.0)


def _is_count(references: object) -> bool:
    return isinstance(references, int) and 0 <= references <= MAX_REFERENCES
