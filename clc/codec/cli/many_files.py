"""Many files at once: the jobs of `clc.codec.files.plan`, one after the other, with progress and a summary.

`clc.codec.cli.encode_decode` calls `run` for `encode --out` and `decode --out`. The contract: no input is ever
overwritten, an output appears whole or not at all, a file that fails costs its own row only, and all that was lost or
left out is told.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clc.codec.files import ENCODE, Direction, Existing, Job, Outputs
from clc.console import DONE, FAILED, complain, reason_of, shown, status_of
from clc.pictures.folders import Unreadable, passed_over_text
from storage.errors import StorageFull

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
    """What came of the jobs: `done`, `failed` and `skipped` name the sources; `ended_by` is what cut them short."""

    direction: Direction
    done: list[tuple[Path, Done]]
    failed: list[tuple[Path, str]]
    seconds: float
    n_jobs: int
    skipped: tuple[Path, ...] = ()
    ended_by: BaseException | None = None

    @property
    def n_left(self) -> int:
        """Jobs that were not tried."""
        return self.n_jobs - len(self.done) - len(self.failed) - len(self.skipped)

    def status(self, unreadable: Sequence[Unreadable] = ()) -> int:
        """The exit status: 0 only if every file is there now."""
        if isinstance(self.ended_by, KeyboardInterrupt):
            return status_of(self.ended_by)
        return FAILED if self.failed or self.n_left or unreadable else DONE


@dataclass(frozen=True)
class LossesTold:
    """Tells what files lose before their outputs appear, so that a run which is killed has not kept it for itself.

    Every file is named if `is_verbose`, else the first with each loss.
    """

    is_verbose: bool = False
    names: dict[str, list[Path]] = field(default_factory=dict)

    def tell(self, source: Path, losses: Iterable[str]) -> None:
        """Says on stderr what a file loses, as far as that is to be said now."""
        for loss in losses:
            if self.is_verbose or loss not in self.names:
                self.names.setdefault(loss, []).append(source)
                complain(f"warning: {shown(source)}: {loss}")

    def lacks(self, loss: str, sources: Sequence[Path]) -> bool:
        """Whether some of the files with a loss were not told."""
        return not set(sources) <= set(self.names.get(loss, ()))


def run(
    jobs: Sequence[Job], direction: Direction, work: Callable[[Job], Done], *, existing: Existing = "refuse"
) -> Report:
    """Does the jobs one after the other; `work` reads, codes and writes one, and may raise, which fails only its own.

    `existing` says what becomes of outputs that exist. Shows a bar on a terminal and a line now and then elsewhere,
    both on stderr. Ctrl-C, SIGTERM and a full disk end it with what is done.
    """
    outputs = Outputs.of(jobs, existing)
    done: list[tuple[Path, Done]] = []
    failed: list[tuple[Path, str]] = []
    skipped: list[Path] = []
    ended_by: BaseException | None = None
    began = time.monotonic()
    with _progress(direction, len(jobs)) as advance:
        try:
            for job in jobs:
                # Whatever is raised over one file, by a decoder or by a mistake of ours, costs that file alone.
                try:
                    if outputs.is_wanted(job):
                        done.append((job.source, work(job)))
                        outputs.remember(job)
                    else:
                        skipped.append(job.source)
                except StorageFull as error:
                    failed.append((job.source, reason_of(error, job.source, job.output)))
                    ended_by = error
                    break
                except Exception as error:
                    failed.append((job.source, reason_of(error, job.source, job.output)))
                advance(len(done), len(failed), len(skipped))
        except KeyboardInterrupt as error:
            ended_by = error
    return Report(direction, done, failed, time.monotonic() - began, len(jobs), tuple(skipped), ended_by)


@contextmanager
def _progress(direction: Direction, n_jobs: int) -> Iterator[Callable[[int, int, int], None]]:
    """Yields the function to call with the numbers of files done, failed and skipped."""
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

    console = Console(file=sys.stderr)
    columns: list[Any] = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
    columns += [TimeElapsedColumn(), TimeRemainingColumn()]
    spoken_at = time.monotonic()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(direction.verb, total=n_jobs)

        def advance(n_done: int, n_failed: int, n_skipped: int) -> None:
            nonlocal spoken_at
            counts = (n_failed, "failed"), (n_skipped, "skipped")
            others = "".join(f", {count} {what}" for count, what in counts if count)
            progress.update(bar, completed=n_done + n_failed + n_skipped, description=direction.verb + others)
            if not console.is_terminal and time.monotonic() - spoken_at >= _LINE_EVERY_S:
                complain(f"{direction.verb} {n_done} of {n_jobs}{others}")
                spoken_at = time.monotonic()

        yield advance


def summary_lines(report: Report, out: Path, passed_over: Mapping[str, int]) -> list[str]:
    """What is said on stdout at the end: files, bytes, ratio and bpp, what was skipped, lost and passed over."""
    lines = [
        f"{report.direction.verb} {_counted(len(report.done), report.n_jobs, 'file')} into {shown(out)} "
        f"in {report.seconds:.1f} s"
    ]
    if report.done:
        before = sum(done.bytes_before for _, done in report.done)
        after = sum(done.bytes_after for _, done in report.done)
        streams = after if report.direction is ENCODE else before
        bpp = 8 * streams / sum(done.n_pixels for _, done in report.done)
        pictures = before + after - streams
        lines.append(f"{before} -> {after} bytes, ratio {pictures / max(1, streams):.2f}, {bpp:.4f} bpp")
    if report.skipped:
        lines.append(f"{len(report.skipped)} skipped, because their outputs exist already")
    lost = _losses(report)
    if lost:
        n_pictures = sum(bool(done.losses) for _, done in report.done)
        told = "; ".join(f"{len(paths)} of them: {loss}" for loss, paths in lost.items())
        lines.append(f"{n_pictures} picture{'s' * (n_pictures != 1)} lost something: {told}")
    if passed_over:
        lines.append(f"passed over: {passed_over_text(passed_over)}")
    return lines


def warning_lines(report: Report, told: LossesTold) -> list[str]:
    """One line for each kind of loss that was not told for all its files yet, with the names of the first."""
    return [f"warning: {_named(paths)}: {loss}" for loss, paths in _losses(report).items() if told.lacks(loss, paths)]


def error_lines(report: Report, unreadable: Sequence[Unreadable] = ()) -> list[str]:
    """One line for each file that failed and each folder that could not be read, and one where the work ended early."""
    lines = [f"error: {shown(path)}: {reason}" for path, reason in (*unreadable, *report.failed)]
    if report.ended_by is not None:
        what = "interrupted" if isinstance(report.ended_by, KeyboardInterrupt) else "stopped"
        lines.append(
            f"{what}: {_counted(report.n_left, report.n_jobs, 'file')} not tried; what was written is whole, and "
            "--skip-existing goes on from there"
        )
    return lines


def _losses(report: Report) -> dict[str, list[Path]]:
    lost: dict[str, list[Path]] = {}
    for path, done in report.done:
        for loss in done.losses:
            lost.setdefault(loss, []).append(path)
    return lost


def _counted(count: int, total: int, what: str) -> str:
    return f"{count} of {total} {what}{'s' * (total != 1)}"


def _named(paths: list[Path]) -> str:
    names = ", ".join(map(shown, paths[:_NAMES_SHOWN]))
    return names if len(paths) <= _NAMES_SHOWN else f"{names} and {len(paths) - _NAMES_SHOWN} more"
