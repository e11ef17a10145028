"""The progress of long work: a bar on a terminal, a log line now and then elsewhere, and on Prefect's pages."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn

from flows.runtime.artifacts import ProgressOnPage

logger = logging.getLogger(__name__)

T_co = TypeVar("T_co", covariant=True)

_LINE_EVERY_S = 15.0


class Future(Protocol[T_co]):
    """What Prefect's and Dask's futures have in common."""

    def result(self) -> T_co:
        """Wait for the result; the error of the work behind it goes through."""
        ...


def track(futures: Sequence[Future[T_co]], description: str) -> Iterator[T_co]:
    """Yield the results of futures in order, while showing how many of them are done; their errors go through."""
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    with counted(description, len(futures), columns) as one_more:
        for future in futures:
            yield future.result()
            one_more()


@contextmanager
def counted(description: str, total: int, columns: Sequence[ProgressColumn] = ()) -> Iterator[Callable[[], None]]:
    """Show `total` pieces of work: yields the function to call after each. `columns` are rich's own by default."""
    done = 0
    with stepwise(columns) as report:

        def one_more() -> None:
            nonlocal done
            done += 1
            report(description, done, total)

        report(description, 0, total)
        yield one_more


@contextmanager
def stepwise(columns: Sequence[ProgressColumn] = ()) -> Iterator[Callable[[str, int, int], None]]:
    """Show work in steps, one after the other: yields the function that takes the step, how much is done, of how much.

    `columns` are rich's own by default.
    """
    console = Console(stderr=True)
    spoken_at = time.monotonic()
    page = ProgressOnPage()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar, shown = progress.add_task("", total=None, visible=False), ""

        def report(step: str, done: int, total: int) -> None:
            nonlocal shown, spoken_at
            if step != shown:
                progress.reset(bar, total=total, description=step, visible=True)
                shown = step
            progress.update(bar, completed=done)
            page.tell(step, done, total)
            if not console.is_terminal and time.monotonic() - spoken_at > _LINE_EVERY_S:
                logger.info("progress what=%r done=%d of=%d", step, done, total)
                spoken_at = time.monotonic()

        yield report


@contextmanager
def training_progress(description: str, minutes: float) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Show a training run of `minutes`: yields the function that takes each line of its log."""
    figures_column = TextColumn("{task.fields[figures]}")
    columns: list[Any] = [TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), figures_column]
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(description, total=minutes, figures="")
        page = ProgressOnPage()

        def report(line: dict[str, Any]) -> None:
            if "bpp" not in line:
                return
            figures = f"step={line['step']} bpp={line['bpp']:.3f} psnr_db={line['psnr_db']:.2f}"
            progress.update(bar, completed=line["minutes"], figures=figures)
            page.tell(description, round(1000 * line["minutes"]), round(1000 * minutes))
            if not console.is_terminal:
                logger.info("progress what=%r minutes=%.1f of=%.1f %s", description, line["minutes"], minutes, figures)

        yield report
