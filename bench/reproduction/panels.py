"""The plot of the study: six panels, two a row, which a phone shows legibly and which lose nothing in grey.

Series are told apart by their marks and by how they are filled, lines by their dashes; colour only repeats it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from study import Panel, Series

_INK, _FAINT, _PAPER = "#1c2330", "#d9dee6", "#ffffff"
_COLOURS = ("#c23a09", "#1f5b9c", "#0b7a56")
_MARKS = ("o", "s", "^")
_DASHES = {
    "first order": (0, (1.2, 1.6)),
    "asymptotic": "-",
    "chance": (0, (7, 2, 1, 2)),
    "all pairs right": "-",
    "wrong pairs at random": (0, (5, 2)),
    "exact": "-",
    "bound": (0, (5, 2)),
}
"""Lines that are drawn, by name; others stand in the file of figures alone."""

_ONCE = {"chance", "all pairs right", "bound"}  # drawn for the first series alone


@dataclass(frozen=True)
class _Look:
    """How a panel is shown: its axes, their ends and ticks, and where its legend stands, in shares of the panel."""

    is_log_x: bool = True
    is_log_y: bool = True
    y: tuple[float, float] = (0.02, 1.15)
    x_ticks: tuple[int, ...] = (10, 100, 1_000, 10_000)
    legend: str = "lower left"
    legend_at: tuple[float, float] = (0.0, 0.0)


_LOOKS = {
    "n": _Look(x_ticks=(500, 2_000, 8_000, 32_000)),
    "d": _Look(x_ticks=(20, 50, 100, 200, 400), legend="upper left", legend_at=(0.0, 0.9)),
    "rho": _Look(is_log_x=False, is_log_y=False, y=(0, 1.05), legend="upper left", legend_at=(0.0, 0.9)),
    "K-subspace": _Look(y=(0.05, 1.15)),
    "K-regret": _Look(is_log_y=False, y=(0, 6.6), legend="upper left", legend_at=(0.0, 1.0)),
    "K-right": _Look(y=(0.01, 1.15)),
}


def draw(panels: Sequence[Panel], kind: str) -> bytes:
    """Draw the panels and return the file, of the `kind` "svg" or "png"; the same panels give the same bytes."""
    with mpl.rc_context({"font.size": 11, "svg.hashsalt": "clc"}):
        figure = Figure(figsize=(6.4, 9.6), dpi=150, facecolor=_PAPER, layout="constrained")
        FigureCanvasAgg(figure)
        for index, panel in enumerate(panels):
            axes = figure.add_subplot((len(panels) + 1) // 2, 2, index + 1)
            _draw_panel(axes, panel, _LOOKS[panel.key])
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()


def _draw_panel(axes: Axes, panel: Panel, look: _Look) -> None:
    axes.set_xscale("log" if look.is_log_x else "linear")
    axes.set_yscale("log" if look.is_log_y else "linear")
    for index, series in enumerate(panel.series):
        _draw_lines(axes, series, index)
        axes.errorbar(
            [point.at for point in series.points],
            [point.mean for point in series.points],
            yerr=[2 * point.standard_error for point in series.points],
            label=series.name,
            color=_COLOURS[index],
            marker=_MARKS[index],
            markersize=4.6,
            markerfacecolor=_COLOURS[index] if index == 0 else "none",
            linestyle="none",
            elinewidth=1.1,
            capsize=2,
            zorder=4,
        )
    _dress(axes, panel, look)


def _draw_lines(axes: Axes, series: Series, index: int) -> None:
    for name, line in series.lines.items():
        if name not in _DASHES or (name in _ONCE and index > 0):
            continue
        shown = f"{name}, {series.name}" if name == "bound" else name
        axes.plot(
            [point.at for point in series.points],
            [value if np.isfinite(value) else np.nan for value in line],
            label=shown if index == 0 else None,
            color=_INK if name in _ONCE else _COLOURS[index],
            linestyle=_DASHES[name],
            linewidth=1.3,
            zorder=3,
        )


def _dress(axes: Axes, panel: Panel, look: _Look) -> None:
    axes.set_title(panel.title, loc="left", fontsize=11, fontweight="bold", color=_INK)
    axes.set_xlabel(panel.axis, color=_INK)
    axes.set_ylim(*look.y)
    if look.is_log_x:
        axes.xaxis.set_major_locator(FixedLocator(look.x_ticks))
        axes.xaxis.set_major_formatter(FuncFormatter(_short))
    axes.xaxis.set_minor_locator(NullLocator())
    if look.is_log_y:
        axes.yaxis.set_major_locator(FixedLocator((0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(visible=True, color=_FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_INK, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    if panel.key in ("d", "rho"):  # their lines are those of the first panel
        marks = [at for at, label in enumerate(labels) if label in {series.name for series in panel.series}]
        handles, labels = [handles[at] for at in marks], [labels[at] for at in marks]
    axes.legend(
        handles,
        labels,
        loc=look.legend,
        bbox_to_anchor=look.legend_at,
        fontsize=9,
        framealpha=0.85,
        edgecolor="none",
        handlelength=2.2,
        labelspacing=0.25,
        borderaxespad=0.2,
    ).set_zorder(2)


def _short(value: float, _: object) -> str:
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"
