"""The report of an evaluation: one HTML file that needs nothing beside it, and says what each figure was taken on.

`flows.evaluate` and `bench/kodak.py` fill `Report` and call `render`; `clc.pages.page` has what all pages share. Tables
stand in the page as text; its scripts sort and filter them, draw the curves, and show pictures over one another.
"""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, quantiles
from typing import NamedTuple

from clc.evaluation.bd_rate import BdRate, RateCurve
from clc.evaluation.curves import Comparison, OperatingPoint, picture_bd_rates
from clc.evaluation.measure import FAILED, NATURAL, OK, PAIR, Row
from clc.evaluation.report.page_data import page_data
from clc.evaluation.report.viewer import Viewed
from clc.evaluation.scales import PSNR, SCALES, Scale
from clc.evaluation.summary import measured_scales
from clc.pages import page

FOLDER = Path(__file__).parent
TEMPLATE = FOLDER / "report.html"
SCRIPTS = tuple(
    FOLDER / name for name in ("chartjs/chart.umd.min.js", "shared.js", "curves.js", "tables.js", "viewer.js")
)
"""What the page runs, in this order; the first is Chart.js."""

SHOWN_ENDS = 3
"""So many of the best and of the worst pictures are shown."""

_VERDICT = "<!-- verdict -->"
"""Where `with_verdict` puts what was decided after the page was written."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a report shows.

    `subject` says which codec the figures are of, `test` is its name in rows and `without_references` that of its twin
    which may not look anything up. `comparisons` holds natural pictures first. `unmeasured` has the reason for each
    measure that was not taken, by its key. `facts` are shown as they are, such as the data and the versions of
    libraries. `thumbnails` are pictures as data of a page, by item id. `published` are curves that others measured, by
    the key of their measure, and `published_rates` what the codec takes against them.
    """

    title: str
    subject: str
    test: str
    without_references: str
    rows: Sequence[Row]
    comparisons: Sequence[Comparison]
    settings: Mapping[str, str]
    missing: Mapping[str, str]
    unmeasured: Mapping[str, str]
    facts: Mapping[str, str]
    viewed: Viewed = field(default_factory=Viewed)
    thumbnails: Mapping[str, str] = field(default_factory=dict)
    published: Mapping[str, Sequence[RateCurve]] = field(default_factory=dict)
    published_rates: Sequence[BdRate] = ()

    def find(self, row: str) -> Comparison | None:
        """Return the comparison over one kind of row, or None."""
        return next((one for one in self.comparisons if one.row == row), None)


@dataclass(frozen=True)
class PictureLine:
    """One picture in the report's table: the codec's range on it, and its BD-rate against each anchor."""

    item_id: str
    name: str
    size: str
    pixels: int
    low: Row | None
    high: Row | None
    rates: Mapping[str, BdRate]
    failures: tuple[str, ...]


class Spread(NamedTuple):
    """BD-rates of single pictures against one anchor, in percent: the best, quartiles, the worst, and how many."""

    anchor: str
    best: float
    lower: float
    median: float
    upper: float
    worst: float
    mean: float
    pictures: int
    better: int


class Timing(NamedTuple):
    """What a codec took over all its files: means, and the most, in seconds a megapixel; memory in MB, or nan."""

    codec: str
    files: int
    encode_s: float
    decode_s: float
    encode_s_mp: float
    decode_s_mp: float
    peak_mb: float


def render(report: Report) -> str:
    """Return the report as one HTML document."""
    natural, pair = report.find(NATURAL), report.find(PAIR)
    main = natural if natural is not None and natural.curves else pair
    scales = measured_scales(main) if main else []
    anchors = _anchors(report)
    rates = {scale.key: picture_bd_rates(report.rows, report.test, anchors, scale) for scale in scales}
    lines = _picture_lines(report, rates.get(PSNR.key, {}))
    return page.render(
        TEMPLATE,
        [path.read_text(encoding="utf-8") for path in SCRIPTS],
        report=report,
        main=main,
        pair=pair,
        scales=scales,
        all_scales=SCALES,
        headline=_headline(main, report.test, anchors) if main else "",
        bd_rates=[*_all_rates(main, report.test, scales), *report.published_rates],
        pair_rates=_all_rates(pair, report.test, scales),
        pair_points=_pair_points(report, pair),
        anchors=anchors,
        pictures=lines,
        ends=_ends(report, lines, anchors),
        spreads=_spreads(report, rates.get(PSNR.key, {}), anchors),
        timings=_timings(report.rows),
        failures=_failures(report.rows),
        own_rows=[row for row in report.rows if row.codec == report.test and row.status != FAILED],
        data=page_data(
            test=report.test,
            scales=scales,
            comparisons=[one for one in report.comparisons if one.curves],
            published=report.published,
            rates=rates,
            natural=list(dict.fromkeys(row.item_id for row in report.rows if row.row == NATURAL)),
            viewed=report.viewed,
        ),
    )


def with_verdict(report_html: str, verdict: str) -> str:
    """Return a rendered report with what was decided over its codec at its top, as one line of text."""
    return report_html.replace(_VERDICT, f'<p class="decision">{html.escape(verdict)}</p>', 1)


def telling_pictures(rows: Sequence[Row], test: str, anchor: str) -> list[str]:
    """Return the natural pictures on which `test` is worst, best and median against `anchor`, as item ids.

    Worst and best stand beside each other in the report, so that it does not show only what flatters.
    """
    natural = [row for row in rows if row.row == NATURAL]
    found = picture_bd_rates(natural, test, [anchor])
    rates = {item_id: one[anchor].percent for item_id, one in found.items() if anchor in one}
    known = sorted((percent, item_id) for item_id, percent in rates.items() if percent is not None)
    if not known:
        return list(dict.fromkeys(row.item_id for row in natural if row.status != FAILED))[:3]
    return list(dict.fromkeys(known[index][1] for index in (len(known) - 1, 0, len(known) // 2)))


def _headline(main: Comparison, test: str, anchors: Sequence[str]) -> str:
    """Say in one sentence what the codec saves against each anchor at equal PSNR."""
    found = [(anchor, main.bd_rate(test, anchor)) for anchor in anchors]
    parts = [
        f"{abs(rate.percent):.0f} % {'smaller' if rate.percent < 0 else 'larger'} than {anchor}"
        for anchor, rate in found
        if rate is not None and rate.percent is not None
    ]
    count = len(main.pictures)
    which = f"{count} picture{'' if count == 1 else 's'}"
    return f"At equal PSNR its files are {', '.join(parts)}, on average over {which}." if parts else ""


def _all_rates(comparison: Comparison | None, test: str, scales: Sequence[Scale]) -> list[BdRate]:
    return [rate for scale in scales for rate in comparison.bd_rates(test, scale)] if comparison else []


def _failures(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Return name and reason of what failed, each once for a picture: two pictures may have one name."""
    failed = dict.fromkeys((row.item_id, row.name, row.reason) for row in rows if row.status == FAILED)
    return [(name, reason) for _, name, reason in failed]


def _anchors(report: Report) -> list[str]:
    own = (report.test, report.without_references)
    return list(dict.fromkeys(c.codec for one in report.comparisons for c in one.curves if c.codec not in own))


def _pair_points(report: Report, pair: Comparison | None) -> list[tuple[OperatingPoint, OperatingPoint]]:
    """Return the pair's points with and without references, quality by quality."""
    if pair is None:
        return []
    with_them, without = pair.find(report.test), pair.find(report.without_references)
    if with_them is None or without is None:
        return []
    return list(zip(with_them.points, without.points, strict=True))


def _picture_lines(report: Report, rates: Mapping[str, Mapping[str, BdRate]]) -> list[PictureLine]:
    by_item: dict[str, list[Row]] = {}
    for row in report.rows:
        by_item.setdefault(row.item_id, []).append(row)
    lines = []
    for item_id, own in by_item.items():
        coded = sorted(
            (row for row in own if row.codec == report.test and row.status != FAILED), key=lambda row: row.bpp
        )
        first = next((row for row in own if row.width), own[0])
        lines.append(
            PictureLine(
                item_id=item_id,
                name=first.name if first.row == NATURAL else f"{first.name} ({first.row})",
                size=f"{first.width}×{first.height}" if first.width else "–",
                pixels=first.width * first.height,
                low=coded[0] if coded else None,
                high=coded[-1] if coded else None,
                rates=rates.get(item_id, {}),
                failures=tuple(dict.fromkeys(f"{row.codec}: {row.reason}" for row in own if row.status == FAILED)),
            )
        )
    return lines


def _ends(report: Report, lines: Sequence[PictureLine], anchors: Sequence[str]) -> list[tuple[str, PictureLine, float]]:
    """Return the best and the worst natural pictures against the first anchor, with their BD-rates; none of too few."""
    natural = {row.item_id for row in report.rows if row.row == NATURAL}
    known = [
        (rate.percent, line)
        for line in lines
        if line.item_id in natural and anchors and (rate := line.rates.get(anchors[0])) and rate.percent is not None
    ]
    ordered = sorted(known, key=lambda one: one[0])
    count = min(SHOWN_ENDS, len(ordered) // 2)
    best = [("best", line, percent) for percent, line in ordered[:count]]
    return best + [("worst", line, percent) for percent, line in ordered[len(ordered) - count :]]


def _spreads(report: Report, rates: Mapping[str, Mapping[str, BdRate]], anchors: Sequence[str]) -> list[Spread]:
    natural = {row.item_id for row in report.rows if row.row == NATURAL}
    spreads = []
    for anchor in anchors:
        found = [one[anchor].percent for item_id, one in rates.items() if item_id in natural and anchor in one]
        known = sorted(percent for percent in found if percent is not None)
        if len(known) > 1:
            lower, median, upper = quantiles(known, n=4, method="inclusive")
            better = sum(percent < 0 for percent in known)
            spreads.append(Spread(anchor, known[0], lower, median, upper, known[-1], fmean(known), len(known), better))
    return spreads


def _timings(rows: Sequence[Row]) -> list[Timing]:
    timings = []
    for codec in dict.fromkeys(row.codec for row in rows):
        own = [row for row in rows if row.codec == codec and row.status == OK]
        if own:
            megapixels = sum(row.width * row.height for row in own) / 1e6
            encode_s, decode_s = (sum(getattr(row, name) for row in own) for name in ("encode_s", "decode_s"))
            count = len(own)
            per_file, per_mp = (encode_s / count, decode_s / count), (encode_s / megapixels, decode_s / megapixels)
            timings.append(Timing(codec, count, *per_file, *per_mp, max(row.peak_mb for row in own)))
    return timings
