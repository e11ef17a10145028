"""The figures of an evaluation as one JSON object: `summary.json` of the pipeline, and what `bench/` writes.

JSON knows no nan and no infinity, so a figure that could not be taken is null here, with a reason beside it where one
is known.
"""

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from PIL import features

from clc.evaluation.bd_rate import BdRate
from clc.evaluation.coders import TEST, WITHOUT_REFERENCES
from clc.evaluation.curves import Comparison
from clc.evaluation.measure import FAILED, NATURAL, PAIR, Row
from clc.evaluation.scales import SCALES, Scale

JPEG = "jpeg"
OPTIONAL_LIBRARIES = ("ssimulacra2", "stlpips-pytorch")
LIBRARIES = ("pillow", "torch", "numpy", "bjontegaard", "pytorch-msssim")


def summarise(rows: Sequence[Row], comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """Return what an evaluation came to: its table, its BD-rates, and what was left out and why.

    `bd_rate_vs_jpeg_percent` and `bd_rates` are over natural pictures; the pair stands apart under `pair`. BD-rates are
    those of each measure that was taken, PSNR's first, with the measure's key beside each.
    """
    by_row = {one.row: one for one in comparisons}
    natural, pair = by_row.get(NATURAL), by_row.get(PAIR)
    against_jpeg = natural.bd_rate(TEST, JPEG) if natural else None
    references = pair.bd_rate(TEST, WITHOUT_REFERENCES) if pair else None
    return {
        "pictures": {one.row: len(one.pictures) for one in comparisons},
        "left_out": [reason for one in comparisons for reason in one.left_out.values()],
        "codecs_left_out": {name: reason for one in comparisons for name, reason in one.without.items()},
        "failed_rows": sum(row.status == FAILED for row in rows),
        "bd_rate_vs_jpeg_percent": against_jpeg.percent if against_jpeg else None,
        "bd_rates": _bd_rates(natural) if natural else [],
        "pair": {
            "references_bd_rate_percent": references.percent if references else None,
            "bd_rates": _bd_rates(pair) if pair else [],
        },
        "table": tabulate(comparisons),
        "versions": versions(),
    }


def measured_scales(comparison: Comparison) -> list[Scale]:
    """Return the measures that a comparison has of its codecs, in the order in which they are shown."""
    points = [point for curve in comparison.curves for point in curve.points]
    return [one for one in SCALES.values() if any(math.isfinite(getattr(point, one.key)) for point in points)]


def _bd_rates(comparison: Comparison) -> list[dict[str, Any]]:
    return [
        describe_bd_rate(rate) for scale in measured_scales(comparison) for rate in comparison.bd_rates(TEST, scale)
    ]


def tabulate(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Return one object for each codec, kind of row and quality, with the means over the pictures."""
    return [
        {"codec": curve.codec, "row": comparison.row, "references": curve.references, **_finite(asdict(point))}
        for comparison in comparisons
        for curve in comparison.curves
        for point in curve.points
    ]


def describe_bd_rate(rate: BdRate) -> dict[str, Any]:
    """Return a BD-rate with all of its conditions."""
    return _finite(asdict(rate))


def versions() -> dict[str, str]:
    """Return the versions of the libraries that a measurement depends on, and of the codecs inside Pillow."""
    found = {name: version(name) for name in LIBRARIES}
    for name in OPTIONAL_LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    inside = {"libjpeg-turbo": "libjpeg_turbo", "libwebp": "webp", "libavif": "avif"}
    # `features.check` first: asked for the version of a codec that it lacks, Pillow warns.
    return found | {
        name: (features.check(feature) and features.version(feature)) or "not in this Pillow"
        for name, feature in inside.items()
    }


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }
