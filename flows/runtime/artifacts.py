"""What Prefect's pages show of a run, as artifacts: tables, texts, pictures, progress.

Each has a key, under which its history stands: the same table of one run after the other. They never cost a result:
outside of a run there are none, and a server that refuses makes a warning.
"""

import base64
import json
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.context import FlowRunContext

logger = logging.getLogger(__name__)

MOST_ROWS = 1_000
"""Of a table on a page."""
PROGRESS_EVERY_S = 5.0
"""How often a page hears of progress."""


def publish_table(
    key: str, rows: Sequence[Mapping[str, Any]], description: str, flow_run_id: UUID | None = None
) -> bool:
    """Show a table under a key (lower case letters, digits and dashes) on the page of the run; whether it is there.

    `description` is Markdown. Of more than `MOST_ROWS` rows the first are shown, and it says how many there are.
    A column without a name is one that Prefect does not show.
    Without `flow_run_id` the run is the one that is at work.
    """
    if len(rows) > MOST_ROWS:
        description += f"\n\nThe first {MOST_ROWS} of {len(rows)} rows."
    data = json.dumps([dict(row) for row in rows[:MOST_ROWS]])
    return _publish(key, "table", data, description, flow_run_id) is not None


def publish_text(key: str, markdown: str, description: str) -> bool:
    """Show a text in Markdown under a key on the page of the run that is at work; whether it is there."""
    return _publish(key, "markdown", markdown, description) is not None


def publish_png(key: str, png: bytes, description: str) -> bool:
    """Show a PNG under a key on the page of the run that is at work; whether it is there.

    As a text that holds the picture: below an artifact of the kind "image" Prefect writes the address out, which here
    is the whole file.
    """
    data = f"![{key}](data:image/png;base64,{base64.b64encode(png).decode()})"
    return publish_text(key, data, description)


def publish_summary(stage: str, stage_key: str, directory: str, summary: Mapping[str, Any], *, is_reused: bool) -> bool:
    """Show what a stage came to as a table under the stage's name: a row a figure; lists and objects are left out."""
    figures = {"key": stage_key, "folder": directory, "made": "before, and used again" if is_reused else "by this run"}
    figures |= {name: value for name, value in summary.items() if isinstance(value, str | int | float)}
    rows = [{"what": name.replace("_", " "), "value": str(value)} for name, value in figures.items()]
    return publish_table(stage, rows, f"What `{stage}` came to.")


class ProgressOnPage:
    """The progress of one piece of work, 0 to 100 %, on the page of the run that is at work, if there is one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._shown: dict[str, UUID | None] = {}
        self._told_at = -PROGRESS_EVERY_S

    def tell(self, step: str, done: int, total: int) -> None:
        """Say how much of a step is done; the page hears of it at its begin, at its end, and now and then between."""
        is_first, is_last = step not in self._shown, done >= total
        if total <= 0 or (not is_first and not is_last and self._clock() - self._told_at < PROGRESS_EVERY_S):
            return
        self._told_at = self._clock()
        percent = round(100.0 * done / total, 1)
        if is_first:
            self._shown[step] = _publish(f"progress-{_slug(step)}", "progress", percent, step)
        elif (artifact_id := self._shown[step]) is not None:
            self._shown[step] = artifact_id if _update(artifact_id, percent) else None


def _publish(key: str, kind: str, data: Any, description: str, flow_run_id: UUID | None = None) -> UUID | None:
    """Return the id of the artifact, None where there is none."""
    context = FlowRunContext.get()
    if flow_run_id is None and context is not None and context.flow_run is not None:
        flow_run_id = context.flow_run.id
    if flow_run_id is None:
        return None
    artifact = ArtifactCreate(key=key, type=kind, description=description, data=data, flow_run_id=flow_run_id)
    try:
        # Prefect's own function for this leaves its connection open.
        with get_client(sync_client=True) as client:
            return client.create_artifact(artifact).id
    # Prefect's client lets those of its HTTP library through.
    except Exception as error:
        logger.warning("artifact_lost key=%s reason=%r", key, str(error))
        return None


def _update(artifact_id: UUID, data: Any) -> bool:
    try:
        with get_client(sync_client=True) as client:
            client.update_artifact(artifact_id, ArtifactUpdate(data=data))
    except Exception as error:  # as above
        logger.warning("artifact_lost id=%s reason=%r", artifact_id, str(error))
        return False
    return True


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
