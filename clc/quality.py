"""The scale of quality, 0 (smallest) to 100 (best) in steps of 1/64, and the lambda that each quality stands for.

A stream carries the quality as a whole number of 1/64, `quality_q6`. Training, encoder and decoder all read the scale
here, so that one number means the same rate-distortion trade-off everywhere. It needs no torch.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import TYPE_CHECKING, TypeVar

from clc.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

MAX_QUALITY = 100
STEPS_PER_QUALITY = 64
MAX_QUALITY_Q6 = MAX_QUALITY * STEPS_PER_QUALITY
MIDDLE_QUALITY_Q6 = MAX_QUALITY_Q6 // 2

LAMBDA_LOW, LAMBDA_HIGH = 0.0009, 0.05
"""lambda of quality 0 and of quality 100, for a squared error of 8-bit levels and a rate in bits a pixel."""

Quality = TypeVar("Quality", float, "Tensor")


def rate_distortion_lambda(quality: Quality) -> Quality:
    """lambda of a quality 0..100, log-uniform from 0.0009 to 0.05: the loss is bpp + lambda * 255**2 * MSE.

    `quality` is a number or a tensor of any shape; the MSE is that of pictures in 0..1.
    """
    found: Quality = LAMBDA_LOW * (LAMBDA_HIGH / LAMBDA_LOW) ** (quality / float(MAX_QUALITY))
    return found


def checked_quality(quality: object) -> float:
    """Return a quality that a caller named, any real number within 0 and 100; raises `InputError` for all else."""
    if isinstance(quality, bool) or not isinstance(quality, Real):
        raise InputError(f"the quality must be a number within 0 and {MAX_QUALITY}, not {quality!r}")
    number = float(quality)
    if math.isnan(number) or not 0.0 <= number <= MAX_QUALITY:
        raise InputError(f"the quality must lie within 0 and {MAX_QUALITY}, not {quality}")
    return number


def to_q6(quality: float) -> int:
    """The nearest whole number of 1/64 to a quality within 0 and 100."""
    return min(MAX_QUALITY_Q6, round(quality * STEPS_PER_QUALITY))


def from_q6(quality_q6: Quality) -> Quality:
    """The quality 0..100 of a whole number of 1/64, or of a tensor of them in floating point."""
    return quality_q6 / float(STEPS_PER_QUALITY)
