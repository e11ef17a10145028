"""Runs the commands of measurements, one after the other, and keeps what each came to as soon as it is done.

What was kept is not measured again, so a run that was stopped, or whose minutes were spent, goes on where it ended. The
output of a command lies in `.local/results/NAME`, its words in `NAME.log` beside it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.results.machine import IDLE_CORES, IDLE_LOAD, ROOT, Code, Watch, loads, machine
from bench.results.measurement import Measurement
from bench.results.record import Record
from clc.errors import ClcError, InputError
from storage.atomic import write_bytes

_GRACE_S = 10.0  # from the request to end to the end by force
_LAST_LINES = 5
_SETTLE_S = 300.0  # how long the load of our own last command is waited for


class Stopped(ClcError):
    """The minutes were spent before a command had ended."""


@dataclass(frozen=True)
class Places:
    """Where things lie: the repository, the folder of figures, and the folder of outputs and logs."""

    root: Path = ROOT
    figures: Path = ROOT / "docs" / "figures"
    outputs: Path = ROOT / ".local" / "results"


@dataclass(frozen=True)
class Outcome:
    """What a run came to: names of what was measured, why others were not, and what no minutes were left for."""

    done: tuple[str, ...]
    failed: dict[str, str]
    left: tuple[str, ...]


def measure_all(
    wanted: Sequence[tuple[Measurement, float]],
    code: Code,
    places: Places,
    budget_s: float | None,
    tell: Callable[[str], None],
) -> Outcome:
    """Measure one after the other, each with its estimate in minutes of a processor.

    What the budget, seconds of the clock, does not hold by its estimate is left; a command that still runs when it is
    spent is ended. A command that fails costs its own figures only.
    """
    start_s = time.monotonic()
    done: list[str] = []
    failed: dict[str, str] = {}
    left: list[str] = []
    for one, minutes in wanted:
        left_s = None if budget_s is None else budget_s - (time.monotonic() - start_s)
        if left_s is not None and minutes * 60 > left_s:
            left.append(one.name)
            continue
        try:
            if one.is_timed:
                _warn_of_load(one.name, tell, may_settle=bool(done or failed), at_most_s=left_s)
            tell(f"{one.name}: about {minutes:.3g} minutes of a processor; its words go to {log_of(places, one)}")
            measure(one, code, places, tell, left_s)
            done.append(one.name)
        except Stopped:
            left.append(one.name)
        except ClcError as error:
            failed[one.name] = str(error)
            tell(f"error: {one.name}: {error}")
    return Outcome(tuple(done), failed, tuple(left))


def measure(
    one: Measurement, code: Code, places: Places, tell: Callable[[str], None], budget_s: float | None = None
) -> Record:
    """Run the command of a measurement and keep what it came to.

    Raises `InputError` where something is missing, the command fails or its output is not what was expected, and
    `Stopped` where it had not ended after `budget_s`. Nothing is kept then but output and log.
    """
    missing = [path for path in one.needs if not (places.root / path).exists()]
    if missing:
        raise InputError(f"needs {', '.join(missing)}, which is not there; see docs/results.md, The data")
    folder = places.outputs / one.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    out = folder / "out" if one.result else folder / "out.json"
    variables, words = one.words(sys.executable, out)
    before, began, watch = loads(), datetime.now(UTC), Watch()
    path = os.pathsep.join([str(places.root), *filter(None, [os.environ.get("PYTHONPATH")])])
    status = _run(words, places.root, {**os.environ, "PYTHONPATH": path, **variables}, log_of(places, one), budget_s)
    seconds, processor_s, others = watch.read()
    if status:
        raise InputError(f"the command ended with status {status}; the end of its log: {_end_of(log_of(places, one))}")
    drawn = {place: (out / name).read_bytes() for name, place in one.pictures.items()}
    record = Record(
        name=one.name,
        version=code.version,
        after_release=code.after_release,
        commit=code.commit,
        is_clean=code.is_clean,
        bundle=code.bundle,
        machine=machine(),
        date=began.isoformat(timespec="seconds"),
        command=one.command,
        values=_values(one, out / one.result if one.result else out),
        seconds=round(seconds, 1),
        processor_seconds=round(processor_s, 1),
        load_before=before,
        load_after=loads(),
        others_cores=None if others is None else round(others, 2),
        pictures={place: hashlib.sha256(data).hexdigest() for place, data in drawn.items()},
    )
    for place, data in drawn.items():
        write_bytes(places.root / place, data)
    record.write(places.figures)
    tell(f"{one.name}: measured in {seconds:.0f} s, {processor_s:.0f} s of a processor")
    if one.is_timed and (others or 0) > IDLE_CORES:
        tell(f"warning: {one.name}: other work took {others:.2f} cores meanwhile; its seconds are suspect")
    return record


def log_of(places: Places, one: Measurement) -> Path:
    """Where a command's words go."""
    return places.outputs / f"{one.name}.log"


def _values(one: Measurement, path: Path) -> dict[str, object]:
    try:
        made = one.values(json.loads(path.read_text()))
        as_read: dict[str, object] = json.loads(json.dumps(made))
    except (OSError, ValueError, LookupError, TypeError, StopIteration) as error:
        raise InputError(f"{path} does not hold what was expected: {type(error).__name__} {error}") from error
    return as_read


def _run(words: Sequence[str], root: Path, variables: dict[str, str], log: Path, budget_s: float | None) -> int:
    """Run a command in a group of its own and return its status; the group is ended with whatever ends this call."""
    with log.open("wb") as words_out:
        words_out.write(f"$ {' '.join(words)}\n".encode())
        words_out.flush()
        process = subprocess.Popen(
            words, cwd=root, env=variables, stdin=subprocess.DEVNULL, stdout=words_out, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            return process.wait(budget_s)
        except subprocess.TimeoutExpired as error:
            raise Stopped("the minutes were spent") from error
        finally:
            if process.returncode is None:
                _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what is left of a command's group, with force where asking does not help."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
            if number == signal.SIGTERM and not _is_there(process.pid):
                return


def _is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _end_of(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return " / ".join(lines[1:][-_LAST_LINES:]) or "it is empty"


def _warn_of_load(name: str, tell: Callable[[str], None], *, may_settle: bool, at_most_s: float | None) -> None:
    """Warn where the machine is not idle, after the load of our own last command has had time to fall."""
    until = time.monotonic() + min(_SETTLE_S, at_most_s or _SETTLE_S)
    while may_settle and loads()[0] > IDLE_LOAD and time.monotonic() < until:
        time.sleep(1)
    if loads()[0] > IDLE_LOAD:
        tell(f"warning: {name}: the load average is {loads()[0]:.2f}: the machine is not idle, its seconds are suspect")
