"""Which way a picture is coded at a goal: latents of a bundle's model, AVIF, or exact samples, by what each one costs.

    quality      the transform, as long as it suits the picture; else what costs least (rate + lambda * distortion)
                 without falling short of what photographs get (`clc.codec.ways.suitability`); of a page with
                 photographs in it these may go by the transform, and the rest another way (`clc.codec.ways.compound`)
    target_psnr  the fewest bytes that reach it
    max_error    exact samples (`clc.codec.ways.exact`)

Photographs are what the transform was trained on: there the other ways are not tried, and streams stay what they were.
Whether it suits one is measured on windows of the encoder's own decode, and on all of it where that looks doubtful.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from clc.bitstream.container import with_sections
from clc.bitstream.embedding import Embedding, Reason
from clc.bitstream.sections import Section
from clc.codec.beside import checked_alpha, sections_of
from clc.codec.effort import effort_of
from clc.codec.embedded import sealed
from clc.codec.search.contest import UNALIGNED
from clc.codec.search.selection import References, Search, checked_references
from clc.codec.ways.avif_search import TRIAL_SPEED, AvifSearch, Trial, speed_of, start_of
from clc.codec.ways.compound import Compound
from clc.codec.ways.goal import DEFAULT_QUALITY, Goal
from clc.codec.ways.psnr_control import reach
from clc.codec.ways.sample import sample_of
from clc.codec.ways.suitability import (
    TRANSFORM_BEST_PSNR,
    is_photograph,
    least_psnr,
    photographs_psnr,
    psnr_of,
    squared_error_of,
)
from clc.codec.ways.way import Way
from clc.errors import CorruptStream, InputError
from clc.payloads import avif
from clc.payloads.exact import Payload, exact_payload, payload_within
from clc.pictures.metadata import NO_METADATA, Metadata
from clc.pictures.picture import Picture, Plane
from clc.quality import STEPS_PER_QUALITY, from_q6, rate_distortion_lambda, to_q6

if TYPE_CHECKING:
    from clc.codec.encoding import Attempt, Encoding

logger = logging.getLogger(__name__)

_DOUBTFUL_DB = 2.0
MOST_REFINED = 1.4
"""How much more a graphic may cost by the transform, before references and refinement are tried, to be coded with them:
they save less than a third."""

_SURELY = 1.2
"""By how much a sample of windows may mislead about what the whole picture costs one way and the other."""

_MOST_SAVED = 1.1
"""How much more exact samples may take than the best way costs, for trying all that WebP has: that saves up to 4 %."""

_STEP_ERRORS = (1, 2)
"""Steps that are tried for a PSNR: they give 49.9 and 45.1 dB where samples are spread evenly."""


Learned = Callable[[int], "Attempt"]
"""Codes a picture with a bundle's model at a quality x 64."""


def searched(encoding: Encoding, references: References, effort: int) -> Learned:
    """What codes a picture beside what a search of the bundle's dictionary finds; see `Codec.encode`."""
    search = Search(checked_references(references), None, effort_of(effort))
    return lambda quality_q6: encoding.best_of(encoding.proposals(search, quality_q6), quality_q6, search.effort)


class Compared(NamedTuple):
    """How a sample of a graphic fares: what the transform costs over what AVIF does, and the transform's PSNR in dB."""

    ratio: float
    psnr: float


class Choice:
    """One picture, with alpha and metadata, and the ways to code it; see the module.

    `learned` codes it with the bundle's model, `effort` is 0 to 9. `most_saved` is the largest ratio between what the
    plain latents cost and what `learned` does; 1 says that it gives these. Raises `InputError` for an alpha plane of
    another shape or dtype, and over metadata, as `sections_of` does.
    """

    def __init__(
        self,
        encoding: Encoding,
        learned: Learned,
        effort: int,
        alpha_HW: Plane | None = None,
        metadata: Metadata = NO_METADATA,
        most_saved: float = MOST_REFINED,
    ) -> None:
        self.image_HW3: Picture = encoding.image_HW3
        self._encoding, self._learned, self._effort = encoding, learned, effort
        self._most_saved = most_saved
        size = self.image_HW3.shape[0], self.image_HW3.shape[1]
        self._alpha_HW = checked_alpha(alpha_HW, size)
        self._sections: tuple[Section, ...] = sections_of(self._alpha_HW, metadata, size)
        self._pixels = size[0] * size[1]
        self.is_photograph = is_photograph(self.image_HW3)
        self._avif: AvifSearch | None = None
        self._compared: dict[int, Compared | None] = {}
        self._compound = Compound(encoding, effort, self._sections)

    def encode(self, goal: Goal) -> bytes:
        """The stream for a quality or a PSNR."""
        if goal.target_psnr is not None:
            return self.at_psnr(goal.target_psnr)
        return self.at_quality(DEFAULT_QUALITY if goal.quality is None else goal.quality)

    def at_quality(self, quality: float) -> bytes:
        """The stream with the least rate + lambda * distortion that does not fall short; see the module."""
        found = self.best_at(to_q6(quality))
        return found.data if isinstance(found, Way) else with_sections(found.data, self._sections)

    def best_at(self, quality_q6: int, lost: Reason | None = None) -> Attempt | Way:
        """As `at_quality`, at a quality x 64: the attempt of the transform, without sections, where that is kept.

        `lost` is why a graphic went another way at a lower quality, where that is known: then so it does here.
        """
        quality = from_q6(quality_q6)
        least, trade = least_psnr(quality), rate_distortion_lambda(quality)
        if not self.is_photograph:
            reason = self._why_lost(quality_q6, least) if lost is None else lost
            if reason is not None:
                return self._cheapest_other(Embedding(reason, quality_q6), trade, least)
        attempt = self._learned(quality_q6) if self.is_photograph else self._encoding.code(quality_q6, UNALIGNED)
        if self._suits(attempt, quality):
            return attempt
        learned = self._way_of(attempt)
        reason = Reason.CHEAPER if learned.psnr >= least else Reason.FALLS_SHORT
        best = self._cheapest_other(Embedding(reason, quality_q6), trade, least)
        most = MOST_REFINED if self.is_photograph else self._most_saved
        if learned.psnr >= least - _DOUBTFUL_DB and self._cost(learned, trade) <= most * self._cost(best, trade):
            if not self.is_photograph:
                attempt = self._finished(attempt, quality_q6)
                learned = self._way_of(attempt)
            if learned.psnr >= least and self._cost(learned, trade) <= self._cost(best, trade):
                return attempt
        return best

    def _finished(self, attempt: Attempt, quality_q6: int) -> Attempt:
        """The picture coded with all that the encoder may try, from plain latents."""
        if self._most_saved > 1:
            return self._learned(quality_q6)
        self._encoding.check_decodes(attempt)
        return attempt

    def _why_lost(self, quality_q6: int, least: float) -> Reason | None:
        """Why a graphic goes another way, where a sample of its windows tells; None where the transform may win."""
        compared = self.compared(quality_q6)
        if compared is None or compared.ratio < _SURELY * self._most_saved:
            return None
        return Reason.CHEAPER if compared.psnr >= least else Reason.FALLS_SHORT

    def compared(self, quality_q6: int) -> Compared | None:
        """The transform beside AVIF on windows of the picture, at a quality x 64; None where nothing tells."""
        if quality_q6 not in self._compared:
            windows_HW3 = sample_of(self.image_HW3) if avif.can_write() else None
            self._compared[quality_q6] = None if windows_HW3 is None else self._compare(windows_HW3, quality_q6)
        return self._compared[quality_q6]

    def _compare(self, windows_HW3: Picture, quality_q6: int) -> Compared | None:
        quality, encoding = from_q6(quality_q6), self._encoding.of_part(windows_HW3)
        trade, search = rate_distortion_lambda(quality), AvifSearch(windows_HW3, TRIAL_SPEED)
        try:
            found = search.cheapest(trade, start_of(quality))
        except (InputError, CorruptStream):  # there is nothing to compare with
            return None
        attempt = encoding.code(quality_q6, UNALIGNED)
        squared_error = encoding.squared_error(attempt)
        ratio = (attempt.bpp + trade * squared_error) / search.cost(found.quality, trade)
        return Compared(ratio, psnr_of(squared_error))

    def _cheapest_other(self, embedding: Embedding, trade: float, least: float) -> Way:
        """AVIF where it costs least, exact samples, searched thoroughly where they may win, or a compound of ways."""
        ways = self._by_avif(embedding, lambda: self._avif_at(trade, from_q6(embedding.value), least))
        avif_quality = ways[0].avif_quality if ways else None
        ways = [way for way in ways if way.psnr >= least]
        most_bytes = min((self._cost(way, trade) * self._pixels / 8 for way in ways), default=math.inf)
        payload = exact_payload(self.image_HW3, self._alpha_HW, worth_bytes=_MOST_SAVED * most_bytes)
        ways.append(self._exact(embedding, payload))
        best = min(ways, key=lambda way: self._cost(way, trade))
        most_bytes = self._cost(best, trade) * self._pixels / 8
        compound = self._compound.best_at(embedding, least, avif_quality, _MOST_SAVED * most_bytes)
        return best if compound is None else min(best, compound, key=lambda way: self._cost(way, trade))

    def _cost(self, way: Way, trade: float) -> float:
        """Rate + lambda * distortion, bits a pixel."""
        return way.cost(self._pixels, trade)

    def at_psnr(self, psnr: float) -> bytes:
        """The stream of the fewest bytes that was found with at least a PSNR in dB; without loss where nothing has."""
        embedding = Embedding(Reason.TARGET_PSNR, round(psnr * STEPS_PER_QUALITY))
        ways = []
        learned = reach(self._learned_way, psnr)
        if learned is not None:
            ways.append(learned)
            if psnr <= TRANSFORM_BEST_PSNR and self.is_photograph:
                return learned.data
        ways += self._by_avif(embedding, lambda: self._search_avif().reaching(psnr))
        ways.append(self._exact(embedding, exact_payload(self.image_HW3, self._alpha_HW)))
        for step_error in _STEP_ERRORS:
            way = self._exact(embedding, payload_within(self.image_HW3, self._alpha_HW, step_error))
            if way.psnr < psnr:
                break
            ways.append(way)
        return min(ways, key=lambda way: len(way.data)).data

    def _learned_way(self, quality_q6: int) -> Way:
        return self._way_of(self._learned(quality_q6))

    def _way_of(self, attempt: Attempt) -> Way:
        return Way(with_sections(attempt.data, self._sections), self._encoding.squared_error(attempt))

    def _suits(self, attempt: Attempt, quality: float) -> bool:
        """Whether the transform does as well on this picture as on the hardest of photographs."""
        if not self.is_photograph:
            return False
        least = photographs_psnr(quality)
        if psnr_of(self._encoding.estimated_error(attempt)) >= least + _DOUBTFUL_DB:
            return True
        return psnr_of(self._encoding.squared_error(attempt)) >= least

    def _avif_at(self, trade: float, quality: float, least: float) -> Trial:
        """AVIF where it costs least, or at the least PSNR, in dB, where that falls short of it."""
        search = self._search_avif()
        found = search.cheapest(trade, start_of(quality))
        return found if found.psnr >= least else search.reaching(least) or found

    def _search_avif(self) -> AvifSearch:
        if self._avif is None:
            self._avif = AvifSearch(self.image_HW3, speed_of(self._effort, self._pixels))
        return self._avif

    def _by_avif(self, embedding: Embedding, find: Callable[[], Trial | None]) -> list[Way]:
        """The way of AVIF that is found; none where Pillow lacks it, or its encoder refuses the picture."""
        if not avif.can_write():
            return []
        try:
            found = find()
        except (InputError, CorruptStream) as error:  # the other ways are left, so nothing is lost
            logger.info("avif_left_out reason=%s", error)
            return []
        if found is None:
            return []
        data, _ = sealed(self.image_HW3, None, found.payload, embedding, self._sections)
        return [Way(data, found.squared_error, found.quality)]

    def _exact(self, embedding: Embedding, payload: Payload) -> Way:
        data, decoded_HW3 = sealed(self.image_HW3, self._alpha_HW, payload, embedding, self._sections)
        return Way(data, squared_error_of(decoded_HW3, self.image_HW3))
