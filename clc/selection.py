"""Which references to try for a picture: entries for their tokens, key pictures for their pixels. Encoder only.

Nothing here needs to be the same elsewhere: the entries and the alignments that are chosen travel in the stream. The
codec codes the picture with each proposal and keeps the one with the least rate + lambda * distortion.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple

from clc.alignment import Alignment
from clc.bundle import EntryTable
from clc.configuration import ModelConfig
from clc.effort import DEFAULT, Effort
from clc.errors import InputError
from clc.features import Backbone
from clc.limits import MAX_REFERENCES
from clc.model import Picture
from clc.retrieval import Index, multi_query, open_index, query_vectors

if TYPE_CHECKING:
    from clc.registration import Registrar, Registration

References = Literal["auto", "none", "tokens", "aligned"] | int

MODES = ("auto", "none", "tokens", "aligned")
LEAST_COVERAGE = 0.03
REMEMBERED = 8


class Choice(NamedTuple):
    """Dictionary entries of a stream; the first len(alignments) of them are aligned, the others give tokens."""

    references: tuple[int, ...] = ()
    alignments: tuple[Alignment, ...] = ()


class Selector:
    """Proposes references from the dictionary of a bundle; the model says how many and how they are found."""

    def __init__(
        self, entries: EntryTable, config: ModelConfig, backbone: Backbone, picture_of: Callable[[int], Picture]
    ) -> None:
        self._entries, self._config, self._backbone, self._picture_of = entries, config, backbone, picture_of
        self._found: dict[tuple[object, ...], list[Choice]] = {}

    @cached_property
    def _index(self) -> Index:
        return open_index(self._entries.keys)

    @cached_property
    def _registrar(self) -> Registrar:
        # Loaded on first use: OpenCV is for encoding beside key pictures only.
        from clc.registration import Registrar

        return Registrar(self._picture_of)

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
        located = []
        for entry in [entry for entry in ranked if entry in self._entries.pictures][: effort.registered]:
            found = self._registrar.locate(image_HW3, entry)
            if found is not None and found.coverage >= LEAST_COVERAGE:
                located.append((entry, found))
        located.sort(key=lambda pair: -_worth(pair[1]))
        refined = [(e, self._registrar.refine(image_HW3, e, found)) for e, found in located[: effort.aligned]]
        refined.sort(key=lambda pair: -_worth(pair[1]))
        return [_choice(refined[:count]) for count in range(1, len(refined) + 1)]


def _choice(fitting: Sequence[tuple[int, Registration]]) -> Choice:
    return Choice(tuple(entry for entry, _ in fitting), tuple(found.alignment for _, found in fitting))


def _worth(registration: Registration) -> float:
    """A guess at the bits saved: the covered share times the bits by which it beats a flat prediction (about 20 dB)."""
    return registration.coverage * max(1.0, registration.psnr_db - 20.0)


def _is_count(references: object) -> bool:
    return isinstance(references, int) and 0 <= references <= MAX_REFERENCES
