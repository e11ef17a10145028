"""Where the calls of packing are carried out: in this process, or in several of this machine.

`flows.archive` adds the workers of a Dask cluster. Results come in the order of the calls, so what is packed does not
depend on who was first.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, get_context, parent_process
from types import TracebackType
from typing import Any, Protocol

from clc.archive.packing.tasks import Call, Job, Worker, run_call
from clc.codec.codec import Codec
from clc.errors import ClcError

AHEAD = 2
"""Calls that wait for each process, so that none is idle."""


class Executor(Protocol):
    """Carries out calls of a job."""

    def run(self, job: Job, calls: Iterable[Call]) -> Iterator[Any]:
        """What the calls give, in their order. Raises what a call raised, when its turn comes."""
        ...


class InThisProcess:
    """One call after the other, with a codec that is loaded already."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._worker: tuple[Job, Worker] | None = None

    def run(self, job: Job, calls: Iterable[Call]) -> Iterator[Any]:
        """See `Executor`."""
        if self._worker is None or self._worker[0] != job:
            self._worker = job, Worker(job, self._codec)
        return map(self._worker[1].run, calls)


class InProcesses:
    """Calls side by side in `count` processes of one thread each, which load the codec once; a context manager.

    A program that uses it needs `if __name__ == "__main__":`, as for all of `multiprocessing`.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> InProcesses:
        # Started anew, not forked: threads of torch and OpenCV do not survive a fork.
        self._pool = ProcessPoolExecutor(self._count, mp_context=get_context("spawn"), initializer=_begin)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def run(self, job: Job, calls: Iterable[Call]) -> Iterator[Any]:
        """See `Executor`. Raises `ClcError` where a process died, of a lack of memory as a rule."""
        if self._pool is None:
            raise RuntimeError("InProcesses is to be used in a with statement")
        waiting: deque[Future[Any]] = deque()
        try:
            for call in calls:
                if len(waiting) >= AHEAD * self._count:
                    yield waiting.popleft().result()
                waiting.append(self._pool.submit(run_call, job, call))
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise ClcError(
                "a process that coded pictures was killed, for lack of memory as a rule; run the same command again "
                "with fewer --processes: what was done is kept"
            ) from error
        finally:
            for one in waiting:
                one.cancel()


def usual_processes(pictures: int) -> int:
    """How many processes pay for so many pictures: one for each core that may be used, of four pictures at least."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, pictures // 4))


def _begin() -> None:
    """What a process does first: it works with one thread, and ends when the process that started it is gone."""
    from clc.machine import keep_freed_memory, use_one_thread

    use_one_thread()
    keep_freed_memory()
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    with contextlib.suppress(OSError):
        connection.wait([sentinel])
    os._exit(1)
