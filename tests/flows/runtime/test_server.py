"""Finding the Prefect server that a run talks to."""

import http.server
import json
import threading
from collections.abc import Iterator

import pytest

from clc.errors import InputError
from flows.runtime.prefect_server import (
    answers,
    api_from_environment,
    free_port,
    prefect_environment,
    prefect_server,
    run_environment,
    served_api,
    wait_until_healthy,
)
from flows.runtime.workspace import Workspace
from storage.errors import StorageError


class Healthy(http.server.BaseHTTPRequestHandler):
    """Answers every path with success and no content."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def api() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Healthy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()
        thread.join()


def test_answering_server_is_healthy_and_a_silent_port_is_not(api: str) -> None:
    wait_until_healthy(api, timeout_s=5)
    silent = f"http://127.0.0.1:{free_port()}/api"
    assert not answers(silent)
    with pytest.raises(StorageError, match="no Prefect server answers"):
        wait_until_healthy(silent, timeout_s=0.2)


def test_server_of_make_serve_is_used_only_while_it_answers(
    workspace: Workspace, api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert served_api(workspace) is None
    workspace.root.mkdir()
    workspace.services_file.write_text(json.dumps({"prefect_api": api}))
    with prefect_server(workspace) as address:
        assert address == api
    for stale in ("half a rec", "[]", json.dumps({"prefect_api": f"http://127.0.0.1:{free_port()}/api"})):
        workspace.services_file.write_text(stale)
        assert served_api(workspace) is None


@pytest.mark.parametrize(
    "address",
    [
        "http://localhost:port/api",
        "localhost:4200/api",
        "http://",
        "http://:4200/api",
        "ftp://localhost/api",
        "http://[::1/api",
        "http://localhost:99999/api",
        "http://local host/api",
        "http://localhost:4200/\napi",
        "nonsense",
    ],
)
def test_address_that_is_none_is_refused_in_one_line_that_names_it(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", address)
    with pytest.raises(InputError, match=r"PREFECT_API_URL is .* no address .* http://HOST:PORT/api") as refused:
        api_from_environment()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "address", ["http://localhost:port", "localhost:4200", "http://", "http://:4200", "http://[::1"]
)
def test_nothing_answers_at_what_is_no_address(address: str) -> None:
    assert not answers(f"{address}/api/health")


@pytest.mark.parametrize("address", ["", "  "])
def test_empty_address_is_none(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("PREFECT_API_URL", address)
    assert api_from_environment() is None


def test_silent_server_of_the_user_is_named_with_what_to_do() -> None:
    silent = f"http://127.0.0.1:{free_port()}/api"
    with pytest.raises(StorageError, match=f"answers at {silent} .* start it, or unset PREFECT_API_URL"):
        wait_until_healthy(silent, timeout_s=0.0)


def test_damaged_record_of_services_is_no_server(workspace: Workspace) -> None:
    workspace.root.mkdir()
    workspace.services_file.write_text(json.dumps({"prefect_api": "http://localhost:port/api"}))
    assert served_api(workspace) is None


def test_address_that_the_user_sets_comes_first(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    with prefect_server(workspace) as address:
        assert address == "http://127.0.0.1:1/api"


def test_prefect_keeps_its_state_in_the_workspace_as_json_and_reports_nothing_home(workspace: Workspace) -> None:
    environment = run_environment(workspace)
    assert environment.items() >= prefect_environment(workspace).items()
    assert environment["PREFECT_HOME"].startswith(str(workspace.root))
    assert environment["PREFECT_RESULTS_DEFAULT_SERIALIZER"] == "json"
    assert environment["DO_NOT_TRACK"] == "true"
    waits_s = [2**number for number in range(1, int(environment["PREFECT_CLIENT_MAX_RETRIES"]) + 1)]
    assert sum(waits_s) > 2 * 60, "a server may be gone for a minute"
    assert "127.0.0.1" in environment["NO_PROXY"].split(",")
