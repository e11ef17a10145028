"""Ordinary photographs: the 24 of the Kodak suite, beside Pillow's codecs and published curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.results.measurement import Block, Exempt, Measurement, Phrase
from bench.results.record import Records
from bench.results.tables.texts import bold, commands, percent, table
from clc.evaluation.scales import SCALES

KODAK = "kodak"
ROWS = {
    "jpeg": "JPEG (4:2:0, optimize)",
    "webp": "WebP (method 6)",
    "avif": "AVIF (speed 4, 4:4:4)",
    "bmshj2018-hyperprior": "bmshj2018-hyperprior, published",
    "bpg_444_x265_ycbcr": "BPG (4:4:4), published",
    "mbt2018-mean": "mbt2018-mean, published",
    "vtm-9.1": "VTM-9.1, published",
}
"""Anchors of the table, by the names that bench/kodak.py gives them."""
LIVE = ("jpeg", "webp", "avif")
MEASURES = tuple(one.key for one in SCALES.values())


def values_of(found: Any) -> dict[str, Any]:
    """BD-rates of PSNR by anchor, those of every measure, and our own mean points, of what bench/kodak.py writes.

    Raises ValueError where a measurement failed or an anchor has no BD-rate at equal PSNR.
    """
    live = {rate["anchor"]: rate for rate in found["bd_rates"] if rate["measure"] == "psnr_db"}
    published = {
        rate["anchor"].removesuffix(", published"): rate
        for rate in found["published_bd_rates"]
        if rate["measure"] == "psnr_db" and rate["test"] == "clc"
    }
    rates = {name: (live if name in LIVE else published)[name] for name in ROWS}
    without = [name for name, rate in rates.items() if rate["percent"] is None]
    if without or found["failed_rows"]:
        raise ValueError(
            f"{found['failed_rows']} measurements failed, no BD-rate against {', '.join(without) or 'none'}"
        )
    measures = {
        measure: {rate["anchor"]: rate["percent"] for rate in found["bd_rates"] if rate["measure"] == measure}
        for measure in MEASURES
    }
    points = [
        {key: point[key] for key in ("quality", "bpp", "psnr_db", "ms_ssim")}
        for point in found["table"]
        if point["codec"] == "clc"
    ]
    return {
        "pictures": found["pictures"]["natural"],
        "bd_rates": {name: {key: rate[key] for key in ("percent", "low", "high")} for name, rate in rates.items()},
        "measures": {measure: rates for measure, rates in measures.items() if rates},
        "points": sorted(points, key=lambda point: point["quality"]),
    }


MEASUREMENTS = (
    Measurement(
        KODAK,
        "python bench/kodak.py --anchors clc/evaluation/published.json --measures ssimulacra2 --processes 2",
        values_of,
        minutes=60,
        needs=("../shared/data/kodak", "clc/evaluation/published.json"),
        option="--out",
        result="results.json",
        pictures={"rd.png": "docs/rd-kodak.png"},
    ),
)


def rates_of(records: Records) -> Mapping[str, Any]:
    """BD-rates by anchor."""
    rates: Mapping[str, Any] = records[KODAK].values["bd_rates"]
    return rates


def saved(records: Records, anchor: str) -> str:
    """How many percent fewer bytes than the anchor's, as a whole number."""
    return f"{-rates_of(records)[anchor]['percent']:.0f}"


def last_point(records: Records) -> Mapping[str, float]:
    """The mean over the pictures at the highest quality."""
    return max(records[KODAK].values["points"], key=lambda point: point["quality"])


def _rates(records: Records) -> str:
    rows = []
    for name, title in ROWS.items():
        rate = rates_of(records)[name]
        shown = percent(rate["percent"])
        rows.append((title, bold(shown) if name in LIVE else shown, f"{rate['low']:.1f} to {rate['high']:.1f}"))
    heading = ("bytes of clc against", "BD-rate", "PSNR range, dB")
    plot = "![Rate and distortion on the Kodak pictures](rd-kodak.png)"
    parts = (table(heading, rows), plot, _points(records), _measures(records))
    return "\n\n".join([*parts, commands(MEASUREMENTS)])


def _measures(records: Records) -> str:
    found = records[KODAK].values["measures"]
    rows = [
        (SCALES[measure].label, *(percent(found[measure].get(name)) for name in LIVE))
        for measure in MEASURES
        if measure in found
    ]
    return table(("BD-rate at equal", *(ROWS[name] for name in LIVE)), rows)


def _points(records: Records) -> str:
    points = records[KODAK].values["points"]
    rows = [
        ("bpp", *(f"{point['bpp']:.3f}" for point in points)),
        ("PSNR, dB", *(f"{point['psnr_db']:.2f}" for point in points)),
        ("MS-SSIM", *(f"{point['ms_ssim']:.3f}" for point in points)),
    ]
    return table(("quality", *(f"{point['quality']:g}" for point in points)), rows)


BLOCKS = (Block("kodak", (KODAK,), _rates), Block("kodak-points", (KODAK,), _points))


def _three(records: Records) -> dict[str, str]:
    return {name: saved(records, name) for name in LIVE}


def _vtm(records: Records) -> dict[str, str]:
    return {"more": f"{rates_of(records)['vtm-9.1']['percent']:.1f}"}


def _top(records: Records) -> dict[str, str]:
    point = last_point(records)
    return {"about": f"{point['psnr_db']:.0f}", "psnr": f"{point['psnr_db']:.2f}", "bpp": f"{point['bpp']:.3f}"}


PHRASES = (
    Phrase(
        "README.md",
        "**{jpeg} % smaller than JPEG's, {webp} % smaller than WebP's and {avif} % smaller than AVIF's**",
        (KODAK,),
        _three,
    ),
    Phrase("docs/results.md", "clc takes {more} % more bytes than VTM-9.1 at equal PSNR", (KODAK,), _vtm),
    Phrase(
        "docs/results.md", "ends at about {about} dB on Kodak ({psnr} dB at {bpp} bpp, quality 100)", (KODAK,), _top
    ),
    Phrase("docs/encoding.md", "quality 100 ends at about {about} dB on Kodak", (KODAK,), _top),
)
EXEMPT = (
    Exempt("docs/encoding.md", "| exit status | |", "numbers of statuses"),
    Exempt(
        "docs/encoding.md",
        "| effort | key pictures tried | of these aligned at once | refinement |",
        "what the levels are set to, clc/codec/effort.py",
    ),
    Exempt(
        "docs/encoding.md",
        "at no quality a picture is more than 3 dB under the mean of photographs (27.1 dB at quality 0, 31.7 at 50, "
        "37.1 at 100), nor under 35 dB at quality 100",
        "limits in the code, clc/codec/ways/suitability.py",
    ),
)
