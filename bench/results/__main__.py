"""Measures every figure that the pages quote, and writes their tables of it.

    make results                                            # what was not measured at this version, cheapest first
    make results ARGS="--list"                              # what there is, of which version, and what it takes
    make results ARGS="--only kodak,range-kodak --budget-minutes 60"
    make results ARGS="--render"                            # the pages alone, from docs/figures
    make results ARGS="--release"                           # figures of unchanged code become those of a new release
    make results ARGS="--check"                             # exit status 1 where a page quotes something else

Each measurement is a command (`bench/results/tables`), run as a user would; what it came to lies in
docs/figures/NAME.json. What is there already is not measured again, so a run that was stopped is simply started again.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from rich.console import Console
from rich.table import Table

from bench.results.machine import Code, code_of
from bench.results.measurement import Measurement, Registry
from bench.results.record import Records, read_records
from bench.results.release import take_over
from bench.results.run import Places, measure_all
from bench.results.state import (
    MEASURED,
    doubts_of,
    estimates,
    faults_in_pages,
    faults_of_release,
    render_all,
    state_of,
)
from bench.results.tables import REGISTRY
from clc.console import complain
from clc.errors import ClcError, InputError
from storage.locks import in_use


def main(arguments: Sequence[str] | None = None, registry: Registry = REGISTRY, places: Places | None = None) -> int:
    """Run the command line; returns the exit status: 1 where something failed, 130 where it was stopped."""
    options = _parser().parse_args(arguments)
    places = places or Places()
    try:
        code = code_of(places.root)
        records = read_records(places.figures, registry.names)
        if options.list:
            _list(registry, records, code)
            return 0
        if options.check:
            return _check(registry, records, code, places)
        if options.render:
            _render(registry, places)
            return 0
        if options.release:
            return _release(registry, records, code, places)
        return _measure(options, registry, code, places)
    except ClcError as error:
        complain(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        complain("stopped; what was measured is kept, and the same command goes on")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make results", description="Measure what the pages quote; write their tables."
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="show what was measured, of which version, and what it takes")
    what.add_argument("--render", action="store_true", help="write tables and sentences of the pages from docs/figures")
    what.add_argument("--check", action="store_true", help="say what keeps the figures from being those of a release")
    what.add_argument(
        "--release", action="store_true", help="have figures name a new release, where the code is as it was measured"
    )
    parser.add_argument("--only", metavar="NAME,NAME", help="these alone, in this order; without it, cheapest first")
    parser.add_argument("--budget-minutes", type=_minutes, metavar="N", help="begin nothing, and end, after so long")
    parser.add_argument("--again", action="store_true", help="measure also what is there already")
    return parser


def _minutes(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < 1e6:
        raise argparse.ArgumentTypeError(f"{text} are no minutes; say 60")
    return found


def _wanted(options: argparse.Namespace, registry: Registry, records: Records, code: Code) -> list[Measurement]:
    """The measurements to make, in order. Raises `InputError` for a name that there is not."""
    minutes = estimates(registry, records)
    chosen = sorted(registry.measurements, key=lambda one: minutes[one.name])
    if options.only is not None:
        names = [name.strip() for name in options.only.split(",") if name.strip()]
        unknown = [name for name in names if name not in registry.by_name]
        if unknown or not names:
            raise InputError(f"no measurement is called {', '.join(unknown) or 'nothing'}; --list shows all names")
        chosen = [registry.by_name[name] for name in dict.fromkeys(names)]
    return [one for one in chosen if options.again or state_of(one, records.get(one.name), code) != MEASURED]


def _measure(options: argparse.Namespace, registry: Registry, code: Code, places: Places) -> int:
    records = read_records(places.figures, registry.names)
    wanted, minutes = _wanted(options, registry, records, code), estimates(registry, records)
    if not wanted:
        _tell("everything is there that was asked for; --again measures it once more")
        return 0
    if not code.is_clean:
        _tell(f"warning: the tree differs from commit {code.commit}; the figures will say so")
    budget_s = None if options.budget_minutes is None else 60 * options.budget_minutes
    with in_use(places.outputs / "in-use", alone=True):
        found = measure_all([(one, minutes[one.name]) for one in wanted], code, places, budget_s, _tell)
    if found.left:
        _tell(f"no minutes were left for {', '.join(found.left)}; the same command goes on with them")
    for name, why in found.failed.items():
        complain(f"error: {name} was not measured: {why}")
    if found.done:
        _render(registry, places)
    return 1 if found.failed else 0


def _release(registry: Registry, records: Records, code: Code, places: Places) -> int:
    refused = take_over(places.root, registry, records, code, places.figures)
    for name, why in refused.items():
        complain(f"docs/figures/{name}.json: {why}")
    _tell(f"{len(registry.measurements) - len(refused)} of {len(registry.measurements)} are of {code.version}")
    if not refused:
        _render(registry, places)
    return 1 if refused else 0


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _render(registry: Registry, places: Places) -> None:
    changed = render_all(places.root, registry, read_records(places.figures, registry.names))
    _tell(f"written: {', '.join(changed)}" if changed else "the pages say what was measured")


def _check(registry: Registry, records: Records, code: Code, places: Places) -> int:
    found = [*faults_in_pages(places.root, registry, records), *faults_of_release(registry, records, code)]
    for fault in found:
        complain(str(fault))
    if not found:
        _tell(f"every figure is of {code.version}, bundle {code.bundle}, and has its source")
    return 1 if found else 0


def _list(registry: Registry, records: Records, code: Code) -> None:
    title = f"figures, beside the code at {code.commit}: {code.version}{' and after' if code.after_release else ''}"
    table = Table("measurement", "state", "version", "commit", "date", "minutes of a processor", "doubt", title=title)
    for one in registry.measurements:
        record = records.get(one.name)
        said = ("", "", "") if record is None else (record.version, record.commit, record.date[:10])
        version = f"{said[0]} and after" if record is not None and record.after_release else said[0]
        is_known = record is not None and record.processor_seconds is not None
        minutes = f"{one.minutes_of(record):.3g}" if is_known else f"about {one.minutes:.3g}"
        table.add_row(one.name, state_of(one, record, code), version, *said[1:], minutes, doubts_of(one, record))
    Console(width=None if sys.stdout.isatty() else 140).print(table)


def _tell(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    sys.exit(main())
