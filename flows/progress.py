"""How a long stage shows that it lives: a bar on a terminal, a line now and then elsewhere."""

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

logger = logging.getLogger(__name__)

T_co = TypeVar("T_co", covariant=True)

_LINE_EVERY_S = 15.0


class Future(Protocol[T_co]):
    """What Prefect's and Dask's futures have in common."""

    def result(self) -> T_co:
        """Wait for the result; the error of the work behind it goes through."""
        ...


def track(futures: Sequence[Future[T_co]], description: str) -> Iterator[T_co]:
    """Yield the results of a stage's shards in order while showing how many are there; their errors go through."""
    columns: list[Any] = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    spoken_at = time.monotonic()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(description, total=len(futures))
        for done, future in enumerate(futures, start=1):
            yield future.result()
            progress.update(bar, completed=done)
            if not console.is_terminal and time.monotonic() - spoken_at > _LINE_EVERY_S:
                logger.info("progress what=%r done=%d of=%d", description, done, len(futures))
                spoken_at = time.monotonic()
