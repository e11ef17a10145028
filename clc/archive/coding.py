"""One picture of an archive at the encoder: alone, beside pictures of other streams, or as a picture for others.

`ArchiveCoder` codes with one bundle. A picture that others shall refer to is coded so that every machine makes the same
pixels of it (`clc.codec.exact_pixels`); where a value lies too near to a rounding edge, which happens to about one
picture in two hundred, the picture is coded again at a quality that is 1/64 higher.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from clc.archive.pictures import ReferredPictures
from clc.bitstream.container import stream_id
from clc.codec.codec import Codec
from clc.codec.effort import Effort
from clc.codec.encoding import Attempt, Encoding
from clc.codec.search.alignment_search import AlignmentSearch
from clc.codec.search.contest import Choice
from clc.codec.search.selection import Selector
from clc.errors import ClcError
from clc.pictures.picture import Picture
from clc.quality import MAX_QUALITY_Q6, from_q6, rate_distortion_lambda
from storage.digest import sha256_bytes

MOST_TRIES = 64
"""Qualities, 1/64 apart, at which a picture for others is tried; that two in a row fail is unlikely already."""

FLOOR_DB = 0.5
"""No picture ends further than this below the PSNR that it has alone at the quality that was asked for."""

_RAISED_Q6 = 3 * 64
"""How much the quality is raised at a time where a picture beside others falls below the floor."""


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


class ArchiveCoder:
    """Codes pictures with one bundle, beside pictures of `referred`; `effort` as in `clc.codec.effort`."""

    def __init__(self, codec: Codec, referred: ReferredPictures, effort: Effort) -> None:
        self.referred, self.effort = referred, effort
        self._selector = Selector(codec.bundle.entries, codec.bundle.config, referred)
        self._search = AlignmentSearch(referred)

    def begin(self, image_HW3: Picture) -> Encoding:
        """Begins to code a picture, uint8 (H, W, 3), which may refer to streams."""
        return Encoding(self.referred.decoder, self._selector, image_HW3)

    def alone(self, encoding: Encoding, quality_q6: int, asked_q6: int | None = None) -> Coded:
        """The picture without any reference. `asked_q6` is the quality whose lambda makes the cost, if another."""
        attempt = encoding.best_of([Choice()], quality_q6, self.effort)
        return self._coded(encoding, attempt, quality_q6 if asked_q6 is None else asked_q6)

    def beside(
        self, encoding: Encoding, quality_q6: int, references: Sequence[bytes], alone: Coded, asked_q6: int
    ) -> Coded:
        """The picture beside the best of some streams, or `alone` where that costs less.

        The result is no more than `FLOOR_DB` below `alone`: its quality is raised until it is not.
        """
        choices = self._search.choices(encoding, references, self.effort.aligned) if self.effort.aligned else []
        if not choices:
            return alone
        least_db = alone.psnr_db - FLOOR_DB
        for raised_q6 in range(quality_q6, MAX_QUALITY_Q6 + 1, _RAISED_Q6):
            pixels = encoding.image_HW3.shape[0] * encoding.image_HW3.shape[1]
            known = alone.cost / pixels if raised_q6 == asked_q6 == alone.quality_q6 else None
            attempt = encoding.best_of([Choice(), *choices], raised_q6, self.effort, known)
            coded = self._coded(encoding, attempt, asked_q6)
            if coded.cost >= alone.cost and quality_q6 == asked_q6:
                return alone
            if coded.psnr_db >= least_db:
                return coded
        return alone

    def for_others(self, code: Callable[[int], Coded], quality_q6: int) -> Coded:
        """The picture at about a quality, with pixels that are the same on every machine; they are kept for reading.

        `code` makes a stream at a quality in 1/64.
        """
        first_q6 = min(quality_q6, MAX_QUALITY_Q6 - MOST_TRIES + 1)
        for tried_q6 in range(first_q6, first_q6 + MOST_TRIES):
            coded = code(tried_q6)
            picture = self.referred.exactly(coded.data)
            if picture.is_safe:
                self.referred.keep(coded.id, picture.image_HW3)
                return replace(coded, pixels_sha256=sha256_bytes(picture.image_HW3.tobytes()))
        raise ClcError(f"no quality of {MOST_TRIES} gives pixels that are safe from rounding: this cannot be by chance")

    def _coded(self, encoding: Encoding, attempt: Attempt, asked_q6: int) -> Coded:
        picture = self.referred.decoder.picture(attempt.stream, attempt.decoded, attempt.conditions)
        psnr_db, cost = measured(encoding.image_HW3, picture, attempt.data, asked_q6)
        return Coded(attempt.data, attempt.stream.quality_q6, psnr_db, cost)


def measured(original_HW3: Picture, decoded_HW3: Picture, data: bytes, asked_q6: int) -> tuple[float, float]:
    """PSNR in dB, and rate + lambda * squared error in bits at the lambda of a quality, of a decoded picture."""
    error = np.square(original_HW3.astype(np.float32) - decoded_HW3).mean(dtype=np.float64)
    psnr_db = 10 * math.log10(255**2 / max(float(error), 1e-9))
    pixels = original_HW3.shape[0] * original_HW3.shape[1]
    return psnr_db, 8 * len(data) + float(rate_distortion_lambda(torch.tensor(from_q6(asked_q6)))) * float(
        error
    ) * pixels
