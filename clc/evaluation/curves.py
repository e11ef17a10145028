"""From rows of an evaluation to mean rate-distortion curves and their BD-rates.

The convention is that of the published points: at each quality, bpp and each measure are averaged over the pictures.
All codecs of a comparison are averaged over the same pictures: one that failed with any codec, or that any codec
returned without an error (its PSNR is infinite and has no mean), is left out for all, and named in
`Comparison.left_out`. A codec that coded no picture at all, as WebP does of panoramas, is left out itself, and named in
`Comparison.without`.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from statistics import fmean

from clc.evaluation.bd_rate import BdRate, RateCurve, bd_rate
from clc.evaluation.measure import NATURAL, OK, Row
from clc.evaluation.scales import PSNR, Scale


@dataclass(frozen=True)
class OperatingPoint:
    """A codec's means over the pictures at one quality; a measure is nan where one of the pictures lacks it."""

    quality: float
    bpp: float
    psnr_db: float
    ms_ssim: float
    encode_s: float
    decode_s: float
    psnr_ycbcr_db: float = math.nan
    ssim: float = math.nan
    ssimulacra2: float = math.nan
    st_lpips: float = math.nan
    peak_mb: float = math.nan


@dataclass(frozen=True)
class CodecCurve:
    """The mean operating points of one codec, by quality."""

    codec: str
    references: str
    points: tuple[OperatingPoint, ...]

    @property
    def curve(self) -> RateCurve:
        """The rate-distortion curve over PSNR for `clc.evaluation.bd_rate`, under the codec's name."""
        return self.on(PSNR)

    def on(self, scale: Scale) -> RateCurve:
        """Return the curve over another measure; without the points that the measure was not taken of."""
        placed = [(point.bpp, scale.on_axis(getattr(point, scale.key))) for point in self.points]
        known = [(bpp, value) for bpp, value in placed if math.isfinite(value)]
        return RateCurve.of(self.codec, [bpp for bpp, _ in known], [value for _, value in known], scale)


@dataclass(frozen=True)
class Comparison:
    """Codecs compared over the same pictures: their curves, the pictures, and why others were left out.

    `left_out` has a reason for each other picture, by item id, `without` for each other codec, by name.
    """

    row: str
    curves: tuple[CodecCurve, ...]
    pictures: tuple[str, ...]
    left_out: Mapping[str, str]
    without: Mapping[str, str] = field(default_factory=dict)

    def find(self, codec: str) -> CodecCurve | None:
        """Return the curve of the codec of this name, or None."""
        return next((curve for curve in self.curves if curve.codec == codec), None)

    def bd_rate(self, test: str, anchor: str, scale: Scale = PSNR) -> BdRate | None:
        """BD-rate of one codec against another at equal PSNR, or another measure; None when either was not measured."""
        test_curve, anchor_curve = self.find(test), self.find(anchor)
        if test_curve is None or anchor_curve is None:
            return None
        return bd_rate(anchor_curve.on(scale), test_curve.on(scale))

    def bd_rates(self, test: str, scale: Scale = PSNR) -> list[BdRate]:
        """BD-rates of one codec against every other one measured."""
        anchors = [curve.codec for curve in self.curves if curve.codec != test]
        found = (self.bd_rate(test, anchor, scale) for anchor in anchors)
        return [one for one in found if one is not None]


def compare(rows: Iterable[Row], row: str = NATURAL) -> Comparison:
    """Average the rows of one kind ("natural" or "pair") to a curve for each codec, over the pictures they share."""
    found = [one for one in rows if one.row == row]
    without = _without(found)
    chosen = [one for one in found if one.codec not in without]
    left_out = _left_out(chosen)
    kept = [one for one in chosen if one.item_id not in left_out]
    by_codec: dict[str, list[Row]] = defaultdict(list)
    for one in kept:
        by_codec[one.codec].append(one)
    curves = tuple(CodecCurve(codec, own[0].references, _means(own)) for codec, own in by_codec.items())
    pictures = tuple(dict.fromkeys(one.item_id for one in kept))
    return Comparison(row, curves, pictures, left_out, without)


def picture_bd_rates(
    rows: Sequence[Row], test: str, anchors: Sequence[str], scale: Scale = PSNR
) -> dict[str, dict[str, BdRate]]:
    """BD-rate of `test` against each anchor for every picture alone: {item_id: {anchor: BdRate}}."""
    by_item: dict[str, list[Row]] = defaultdict(list)
    for one in rows:
        by_item[one.item_id].append(one)
    found: dict[str, dict[str, BdRate]] = {}
    for item_id, own in by_item.items():
        comparison = compare(own, own[0].row)
        rates = {anchor: comparison.bd_rate(test, anchor, scale) for anchor in anchors}
        found[item_id] = {anchor: rate for anchor, rate in rates.items() if rate is not None}
    return found


def _without(rows: Sequence[Row]) -> dict[str, str]:
    """Return the codecs that failed on every picture, with the reason of the first; none where all codecs did."""
    able = {one.codec for one in rows if one.status == OK}
    reasons: dict[str, str] = {}
    for one in rows:
        if able and one.codec not in able:
            reasons.setdefault(one.codec, f"it coded no picture; {one.name}: {one.reason}")
    return reasons


def _left_out(rows: Sequence[Row]) -> dict[str, str]:
    reasons: dict[str, str] = {}
    for one in rows:
        if one.status != OK:
            reasons.setdefault(one.item_id, f"{one.name}: {one.codec} at quality {one.quality:g} failed, {one.reason}")
        elif math.isinf(one.psnr_db):
            reasons.setdefault(
                one.item_id, f"{one.name}: {one.codec} at quality {one.quality:g} is lossless on it, PSNR is infinite"
            )
    return reasons


_AVERAGED = tuple(one.name for one in fields(OperatingPoint) if one.name != "quality")
"""Fields that a row and an operating point share."""


def _means(rows: Sequence[Row]) -> tuple[OperatingPoint, ...]:
    by_quality: dict[float, list[Row]] = defaultdict(list)
    for one in rows:
        by_quality[one.quality].append(one)
    return tuple(
        OperatingPoint(quality=quality, **{name: fmean(getattr(one, name) for one in found) for name in _AVERAGED})
        for quality, found in sorted(by_quality.items())
    )
