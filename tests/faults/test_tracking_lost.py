"""MLflow's database locked by another process: a run waits for it, or tells the next time; none is lost for good."""

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from flows.runtime.mlflow_session import Server
from flows.runtime.tracking import log_totals
from flows.runtime.workspace import Workspace

# MLflow and what it brings warn about themselves when they are imported.
pytestmark = pytest.mark.filterwarnings("ignore")

LOCKED_S = 2.0
A_MINUTE_S = 60.0


def logged(server: Server) -> bool:
    return log_totals(server, "totals", "an archive", {}, {"pictures": 2.0}, "its key")


def statuses(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT status FROM runs ORDER BY status").fetchall()
    return [status for (status,) in rows]


@contextmanager
def locked(database: Path, seconds: float) -> Iterator[None]:
    """Have another connection lock a database for so long from now on, and the block end no earlier."""
    taken = threading.Event()

    def hold() -> None:
        with closing(sqlite3.connect(database, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            taken.set()
            time.sleep(seconds)
            connection.execute("ROLLBACK")

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait()
    try:
        yield
    finally:
        holder.join()


def test_a_lock_of_some_seconds_is_waited_for(tmp_path: Path) -> None:
    server = Server.of(Workspace(tmp_path))
    server.make()
    with locked(tmp_path / "mlflow.db", LOCKED_S):
        assert logged(server)
    assert statuses(tmp_path / "mlflow.db") == ["FINISHED"]


@pytest.mark.faults
def test_a_lock_of_a_minute_is_a_warning_and_the_next_run_tells_what_was_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server.of(Workspace(tmp_path))
    server.make()
    with caplog.at_level(logging.WARNING, "flows"), locked(tmp_path / "mlflow.db", A_MINUTE_S):
        assert not logged(server)
    assert caplog.text.count("tracking_lost") == 1
    assert logged(server)
    assert logged(server)
    assert statuses(tmp_path / "mlflow.db") == ["FINISHED"]
