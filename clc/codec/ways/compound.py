"""A page with photographs in it: these by the transform, each a rectangle, and all else by AVIF or without loss.

    where photographs lie (`clc.codec.ways.photographs`)
    -> what each costs by the transform, and about what by AVIF, at one lambda; those that the transform codes for less
    -> the page with one colour in their place -> AVIF, or exact samples -> container version 7

Both parts are coded at the same lambda, so a quality means in both what it means elsewhere. Nothing is estimated in the
end: the whole stream is measured as all other ways are, and taken where it costs less than each of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from clc.bitstream.embedding import Embedding
from clc.bitstream.insets import Inset
from clc.codec.effort import effort_of
from clc.codec.embedded import Insets, sealed
from clc.codec.search.contest import UNALIGNED
from clc.codec.ways.avif_search import AvifSearch, Trial, speed_of
from clc.codec.ways.photographs import photographs_in
from clc.codec.ways.suitability import squared_error_of
from clc.codec.ways.way import Way
from clc.errors import CorruptStream, InputError
from clc.payloads.exact import Payload, exact_payload
from clc.pictures.picture import Picture
from clc.quality import from_q6, rate_distortion_lambda

if TYPE_CHECKING:
    from clc.bitstream.sections import Section
    from clc.codec.encoding import Encoding

_INSET_BITS = 8.0 * 18
"""About what an inset takes beside its payload."""

_MOST_COVERED = 0.95
"""What insets cover of a picture at most: there is no page around more."""


class _Coded(NamedTuple):
    """A rectangle by the transform: the inset, what it decodes to, and its mean squared error times its pixels."""

    inset: Inset
    decoded_HW3: Picture
    squared_error: float

    def cost(self, trade: float) -> float:
        """Rate + `trade` * distortion, bits."""
        return 8 * len(self.inset.payload) + _INSET_BITS + trade * self.squared_error


class Compound:
    """One picture as a page with photographs in it; `effort` is 0 to 9, `sections` are what stands beside its colours.

    Where photographs lie is found once, however often it is coded.
    """

    def __init__(self, encoding: Encoding, effort: int, sections: Sequence[Section]) -> None:
        self._encoding, self._effort, self._sections = encoding, effort, tuple(sections)
        self._image_HW3: Picture = encoding.image_HW3
        self._pixels = self._image_HW3.shape[0] * self._image_HW3.shape[1]

    def best_at(
        self, embedding: Embedding, least_psnr: float, avif_quality: int | None, most_bytes: float
    ) -> Way | None:
        """The stream with the least rate + lambda * distortion at the embedding's quality x 64.

        `avif_quality` is that at which AVIF does best on the whole picture, None where Pillow has none; over exact
        samples of more than `most_bytes` no time is spent. None where the transform shows no rectangle for less, or
        all falls short of `least_psnr`, dB.
        """
        quality_q6 = embedding.value
        trade = rate_distortion_lambda(from_q6(quality_q6))
        found = [self._coded(*part, quality_q6) for part in self._parts]
        kept = [one for one in found if one.cost(trade) < self._cost_by_avif(one.inset, trade, avif_quality)]
        if not kept:
            return None
        insets = Insets(self._encoding.bundle.id_bytes, tuple(one.inset for one in kept))
        page_HW3 = blanked(self._image_HW3, insets.insets)

        def completed(decoded_HW3: Picture) -> Picture:
            whole = decoded_HW3.copy()
            for one in kept:
                whole[one.inset.rows, one.inset.columns] = one.decoded_HW3
            return whole

        payloads = [exact_payload(page_HW3, worth_bytes=most_bytes)]
        if avif_quality is not None:
            payloads += self._by_avif(page_HW3, completed, trade, avif_quality, least_psnr)
        ways = []
        for payload in payloads:
            data, decoded_HW3 = sealed(page_HW3, None, payload, embedding, self._sections, insets=insets)
            ways.append(Way(data, squared_error_of(completed(decoded_HW3), self._image_HW3)))
        ways = [way for way in ways if way.psnr >= least_psnr]
        return min(ways, key=lambda way: way.cost(self._pixels, trade), default=None)

    @cached_property
    def _parts(self) -> list[tuple[int, int, Encoding]]:
        """Left and top of each rectangle that may be an inset, and what codes it."""
        found = photographs_in(self._image_HW3)
        if sum(one.area for one in found) > _MOST_COVERED * self._pixels:
            return []
        return [(one.left, one.top, self._encoding.of_part(self._at(one.rows, one.columns))) for one in found]

    def _at(self, rows: slice, columns: slice) -> Picture:
        part_HW3: Picture = np.ascontiguousarray(self._image_HW3[rows, columns])
        return part_HW3

    def _coded(self, left: int, top: int, part: Encoding, quality_q6: int) -> _Coded:
        """A rectangle by the transform, without references."""
        attempt = part.best_of([UNALIGNED], quality_q6, effort_of(self._effort))
        stream, decoded_HW3 = attempt.stream, part.picture(attempt)
        inset = Inset(left, top, stream.width, stream.height, quality_q6, stream.latents_crc32, stream.payload)
        return _Coded(inset, decoded_HW3, _pixels_of(decoded_HW3) * squared_error_of(decoded_HW3, part.image_HW3))

    def _cost_by_avif(self, inset: Inset, trade: float, avif_quality: int | None) -> float:
        """About what the rectangle of an inset costs as AVIF at the quality that suits the whole, bits.

        Coded fast it costs some per cent more than slowly. That is about what it costs more within a page than by
        itself, because an encoder of AV1 has one set of parameters for both.
        """
        if avif_quality is None:
            return math.inf
        part_HW3 = self._at(inset.rows, inset.columns)
        try:
            coded = AvifSearch(part_HW3, self._speed).coded_fast(avif_quality)
        except (InputError, CorruptStream):  # then it is for the whole to show
            return math.inf
        return 8 * len(coded.payload.data) + trade * _pixels_of(part_HW3) * coded.squared_error

    def _by_avif(
        self, page_HW3: Picture, completed: Callable[[Picture], Picture], trade: float, start: int, least_psnr: float
    ) -> list[Payload]:
        """The page as AVIF where the whole costs least, or has the least PSNR, dB; none where that is refused."""
        search = AvifSearch(self._image_HW3, self._speed, page_HW3, completed)
        try:
            found: Trial | None = search.cheapest(trade, start)
            if found is not None and found.psnr < least_psnr:
                found = search.reaching(least_psnr)
        except (InputError, CorruptStream):  # the page without loss is left, and all other ways
            return []
        return [] if found is None else [found.payload]

    @property
    def _speed(self) -> int:
        return speed_of(self._effort, self._pixels)


def blanked(image_HW3: Picture, insets: Sequence[Inset]) -> Picture:
    """Return a picture in which each inset has the most frequent colour of the pixels around it."""
    page_HW3 = image_HW3.copy()
    for inset in insets:
        rows = slice(max(0, inset.top - 1), inset.top + inset.height + 1)
        columns = slice(max(0, inset.left - 1), inset.left + inset.width + 1)
        is_around = np.ones(page_HW3[rows, columns].shape[:2], np.bool_)
        is_around[inset.top - rows.start :, inset.left - columns.start :][: inset.height, : inset.width] = False
        around = image_HW3[rows, columns][is_around]
        if len(around):
            colours, counts = np.unique(around, axis=0, return_counts=True)
            page_HW3[inset.rows, inset.columns] = colours[counts.argmax()]
    return page_HW3


def _pixels_of(image_HW3: Picture) -> int:
    return image_HW3.shape[0] * image_HW3.shape[1]
