"""How figures are written in pages: signs, thousands, units, tables and commands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.results.measurement import Measurement


def signed(value: float, digits: int = 1) -> str:
    """A number with its sign: +27.3, -56.1, and 0.0 without one."""
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text


def percent(value: float | None, digits: int = 1) -> str:
    """A signed percentage, empty where there is none."""
    return "" if value is None else f"{signed(value, digits)} %"


def bold(text: str) -> str:
    """The text in bold type, nothing of nothing."""
    return f"**{text}**" if text else ""


def thousands(value: float) -> str:
    """A whole number with commas: 11,253,373."""
    return f"{value:,.0f}"


def listed(texts: Sequence[str]) -> str:
    """Texts in a sentence: a, b and c."""
    return " and ".join(filter(None, [", ".join(texts[:-1]), texts[-1]]))


def table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [heading, ["---"] * len(heading), *rows]
    # An empty cell is one space wide; the dashes under the heading stand without any.
    return "\n".join(
        "|" + "|".join(cell if cell == "---" else f" {cell} " if cell else " " for cell in line) + "|" for line in lines
    )


def commands(measurements: Iterable[Measurement]) -> str:
    """The commands of measurements as code, each once."""
    return "\n".join(["```", *dict.fromkeys(one.command for one in measurements), "```"])
