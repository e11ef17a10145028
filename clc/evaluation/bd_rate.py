"""BD-rate: the mean difference in rate between two codecs at equal quality, never without its conditions.

A BD-rate means nothing without its anchor, its interpolation and the PSNR range it was taken over, so `bd_rate` returns
all of them together, and a reason instead of a figure where the curves do not allow one. The curves are means: bpp and
PSNR averaged over the pictures at each quality, the convention of the published points (`clc.evaluation.curves` makes
them).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from clc.errors import InputError

INTERPOLATION = "pchip"
FEWEST_POINTS = 4
SMALLEST_OVERLAP = 0.25
"""Share of the narrower curve's PSNR range that both must cover; below it the figure speaks of a corner only."""


@dataclass(frozen=True)
class RatePoint:
    """One point of a rate-distortion curve: mean rate in bits per pixel and mean PSNR in dB."""

    bpp: float
    psnr_db: float


@dataclass(frozen=True)
class RateCurve:
    """A codec's rate-distortion points, ordered by rate.

    Raises:
        InputError: if a rate is not positive, or a figure is not finite.
    """

    name: str
    points: tuple[RatePoint, ...]

    def __post_init__(self) -> None:
        """Check the figures: logarithms and integrals follow."""
        for point in self.points:
            if not (math.isfinite(point.bpp) and point.bpp > 0 and math.isfinite(point.psnr_db)):
                raise InputError(f"curve {self.name!r} holds the point {point}: rates must be positive, all finite")

    @classmethod
    def of(cls, name: str, bpp: Iterable[float], psnr_db: Iterable[float]) -> "RateCurve":
        """Build a curve from two equally long series, ordering its points by rate; `InputError` if they differ."""
        rates, qualities = list(bpp), list(psnr_db)
        if len(rates) != len(qualities):
            raise InputError(f"curve {name!r} has {len(rates)} rates but {len(qualities)} PSNR values")
        ordered = sorted(zip(rates, qualities, strict=True))
        return cls(name, tuple(RatePoint(rate, quality) for rate, quality in ordered))

    @property
    def range_db(self) -> tuple[float, float]:
        """Lowest and highest PSNR of the points, in dB."""
        values = [point.psnr_db for point in self.points]
        return min(values), max(values)

    def fault(self) -> str | None:
        """Say why no BD-rate can be taken from this curve, or None when one can."""
        if len(self.points) < FEWEST_POINTS:
            return f"{self.name} has {len(self.points)} points, {FEWEST_POINTS} are needed"
        for lower, upper in pairwise(self.points):
            if not (lower.bpp < upper.bpp and lower.psnr_db < upper.psnr_db):
                return (
                    f"{self.name} is not monotone: from {lower.bpp:.4f} to {upper.bpp:.4f} bpp"
                    f" PSNR goes from {lower.psnr_db:.2f} to {upper.psnr_db:.2f} dB"
                )
        return None


@dataclass(frozen=True)
class BdRate:
    """A BD-rate with its conditions; `percent` is None where it could not be taken, and `reason` then says why.

    Negative is better: -30 means that `test` needs 30 % fewer bits than `anchor` at equal PSNR.
    """

    test: str
    anchor: str
    percent: float | None
    interpolation: str
    low_db: float
    high_db: float
    reason: str = ""

    def __str__(self) -> str:
        """One line with the figure and all of its conditions."""
        if self.percent is None:
            return f"no BD-rate of {self.test} against {self.anchor}: {self.reason}"
        return (
            f"BD-rate of {self.test} against {self.anchor}: {self.percent:+.1f} %"
            f" ({self.interpolation}, {self.low_db:.1f} to {self.high_db:.1f} dB)"
        )


def bd_rate(anchor: RateCurve, test: RateCurve) -> BdRate:
    """BD-rate of `test` against `anchor` in percent over their common PSNR range, PCHIP on the logarithm of the rate.

    Too few points, a curve that is not monotone or too little common range give `percent=None` and the reason: all of
    these are facts about the measurement, which a report shows, and no errors of the caller.
    """
    reason = anchor.fault() or test.fault()
    if reason:
        return BdRate(test.name, anchor.name, None, INTERPOLATION, math.nan, math.nan, reason)
    low_db = max(anchor.range_db[0], test.range_db[0])
    high_db = min(anchor.range_db[1], test.range_db[1])
    narrower_db = min(high - low for low, high in (anchor.range_db, test.range_db))
    if high_db - low_db < SMALLEST_OVERLAP * narrower_db:
        spans = " and ".join(f"{c.name} {c.range_db[0]:.1f} to {c.range_db[1]:.1f} dB" for c in (anchor, test))
        reason = f"the curves have too little PSNR range in common: {spans}"
        return BdRate(test.name, anchor.name, None, INTERPOLATION, low_db, high_db, reason)
    return BdRate(test.name, anchor.name, _percent(anchor, test), INTERPOLATION, low_db, high_db)


def _percent(anchor: RateCurve, test: RateCurve) -> float:
    import bjontegaard  # here, because it brings matplotlib's pyplot along

    series = [
        [getattr(point, field) for point in curve.points] for curve in (anchor, test) for field in ("bpp", "psnr_db")
    ]
    return float(bjontegaard.bd_rate(*series, method=INTERPOLATION, require_matching_points=False, min_overlap=0))
