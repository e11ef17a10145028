"""The report of an evaluation: one HTML file that needs nothing beside it, and says what each figure was taken on.

`flows.evaluate` and `bench/kodak.py` fill `Report` and call `render`; `clc.pages.page` has what all pages share.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clc.evaluation.bd_rate import BdRate
from clc.evaluation.curves import Comparison, OperatingPoint, picture_bd_rates
from clc.evaluation.measure import FAILED, NATURAL, PAIR, Row
from clc.evaluation.side_by_side import SideBySide
from clc.pages import page

TEMPLATE = Path(__file__).parent / "report.html"


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a report shows.

    `test` names the codec under test and `without_references` its twin that may not look anything up. `comparisons`
    holds natural pictures first. `plots` are PNG files for light and dark pages. `facts` are shown as they are, such as
    the bundle and the versions of libraries.
    """

    title: str
    test: str
    without_references: str
    rows: Sequence[Row]
    comparisons: Sequence[Comparison]
    plot_light: bytes
    plot_dark: bytes
    settings: Mapping[str, str]
    missing: Mapping[str, str]
    facts: Mapping[str, str]
    side_by_sides: Sequence[SideBySide] = ()
    published: Sequence[BdRate] = field(default_factory=tuple)

    def find(self, row: str) -> Comparison | None:
        """Return the comparison over one kind of row, or None."""
        return next((one for one in self.comparisons if one.row == row), None)


@dataclass(frozen=True)
class PictureLine:
    """One picture in the report's table: the codec's range on it, and its BD-rate against each anchor."""

    name: str
    size: str
    low: Row | None
    high: Row | None
    rates: Mapping[str, BdRate]
    failures: tuple[str, ...]


def render(report: Report) -> str:
    """Return the report as one HTML document."""
    natural, pair = report.find(NATURAL), report.find(PAIR)
    main = natural if natural is not None and natural.curves else pair
    return page.render(
        TEMPLATE,
        report=report,
        main=main,
        pair=pair,
        bd_rates=[*(main.bd_rates(report.test) if main else ()), *report.published],
        pair_rates=pair.bd_rates(report.test) if pair else (),
        pair_points=_pair_points(report, pair),
        anchors=_anchors(report),
        pictures=_picture_lines(report),
        failures=_failures(report.rows),
        own_rows=[row for row in report.rows if row.codec == report.test and row.status != FAILED],
    )


def _failures(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Return name and reason of what failed, each once for a picture: two pictures may have one name."""
    failed = dict.fromkeys((row.item_id, row.name, row.reason) for row in rows if row.status == FAILED)
    return [(name, reason) for _, name, reason in failed]


def telling_pictures(rows: Sequence[Row], test: str, anchor: str) -> list[str]:
    """Return the natural pictures on which `test` is best, median and worst against `anchor`, as item ids.

    Best and worst stand beside each other in the report, so that it does not show only what flatters.
    """
    natural = [row for row in rows if row.row == NATURAL]
    found = picture_bd_rates(natural, test, [anchor])
    rates = {item_id: one[anchor].percent for item_id, one in found.items() if anchor in one}
    known = sorted((percent, item_id) for item_id, percent in rates.items() if percent is not None)
    if not known:
        return list(dict.fromkeys(row.item_id for row in natural if row.status != FAILED))[:3]
    return list(dict.fromkeys(known[index][1] for index in (0, len(known) // 2, len(known) - 1)))


def quality_near(rows: Sequence[Row], test: str, item_id: str, bpp: float) -> float | None:
    """Return the measured quality at which `test` comes nearest to `bpp` on a picture, or None if it never coded it."""
    coded = [row for row in rows if row.codec == test and row.item_id == item_id and row.status != FAILED]
    if not coded:
        return None
    return min(coded, key=lambda row: abs(math.log(row.bpp / bpp))).quality


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


def _picture_lines(report: Report) -> list[PictureLine]:
    rates = picture_bd_rates(report.rows, report.test, _anchors(report))
    lines = []
    for item_id in dict.fromkeys(row.item_id for row in report.rows):
        own = [row for row in report.rows if row.item_id == item_id]
        coded = sorted(
            (row for row in own if row.codec == report.test and row.status != FAILED), key=lambda row: row.bpp
        )
        first = next((row for row in own if row.width), own[0])
        size = f"{first.width}×{first.height}" if first.width else "–"
        failures = tuple(dict.fromkeys(f"{row.codec}: {row.reason}" for row in own if row.status == FAILED))
        name = first.name if first.row == NATURAL else f"{first.name} ({first.row})"
        low, high = (coded[0], coded[-1]) if coded else (None, None)
        lines.append(PictureLine(name, size, low, high, rates[item_id], failures))
    return lines
