"""Many files at once: which file becomes which, one after the other, and what is said about it at the end.

`clc.cli` calls `plan` and `run` for `encode --out` and `decode --out`. The contract: no input is ever overwritten, an
output appears whole or not at all, and a file that fails costs its own row only.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from clc.errors import ClcError, InputError
from clc.picture import PICTURE_SUFFIXES

STREAM_SUFFIXES = frozenset((".clc",))

_FILE_ERRORS = (ClcError, OSError, ValueError, ArithmeticError, RuntimeError, MemoryError)
"""What a file or the codec may raise over one file; a mistake in the program (TypeError, KeyError) is none."""

_LINE_EVERY_S = 10.0
_NAMES_SHOWN = 3


@dataclass(frozen=True)
class Direction:
    """What is read and what is written: `verb` is the past tense, `reads` the endings that a folder is searched for."""

    verb: str
    reads: frozenset[str]
    ending: str


ENCODE = Direction("encoded", PICTURE_SUFFIXES, ".clc")
DECODE = Direction("decoded", STREAM_SUFFIXES, ".png")


@dataclass(frozen=True)
class Job:
    """One file and what it becomes; `problem` says why it cannot be done, empty where it can."""

    source: Path
    output: Path
    problem: str = ""


class Plan(NamedTuple):
    """The jobs in order, and how many files of other kinds the folders held."""

    jobs: list[Job]
    n_passed_over: int


@dataclass(frozen=True)
class Done:
    """What one file came to: sizes of the files in bytes, the picture's pixels, what the output cannot keep."""

    bytes_before: int
    bytes_after: int
    n_pixels: int
    losses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """What came of the jobs: `done` and `failed` name the sources; `is_complete` unless it was interrupted."""

    direction: Direction
    done: list[tuple[Path, Done]]
    failed: list[tuple[Path, str]]
    seconds: float
    n_jobs: int

    @property
    def is_complete(self) -> bool:
        """Whether every job was tried."""
        return len(self.done) + len(self.failed) == self.n_jobs


def plan(inputs: Sequence[Path], out: Path, direction: Direction) -> Plan:
    """Says what every input becomes under `out`.

    A file keeps its name, with the ending of what is written in place of its own. A folder is searched for files to
    read, and its structure is kept below `out`; several folders each keep their own name on top. Files that would
    become the same output (a.png and a.jpg) keep their endings: a.png.clc, a.jpg.clc. What then still meets, and what
    would overwrite an input, becomes a job with a `problem`. Raises `InputError` where nothing is found, or `out` is a
    file.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; name a folder after --out")
    n_folders = sum(path.is_dir() for path in inputs)
    found: dict[str, tuple[Path, Path]] = {}
    n_passed_over = 0
    for path in inputs:
        files, n_others = find(path, direction.reads)
        n_passed_over += n_others
        top = Path(path.resolve().name) if n_folders > 1 else Path()
        for file in files:
            relative = top / file.relative_to(path) if path.is_dir() else Path(file.name)
            found.setdefault(os.path.abspath(file), (file, relative))  # noqa: PTH100 - a link is a file of its own
    if not found:
        kinds = " ".join(sorted(direction.reads))
        raise InputError(f"{', '.join(map(str, inputs))}: no file to read there; looked for {kinds}")
    return Plan(_jobs(list(found.values()), out, direction), n_passed_over)


def find(path: Path, suffixes: frozenset[str]) -> tuple[list[Path], int]:
    """The files of a folder that have one of the suffixes, in order, and the number of others; a file is itself.

    Hidden files and folders are left out. Raises `InputError` for a folder that cannot be read.
    """
    if not path.is_dir():
        return [path], 0
    files = list(_walk(path))
    chosen = [file for file in files if file.suffix.lower() in suffixes]
    return chosen, len(files) - len(chosen)


def _jobs(found: list[tuple[Path, Path]], out: Path, direction: Direction) -> list[Job]:
    # Folded: on some file systems A.clc and a.clc are one file.
    short = [str(relative.with_suffix(direction.ending)).casefold() for _, relative in found]
    times = Counter(short)
    sources = {os.path.realpath(source) for source, _ in found}
    taken: dict[Path, Path] = {}
    jobs = []
    for (source, relative), name in zip(found, short, strict=True):
        is_alone = times[name] == 1
        ending = direction.ending if is_alone else relative.suffix + direction.ending
        output = out / relative.with_suffix(ending)
        first = taken.setdefault(output, source)
        problem = ""
        if first is not source:
            problem = f"would become {output}, as {first} does; give it another --out"
        elif os.path.realpath(output) in sources:
            problem = f"would overwrite {output}, which is an input; give another --out"
        jobs.append(Job(source, output, problem))
    return jobs


def _walk(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: {error.strerror}; check the folder's permissions") from error

    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent) / name for name in sorted(names) if not name.startswith("."))


def run(jobs: Sequence[Job], direction: Direction, work: Callable[[Job], Done], *, overwrite: bool = False) -> Report:
    """Does the jobs one after the other; `work` reads, codes and writes one, and may raise, which fails only its own.

    An output that exists already is left alone, and its job fails, unless `overwrite`. Shows a bar on a terminal and a
    line now and then elsewhere, both on stderr. Ctrl-C ends it with what is done.
    """
    done: list[tuple[Path, Done]] = []
    failed: list[tuple[Path, str]] = []
    began = time.monotonic()
    with _progress(direction, len(jobs)) as advance:
        try:
            for job in jobs:
                try:
                    _refuse_problem(job, overwrite)
                    done.append((job.source, work(job)))
                except _FILE_ERRORS as error:
                    failed.append((job.source, reason_of(error, job.source)))
                advance(len(done), len(failed))
        except KeyboardInterrupt:
            pass
    return Report(direction, done, failed, time.monotonic() - began, len(jobs))


def _refuse_problem(job: Job, overwrite: bool) -> None:
    if job.problem:
        raise InputError(job.problem)
    if job.output.exists() and not overwrite:
        raise InputError(f"{job.output} exists already; remove it, or give --overwrite or another --out")


def reason_of(error: BaseException, path: Path | str) -> str:
    """An error as one line without the name of its file in front."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()).removeprefix(f"{path}: ") or type(error).__name__


@contextmanager
def _progress(direction: Direction, n_jobs: int) -> Iterator[Callable[[int, int], None]]:
    """Yields the function to call with the numbers of files done and failed."""
    console = Console(stderr=True)
    columns: list[Any] = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
    columns += [TimeElapsedColumn(), TimeRemainingColumn()]
    spoken_at = time.monotonic()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(direction.verb, total=n_jobs)

        def advance(n_done: int, n_failed: int) -> None:
            nonlocal spoken_at
            failures = f", {n_failed} failed" if n_failed else ""
            progress.update(bar, completed=n_done + n_failed, description=direction.verb + failures)
            if not console.is_terminal and time.monotonic() - spoken_at >= _LINE_EVERY_S:
                print(f"{direction.verb} {n_done} of {n_jobs}{failures}", file=sys.stderr, flush=True)
                spoken_at = time.monotonic()

        yield advance


def summary_lines(report: Report, out: Path, n_passed_over: int) -> list[str]:
    """What is said on stdout at the end: files, bytes before and after, their ratio, bpp of the streams, seconds."""
    files = f"{len(report.done)} of {report.n_jobs} file{'s' * (report.n_jobs != 1)}"
    lines = [f"{report.direction.verb} {files} into {out} in {report.seconds:.1f} s"]
    if report.done:
        before = sum(done.bytes_before for _, done in report.done)
        after = sum(done.bytes_after for _, done in report.done)
        streams = after if report.direction is ENCODE else before
        bpp = 8 * streams / sum(done.n_pixels for _, done in report.done)
        pictures = before + after - streams
        lines.append(f"{before} -> {after} bytes, ratio {pictures / max(1, streams):.2f}, {bpp:.4f} bpp")
    if n_passed_over:
        lines.append(f"{n_passed_over} other file{'s' * (n_passed_over != 1)} in the folders passed over")
    return lines


def warning_lines(report: Report) -> list[str]:
    """One line for each kind of loss, with the first names."""
    lost: dict[str, list[Path]] = {}
    for path, done in report.done:
        for loss in done.losses:
            lost.setdefault(loss, []).append(path)
    return [f"warning: {_named(paths)}: {loss}" for loss, paths in lost.items()]


def error_lines(report: Report) -> list[str]:
    """One line for each file that failed, and one where the work was interrupted."""
    lines = [f"error: {path}: {reason}" for path, reason in report.failed]
    if not report.is_complete:
        n_left = report.n_jobs - len(report.done) - len(report.failed)
        lines.append(f"interrupted: {n_left} of {report.n_jobs} files were not done; what was written is whole")
    return lines


def _named(paths: list[Path]) -> str:
    shown = ", ".join(map(str, paths[:_NAMES_SHOWN]))
    return shown if len(paths) <= _NAMES_SHOWN else f"{shown} and {len(paths) - _NAMES_SHOWN} more"
