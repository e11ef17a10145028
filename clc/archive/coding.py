"""One picture of an archive at the encoder: alone, beside pictures of other streams, or as a picture for others.

`ArchiveCoder` codes with one bundle, or the way that suits a picture better (`clc.codec.ways.choice`). A picture that
others shall refer to is coded so that every machine makes the same pixels of it (`clc.codec.exact_pixels`); where a
value lies too near to a rounding edge, which happens to about one picture in two hundred, the picture is coded again at
a quality that is 1/64 higher.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from clc.archive.pictures import ReferredPictures
from clc.archive.wording import WITHOUT_LOSS_DB
from clc.bitstream.container import parse, stream_id
from clc.bitstream.embedding import EXACT_PROFILES, Reason
from clc.codec.codec import Codec
from clc.codec.effort import effort_of
from clc.codec.encoding import Attempt, Encoding
from clc.codec.search.alignment_search import AlignmentSearch
from clc.codec.search.contest import NO_RIVAL, UNALIGNED, Rival
from clc.codec.search.selection import Selector
from clc.codec.ways.choice import Choice
from clc.codec.ways.copying import Anew, Copying
from clc.codec.ways.exact import encode_exact
from clc.codec.ways.goal import AUTO
from clc.codec.ways.way import Way
from clc.errors import ClcError
from clc.pictures.picture import Picture
from clc.quality import MAX_QUALITY_Q6, from_q6, rate_distortion_lambda
from storage.digest import sha256_bytes

MOST_TRIES = 64
"""Qualities, 1/64 apart, at which a picture for others is tried; that two in a row fail is unlikely already."""

FLOOR_DB = 0.5
"""No picture ends further than this below the PSNR that it has alone at the quality that was asked for."""

_MOST_REFINED = 1.2
"""The largest ratio between what a graphic costs before and after its latents are refined."""

_MUCH_COPIED = 0.9
"""A graphic that costs no more of what it costs alone has much that stands on the same pixels in others."""

_CLEARLY_DEARER = 1.15
_DEARER_IN_PLACE = 1.45
"""How much more the transform must seem to cost a graphic than another way, beside pictures that are registered, and
before they are. What seemed to cost 1.09 and 1.35 times as much has won."""

_RAISED_Q6 = 3 * 64
"""How much the quality is raised at a time where a picture beside others falls below the floor."""

_MOST_DB_PER_Q6 = 2 * 10.2 / MAX_QUALITY_Q6
"""How fast the PSNR of the transform grows with quality at most: twice as fast as that of photographs."""


@dataclass(frozen=True)
class Coded:
    """A coded picture: its stream, quality in 1/64, PSNR in dB of all RGB values, and rate + lambda * distortion.

    `cost` is in bits, at the lambda of the quality that was asked for, whatever it was coded at. `pixels_sha256` is ""
    where the pixels are not made for others to refer to.
    """

    data: bytes
    quality_q6: int
    psnr_db: float
    cost: float
    pixels_sha256: str = ""

    @property
    def id(self) -> bytes:
        """By which other streams refer to this one."""
        return stream_id(self.data)


@dataclass(frozen=True, eq=False)
class Begun:
    """A picture that is being coded: with the bundle's model, in the other ways, and with copies of others' parts."""

    encoding: Encoding
    choice: Choice
    copying: Copying

    @property
    def image_HW3(self) -> Picture:
        """The picture."""
        return self.encoding.image_HW3


class ArchiveCoder:
    """Codes pictures with one bundle, beside pictures of `referred`, or the way that suits each.

    `effort` is 0 to 9. `mode` is `AUTO`, or `LEARNED` for the bundle's model whatever comes of it. With a `max_error`
    no sample is more than so many levels off; then all qualities give the same, and no reference is of use.
    """

    def __init__(
        self,
        codec: Codec,
        referred: ReferredPictures,
        effort: int,
        mode: str = AUTO,
        max_error: int | None = None,
    ) -> None:
        self.referred, self.effort = referred, effort_of(effort)
        self._level, self._mode, self._max_error = effort, mode, max_error
        self._selector = Selector(codec.bundle.entries, codec.bundle.config, referred)
        self._search = AlignmentSearch(referred)
        self._compared: dict[tuple[int, tuple[int, ...], int], float] = {}

    def begin(self, image_HW3: Picture) -> Begun:
        """Begins to code a picture, uint8 (H, W, 3), which may refer to streams."""
        encoding = Encoding(self.referred.decoder, self._selector, image_HW3)
        most_saved = _MOST_REFINED if self.effort.down else 1.0
        choice = Choice(
            encoding, lambda quality_q6: self._learned(encoding, quality_q6), self._level, most_saved=most_saved
        )
        return Begun(encoding, choice, Copying(image_HW3, self.referred, self._level, self._max_error))

    def alone(self, begun: Begun, quality_q6: int, asked_q6: int | None = None, coarser: Coded | None = None) -> Coded:
        """The picture without any reference. `asked_q6` is the quality whose lambda makes the cost, if another.

        `coarser` is the same at a quality that is no higher, where that is known: a graphic that went another way than
        the transform there does so here, for the transform falls behind as quality grows.
        """
        asked_q6 = quality_q6 if asked_q6 is None else asked_q6
        if self._max_error is not None:
            data = encode_exact(begun.image_HW3, self._max_error, effort=self._level)
            return self._embedded(begun, data, quality_q6, asked_q6)
        if self._mode != AUTO:
            return self._coded(begun.encoding, self._learned(begun.encoding, quality_q6), asked_q6)
        is_coarser = coarser is not None and coarser.quality_q6 <= quality_q6
        found = begun.choice.best_at(quality_q6, _why_embedded(coarser) if coarser and is_coarser else None)
        if isinstance(found, Way):
            return self._embedded(begun, found.data, quality_q6, asked_q6)
        return self._coded(begun.encoding, found, asked_q6)

    def beside(self, begun: Begun, quality_q6: int, references: Sequence[bytes], alone: Coded, asked_q6: int) -> Coded:
        """The picture beside the best of some streams, or `alone` where that costs less.

        The result is no more than `FLOOR_DB` below `alone`: its quality is raised until it is not.
        """
        if not self.effort.aligned:
            return alone
        if not _is_embedded(alone):
            return self._aligned(begun, quality_q6, references, alone, asked_q6)
        copied = self._copying(begun, quality_q6, references, alone, asked_q6)
        if _is_without_loss(alone):
            return copied  # the transform does not reach that
        rival = alone if copied.cost >= alone.cost else copied
        seen = None if begun.choice.is_photograph else rival
        learned = self._aligned(begun, quality_q6, references, alone, asked_q6, seen)
        return min(rival, learned, key=lambda coded: coded.cost)

    def _copying(
        self, begun: Begun, quality_q6: int, references: Sequence[bytes], alone: Coded, asked_q6: int
    ) -> Coded:
        """A picture that goes another way, with parts that are copied; as without them where that costs less."""
        if begun.choice.is_photograph:
            return alone
        anew = alone if quality_q6 == asked_q6 else self.alone(begun, quality_q6, asked_q6, alone)
        stream = parse(anew.data)
        if stream.embedding is None:
            return alone
        way = begun.copying.best_of(
            references,
            quality_q6,
            Anew(len(anew.data), self.referred.exactly(anew.data).image_HW3),
            anew.psnr_db - FLOOR_DB,
            is_exact=stream.profile in EXACT_PROFILES and not stream.insets,
        )
        coded = anew if way is None else self._embedded(begun, way.data, quality_q6, asked_q6)
        return coded if coded.cost < anew.cost and coded.psnr_db >= alone.psnr_db - FLOOR_DB else anew

    def _aligned(
        self,
        begun: Begun,
        quality_q6: int,
        references: Sequence[bytes],
        alone: Coded,
        asked_q6: int,
        rival: Coded | None = None,
    ) -> Coded:
        """The picture by the bundle's model beside aligned pictures, see `beside`.

        `rival` is the best of the other ways, of a graphic that goes another way alone. As soon as it is clear that it
        costs less, `alone` is what is returned.
        """
        encoding, copying = begun.encoding, begun.copying
        # Where much is copied, pictures lie on the same pixels, and registration finds little else.
        if rival is not None and rival.cost < _MUCH_COPIED * alone.cost:
            share = copying.least_share_in_place(references, rival.data)
            if self._is_dearer(begun, share / _DEARER_IN_PLACE, alone, rival, asked_q6):
                return alone
        choices = self._search.choices(encoding, references, self.effort.aligned)
        if not choices:
            return alone
        if rival is not None:
            share = copying.least_share(choices, encoding.warped)
            if self._is_dearer(begun, share / _CLEARLY_DEARER, alone, rival, asked_q6):
                return alone
        least_db, raised_q6 = alone.psnr_db - FLOOR_DB, quality_q6
        pixels = encoding.image_HW3.shape[0] * encoding.image_HW3.shape[1]
        while raised_q6 <= MAX_QUALITY_Q6:
            known = alone.cost / pixels if raised_q6 == asked_q6 == alone.quality_q6 else None
            beaten_by = NO_RIVAL if rival is None else Rival(rival.cost / pixels, raised_q6 == asked_q6)
            attempt = encoding.best_of([UNALIGNED, *choices], raised_q6, self.effort, known, beaten_by)
            if beaten_by.beats(attempt.bpp, partial(encoding.cost, attempt)):
                return alone
            coded = self._coded(encoding, attempt, asked_q6)
            if quality_q6 == asked_q6 and coded.cost >= (rival or alone).cost:
                return alone
            if coded.psnr_db >= least_db:
                return coded
            # What is coded another way may have a PSNR far above what the transform has at the same quality.
            least_q6 = 0 if not _is_embedded(alone) else math.ceil((least_db - coded.psnr_db) / _MOST_DB_PER_Q6)
            raised_q6 += max(_RAISED_Q6, least_q6)
        return alone

    def _is_dearer(self, begun: Begun, share: float, alone: Coded, rival: Coded, asked_q6: int) -> bool:
        """Whether a graphic seems to cost more by the transform beside other pictures than it does as `rival`.

        That is told from what the transform costs on a sample of it, and from the share of its bits that its blocks
        take beside these pictures, by the estimate by which they are laid over it.
        """
        known = zlib.crc32(begun.image_HW3.tobytes()), begun.image_HW3.shape, asked_q6
        if known not in self._compared:
            compared = begun.choice.compared(asked_q6)
            self._compared[known] = 0.0 if compared is None else compared.ratio
        return self._compared[known] * alone.cost * share >= rival.cost

    def for_others(self, code: Callable[[int], Coded], quality_q6: int) -> Coded:
        """The picture at about a quality, with pixels that are the same on every machine; they are kept for reading.

        `code` makes a stream at a quality in 1/64.
        """
        tries = MOST_TRIES if self._max_error is None else 1  # exact samples are the same at every quality
        first_q6 = min(quality_q6, MAX_QUALITY_Q6 - tries + 1)
        for tried_q6 in range(first_q6, first_q6 + tries):
            coded = code(tried_q6)
            picture = self.referred.exactly(coded.data)
            if picture.is_safe:
                self.referred.keep(coded.id, picture.image_HW3)
                return replace(coded, pixels_sha256=sha256_bytes(picture.image_HW3.tobytes()))
        raise ClcError(f"no quality of {tries} gives pixels that are safe from rounding: this cannot be by chance")

    def _learned(self, encoding: Encoding, quality_q6: int) -> Attempt:
        return encoding.best_of([UNALIGNED], quality_q6, self.effort)

    def _embedded(self, begun: Begun, data: bytes, quality_q6: int, asked_q6: int) -> Coded:
        psnr_db, cost = measured(begun.image_HW3, self.referred.exactly(data).image_HW3, data, asked_q6)
        return Coded(data, quality_q6, psnr_db, cost)

    def _coded(self, encoding: Encoding, attempt: Attempt, asked_q6: int) -> Coded:
        psnr_db, cost = measured(encoding.image_HW3, encoding.picture(attempt), attempt.data, asked_q6)
        return Coded(attempt.data, attempt.stream.quality_q6, psnr_db, cost)


def _is_embedded(coded: Coded) -> bool:
    return _why_embedded(coded) is not None


def _why_embedded(coded: Coded) -> Reason | None:
    """Why a picture went another way than the transform; None where it did not."""
    embedding = parse(coded.data).embedding
    return None if embedding is None else embedding.reason


def _is_without_loss(coded: Coded) -> bool:
    return coded.psnr_db >= WITHOUT_LOSS_DB


def measured(original_HW3: Picture, decoded_HW3: Picture, data: bytes, asked_q6: int) -> tuple[float, float]:
    """PSNR in dB, and rate + lambda * squared error in bits at the lambda of a quality, of a decoded picture."""
    error = np.square(original_HW3.astype(np.float32) - decoded_HW3).mean(dtype=np.float64)
    psnr_db = 10 * math.log10(255**2 / max(float(error), 1e-9))
    pixels = original_HW3.shape[0] * original_HW3.shape[1]
    return psnr_db, 8 * len(data) + float(rate_distortion_lambda(torch.tensor(from_q6(asked_q6)))) * float(
        error
    ) * pixels
