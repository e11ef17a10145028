"""Why and how a stream carries the bitstream of another codec: what `clc.bitstream.embedded` writes of it.

Encoders say here what was asked for, so that `info` can tell it; decoders need the step and whether there is alpha.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from clc.errors import InputError
from clc.quality import MAX_QUALITY_Q6, STEPS_PER_QUALITY

WEBP_PROFILE = 2
AV1_PROFILE = 3
PNG_PROFILE = 4
EMBEDDED_PROFILES = (WEBP_PROFILE, AV1_PROFILE, PNG_PROFILE)
"""What the payload is: WebP lossless, a still picture of AV1, or the filtered rows of a PNG."""

FORMATS = {WEBP_PROFILE: "WebP lossless", AV1_PROFILE: "AVIF", PNG_PROFILE: "PNG"}
"""The formats that they are of, as people know them."""

EXACT_PROFILES = (WEBP_PROFILE, PNG_PROFILE)
"""Those that give back the samples that they were made of."""

MAX_ERROR = 127
"""The largest error of a sample that can be asked for, in levels of 0..255: then two levels are left."""

MAX_PSNR_Q6 = MAX_QUALITY_Q6
"""The largest PSNR that can be asked for, 100 dB in 1/64; what is nearer still is without loss."""


class Reason(IntEnum):
    """Why a picture was not coded with the model of a bundle."""

    LOSSLESS = 0
    """Every sample was to stay."""
    MAX_ERROR = 1
    """Every sample was to stay within an error."""
    CHEAPER = 2
    """At the quality asked for, this costs less: rate + lambda * distortion."""
    FALLS_SHORT = 3
    """At the quality asked for, the model would have fallen far short of what photographs get."""
    TARGET_PSNR = 4
    """A PSNR was asked for, which this reaches with the fewest bytes."""


QUALITY_REASONS = (Reason.CHEAPER, Reason.FALLS_SHORT)


@dataclass(frozen=True)
class Embedding:
    """How the bitstream of another codec came into a stream.

    - `value` is what was asked for: with `MAX_ERROR` the error in levels, 1 to `MAX_ERROR`; with a quality that x 64;
      with `TARGET_PSNR` dB x 64; with `LOSSLESS` 0.
    - `step_error` is 0 where the payload holds the samples themselves. Where it is E, the payload holds the numbers of
      steps of 2 E + 1 levels (`clc.payloads.steps`), and no sample is more than E levels off.
    - `has_alpha` says that the payload holds transparency, too.

    Raises `InputError` on construction where a value is out of range.
    """

    reason: Reason
    value: int = 0
    step_error: int = 0
    has_alpha: bool = False

    def __post_init__(self) -> None:
        low, high = _RANGES[self.reason]
        if not low <= self.value <= high:
            raise InputError(f"with {self.reason.name} a value lies within {low} and {high}, not {self.value}")
        may_step = self.value if self.reason is Reason.MAX_ERROR else MAX_ERROR
        if self.reason is Reason.LOSSLESS or self.reason in QUALITY_REASONS:
            may_step = 0
        if not 0 <= self.step_error <= may_step:
            raise InputError(f"with {self.reason.name} a step's error is at most {may_step}, not {self.step_error}")

    def check_profile(self, profile: int) -> None:
        """Raise `InputError` where a payload of this profile cannot have come about so."""
        if profile in EXACT_PROFILES:
            return
        if self.has_alpha or self.step_error or self.reason in (Reason.LOSSLESS, Reason.MAX_ERROR):
            raise InputError("a picture of AV1 has no alpha and no steps, and promises no error of a sample")

    @property
    def is_exact(self) -> bool:
        """Whether the payload holds the samples themselves, given that its profile is exact."""
        return self.step_error == 0

    @property
    def quality_q6(self) -> int | None:
        """The quality x 64 that was asked for; None where something else was."""
        return self.value if self.reason in QUALITY_REASONS else None

    @property
    def target_psnr(self) -> float | None:
        """The PSNR that was asked for, dB; None where something else was."""
        return self.value / STEPS_PER_QUALITY if self.reason is Reason.TARGET_PSNR else None


_RANGES = {
    Reason.LOSSLESS: (0, 0),
    Reason.MAX_ERROR: (1, MAX_ERROR),
    Reason.CHEAPER: (0, MAX_QUALITY_Q6),
    Reason.FALLS_SHORT: (0, MAX_QUALITY_Q6),
    Reason.TARGET_PSNR: (0, MAX_PSNR_Q6),
}
