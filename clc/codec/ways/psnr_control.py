"""The quality at which the transform has a PSNR: the logarithm of its error is almost a straight line over quality.

A secant inside the bracket of qualities that were tried needs three to five encodes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from clc.quality import MAX_QUALITY_Q6, MIDDLE_QUALITY_Q6

SURPLUS_DB = 0.05
"""By so much a stream may be better than what was asked for, before a lower quality is tried."""

_MOST_ENCODES = 6
_USUAL_SLOPE = 10.2 / MAX_QUALITY_Q6
"""dB for each 1/64 of quality: Kodak's photographs go from 26.9 to 37.1."""


class HasPsnr(Protocol):
    """What a picture was coded as."""

    @property
    def psnr(self) -> float:
        """In dB."""


Coded = TypeVar("Coded", bound=HasPsnr)


def reach(encode: Callable[[int], Coded], psnr: float) -> Coded | None:
    """The result at the lowest quality that was found with at least `psnr` dB; None where the highest has less.

    `encode` codes at a quality x 64, 0 to 6,400.
    """
    low, low_psnr = -1, 0.0
    high, best = MAX_QUALITY_Q6 + 1, None
    slope, guess = _USUAL_SLOPE, MIDDLE_QUALITY_Q6
    for _ in range(_MOST_ENCODES):
        coded = encode(guess)
        if coded.psnr >= psnr:
            high, best = guess, coded
            if coded.psnr <= psnr + SURPLUS_DB or guess == 0:
                break
        else:
            if guess == MAX_QUALITY_Q6:
                break
            low, low_psnr = guess, coded.psnr
        if best is not None and low >= 0 and best.psnr > low_psnr:
            slope = (best.psnr - low_psnr) / (high - low)
        aim = psnr + SURPLUS_DB / 2
        guess = guess + round((aim - coded.psnr) / slope)
        guess = min(max(guess, low + 1, 0), high - 1, MAX_QUALITY_Q6)
        if guess <= low:
            break
    return best
