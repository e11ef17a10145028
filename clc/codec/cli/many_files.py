"""Many files at once: the jobs of `clc.codec.files.plan`, one after the other, with progress and a summary.

`clc.codec.cli.encode_decode` calls `run` for `encode --out` and `decode --out`. The contract: no input is ever
overwritten, an output appears whole or not at all, and a file that fails costs its own row only.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clc.codec.files import ENCODE, Direction, Job, refuse_problem
from clc.errors import ClcError

_FILE_ERRORS = (ClcError, OSError, ValueError, ArithmeticError, RuntimeError, MemoryError)
"""What a file or the codec may raise over one file; a mistake in the program (TypeError, KeyError) is none."""

_LINE_EVERY_S = 10.0
_NAMES_SHOWN = 3


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
                    refuse_problem(job, overwrite)
                    done.append((job.source, work(job)))
                except _FILE_ERRORS as error:
                    failed.append((job.source, reason_of(error, job.source)))
                advance(len(done), len(failed))
        except KeyboardInterrupt:
            pass
    return Report(direction, done, failed, time.monotonic() - began, len(jobs))


def reason_of(error: BaseException, path: Path | str) -> str:
    """An error as one line without the name of its file in front."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()).removeprefix(f"{path}: ") or type(error).__name__


@contextmanager
def _progress(direction: Direction, n_jobs: int) -> Iterator[Callable[[int, int], None]]:
    """Yields the function to call with the numbers of files done and failed."""
    # Imported here because --help and info should not wait for it.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

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
