"""The Prefect server that a run talks to: the user's, the one that `make serve` has up, or one started for this run.

One server for the whole run, in a process of its own: without an address every Dask worker and every subflow process
would start another. Used by the command behind `make run` and by `flows.serve`; imports no Prefect itself.
"""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path

from flows.runtime.workspace import Workspace
from storage.errors import StorageError

LOOPBACK = "127.0.0.1"
_START_TIMEOUT_S = 300.0
_STOP_TIMEOUT_S = 10.0
_POLL_S = 0.1


def prefect_environment(workspace: Workspace) -> Mapping[str, str]:
    """Return the environment variables under which every Prefect process of this project runs.

    State in the workspace, results as JSON (Prefect's default is pickle), no telemetry, and the log lines of our own
    modules beside Prefect's. `PREFECT_API_URL` is set by whoever starts the server.
    """
    return {
        "CLC_WORKSPACE": str(workspace.root),
        "DO_NOT_TRACK": "true",
        "PREFECT_HOME": str(workspace.prefect_home),
        "PREFECT_LOGGING_EXTRA_LOGGERS": "clc,flows,storage",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }


def run_environment(workspace: Workspace) -> dict[str, str]:
    """Return this process's environment with Prefect's settings of this project, and loopback kept off any proxy."""
    no_proxy = ",".join(filter(None, [os.environ.get("NO_PROXY"), LOOPBACK, "localhost"]))
    return {**os.environ, **prefect_environment(workspace), "NO_PROXY": no_proxy, "no_proxy": no_proxy}


@contextlib.contextmanager
def prefect_server(workspace: Workspace) -> Iterator[str]:
    """Yield the address of a Prefect API: `PREFECT_API_URL`, else that of `make serve`, else of a server of our own.

    Our own answers when it is yielded, and ends with the block. `StorageError` when it cannot be started.
    """
    address = os.environ.get("PREFECT_API_URL") or served_api(workspace)
    if address is not None:
        yield address
        return
    port = free_port()
    with start_server(workspace, port, run_environment(workspace), has_ui=False) as process:
        address = f"http://{LOOPBACK}:{port}/api"
        wait_until_healthy(address, process=process)
        yield address


@contextlib.contextmanager
def start_server(
    workspace: Workspace, port: int, environment: Mapping[str, str], has_ui: bool
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a Prefect server on a loopback port until the block ends; its log lines go to `prefect/server.log`."""
    switches = {
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "PREFECT_SERVER_UI_ENABLED": "true" if has_ui else "false",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", LOOPBACK, "--port", str(port)]
    with running(command, {**environment, **switches}, workspace.prefect_home / "server.log") as process:
        yield process


@contextlib.contextmanager
def running(command: list[str], environment: Mapping[str, str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a program in the background until the block ends, its output going to `log`; `StorageError` if that fails."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        output = log.open("wb")
    except OSError as error:
        raise StorageError(f"cannot write {log}: {error.strerror}; set CLC_WORKSPACE to a writable folder") from error
    with output:
        process = subprocess.Popen(  # noqa: S603
            command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        try:
            yield process
        finally:
            end(process)


def end(process: "subprocess.Popen[bytes]") -> int:
    """Ask a process to stop, insist after a while, and return its exit status."""
    process.terminate()
    try:
        return process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def wait_until_healthy(
    address: str, timeout_s: float = _START_TIMEOUT_S, process: "subprocess.Popen[bytes] | None" = None
) -> None:
    """Return when the API at `address` answers; `StorageError` after `timeout_s` or when `process` has ended."""
    started_s = time.monotonic()
    while not answers(f"{address}/health"):
        has_ended = process is not None and process.poll() is not None
        if has_ended or time.monotonic() - started_s > timeout_s:
            raise StorageError(
                f"no Prefect server answers at {address} after {time.monotonic() - started_s:.0f} s; "
                "see prefect/server.log in the workspace"
            )
        time.sleep(_POLL_S)


def answers(url: str) -> bool:
    """Tell whether an HTTP server answers at `url` with success, asked directly and never through a proxy."""
    parts = urllib.parse.urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or LOOPBACK, parts.port, timeout=2)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def served_api(workspace: Workspace) -> str | None:
    """Return the address of the Prefect API that `make serve` has up on this workspace, if it answers."""
    try:
        address = str(json.loads(workspace.services_file.read_bytes())["prefect_api"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return address if answers(f"{address}/health") else None


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
