"""Which references to try for a picture: entries for their tokens, key pictures for their pixels. Encoder only.

`Selector.propose` finds the choices that are worth coding; `clc.codec.search.contest.cheapest` codes the picture with
them and keeps one. The entries and alignments of that one travel in the stream, so nothing here needs to be exact.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, cast

from clc.bundle.bundle import BundleEntries
from clc.codec.effort import DEFAULT, Effort
from clc.codec.search.contest import Choice
from clc.errors import InputError
from clc.limits import MAX_REFERENCES
from clc.model.config import ModelConfig
from clc.pictures.picture import Picture
from clc.references.key_pictures import PictureSource, WarpedKeyPictures
from clc.references.policy import POLICY, ReferencePolicy
from clc.retrieval.descriptors import CodecDescriptor, Descriptor, FeatureMapper
from clc.retrieval.index import Index, multi_query, open_index, query_vectors

if TYPE_CHECKING:
    from clc.codec.search.alignment_search import AlignmentSearch

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
        self._made_search: AlignmentSearch | None = None

    @property
    def _index(self) -> Index:
        if self._opened_index is None:
            self._opened_index = open_index(self._entries.keys)
        return self._opened_index

    @property
    def _alignment_search(self) -> AlignmentSearch:
        if self._made_search is None:
            # Loaded on first use: OpenCV is for encoding beside key pictures only.
            from clc.codec.search.alignment_search import AlignmentSearch

            self._made_search = AlignmentSearch(self._pictures, self._policy)
        return self._made_search

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
        candidates = [entry for entry in ranked if entry in self._entries.pictures][: effort.registered]
        aligned: list[Choice] = []
        if candidates and effort.aligned:
            aligned = self._alignment_search.choices(sought, candidates, min(effort.aligned, at_most))
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
