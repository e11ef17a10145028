"""The quality of libavif's encoder at which a picture costs least, or has a PSNR.

Trials are coded fast; what is kept is coded anew and slowly, which takes 2 to 15 % fewer bytes at the same quality and
gives some tenths of a decibel more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

from PIL import Image

from clc.bitstream.embedding import AV1_PROFILE, Embedding, Reason
from clc.bitstream.stream import NO_BUNDLE, Stream
from clc.codec.ways.suitability import psnr_of, squared_error_of
from clc.payloads.avif import avif_payload
from clc.payloads.avif_chroma import rounding_chroma
from clc.payloads.exact import Payload
from clc.payloads.pixels import decode_payload
from clc.pictures.picture import Picture

MAX_QUALITY = 100
TRIAL_SPEED = 8
_LARGE_PIXELS = 2**20
_STEPS = (8, 4, 2)
_MOST_FINALS = 3


class Trial(NamedTuple):
    """A picture coded at one of libavif's qualities: its payload, and the mean squared error of levels 0..255."""

    quality: int
    payload: Payload
    squared_error: float

    @property
    def psnr(self) -> float:
        """In dB."""
        return psnr_of(self.squared_error)


def speed_of(effort: int, n_pixels: int) -> int:
    """The speed of libavif's encoder at an effort of 0 to 9: 4 usually, faster below effort 5 and over 1 Mi pixels."""
    if effort >= 7:
        return 4
    if effort >= 5:
        return 4 if n_pixels <= _LARGE_PIXELS else 6
    return 6 if effort >= 3 else TRIAL_SPEED


def start_of(quality: float) -> int:
    """The quality of libavif's encoder at which a search begins, for a quality of 0 to 100 of the codec."""
    return round(20 + quality / 2)


class AvifSearch:
    """One picture, uint8 (H, W, 3), at whatever qualities are looked at; each is coded once.

    Where the payload holds a part of it alone, `payload_HW3` is what is coded, and `completed` makes the picture of
    what that decodes to.
    """

    def __init__(
        self,
        image_HW3: Picture,
        speed: int,
        payload_HW3: Picture | None = None,
        completed: Callable[[Picture], Picture] = lambda decoded_HW3: decoded_HW3,
    ) -> None:
        self._image_HW3, self._speed, self._completed = image_HW3, speed, completed
        self._given_HW3 = image_HW3 if payload_HW3 is None else payload_HW3
        self._known: dict[tuple[int, int], Trial] = {}

    def cheapest(self, trade: float, start: int) -> Trial:
        """The one with the least rate + `trade` * squared error, bits a pixel, found by walking from `start` on."""
        best = min(max(start, 0), MAX_QUALITY)
        for step in _STEPS:
            best = _walked(lambda quality: self.cost(quality, trade), best, step)
        return self._final(best)

    def cost(self, quality: int, trade: float) -> float:
        """Rate + `trade` * squared error, bits a pixel, of the fast trial at a quality."""
        tried = self.coded_fast(quality)
        height, width = self._given_HW3.shape[:2]
        return 8 * len(tried.payload.data) / (width * height) + trade * tried.squared_error

    def coded_fast(self, quality: int) -> Trial:
        """The one at one of libavif's qualities, in a few per cent more bytes than coding slowly takes."""
        return self._trial(quality)

    def reaching(self, psnr: float) -> Trial | None:
        """The one of the lowest quality that was found with at least a PSNR in dB; None where none has it."""
        low, high = -1, MAX_QUALITY  # trials at `low` fall short
        while high - low > 1:
            middle = (low + high) // 2
            if self._trial(middle).psnr >= psnr:
                high = middle
            else:
                low = middle
        found = self._final(high)
        while found.psnr < psnr and found.quality < MAX_QUALITY:
            found = self._final(min(MAX_QUALITY, found.quality + 2))
        if found.psnr < psnr:
            return None
        if found.quality > 0:
            found = self._lowered(found, psnr)
        return found

    def _lowered(self, found: Trial, psnr: float) -> Trial:
        """A lower quality with that PSNR, where slow coding reached more than the fast trials."""
        below = self._trial(max(0, found.quality - 5))
        slope = (self._trial(found.quality).psnr - below.psnr) / max(1, found.quality - below.quality)
        surplus = math.floor((found.psnr - psnr) / max(slope, 0.02)) if math.isfinite(found.psnr) else 0
        for quality in range(max(0, found.quality - min(surplus, 10)), found.quality)[: _MOST_FINALS - 1]:
            tried = self._final(quality)
            if tried.psnr >= psnr:
                return tried
        return found

    @cached_property
    def _image(self) -> Image.Image:
        return rounding_chroma(self._given_HW3)

    def _trial(self, quality: int) -> Trial:
        return self._coded(quality, max(TRIAL_SPEED, self._speed))

    def _final(self, quality: int) -> Trial:
        return self._coded(quality, self._speed)

    def _coded(self, quality: int, speed: int) -> Trial:
        if (quality, speed) not in self._known:
            payload = Payload(AV1_PROFILE, avif_payload(self._image, quality, speed))
            squared_error = squared_error_of(self._completed(_decoded(payload, self._image.size)), self._image_HW3)
            self._known[quality, speed] = Trial(quality, payload, squared_error)
        return self._known[quality, speed]


def _decoded(payload: Payload, size: tuple[int, int]) -> Picture:
    embedding = Embedding(Reason.CHEAPER)
    stream = Stream(payload.profile, *size, 0, NO_BUNDLE, (), 0, payload.data, embedding=embedding)
    return decode_payload(stream).image_HW3


def _walked(cost: Callable[[int], float], best: int, step: int) -> int:
    """The first quality on a grid of steps from `best` on whose neighbours cost more."""
    for direction in (step, -step):
        is_better = False
        while 0 <= best + direction <= MAX_QUALITY and cost(best + direction) < cost(best):
            best += direction
            is_better = True
        if is_better:
            break
    return best
