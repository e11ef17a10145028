"""From files to figures for bench/references.py: curves, BD-rates, sizes at equal PSNR.

The figure under a mode's key in the JSON is the BD-rate of the mean curve: bpp and PSNR averaged over the pictures at
each quality (the convention of the published curves and of `clc.evaluation.curves`), so that it speaks of the bytes
that a collection takes. The mean of the pictures' own BD-rates, where each picture weighs the same whatever its size,
stands beside it.

A reference changes the curve so much that two things need care. A BD-rate over less than `LEAST_OVERLAP_DB` of common
range is refused. And a point that costs more bytes than another and is worse (an encoder that may choose would never
take it) is left out of a curve, on both sides of a comparison, and counted.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np
from scipy.interpolate import PchipInterpolator

from clc.evaluation.bd_rate import BdRate, RateCurve, RatePoint, bd_rate
from clc.evaluation.summary import describe_bd_rate
from referenced.rows import CodedFile

LEAST_OVERLAP_DB = 1.5
WITHIN_POINTS = 9


@dataclass(frozen=True)
class Saving:
    """A BD-rate with its conditions, and how many points of both curves were left out as dominated."""

    rate: BdRate
    dominated: int

    @property
    def percent(self) -> float | None:
        """The figure, or None where `rate.reason` says why there is none."""
        return self.rate.percent

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {**describe_bd_rate(self.rate), "dominated_points": self.dominated}


def usable(files: Sequence[CodedFile]) -> tuple[list[CodedFile], dict[str, str]]:
    """The files of the pictures that no mode failed on, and for each other picture a reason."""
    left_out: dict[str, str] = {}
    for file in files:
        if file.fault:
            left_out.setdefault(file.name, f"{file.mode} at {file.quality:g}: {file.fault}")
        elif math.isinf(file.psnr_db):
            left_out.setdefault(file.name, f"{file.mode} at {file.quality:g} is lossless, PSNR is infinite")
    return [file for file in files if file.name not in left_out], left_out


def mean_curve(files: Iterable[CodedFile], mode: str, *, without_side: bool = False) -> RateCurve:
    """The mean rate and PSNR of a mode over its pictures, at each quality; without `side_bytes` if so asked."""
    by_quality: dict[float, list[CodedFile]] = defaultdict(list)
    for file in files:
        if file.mode == mode:
            size = file.size_bytes - (file.side_bytes if without_side else 0)
            by_quality[file.quality].append(replace(file, size_bytes=size))
    means = [(fmean(f.bpp for f in found), fmean(f.psnr_db for f in found)) for found in by_quality.values()]
    return RateCurve.of(mode, [bpp for bpp, _ in means], [db for _, db in means])


def saving(anchor: RateCurve, test: RateCurve) -> Saving:
    """BD-rate of `test` against `anchor` in percent: PCHIP over the common range, refused where that is too small."""
    fronts = [front(anchor), front(test)]
    dominated = len(anchor.points) + len(test.points) - sum(len(one.points) for one in fronts)
    if any(not one.points for one in fronts):
        empty = BdRate(test.name, anchor.name, None, "", math.nan, math.nan, "nothing was measured")
        return Saving(empty, dominated)
    rate = bd_rate(*fronts)
    overlap_db = rate.high - rate.low
    if rate.percent is not None and overlap_db < LEAST_OVERLAP_DB:
        reason = f"the curves share {overlap_db:.2f} dB, at least {LEAST_OVERLAP_DB} are needed: choose other qualities"
        rate = replace(rate, percent=None, reason=reason)
    return Saving(rate, dominated)


def front(curve: RateCurve) -> RateCurve:
    """The points of a curve that no cheaper or equally dear one reaches in PSNR."""
    kept: list[RatePoint] = []
    for point in sorted(curve.points, key=lambda point: (point.bpp, -point.value)):
        if not kept or point.value > kept[-1].value:
            kept.append(point)
    return RateCurve(curve.name, tuple(kept))


def mean_of_pictures(savings: Iterable[Saving]) -> float | None:
    """The mean of the BD-rates that could be taken; None where none could."""
    taken = [one.percent for one in savings if one.percent is not None]
    return fmean(taken) if taken else None


def rate_at(curve: RateCurve, psnr_db: float) -> float | None:
    """Bits per pixel that a curve takes for a PSNR (PCHIP on the logarithm of the rate); None outside its range."""
    points = front(curve).points
    if len(points) < 2 or not points[0].value <= psnr_db <= points[-1].value:
        return None
    logs = PchipInterpolator([p.value for p in points], [math.log(p.bpp) for p in points])
    return float(np.exp(logs(psnr_db)))


def levels_db(first: RateCurve, second: RateCurve, count: int = 3) -> list[float]:
    """PSNR levels inside the common range of two curves, evenly apart and rounded to tenths; none if there is none."""
    if not first.points or not second.points:
        return []
    low = max(first.range[0], second.range[0])
    high = min(first.range[1], second.range[1])
    if high <= low:
        return []
    return [round(low + (high - low) * (index + 1) / (count + 1), 1) for index in range(count)]


def within(curve: RateCurve, low_db: float, high_db: float) -> RateCurve:
    """The part of a curve between two PSNR levels: `WITHIN_POINTS` points of its PCHIP, as far as it reaches."""
    if not curve.points:
        return curve
    low, high = max(low_db, curve.range[0]), min(high_db, curve.range[1])
    if high <= low:
        return RateCurve(curve.name, ())
    levels = [float(level) for level in np.linspace(low, high, WITHIN_POINTS)]
    found = [(rate_at(curve, level), level) for level in levels]
    return RateCurve(curve.name, tuple(RatePoint(bpp, level) for bpp, level in found if bpp is not None))
