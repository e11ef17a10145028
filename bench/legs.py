"""What each leg of a long training gained: BD-rates of the held-out pictures, from one file with the curve of all legs.

    python bench/legs.py docs/legs.jsonl
    python bench/legs.py docs/legs.jsonl --leg 13 --add runs/leg13/log.jsonl

The second form first takes the validations of a run's log into the file, under the name of the leg. Of a leg
counts the validation with the lowest loss, whose weights a run keeps; it is compared with that of the leg before. Only
legs that held the same pictures out can be compared: those whose runs had the same `--data` and `--overlapping`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from clc.errors import ClcError, InputError
from clc.evaluation.bd_rate import RateCurve, bd_rate
from storage.atomic import write_bytes

ROWS = {"no references": "validation", "synthetic references": "aligned", "real references": "pairs"}
KEPT = (
    "step",
    "minutes",
    "validation_loss",
    *(f"{row}_{kind}" for row in ROWS.values() for kind in ("bpp", "psnr_db")),
)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="BD-rates of the legs of a training.")
    parser.add_argument("curve", type=Path, help="the curve of all legs, a JSON object a line")
    parser.add_argument("--add", type=Path, metavar="LOG", help="log.jsonl of a run, whose validations are added")
    parser.add_argument("--leg", help="name of the leg that is added")
    options = parser.parse_args(arguments)
    if (options.add is None) != (options.leg is None):
        parser.error("--add and --leg go together")
    try:
        lines = _read(options.curve) if options.curve.exists() or options.add is None else []
        if not all("leg" in line and "validation_loss" in line for line in lines):
            raise InputError(f"{options.curve} is no curve of legs: a run's log is taken in by --add")
        if options.add is not None:
            lines = [*lines, *_validations(options.add, options.leg, lines)]
            write_bytes(options.curve, "".join(json.dumps(line) + "\n" for line in lines).encode())
        Console().print(_table(lines))
    except (ClcError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        lines: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()]
    except ValueError as error:
        raise InputError(f"{path} is no file of JSON lines: {error}") from error
    if not all(isinstance(line, dict) for line in lines):
        raise InputError(f"{path} is no file of JSON objects, one a line")
    return lines


def _validations(log: Path, leg: str, there: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if any(line["leg"] == leg for line in there):
        raise InputError(f"leg {leg} is in the curve already; give another name, or take its lines out")
    found = [line for line in _read(log) if "validation_bpp" in line]
    if not found:
        raise InputError(f"{log} holds no validation")
    return [{"leg": leg, **{name: _rounded(line[name]) for name in KEPT if name in line}} for line in found]


def _rounded(figure: Any) -> Any:
    """To five places: what is beyond them is noise, and fills the file."""
    return [round(one, 5) for one in figure] if isinstance(figure, list) else round(figure, 5)


def _table(lines: list[dict[str, Any]]) -> Table:
    """What was kept of each leg against what was kept of the one before."""
    ends: dict[str, dict[str, Any]] = {}
    for line in lines:
        if line["leg"] not in ends or line["validation_loss"] <= ends[line["leg"]]["validation_loss"]:
            ends[line["leg"]] = line
    table = Table(title="BD-rate against the leg before, held-out pictures, by the model's own estimates")
    for heading in ("leg", "steps", "minutes", *ROWS):
        table.add_column(heading)
    before = None
    for leg, end in ends.items():
        table.add_row(
            leg, str(end["step"]), f"{end['minutes']:.0f}", *(_gain(before, end, row) for row in ROWS.values())
        )
        before = end
    return table


def _gain(before: dict[str, Any] | None, end: dict[str, Any], row: str) -> str:
    """A BD-rate in per cent, or why there is none."""
    if before is None or f"{row}_bpp" not in before or f"{row}_bpp" not in end:
        return ""
    curves = [RateCurve.of(line["leg"], line[f"{row}_bpp"], line[f"{row}_psnr_db"]) for line in (before, end)]
    found = bd_rate(*curves)
    return found.reason if found.percent is None else f"{found.percent:+.2f} %"


if __name__ == "__main__":
    sys.exit(main())
