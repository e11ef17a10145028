"""The paper's theorems of robustness, checked by numbers: subspace errors over n, d and rho, matching errors over K.

    python bench/reproduction/subspace.py --out docs/subspace.svg --json docs/figures/subspace.json

Needs no data and no model. Pictures are drawn from the spiked covariance model; what is measured, and against which
predictions, stands in `spiked_pairs.py` and `noisy_dictionary.py`, what came of it in docs/reproduction.md. Prints a
table of the fitted exponents; writes the plot and all figures. The figures depend on the seed and on nothing else but
how a processor rounds.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from panels import draw
from rich.console import Console
from rich.table import Table
from study import Grid, Panel, study

from clc.codec.files import refuse_existing
from clc.console import DONE, FAILED, OneLineParser, complain, error_line, progress_line, status_of, steady
from clc.errors import InputError
from clc.evaluation.report.facts import machine_facts
from storage.atomic import write_bytes

COMMAND = "bench/reproduction/subspace.py"
KINDS = (".svg", ".png")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, plot and write; return the exit status. What goes wrong is one line."""
    with steady():
        options = _parser().parse_args(arguments)
        try:
            return _run(options, sys.argv[1:] if arguments is None else arguments)
        except KeyboardInterrupt as error:
            complain("interrupted: no output is half-written")
            return status_of(error)
        # The boundary of the program: whatever is raised is a line.
        except Exception as error:
            complain(error_line(error))
            return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="subspace.py", description="Check the theorems of robustness by numbers.")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the plot, .svg or .png")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures")
    parser.add_argument("--repetitions", type=int, default=20, metavar="N", help="at each point (20)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    return parser


def _run(options: argparse.Namespace, command: Sequence[str]) -> int:
    outputs = [path for path in (options.out, options.json) if path is not None]
    if options.out is not None and options.out.suffix.lower() not in KINDS:
        raise InputError(f"--out {options.out}: a plot is a file *.svg or *.png")
    if len({path.resolve() for path in outputs}) < len(outputs):
        raise InputError(f"--out and --json are the same file, {options.out}; give two")
    refuse_existing(outputs, overwrite=options.overwrite)
    grid = Grid(repetitions=options.repetitions, seed=options.seed)
    facts, date = machine_facts(), datetime.now(UTC)  # before it: the source may change meanwhile
    began, processor = time.perf_counter(), time.process_time()
    panels = study(grid, lambda name: progress_line(f"measuring: {name}"))
    progress_line("")
    taken = {"seconds": time.perf_counter() - began, "processor_seconds": time.process_time() - processor}
    _print(panels)
    if options.json is not None:
        told = facts | {
            "date": date.isoformat(timespec="seconds"),
            "command": shlex.join(["python", COMMAND, *command]),
        }
        figures = _figures(panels, grid, told, taken)
        write_bytes(options.json, (json.dumps(figures, indent=1) + "\n").encode(), replace=options.overwrite)
    if options.out is not None:
        plot = draw(panels, options.out.suffix.lower().removeprefix("."))
        write_bytes(options.out, plot, replace=options.overwrite)
    return DONE


def _figures(
    panels: Sequence[Panel], grid: Grid, told: Mapping[str, str], taken: Mapping[str, float]
) -> dict[str, Any]:
    """What a file of docs/figures says."""
    return {
        "name": "subspace",
        "version": told["release"],
        "commit": told["commit"] or "not known",
        "machine": told["CPU"],
        "date": told["date"],
        "command": told["command"],
        **{name: round(value, 1) for name, value in taken.items()},
        "values": {
            "seed": grid.seed,
            "repetitions": grid.repetitions,
            "panels": {
                panel.key: {
                    "title": panel.title,
                    "axis": panel.axis,
                    "series": [series.to_json() for series in panel.series],
                }
                for panel in panels
            },
        },
    }


def _print(panels: Sequence[Panel]) -> None:
    """Print what the series follow, and then each with its points beside what is predicted."""
    console = Console(width=140)
    table = Table("over", "series", "exponent", "chi2", "further")
    for panel in panels:
        for series in panel.series:
            found = dict(series.found)
            value, error, chi2 = (found.pop(name, None) for name in ("exponent", "standard error", "chi2"))
            exponent = "-" if value is None else f"{value:+.4f} ± {error:.4f}"
            further = "; ".join(f"{name} {value:.4g}" for name, value in found.items())
            table.add_row(panel.key, series.name, exponent, "-" if chi2 is None else f"{chi2:.1f}", further)
    console.print(table)
    for panel in panels:
        for series in panel.series:
            points = Table(panel.axis, "mean", "s.e.", *series.lines, title=f"{panel.title}: {series.name}")
            for at, point in enumerate(series.points):
                lines = [f"{line[at]:.4f}" for line in series.lines.values()]
                points.add_row(f"{point.at:g}", f"{point.mean:.4f}", f"{point.standard_error:.4f}", *lines)
            console.print(points)


if __name__ == "__main__":
    sys.exit(main())
