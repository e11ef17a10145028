"""Laws of work on a Dask cluster: results come in order, few pieces wait at once, and what dies or is gone is told."""

import os
import threading
import time
from collections.abc import Iterator

import pytest
from distributed import Client, Event, LocalCluster

from clc.errors import ClcError, InputError
from flows.runtime.dask_cluster import AHEAD, dask_client, in_order


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as started:
        yield started


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster) as opened:
        yield opened


def after_the_second(number: int) -> int:
    if number == 1:
        Event("second").set()
    elif number == 0 and not Event("second").wait(timeout=60):
        raise RuntimeError("the second piece was not begun beside the first")
    return number


def test_results_come_in_order_whichever_worker_is_first(client: Client) -> None:
    assert list(in_order(client, after_the_second, range(9), str)) == list(range(9))


def test_only_so_many_pieces_are_handed_over_at_once(client: Client) -> None:
    taken = []

    def given() -> Iterator[int]:
        for number in range(10 * AHEAD):
            taken.append(number)
            yield number

    results = in_order(client, abs, given(), str)
    for number in range(3):
        assert next(results) == number
    assert len(taken) <= 2 * AHEAD + 3
    results.close()


def whereabouts(_: int) -> tuple[int, int]:
    time.sleep(0.05)
    return os.getpid(), threading.get_ident()


def test_local_workers_are_threads_of_this_process_where_that_is_wanted() -> None:
    with dask_client(2, None, are_threads=True) as client:
        found = set(in_order(client, whereabouts, range(8), str))
    assert {process for process, _ in found} == {os.getpid()}
    assert len(found) == 2


def fails(number: int) -> int:
    raise ValueError(f"no {number}")


def test_what_a_piece_raises_goes_through_and_says_over_what(client: Client) -> None:
    with pytest.raises(ValueError, match="no 7") as raised:
        list(in_order(client, fails, [7], lambda number: f"piece {number}"))
    assert raised.value.__notes__ == ["over piece 7"]


def ends_its_process(number: int) -> int:
    os._exit(9)


def test_worker_processes_keep_freed_memory_and_those_that_always_die_are_told_with_what_they_died_over() -> None:
    with dask_client(1, None) as client:
        assert client.submit(os.environ.get, "MALLOC_TRIM_THRESHOLD_").result() == str(2**30)
        with pytest.raises(
            ClcError, match=r"a\.png: the workers died over it several times, for want of memory perhaps"
        ):
            list(in_order(client, ends_its_process, [0], lambda number: "a.png"))


def slow(number: int) -> int:
    time.sleep(0.1)
    return number


def test_a_cluster_that_goes_away_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.runtime.dask_cluster._CONNECT_S", 1)
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        dask_client(1, cluster.scheduler_address) as client,
    ):
        results = in_order(client, slow, range(100), str)
        assert next(results) == 0
        cluster.close()
        with pytest.raises(ClcError, match="the Dask scheduler went away; start it, and run the same again"):
            list(results)


def test_a_scheduler_without_workers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.runtime.dask_cluster._CONNECT_S", 1)
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        pytest.raises(InputError, match="has no workers: start some, or leave dask_scheduler out"),
        dask_client(1, cluster.scheduler_address),
    ):
        pass
