"""Notices: somebody hears of it when `retrain` fails, is killed, or has not finished for too long.

A notice is a line in `service/notices.jsonl`, a table on Prefect's pages, and, where `CLC_NOTICE` names a command, that
command with the sentence on its standard input, such as `mail -s clc somebody@example.org`. The hooks of the flow
`retrain` call it, and the flow `check-retrain`, which a deployment runs every day.
"""

import json
import logging
import os
import shlex
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect import flow
from prefect.runtime import flow_run

from clc.bundle.service import service_bundle
from clc.console import one_line, shown
from clc.errors import ClcError
from flows.run_summary import finished_utc
from flows.runtime.artifacts import publish_table
from flows.runtime.workspace import Workspace
from storage.atomic import write_bytes
from storage.regular import read_regular

logger = logging.getLogger(__name__)

COMMAND = "CLC_NOTICE"
"""The variable of the environment that names the command that is told."""
NOTICES = "notices.jsonl"
ARTIFACT = "notices"
_WATCH = "watched-since.json"
_COMMAND_S = 60.0
_MOST_BYTES, _MOST_SHOWN, _MOST_REASON = 2**20, 50, 500


@flow(name="check-retrain")
def check_retrain(days: float = 8.0) -> str:
    """Give notice where `retrain` has not finished for too long: every run failed, or none was started.

    Args:
        days: How long is too long. The deployment `retrain` runs every 7 days.

    Returns:
        A sentence: when `retrain` finished last, and whether notice was given.
    """
    workspace = Workspace.from_environment()
    now = datetime.now(UTC)
    finished = finished_utc(workspace)
    since = finished or _watched_since(workspace, now)
    last = "it never finished in this workspace" if finished is None else f"it finished last on {finished:%Y-%m-%d}"
    if now - since <= timedelta(days=days):
        return f"retrain is not overdue: {last}"
    sentence = f"retrain is overdue: {last}, and {days:g} days are allowed. {_serves(workspace)}"
    notify(workspace, "overdue", sentence, UUID(flow_run.id) if flow_run.id else None)
    return sentence


def failed(flow: Any, run: Any, state: Any) -> None:
    """Give notice of a run of `retrain` that failed or was killed; Prefect calls it with the flow, run and state."""
    told = one_line(str(state.message or state.name)).removeprefix("Flow run encountered an exception: ")
    reason = told[:_MOST_REASON].rstrip(".")
    workspace = Workspace.from_environment()
    notify(workspace, state.name.lower(), f"retrain has failed: {reason}. {_serves(workspace)}", run.id)


def notify(workspace: Workspace, what: str, sentence: str, flow_run_id: UUID | None = None) -> None:
    """Keep a notice, show it, and tell it to the command. What of this fails is a warning, and costs nothing else."""
    notice = {"utc": datetime.now(UTC).isoformat(timespec="seconds"), "what": what, "notice": sentence}
    logger.warning("notice what=%s sentence=%r", what, sentence)
    _tolerated("it cannot be kept", lambda: _keep(workspace, notice))
    publish_table(
        ARTIFACT, read_notices(workspace)[-_MOST_SHOWN:][::-1] or [notice], "Notices, newest first.", flow_run_id
    )
    command = os.environ.get(COMMAND, "").strip()
    if command:
        _tolerated(f"the command of {COMMAND} failed", lambda: _tell(command, sentence))


def read_notices(workspace: Workspace) -> list[dict[str, str]]:
    """Return the notices, oldest first; lines that are none are passed over."""
    try:
        lines = (workspace.service / NOTICES).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            one = json.loads(line)
        except ValueError:
            continue
        if isinstance(one, dict):
            found.append({str(name): str(value) for name, value in one.items()})
    return found


def _keep(workspace: Workspace, notice: dict[str, str]) -> None:
    workspace.service.mkdir(parents=True, exist_ok=True)
    with (workspace.service / NOTICES).open("a", encoding="utf-8") as file:
        file.write(json.dumps(notice) + "\n")


def _tell(command: str, sentence: str) -> None:
    words = shlex.split(command)
    subprocess.run(words, input=f"{sentence}\n", text=True, timeout=_COMMAND_S, check=True, capture_output=True)  # noqa: S603


def _tolerated(what: str, work: Callable[[], None]) -> None:
    try:
        work()
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        logger.warning("notice_incomplete what=%r reason=%r", what, str(error))


def _serves(workspace: Workspace) -> str:
    try:
        folder = service_bundle(workspace.root)
    except ClcError as error:
        return f"What serves cannot be told: {error}"
    return f"What served goes on serving: {'the shipped bundle' if folder is None else shown(folder)}."


def _watched_since(workspace: Workspace, now: datetime) -> datetime:
    """Return when this was asked for the first time, for where `retrain` never finished."""
    path = workspace.service / _WATCH
    try:
        return datetime.fromisoformat(json.loads(read_regular(path, _MOST_BYTES))["utc"])
    except (OSError, ValueError, KeyError, TypeError):
        write_bytes(path, json.dumps({"utc": now.isoformat()}).encode())
        return now
