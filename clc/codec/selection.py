"""Which references to try for a picture: entries for their tokens, key pictures for their pixels. Encoder only.

`Selector.propose` finds the choices that are worth coding; `clc.codec.contest.cheapest` codes the picture with them and
keeps one. The entries and alignments of that one travel in the stream, so nothing here needs to be exact.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, cast

import numpy as np
import numpy.typing as npt
import torch

from clc.bundle.bundle import BundleEntries
from clc.codec.contest import Choice
from clc.codec.effort import DEFAULT, Effort
from clc.errors import InputError
from clc.limits import MAX_REFERENCES
from clc.model.config import ModelConfig
from clc.pictures.picture import Picture
from clc.references.key_pictures import PictureSource, WarpedKeyPictures
from clc.references.policy import POLICY, ReferencePolicy
from clc.retrieval.descriptors import CodecDescriptor, Descriptor, FeatureMapper
from clc.retrieval.index import Index, multi_query, open_index, query_vectors

if TYPE_CHECKING:
    from clc.references.registration import Keypoints, Located, Registrar, Registration

References = Literal["auto", "none", "tokens", "aligned"] | int

MODES = ("auto", "none", "tokens", "aligned")
REMEMBERED = 8
"""Searches whose results are kept."""


class Search(NamedTuple):
    """What the search for references may do.

    `references` as in `clc.codec.codec.Codec.encode`; `entries` restricts the search to these dictionary entries;
    `effort` says how many key pictures are tried, and laid over one another.
    """

    references: References = "auto"
    entries: tuple[int, ...] | None = None
    effort: Effort = DEFAULT


def checked_references(references: object) -> References:
    """Return which references a caller allows; raises `InputError` for what is no mode and no number of references."""
    if isinstance(references, str) and references in MODES:
        return cast(References, str(references))
    is_whole = isinstance(references, Integral) and not isinstance(references, bool)
    if is_whole and 0 <= int(cast(int, references)) <= MAX_REFERENCES:
        return int(cast(int, references))
    raise InputError(f"references must be {', '.join(MODES)} or 0..{MAX_REFERENCES}, not {references!r}")


def checked_entries(entries: object) -> tuple[int, ...] | None:
    """Return dictionary entries that a caller names, None for all; raises `InputError` for what are no whole numbers.

    Whether the dictionary has them is for `Selector.propose` to say.
    """
    if entries is None:
        return None
    listed = tuple(entries) if isinstance(entries, Iterable) and not isinstance(entries, str | bytes) else None
    if listed is None or not all(isinstance(one, Integral) and not isinstance(one, bool) for one in listed):
        raise InputError(f"entries must be whole numbers, the indexes of dictionary entries, not {entries!r}")
    return tuple(int(one) for one in listed)


class Sought(FeatureMapper, Protocol):
    """The picture for which references are sought: `clc.codec.encoding.Encoding`."""

    image_HW3: Picture
    warped: WarpedKeyPictures


class Selector:
    """Proposes references from the dictionary of a bundle; the model says how many and how they are found.

    What was found for a picture is kept, because it is often coded at several qualities. Threads may share a selector.
    """

    def __init__(
        self,
        entries: BundleEntries,
        config: ModelConfig,
        pictures: PictureSource,
        *,
        descriptor_of: Callable[[FeatureMapper], Descriptor] = CodecDescriptor,
        policy: ReferencePolicy = POLICY,
    ) -> None:
        """`pictures` are the key pictures of `entries`; `descriptor_of` a picture makes its vectors for the search."""
        self._entries, self._config, self._pictures = entries, config, pictures
        self._descriptor_of, self._policy = descriptor_of, policy
        # No locks: a process that is forked while another thread holds one would wait for it for ever. Two threads may
        # make the same thing once each, and the last one is kept.
        self._found: dict[tuple[object, ...], list[Choice]] = {}
        self._opened_index: Index | None = None
        self._made_registrar: Registrar | None = None

    @property
    def _index(self) -> Index:
        if self._opened_index is None:
            self._opened_index = open_index(self._entries.keys)
        return self._opened_index

    @property
    def _registrar(self) -> Registrar:
        if self._made_registrar is None:
            # Loaded on first use: OpenCV is for encoding beside key pictures only.
            from clc.references.registration import Registrar

            self._made_registrar = Registrar(self._pictures, torch.get_num_threads())
        return self._made_registrar

    def propose(self, sought: Sought, search: Search) -> list[Choice]:
        """The choices worth coding, "no reference" first unless tokens are asked for.

        Raises `InputError` for a mode or an entry that does not exist.
        """
        search = search._replace(references=checked_references(search.references))
        references, entries, effort = search
        if entries is not None and not all(0 <= entry < len(self._entries) for entry in entries):
            raise InputError(f"the dictionary has entries 0..{len(self._entries) - 1}, not {list(entries)}")
        if references == "none" or references == 0 or not effort.registered:
            return [Choice()]
        key = (zlib.crc32(sought.image_HW3.tobytes()), sought.image_HW3.shape, search)
        known = self._found.get(key)
        if known is not None:
            return known
        found = self._search(sought, search)
        self._found[key] = found
        for oldest in list(self._found)[:-REMEMBERED]:
            self._found.pop(oldest, None)
        return found

    def _search(self, sought: Sought, search: Search) -> list[Choice]:
        references, entries, effort = search
        at_most = references if isinstance(references, int) else MAX_REFERENCES
        ranked = self._ranked(sought, entries)
        tokens = Choice(tuple(ranked[: min(self._config.token_references, at_most)]))
        if references == "tokens":
            return [tokens]
        aligned = self._aligned(sought, ranked, effort._replace(aligned=min(effort.aligned, at_most)))
        is_tried = references != "aligned" and tokens.references
        return [Choice(), *([tokens] if is_tried else []), *aligned]

    def _ranked(self, sought: Sought, entries: Sequence[int] | None) -> list[int]:
        """Entries by growing distance of their keys to the picture or, in a multi-query, to its copy turned by 180
        degrees.
        """
        queries = query_vectors(sought.image_HW3, self._descriptor_of(sought), self._entries.reduction)
        queries = queries if self._config.multi_query else queries[:1]
        is_nearest_enough = entries is None and not self._entries.pictures
        count = self._config.references if is_nearest_enough else len(self._entries)
        ranked = [int(entry) for entry in multi_query(self._index, queries, count).indices]
        return ranked if entries is None else [entry for entry in ranked if entry in set(entries)]

    def _aligned(self, sought: Sought, ranked: list[int], effort: Effort) -> list[Choice]:
        """Choices with the best key picture, the best two, and so on; each shows what those before leave uncovered."""
        entries = [entry for entry in ranked if entry in self._entries.pictures][: effort.registered]
        if not entries or not effort.aligned:
            return []
        from clc.references.registration import detail_db, find_keypoints

        detail = detail_db(sought.image_HW3)
        chosen = self._located(find_keypoints(sought.image_HW3), entries, (effort.aligned, detail))
        refined = self._registrar.refine(sought.image_HW3, chosen, sought.warped)
        fitting = [(entry, found) for (entry, _), found in zip(chosen, refined, strict=True)]
        fitting.sort(key=lambda pair: -_worth(pair[1].coverage, pair[1].psnr_db))
        is_sure = [found.psnr_db >= detail + self._policy.sure_db for _, found in fitting]
        masks = {entry: found.covered for entry, found in chosen}
        return [self._choice(fitting[:count], masks, all(is_sure[:count])) for count in range(1, len(fitting) + 1)]

    def _choice(
        self,
        fitting: Sequence[tuple[int, Registration]],
        masks: Mapping[int, npt.NDArray[np.bool_]],
        is_sure: bool,
    ) -> Choice:
        entries = tuple(entry for entry, _ in fitting)
        coverage = float(np.logical_or.reduce([masks[entry] for entry in entries]).mean())
        alignments = tuple(found.alignment for _, found in fitting)
        return Choice(entries, alignments, coverage, is_sure and coverage >= self._policy.sure_coverage)

    def _located(
        self, target: Keypoints, entries: Sequence[int], wanted: tuple[int, float]
    ) -> list[tuple[int, Located]]:
        """The entries to lay over one another; `wanted` are how many at most, and a PSNR in dB.

        The search ends early once entries that agree with the picture at that PSNR cover nearly all of it.
        """
        at_most, least_db = wanted
        found: list[tuple[int, Located]] = []
        chosen: list[tuple[int, Located]] = []
        for first in range(0, len(entries), self._policy.located_at_once):
            some = entries[first : first + self._policy.located_at_once]
            located = zip(some, self._registrar.locate(target, some), strict=True)
            found += [(entry, one) for entry, one in located if one is not None]
            chosen = covering(found, at_most)
            good = [one.covered for _, one in chosen if one.psnr_db >= least_db]
            if good and np.logical_or.reduce(good).mean() >= self._policy.nearly_all:
                break
        return chosen


def covering(located: Sequence[tuple[int, Located]], at_most: int) -> list[tuple[int, Located]]:
    """The entries to lay over one another: each is the one that is worth most where those before it do not cover.

    At most `at_most`, and none that adds less than `added_coverage` of the picture; equal ones in the order given.
    """
    chosen: list[tuple[int, Located]] = []
    while len(chosen) < at_most:
        added = [_added(found, chosen) for _, found in located]
        worth = [_worth(share, found.psnr_db) for share, (_, found) in zip(added, located, strict=True)]
        worth = [value if share >= POLICY.added_coverage else 0.0 for value, share in zip(worth, added, strict=True)]
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


def _worth(coverage: float, psnr_db: float) -> float:
    """A guess at the bits saved: the covered share times the dB by which it beats a flat prediction, at least 1."""
    return coverage * max(1.0, psnr_db - POLICY.flat_db)
