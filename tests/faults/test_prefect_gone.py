"""Prefect's server gone in the middle of a flow: the flow waits for it and goes on, and what it made is whole."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from prefect import flow, get_client
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from flows.runtime.failing import saying_why
from flows.runtime.prefect_server import CLIENT_RETRIES, saying_when_gone
from flows.runtime.stage import finished_keys, run_stage
from flows.runtime.workspace import Workspace
from storage.errors import StorageError
from tests.faults.gate import Gate

A_MINUTE_S = 60.0


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("CLC_WORKSPACE", str(tmp_path / "workspace"))
    return Workspace.from_environment()


@pytest.fixture
def server(prefect_api: None) -> Iterator[Gate]:
    """A gate before the server, through which flows talk to it."""
    api = urlsplit(PREFECT_API_URL.value())
    assert api.port
    found = Gate(api.port)
    through = api._replace(netloc=f"127.0.0.1:{found.port}").geturl()
    with temporary_settings({PREFECT_API_URL: through, PREFECT_CLIENT_MAX_RETRIES: CLIENT_RETRIES}):
        yield found
    assert found.is_open


def run(server: Gate, seconds: float) -> tuple[str, UUID]:
    """Run two stages in flows, a flow and its subflow; the server goes while the first is made, for so long."""
    ids = []

    @flow(name="second")
    @saying_why
    def second() -> str:
        return stage("second")

    @flow(name="first")
    @saying_why
    def first() -> str:
        ids.append(UUID(flow_run.id))
        stage("first", server.shut, lambda: timer(seconds, server.open))
        return second()

    return first(), ids[0]


def timer(seconds: float, what: Callable[[], None]) -> None:
    waiting = threading.Timer(seconds, what)
    waiting.daemon = True
    waiting.start()


def stage(name: str, *during: Any) -> str:
    def body(folder: Path) -> dict[str, Any]:
        for one in during:
            one()
        (folder / "made").write_text(name)
        return {"made": name}

    workspace = Workspace.from_environment()
    return run_stage(workspace, name, inputs={}, config={}, modules=[], body=body).key


def goes_on(server: Gate, workspace: Workspace, seconds: float) -> None:
    key, run_id = run(server, seconds)
    assert finished_keys(workspace, "second") == [key]
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(run_id).state
    assert state is not None
    assert state.is_completed()


def test_a_flow_outlives_a_server_that_is_gone_for_a_moment(server: Gate, workspace: Workspace) -> None:
    goes_on(server, workspace, 1.0)


@pytest.mark.faults
def test_a_flow_outlives_a_server_that_is_gone_for_a_minute(server: Gate, workspace: Workspace) -> None:
    goes_on(server, workspace, A_MINUTE_S)


def test_where_it_stays_away_a_sentence_says_so_and_the_next_run_ends_as_if_it_never_was(
    server: Gate, workspace: Workspace
) -> None:
    address = PREFECT_API_URL.value()
    with (
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
        pytest.raises(
            StorageError, match=f"^Prefect's server at {address} went away; finished stages are kept: [^\n]*$"
        ),
        saying_when_gone(address),
    ):
        run(server, 1e9)
    assert finished_keys(workspace, "first")
    server.open()
    key, run_id = run(server, 0.0)
    assert finished_keys(workspace, "second") == [key]
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(run_id).state.is_completed()
