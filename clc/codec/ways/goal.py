"""What a caller asks of an encoder: a quality, a PSNR, or how far a sample may be off."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real

from clc.bitstream.embedding import MAX_ERROR, MAX_PSNR_Q6
from clc.errors import InputError
from clc.quality import STEPS_PER_QUALITY, checked_quality

AUTO, LEARNED = "auto", "learned"
MODES = (AUTO, LEARNED)
"""How a way is chosen: what suits the picture, or a bundle's model whatever comes of it."""

DEFAULT_QUALITY = 50.0
MAX_PSNR = MAX_PSNR_Q6 / STEPS_PER_QUALITY


@dataclass(frozen=True)
class Goal:
    """One of three wishes; the others are None. `Goal.of` makes one of a caller's arguments.

    - `quality` 0 to 100, the trade of bits for squared error;
    - `target_psnr` in dB, at least to be reached, above 0 and up to 100;
    - `max_error` in levels of 0..255, which no sample may be off by more; 0 is without loss.
    """

    quality: float | None = None
    target_psnr: float | None = None
    max_error: int | None = None

    @classmethod
    def of(
        cls,
        quality: float = DEFAULT_QUALITY,
        *,
        lossless: bool = False,
        target_psnr: float | None = None,
        max_error: int | None = None,
    ) -> Goal:
        """The goal that arguments name; `quality` counts where no other does.

        Raises `InputError` for two wishes, and for one that is out of range.
        """
        if not isinstance(lossless, bool):
            raise InputError(f"lossless is True or False, not {lossless!r}")
        named = {"lossless": lossless, "target_psnr": target_psnr is not None, "max_error": max_error is not None}
        named["quality"] = checked_quality(quality) != DEFAULT_QUALITY
        wishes = [name for name, is_named in named.items() if is_named]
        if len(wishes) > 1:
            raise InputError(f"{' and '.join(wishes)} do not go together: give one of them")
        if lossless:
            return cls(max_error=0)
        if max_error is not None:
            return cls(max_error=checked_error(max_error))
        if target_psnr is not None:
            return cls(target_psnr=checked_psnr(target_psnr))
        return cls(quality=float(quality))

    @property
    def is_exact(self) -> bool:
        """Whether samples are promised, so that no bundle is asked."""
        return self.max_error is not None


def checked_error(max_error: object) -> int:
    """Return the largest error of a sample that a caller allows; `InputError` unless it is a whole number, 0 to 127."""
    is_whole = isinstance(max_error, Integral) and not isinstance(max_error, bool)
    if not is_whole or not 0 <= int(max_error) <= MAX_ERROR:  # type: ignore[call-overload]  # a whole number by now
        raise InputError(f"the largest error must be a whole number from 0 to {MAX_ERROR} levels, not {max_error!r}")
    return int(max_error)  # type: ignore[call-overload]


def checked_psnr(target_psnr: object) -> float:
    """Return the PSNR in dB that a caller asks for; `InputError` unless it is a number above 0 and up to 100."""
    if isinstance(target_psnr, bool) or not isinstance(target_psnr, Real):
        raise InputError(f"the PSNR must be a number of dB, not {target_psnr!r}")
    number = float(target_psnr)
    if math.isnan(number) or not 0 < number <= MAX_PSNR:
        raise InputError(f"the PSNR must lie above 0 and at {MAX_PSNR:g} dB at most, not {number:g}")
    return number
