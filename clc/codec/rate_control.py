"""Rate control: the quality at which a picture's stream has the size that was asked for.

The command line calls it with the codec's own `encode`, so every size it looks at is that of a real stream. Over
quality the logarithm of the size is almost a straight line, hence a secant in that domain needs three to five encodes;
it stays inside the bracket of qualities that were tried, and halves it where the line misleads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from clc.errors import InputError
from clc.quality import MAX_QUALITY_Q6, MIDDLE_QUALITY_Q6, STEPS_PER_QUALITY, from_q6

TOLERANCE = 0.02
"""Of the size asked for: a stream that is nearer meets it."""

_USUAL_SLOPE = math.log(1.22) / (10 * STEPS_PER_QUALITY)
"""Ten units of quality change the size of a Kodak picture by about 22 %."""


class Controlled(NamedTuple):
    """The stream nearest to the target, its quality, the encodes it took, and whether it is within the tolerance."""

    data: bytes
    quality: float
    n_encodes: int
    is_met: bool


class _Point(NamedTuple):
    """One encode: its quality x 64 and the logarithm of its size over the target."""

    quality_q6: int
    excess: float


def target_bytes_of(bpp: float, width: int, height: int) -> float:
    """The size in bytes of a stream of `bpp` bits a pixel."""
    return bpp * width * height / 8


def encode_to_size(
    encode: Callable[[float], bytes],
    target_bytes: float,
    tolerance: float = TOLERANCE,
    *,
    metadata_bytes: int = 0,
) -> Controlled:
    """Finds the quality, on its grid of 1/64, whose stream is within `tolerance` (a share) of `target_bytes`.

    `encode(quality)` returns the stream for a quality of 0 to 100, larger for a higher quality. Where two neighbouring
    qualities skip the tolerance, as for pictures of a few pixels, the nearer one is returned with `is_met` False.
    `metadata_bytes` is what EXIF and XMP take of every stream, for the message where they stand in the way.
    Raises `InputError` where the target lies outside what qualities 0 and 100 give, or is not above 0.
    """
    if not (target_bytes > 0 and math.isfinite(target_bytes)):
        raise InputError(f"the target must be a size above 0, not {target_bytes:g}: give the bytes or bpp to reach")
    below: _Point | None = None
    above: _Point | None = None
    tried: list[_Point] = []
    best = b""
    while (quality_q6 := _next_quality(tried, below, above)) is not None:
        data = encode(from_q6(quality_q6))
        point = _Point(quality_q6, math.log(len(data) / target_bytes))
        if all(abs(point.excess) < abs(other.excess) for other in tried):
            best = data
        tried.append(point)
        if abs(len(data) / target_bytes - 1) <= tolerance:
            return Controlled(data, from_q6(quality_q6), len(tried), is_met=True)
        if point.excess < 0:
            below = point
        else:
            above = point
    _refuse_unreachable(below, above, target_bytes, metadata_bytes)
    nearest = min(tried, key=lambda point: abs(point.excess))
    return Controlled(best, from_q6(nearest.quality_q6), len(tried), is_met=False)


def _next_quality(tried: list[_Point], below: _Point | None, above: _Point | None) -> int | None:
    """The quality x 64 to try next, strictly inside the bracket; None where nothing is left to try."""
    low = -1 if below is None else below.quality_q6
    high = MAX_QUALITY_Q6 + 1 if above is None else above.quality_q6
    if high - low <= 1:
        return None
    if not tried:
        return MIDDLE_QUALITY_Q6
    guess = _secant(tried, below, above)
    # Three points on one side of the target: the curve bends away from its secant, so halve what is left.
    sides = [point.excess < 0 for point in tried[-3:]]
    if len(tried) >= 3 and len(set(sides)) == 1 and below is not None and above is not None:
        guess = (low + high) / 2
    return min(max(round(guess), low + 1), high - 1)


def _secant(tried: list[_Point], below: _Point | None, above: _Point | None) -> float:
    """Where the line through the bracket, else through the last two points, meets the target."""
    last = tried[-1]
    slope = _USUAL_SLOPE
    if below is not None and above is not None:
        slope = (above.excess - below.excess) / (above.quality_q6 - below.quality_q6)
    elif len(tried) > 1:
        slope = (last.excess - tried[-2].excess) / (last.quality_q6 - tried[-2].quality_q6)
    # A line that is flat or falls says nothing; the ends of the range stay in reach with the usual one.
    return last.quality_q6 - last.excess / max(slope, _USUAL_SLOPE / 8)


def _refuse_unreachable(below: _Point | None, above: _Point | None, target_bytes: float, metadata_bytes: int) -> None:
    end = above or below
    if end is None or (above and below):
        return
    size = round(math.exp(end.excess) * target_bytes)
    side, advice = ("below", "scale the picture down first") if above else ("above", "use --quality 100")
    told = f"{size} bytes: ask for about that"
    if above and metadata_bytes:
        told = f"{size} bytes, {metadata_bytes} of them EXIF and XMP: leave these out with --strip, ask for about that"
    raise InputError(
        f"{target_bytes:.0f} bytes lie {side} what quality {from_q6(end.quality_q6):g} gives for this picture, "
        f"{told}, or {advice}"
    )
