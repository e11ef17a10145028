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

from clc.errors import ClcError, InputError
from flows.runtime.workspace import Workspace, sqlite_uri
from storage.errors import StorageError
from storage.names import shown_name
from storage.regular import read_regular

LOOPBACK = "127.0.0.1"
API_VARIABLE = "PREFECT_API_URL"
"""The variable of the environment that names the Prefect API to talk to."""
CLIENT_RETRIES = 6
"""How often a flow asks again where the server has gone: after 2 s, 4, 8 and so on, two minutes in all."""
_START_TIMEOUT_S = 300.0
_STOP_TIMEOUT_S = 10.0
_POLL_S = 0.1


def prefect_environment(workspace: Workspace) -> Mapping[str, str]:
    """Return the environment variables under which every Prefect process of this project runs.

    State in the workspace, results as JSON (Prefect's default is pickle), no telemetry, the log lines of our own
    modules beside Prefect's, and a client that waits for a server that is being started again. `PREFECT_API_URL` is set
    by whoever starts the server.
    """
    return {
        "CLC_WORKSPACE": str(workspace.root),
        "DO_NOT_TRACK": "true",
        "PREFECT_CLIENT_MAX_RETRIES": str(CLIENT_RETRIES),
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

    Our own answers when it is yielded, and ends with the block. `StorageError` when it cannot be started, `InputError`
    for a `PREFECT_API_URL` that is no address.
    """
    address = api_from_environment() or served_api(workspace)
    if address is not None:
        yield address
        return
    port = free_port()
    with start_server(workspace, port, run_environment(workspace), has_ui=False) as process:
        address = f"http://{LOOPBACK}:{port}/api"
        wait_until_healthy(address, process=process)
        yield address


def api_from_environment() -> str | None:
    """Return `PREFECT_API_URL` without spaces and slashes around it, None where it is empty or not set.

    Raises `InputError` for what is no http address.
    """
    address = os.environ.get(API_VARIABLE, "").strip().rstrip("/")
    if not address:
        return None
    try:
        parts = urllib.parse.urlsplit(address)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise _no_address(address, f"{error}") from error
    if not is_address or not address.isascii() or not address.isprintable() or " " in address:
        raise _no_address(address, "it lacks http://, or a host")
    return address


def _no_address(address: str, reason: str) -> InputError:
    return InputError(
        f"{API_VARIABLE} is {shown_name(address)!r}, which is no address ({reason}): say http://HOST:PORT/api, or "
        "unset it for a server of this run"
    )


@contextlib.contextmanager
def saying_when_gone(address: str) -> Iterator[None]:
    """Raise `StorageError`, in one sentence, where the block fails and no Prefect server answers at `address` any more.

    What was raised on purpose goes through, and so does a lack of memory, which says nothing of the server.
    """
    try:
        yield
    except (ClcError, MemoryError):
        raise
    # Prefect lets the errors of its HTTP library through.
    except Exception as error:
        if answers(f"{address}/health"):
            raise
        raise StorageError(
            f"Prefect's server at {address} went away; finished stages are kept: start it, and run the same again"
        ) from error


@contextlib.contextmanager
def start_server(
    workspace: Workspace, port: int, environment: Mapping[str, str], has_ui: bool
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a Prefect server on a loopback port until the block ends; its log lines go to `prefect/server.log`."""
    # Prefect puts its home into the address as it is, whatever signs there are in it.
    database = {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": sqlite_uri(workspace.prefect_home / "prefect.db", "aiosqlite")
    }
    switches = {
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "PREFECT_SERVER_UI_ENABLED": "true" if has_ui else "false",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", LOOPBACK, "--port", str(port)]
    with running(command, {**database, **environment, **switches}, workspace.prefect_home / "server.log") as process:
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
    """Return when the API at `address` answers; `StorageError` after `timeout_s` or when `process` has ended.

    `process` is our own server, whose log is then named; without it the server is the user's.
    """
    started_s = time.monotonic()
    while not answers(f"{address}/health"):
        has_ended = process is not None and process.poll() is not None
        if has_ended or time.monotonic() - started_s > timeout_s:
            advice = (
                f"start it, or unset {API_VARIABLE}" if process is None else "see prefect/server.log in the workspace"
            )
            raise StorageError(
                f"no Prefect server answers at {address} after {time.monotonic() - started_s:.0f} s; {advice}"
            )
        time.sleep(_POLL_S)


def answers(url: str) -> bool:
    """Tell whether an HTTP server answers at `url` with success, asked directly and never through a proxy.

    None does at what is no address.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        if parts.scheme not in kinds or not parts.hostname:
            return False
        connection = kinds[parts.scheme](parts.hostname, parts.port, timeout=2)
    except (ValueError, http.client.HTTPException):
        return False
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, ValueError, http.client.HTTPException):  # ValueError: a host that no name service takes
        return False
    finally:
        connection.close()


def served_api(workspace: Workspace) -> str | None:
    """Return the address of the Prefect API that `make serve` has up on this workspace, if it answers."""
    try:
        address = str(json.loads(read_regular(workspace.services_file))["prefect_api"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return address if answers(f"{address}/health") else None


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
