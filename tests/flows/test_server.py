"""Finding the Prefect server that a run talks to."""

import http.server
import json
import threading
from collections.abc import Iterator

import pytest

from flows.runtime.prefect_server import (
    answers,
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
    assert "127.0.0.1" in environment["NO_PROXY"].split(",")
