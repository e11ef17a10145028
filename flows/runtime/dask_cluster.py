"""Work for the processes of a Dask cluster: a client of it, and results in the order in which they were asked for.

Flows use `dask.distributed` itself instead of Prefect's Dask runner. That runner makes a Prefect task run of each piece
of work, so every worker process needs a server, and starts one if it finds none.

By default the workers are processes on this machine, of one thread each. Dask then limits the native libraries of a
process to one thread before they are loaded, and a crash of native code costs one try of one piece. Work that waits for
processes of its own can do without those: its workers are threads, and start at once.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any, TypeVar

import dask
from distributed import Client, Future, KilledWorker, LocalCluster
from distributed.client import ClosedClientError
from distributed.comm import CommClosedError

from clc.errors import ClcError, InputError

T = TypeVar("T")
R = TypeVar("R")

RETRIES = 2
"""How often a piece of work that raised something is tried again; where its worker died, Dask tries thrice more."""

AHEAD = 8
"""Pieces that are handed to the scheduler for each worker, so that a long one leaves no other worker idle."""

_CONNECT_S = 10
_AWAY = "the Dask scheduler went away; start it, and run the same again"
_GONE = (CancelledError, ClosedClientError, OSError)
"""What a client raises where its scheduler does not answer any more."""

_ANY_PORT = "127.0.0.1:0"

_KEEPS_MEMORY = {"MALLOC_MMAP_THRESHOLD_": 32 * 2**20, "MALLOC_TRIM_THRESHOLD_": 2**30, "MALLOC_TOP_PAD_": 64 * 2**20}
"""What lets glibc keep the memory of one picture for the next, as `clc.machine.keep_freed_memory` does.

Dask starts its worker processes so that next to nothing is kept; describing pictures took half as long again so.
"""


@contextmanager
def dask_client(workers: int, scheduler: str | None, *, are_threads: bool = False) -> Iterator[Client]:
    """Yield a client of the scheduler at that address, or of a local cluster that ends with the context.

    The workers of a local cluster are processes, or threads of this one if `are_threads`.

    Raises `InputError` where no scheduler answers, or it has no worker.
    """
    if scheduler is None:
        # Any free port of the loopback: Dask would complain of a taken 8787 where two flows run at once.
        with (
            # Dask looks a hundred times a second at what each thread does, which costs a tenth of light work.
            dask.config.set({"distributed.worker.profile.enabled": not are_threads}),
            dask.config.set({f"distributed.nanny.pre-spawn-environ.{name}": n for name, n in _KEEPS_MEMORY.items()}),
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=not are_threads,
                # Dask would hold a thread to its share of the memory by what the whole process has.
                memory_limit=None if are_threads else "auto",
                dashboard_address=_ANY_PORT,
            ) as cluster,
            Client(cluster) as client,
        ):
            yield client
        return
    try:
        client = Client(scheduler, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"no Dask scheduler answers at {scheduler}: start one, or leave dask_scheduler out for a local cluster"
        ) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_CONNECT_S)
        except TimeoutError as error:
            raise InputError(
                f"the Dask scheduler at {scheduler} has no workers: start some, or leave dask_scheduler out for a "
                "local cluster"
            ) from error
        yield client


def count_workers(client: Client) -> int:
    """How many workers the cluster has now."""
    return len(client.nthreads())


def in_order(client: Client, work: Callable[[T], R], given: Iterable[T], named: Callable[[T], str]) -> Iterator[R]:
    """Yield what `work` returns for each of `given`, in their order, whichever worker is first.

    Only so many pieces are with the scheduler at once as keep its workers busy. `named` says in a message what a piece
    is. What `work` raises goes through after `RETRIES`; raises `ClcError` where workers died over a piece, or the
    scheduler went away.
    """
    waiting: deque[tuple[T, Future]] = deque()
    try:
        for one in given:
            with _answering():
                # Workers may come and go meanwhile.
                is_enough = len(waiting) >= AHEAD and len(waiting) >= AHEAD * count_workers(client)
            if is_enough:
                yield _result(*waiting.popleft(), named)
            with _answering():
                waiting.append((one, client.submit(work, one, retries=RETRIES, pure=False)))
        while waiting:
            yield _result(*waiting.popleft(), named)
    finally:
        with contextlib.suppress(*_GONE):
            for _, future in waiting:
                future.cancel()


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except _GONE as error:
        raise ClcError(_AWAY) from error


def _result(one: T, future: Future, named: Callable[[T], str]) -> Any:
    try:
        return future.result()
    except KilledWorker as error:
        raise ClcError(
            f"{named(one)}: the workers died over it several times, for want of memory perhaps: {error}"
        ) from error
    except (CancelledError, CommClosedError) as error:
        raise ClcError(_AWAY) from error
    except Exception as error:
        error.add_note(f"over {named(one)}")
        raise
