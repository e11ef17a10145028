"""A worker of this machine that joins the services of another one: `python -m flows.service.worker`.

It polls a work pool of the Prefect server that `PREFECT_API_URL` names, and runs what is submitted there under the
settings that all Prefect processes of this project have. `docs/workers.md` says what the two machines must share.
"""

import os
import sys
from typing import Annotated

import typer

from clc.errors import InputError
from flows.runtime.command import run_command
from flows.runtime.prefect_server import (
    API_VARIABLE,
    api_from_environment,
    run_environment,
    served_api,
    wait_until_healthy,
)
from flows.runtime.workspace import Workspace

POOL, GPU_POOL = "clc", "clc-gpu"
"""The work pools of `prefect.yaml`: of any machine, and of those with a GPU, whose runs are submitted to it by name."""
GPU_LIMIT = 1
"""Runs at a time of a worker on a GPU, which two of them would share."""
_HEALTH_S = 20.0


def worker_command(pool: str, name: str, limit: int | None = None) -> list[str]:
    """Return the command line of a Prefect worker that polls a pool and has so many runs at a time, or any number."""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--name", name]
    return command if limit is None else [*command, "--limit", str(limit)]


def worker(
    pool: Annotated[str, typer.Option(help="The work pool to poll.")] = GPU_POOL,
    name: Annotated[str, typer.Option(help="What Prefect's pages call the worker.")] = "",
    limit: Annotated[int, typer.Option(help="Runs at a time.", min=1)] = GPU_LIMIT,
) -> None:
    """Poll a work pool of the Prefect server at PREFECT_API_URL, and run what is submitted there, until Ctrl-C."""
    workspace = Workspace.from_environment()
    address = api_from_environment() or served_api(workspace)
    if address is None:
        raise InputError(f"{API_VARIABLE} names no server to work for; say http://HOST:PORT/api")
    wait_until_healthy(address, _HEALTH_S)
    command = worker_command(pool, name or f"{pool}-{os.uname().nodename}", limit)
    os.execve(command[0], command, {**run_environment(workspace.writable()), API_VARIABLE: address})  # noqa: S606


if __name__ == "__main__":
    run_command(worker)
