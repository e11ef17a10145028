"""BD-rate: the mean difference in rate between two codecs at equal quality, never without its conditions.

A BD-rate means nothing without its measure, its anchor, its interpolation and the range it was taken over, so `bd_rate`
returns all of them together, and a reason instead of a figure where the curves do not allow one. Its counterpart, the
mean difference in quality at equal rate (BD-PSNR where the measure is PSNR), stands beside it. The curves are means:
bpp and the measure averaged over the pictures at each quality, the convention of the published points
(`clc.evaluation.curves` makes them).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from clc.errors import InputError
from clc.evaluation.scales import PSNR, SCALES, Scale

INTERPOLATION = "pchip"
FEWEST_POINTS = 4
SMALLEST_OVERLAP = 0.25
"""Share of the narrower curve's range that both must cover; below it the figure speaks of a corner only."""


@dataclass(frozen=True)
class RatePoint:
    """One point of a rate-distortion curve: mean rate in bits per pixel, and the mean quality on its axis."""

    bpp: float
    value: float


@dataclass(frozen=True)
class RateCurve:
    """A codec's rate-distortion points, ordered by rate, on the axis of a measure: PSNR unless another is named.

    Raises:
        InputError: if a rate is not positive, or a figure is not finite.
    """

    name: str
    points: tuple[RatePoint, ...]
    scale: Scale = PSNR

    def __post_init__(self) -> None:
        """Check the figures: logarithms and integrals follow."""
        for point in self.points:
            if not (math.isfinite(point.bpp) and point.bpp > 0 and math.isfinite(point.value)):
                raise InputError(f"curve {self.name!r} holds the point {point}: rates must be positive, all finite")

    @classmethod
    def of(cls, name: str, bpp: Iterable[float], values: Iterable[float], scale: Scale = PSNR) -> "RateCurve":
        """Build a curve from two equally long series, ordering its points by rate; `InputError` if they differ.

        `values` lie on the axis of `scale` already (`Scale.on_axis`).
        """
        rates, qualities = list(bpp), list(values)
        if len(rates) != len(qualities):
            raise InputError(f"curve {name!r} has {len(rates)} rates but {len(qualities)} values of {scale.label}")
        ordered = sorted(zip(rates, qualities, strict=True))
        return cls(name, tuple(RatePoint(rate, quality) for rate, quality in ordered), scale)

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest value of the points, in the unit of the measure's axis."""
        values = [point.value for point in self.points]
        return min(values), max(values)

    def fault(self) -> str | None:
        """Say why no BD-rate can be taken from this curve, or None when one can."""
        if not self.points:
            return f"{self.scale.label} of {self.name} was not measured"
        if len(self.points) < FEWEST_POINTS:
            return f"{self.name} has {len(self.points)} points, {FEWEST_POINTS} are needed"
        for lower, upper in pairwise(self.points):
            if not (lower.bpp < upper.bpp and lower.value < upper.value):
                return (
                    f"{self.name} is not monotone: from {lower.bpp:.4f} to {upper.bpp:.4f} bpp"
                    f" {self.scale.label} goes from {_span(self.scale, lower.value, upper.value)}"
                )
        return None


@dataclass(frozen=True)
class BdRate:
    """A BD-rate with its conditions; `percent` is None where it could not be taken, and `reason` then says why.

    Negative is better: -30 means that `test` needs 30 % fewer bits than `anchor` at equal quality, over the range
    `low` to `high` of the axis of the measure whose key is `measure`. `gain` is what `test` has more of the measure at
    equal rate, over the rates from `low_bpp` to `high_bpp`; None where the curves share too few rates.
    """

    test: str
    anchor: str
    percent: float | None
    interpolation: str
    low: float
    high: float
    reason: str = ""
    measure: str = PSNR.key
    gain: float | None = None
    low_bpp: float = math.nan
    high_bpp: float = math.nan

    def __str__(self) -> str:
        """One line with the figure and all of its conditions."""
        if self.percent is None:
            return f"no BD-rate of {self.test} against {self.anchor}: {self.reason}"
        return (
            f"BD-rate of {self.test} against {self.anchor}: {self.percent:+.1f} %"
            f" ({self.interpolation}, {self.range_text})"
        )

    @property
    def range_text(self) -> str:
        """The range of the measure that the figure is of, for readers: "30.1 to 41.0 dB"."""
        return _span(SCALES[self.measure], self.low, self.high, fewer=1)


def bd_rate(anchor: RateCurve, test: RateCurve) -> BdRate:
    """BD-rate of `test` against `anchor` in percent over their common range, PCHIP on the logarithm of the rate.

    Too few points, a curve that is not monotone or too little common range give `percent=None` and the reason: all of
    these are facts about the measurement, which a report shows, and no errors of the caller. Raises `InputError` where
    the curves are of different measures.
    """
    if anchor.scale != test.scale:
        raise InputError(f"a curve of {anchor.scale.label} cannot be compared with one of {test.scale.label}")
    names = (test.name, anchor.name)
    reason = anchor.fault() or test.fault()
    if reason:
        return BdRate(*names, None, INTERPOLATION, math.nan, math.nan, reason, anchor.scale.key)
    low, high = _common(anchor.range, test.range)
    if not _is_enough(low, high, anchor.range, test.range):
        spans = " and ".join(f"{c.name} {_span(c.scale, *c.range, fewer=1)}" for c in (anchor, test))
        reason = f"the curves have too little {anchor.scale.label} in common: {spans}"
        return BdRate(*names, None, INTERPOLATION, low, high, reason, anchor.scale.key)
    rates = [(curve.points[0].bpp, curve.points[-1].bpp) for curve in (anchor, test)]
    low_bpp, high_bpp = _common(*rates)
    logs = [(math.log(first), math.log(last)) for first, last in rates]
    gain = _gain(anchor, test) if low_bpp < high_bpp and _is_enough(*_common(*logs), *logs) else None
    return BdRate(
        *names,
        percent=_percent(anchor, test),
        interpolation=INTERPOLATION,
        low=low,
        high=high,
        measure=anchor.scale.key,
        gain=gain,
        low_bpp=low_bpp,
        high_bpp=high_bpp,
    )


Span = tuple[float, float]


def _common(first: Span, second: Span) -> Span:
    return max(first[0], second[0]), min(first[1], second[1])


def _is_enough(low: float, high: float, first: Span, second: Span) -> bool:
    return high - low >= SMALLEST_OVERLAP * min(end - start for start, end in (first, second))


def _span(scale: Scale, low: float, high: float, fewer: int = 0) -> str:
    digits = max(1, scale.digits - fewer)
    return f"{scale.shown(low):.{digits}f} to {scale.shown(high):.{digits}f} {scale.unit}".rstrip()


def _percent(anchor: RateCurve, test: RateCurve) -> float:
    import bjontegaard  # here, because it brings matplotlib's pyplot along

    return float(
        bjontegaard.bd_rate(*_series(anchor, test), method=INTERPOLATION, require_matching_points=False, min_overlap=0)
    )


def _gain(anchor: RateCurve, test: RateCurve) -> float:
    import bjontegaard

    return float(
        bjontegaard.bd_psnr(*_series(anchor, test), method=INTERPOLATION, require_matching_points=False, min_overlap=0)
    )


def _series(anchor: RateCurve, test: RateCurve) -> list[list[float]]:
    return [[getattr(point, field) for point in curve.points] for curve in (anchor, test) for field in ("bpp", "value")]
