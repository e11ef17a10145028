"""The command behind `make serve`: Prefect's server and a worker, the deployments, and MLflow, on loopback only.

Everything it writes lies in the workspace. Ctrl-C, a termination signal, or the end of one of its services stops them
all.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from clc.bundle.service import CURRENT
from clc.errors import InputError
from flows.runtime.command import run_command
from flows.runtime.mlflow_session import Server, experiments_page, tolerant
from flows.runtime.prefect_server import (
    API_VARIABLE,
    LOOPBACK,
    answers,
    run_environment,
    running,
    start_server,
    wait_until_healthy,
)
from flows.runtime.workspace import Workspace
from flows.service.worker import GPU_LIMIT, GPU_POOL, POOL, worker_command
from storage.atomic import write_bytes
from storage.errors import StorageError

_POLL_S = 0.5


def serve(
    prefect_port: Annotated[int, typer.Option(help="Port of Prefect's API and pages.", min=1, max=65535)] = 4200,
    mlflow_port: Annotated[int, typer.Option(help="Port of MLflow's pages.", min=1, max=65535)] = 5000,
    gpu: Annotated[bool, typer.Option("--gpu", help="This machine has a GPU: poll the work pool clc-gpu too.")] = False,
) -> None:
    """Bring up Prefect, a worker and MLflow on this machine, register the deployments, and wait for Ctrl-C."""
    workspace = Workspace.from_environment().writable()
    prefect, mlflow = f"http://{LOOPBACK}:{prefect_port}", f"http://{LOOPBACK}:{mlflow_port}"
    for url in (prefect, mlflow):
        if answers(url):
            raise InputError(f"something answers at {url} already; stop it, or name other ports (see --help)")
    environment = {**run_environment(workspace), API_VARIABLE: f"{prefect}/api"}
    console = Console()
    with contextlib.ExitStack() as stack, contextlib.suppress(KeyboardInterrupt):
        with console.status("starting Prefect and MLflow"):
            server = stack.enter_context(start_server(workspace, prefect_port, environment, has_ui=True))
            tracking = Server.of(workspace)
            with tolerant(tracking, "none yet"):
                tracking.make()
            command = _mlflow(workspace, mlflow_port)
            tracker = stack.enter_context(running(command, environment, _log(workspace, "mlflow")))
            wait_until_healthy(f"{prefect}/api", process=server)
        with console.status("registering the deployments"):
            _prefect(environment, "work-pool", "create", POOL, "--type", "process", "--overwrite")
            if not _has_pool(environment, GPU_POOL):  # one that is there may be of another type, with a template
                _prefect(environment, "work-pool", "create", GPU_POOL, "--type", "process")
            _prefect(environment, "deploy", "--all")
        workers = {"the worker": worker_command(POOL, "clc-worker")}
        if gpu:
            workers["the GPU's worker"] = worker_command(GPU_POOL, "clc-gpu-worker", GPU_LIMIT)
        begun = {
            name: stack.enter_context(running(command, environment, _log(workspace, f"worker{number or ''}")))
            for number, (name, command) in enumerate(workers.items())
        }
        stack.callback(workspace.services_file.unlink, missing_ok=True)
        record = {"prefect_api": f"{prefect}/api", "mlflow": mlflow, "pid": os.getpid()}
        write_bytes(workspace.services_file, json.dumps(record).encode())
        _say_what_is_up(console, workspace, prefect, mlflow)
        mirrored = _Mirrored(workspace, environment)
        _wait({"Prefect's server": server, **begun, "MLflow": tracker}, mirrored.refresh)
    console.print("stopped")


def _say_what_is_up(console: Console, workspace: Workspace, prefect: str, mlflow: str) -> None:
    pages = experiments_page(mlflow)
    console.print(f"Prefect  {prefect}\nMLflow   {pages}\nstate    {workspace.root}\n", highlight=False, soft_wrap=True)
    console.print("In another terminal, run a stage or the whole pipeline:", highlight=False)
    prefix = f"PREFECT_API_URL={prefect}/api {sys.executable} -m prefect"
    for name in ("ingest-images", "retrain"):
        console.print(f"  {prefix} deployment run {name}/{name} --watch", highlight=False, soft_wrap=True)
    console.print("Ctrl-C stops all of them.", highlight=False)


class _Mirrored:
    """MLflow's registry of models, refreshed whenever a person or a flow has changed what serves."""

    def __init__(self, workspace: Workspace, environment: Mapping[str, str]) -> None:
        self._record, self._log = workspace.service / CURRENT, _log(workspace, "registry")
        self._environment = dict(environment)
        self._seen: int | None = -1
        self._running: subprocess.Popen[bytes] | None = None

    def refresh(self) -> None:
        """Start a process that tells MLflow, where the record is another than at the last call and none is at it."""
        if self._running is not None and self._running.poll() is None:
            return
        now = self._record.stat().st_mtime_ns if self._record.exists() else None
        if now == self._seen:
            return
        self._seen = now
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "flows.service.registry"]
            self._running = subprocess.Popen(  # noqa: S603
                command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )


def _wait(processes: Mapping[str, "subprocess.Popen[bytes]"], meanwhile: Callable[[], None]) -> None:
    """Wait for as long as all services run, and call a function again and again; `StorageError` when one has ended."""
    while True:
        meanwhile()
        for name, process in processes.items():
            if process.poll() is not None:
                raise StorageError(f"{name} ended with status {process.returncode}; see its log in the workspace")
        time.sleep(_POLL_S)


def _prefect(environment: Mapping[str, str], *arguments: str) -> None:
    """Run one Prefect command to its end; `StorageError` with what it said when it fails."""
    done = _ended(environment, *arguments)
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise StorageError(f"prefect {' '.join(arguments)} failed: {said[-500:]}")


def _has_pool(environment: Mapping[str, str], pool: str) -> bool:
    return not _ended(environment, "work-pool", "inspect", pool).returncode


def _ended(environment: Mapping[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
    return subprocess.run(  # noqa: S603
        command, env=dict(environment), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def _mlflow(workspace: Workspace, port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "mlflow", "ui", "--host", LOOPBACK, "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", workspace.mlflow_uri, "--default-artifact-root", str(workspace.root / "mlruns")),
    ]


def _log(workspace: Workspace, name: str) -> Path:
    return workspace.prefect_home / f"{name}.log"


if __name__ == "__main__":
    run_command(serve)
