"""A command that runs flows starts itself again, with a server and the settings that Prefect reads at import.

Called by the commands of `flows.retrain` and `flows.reproduction`.
"""

import contextlib
import os
import subprocess
import sys

from rich.console import Console

from clc.console import INTERRUPTED, Terminated, status_of
from flows.runtime.prefect_server import API_VARIABLE, end, prefect_environment, prefect_server, run_environment
from flows.runtime.workspace import Workspace

_INTERRUPT_S = 5.0


def is_settled(workspace: Workspace) -> bool:
    """Tell whether this process was started with the settings that Prefect reads when it is imported."""
    return all(os.environ.get(name) == value for name, value in prefect_environment(workspace).items())


def run_settled(workspace: Workspace, module: str) -> int:
    """Run this command, `python -m MODULE` with its arguments, again with a server to talk to; return its exit code."""
    with contextlib.ExitStack() as stack:
        with Console(stderr=True).status("starting Prefect"):
            address = stack.enter_context(prefect_server(workspace))
        # Only crashes of Prefect itself reach the terminal; its log lines, and tracebacks, go to its own pages.
        environment = {
            **run_environment(workspace),
            API_VARIABLE: address,
            "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        }
        return _wait(subprocess.Popen([sys.executable, "-m", module, *sys.argv[1:]], env=environment))  # noqa: S603


def _wait(process: "subprocess.Popen[bytes]") -> int:
    """Return the exit code of the command; an interrupt reaches it too, so it gets time to stop what it started."""
    try:
        return process.wait()
    except KeyboardInterrupt as interrupt:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_INTERRUPT_S)
        if end(process) not in (INTERRUPTED, status_of(Terminated())):
            raise
        return status_of(interrupt)  # the command has said that it was interrupted
