"""Tables on Prefect's pages, as artifacts of the run that made them; each has a key, under which its history stands.

They never cost a result: outside of a run there are none, and a server that refuses makes a warning.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.context import FlowRunContext

logger = logging.getLogger(__name__)

MOST_ROWS = 1_000
"""Of a table on a page."""


def publish_table(key: str, rows: Sequence[Mapping[str, Any]], description: str) -> bool:
    """Show a table under a key (lower case letters, digits and dashes) on the page of the run; whether it is there.

    `description` is Markdown. Of more than `MOST_ROWS` rows the first are shown, and it says how many there are.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return False
    if len(rows) > MOST_ROWS:
        description += f"\n\nThe first {MOST_ROWS} of {len(rows)} rows."
    data = json.dumps([dict(row) for row in rows[:MOST_ROWS]])
    artifact = ArtifactCreate(
        key=key, type="table", description=description, data=data, flow_run_id=context.flow_run.id
    )
    try:
        # Prefect's own function for this leaves its connection open.
        with get_client(sync_client=True) as client:
            client.create_artifact(artifact)
    # Prefect's client lets those of its HTTP library through.
    except Exception as error:
        logger.warning("artifact_lost key=%s reason=%r", key, str(error))
        return False
    return True
