"""What the scripts of a report read, as plain values: curves, BD-rates of each picture, and the pictures to look at.

Means are raw, as `Scale` describes them: the scripts put them on the axis. What JSON cannot hold (nan, infinity) is
null.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from clc.evaluation.bd_rate import BdRate, RateCurve
from clc.evaluation.curves import CodecCurve, Comparison, OperatingPoint
from clc.evaluation.report.viewer import Shot, Viewed, ViewedPicture
from clc.evaluation.scales import Scale

_POINT_FIGURES = ("quality", "bpp", "encode_s", "decode_s")


def page_data(
    *,
    test: str,
    scales: Sequence[Scale],
    comparisons: Sequence[Comparison],
    published: Mapping[str, Sequence[RateCurve]],
    rates: Mapping[str, Mapping[str, Mapping[str, BdRate]]],
    natural: Sequence[str],
    viewed: Viewed,
) -> dict[str, Any]:
    """Return the values. `rates` has BD-rates by the keys of scales, item ids and anchors; `natural` are item ids."""
    return {
        "test": test,
        "scales": [asdict(scale) for scale in scales],
        "sets": [
            {
                "name": comparison.row,
                "pictures": len(comparison.pictures),
                "curves": [_curve(curve, scales) for curve in comparison.curves],
            }
            for comparison in comparisons
        ],
        "published": {key: [_published(curve) for curve in curves] for key, curves in published.items()},
        "rates": {
            key: {item_id: _percents(found) for item_id, found in by_picture.items()}
            for key, by_picture in rates.items()
        },
        "natural": list(natural),
        "viewed": [_viewed(picture) for picture in viewed.pictures],
    }


def finite(value: float | None, digits: int = 6) -> float | None:
    """Return a figure rounded to what a page can show, None for one that JSON cannot hold."""
    return None if value is None or not math.isfinite(value) else round(value, digits)


def _curve(curve: CodecCurve, scales: Sequence[Scale]) -> dict[str, Any]:
    return {"codec": curve.codec, "points": [_point(point, scales) for point in curve.points]}


def _point(point: OperatingPoint, scales: Sequence[Scale]) -> dict[str, float | None]:
    return {name: finite(getattr(point, name)) for name in (*_POINT_FIGURES, *(scale.key for scale in scales))}


def _published(curve: RateCurve) -> dict[str, Any]:
    """A published curve lies on the axis already."""
    return {"codec": curve.name, "points": [[finite(point.bpp), finite(point.value)] for point in curve.points]}


def _percents(found: Mapping[str, BdRate]) -> dict[str, float | None]:
    return {anchor: finite(rate.percent, 2) for anchor, rate in found.items()}


def _viewed(picture: ViewedPicture) -> dict[str, Any]:
    window = picture.window
    return {
        "id": picture.item_id,
        "name": picture.name,
        "size": [window.width, window.height],
        "part": "" if picture.is_whole else _part(picture),
        "original": picture.original,
        "steps": [_step(step) for step in picture.steps],
    }


def _part(picture: ViewedPicture) -> str:
    window = picture.window
    return (
        f"{window.width}×{window.height} px of {picture.width}×{picture.height} px, from {window.left}, {window.top}; "
        "bytes and figures are those of the whole picture"
    )


def _step(shots: Iterable[Shot]) -> dict[str, Any]:
    return {
        shot.codec: {
            "quality": finite(shot.quality),
            "bytes": shot.bytes,
            "bpp": finite(shot.bpp),
            "psnr_db": finite(shot.psnr_db),
            "ms_ssim": finite(shot.ms_ssim),
            "uri": shot.uri,
        }
        for shot in shots
    }
