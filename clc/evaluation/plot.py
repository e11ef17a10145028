"""The rate-distortion plot: `rd.png`, and its twin for dark pages.

Rate is on a logarithmic axis, so that the horizontal distance of two curves is the ratio of their bytes, which is what
a BD-rate averages. Curves carry their names at their ends instead of a legend.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from clc.evaluation.bd_rate import RateCurve
from clc.evaluation.curves import Comparison

_TICKS_BPP = (0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
_LABEL_GAP = 0.062
"""Least distance of two labels, as a share of the axis' height."""


@dataclass(frozen=True)
class Theme:
    """Colours of a plot; `own` is the codec under test, `others` are given to the rest in turn."""

    paper: str
    ink: str
    faint: str
    own: str
    others: tuple[str, ...]


LIGHT = Theme("#ffffff", "#1c2330", "#d9dee6", "#d1410c", ("#6b7280", "#2563a8", "#0f8a63", "#8a4fb0", "#a07a12"))
DARK = Theme("#161b24", "#e6eaf0", "#323b4a", "#ff7a45", ("#a3acba", "#6aaef2", "#45c79a", "#c695ec", "#e0b84c"))


def draw_rd(comparisons: Sequence[Comparison], test: str, theme: Theme = LIGHT) -> bytes:
    """Draw one panel for each comparison (PSNR over bpp) and return the PNG file.

    `test` names the codec to bring out; curves whose name begins with it are drawn in its colour, dashed.
    """
    shown = [comparison for comparison in comparisons if comparison.curves]
    figure = Figure(figsize=(max(1, len(shown)) * 6.4, 4.9), dpi=150, facecolor=theme.paper, layout="constrained")
    FigureCanvasAgg(figure)
    for index, comparison in enumerate(shown):
        axes = figure.add_subplot(1, len(shown), index + 1)
        curves = [one.curve for one in comparison.curves if one.points]
        _draw_panel(axes, curves, test, theme)
        count = len(comparison.pictures)
        title = f"{comparison.row}, mean of {count} picture{'' if count == 1 else 's'}"
        axes.set_title(title, loc="left", color=theme.ink, fontsize=11, fontweight="bold")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor=theme.paper)
    return buffer.getvalue()


def _draw_panel(axes: Axes, curves: Sequence[RateCurve], test: str, theme: Theme) -> None:
    others = [curve.name for curve in curves if not curve.name.startswith(test)]
    colours = {name: theme.others[index % len(theme.others)] for index, name in enumerate(others)}
    for curve in curves:
        is_test = curve.name == test
        axes.plot(
            [point.bpp for point in curve.points],
            [point.value for point in curve.points],
            color=colours.get(curve.name, theme.own),
            linestyle="-" if is_test or curve.name in colours else (0, (4, 2)),
            linewidth=2.6 if is_test else 1.6,
            marker="o",
            markersize=5.0 if is_test else 3.2,
            zorder=4 if is_test else 3,
            clip_on=False,
        )
    _dress(axes, curves, theme)
    _label_ends(axes, curves, test, colours, theme)


def _dress(axes: Axes, curves: Sequence[RateCurve], theme: Theme) -> None:
    axes.set_facecolor(theme.paper)
    axes.set_xscale("log")
    rates = [point.bpp for curve in curves for point in curve.points]
    axes.set_xlim(min(rates) * 0.9, max(rates) * 1.12)
    axes.xaxis.set_major_locator(FixedLocator(_TICKS_BPP))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("bits per pixel, whole file (logarithmic)", color=theme.ink)
    axes.set_ylabel("PSNR of RGB, dB", color=theme.ink)
    axes.grid(visible=True, color=theme.faint, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=theme.ink, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _label_ends(axes: Axes, curves: Sequence[RateCurve], test: str, colours: dict[str, str], theme: Theme) -> None:
    """Write each name in the right margin at the height of its curve's end, apart from the names below it."""
    low_db, high_db = axes.get_ylim()
    axes.set_ylim(low_db, high_db)
    right_bpp = axes.get_xlim()[1]
    height_db = high_db - low_db
    lowest = -1.0
    for curve in sorted(curves, key=lambda one: one.points[-1].value):
        end = curve.points[-1]
        place = max((end.value - low_db) / height_db, lowest + _LABEL_GAP)
        lowest = place
        colour = colours.get(curve.name, theme.own)
        label_db = low_db + place * height_db
        axes.plot([end.bpp, right_bpp], [end.value, label_db], color=colour, linewidth=0.7, alpha=0.55, clip_on=False)
        axes.annotate(
            curve.name,
            (1.0, place),
            xycoords="axes fraction",
            xytext=(4, 0),
            textcoords="offset points",
            color=colour,
            va="center",
            fontsize=10,
            fontweight="bold" if curve.name == test else "normal",
            annotation_clip=False,
        )
