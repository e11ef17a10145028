"""A scheduled run that stands behind a later one of the same schedule: after downtime, work is caught up with once.

While the worker is down the schedule goes on, and each of its runs is waiting when the worker comes back. The last one
does what all of them would do, so `retrain` asks `is_overtaken` first and ends where another is due behind it.
"""

from datetime import UTC, datetime
from uuid import UUID

from prefect import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.runtime import flow_run
from prefect.states import Completed, State

OVERTAKEN = "Overtaken"
_WAITING = [StateType.SCHEDULED, StateType.PENDING]


def overtaken() -> State[str] | None:
    """Return the state in which this flow run is to end because a later one of its schedule is due, None if none is."""
    if flow_run.id is None:
        return None
    with get_client(sync_client=True) as client:
        mine = client.read_flow_run(UUID(flow_run.id))
        if not mine.auto_scheduled or mine.deployment_id is None:
            return None
        later = client.read_flow_runs(flow_run_filter=_due_behind(mine))
    if not any(one.auto_scheduled and one.id != mine.id for one in later):
        return None
    return Completed(name=OVERTAKEN, message="a later run of the same schedule is due, and does the work of both")


def _due_behind(mine: FlowRun) -> FlowRunFilter:
    """Return the filter for runs of the same deployment that wait, and should have begun after `mine`, by now."""
    return FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[mine.deployment_id] if mine.deployment_id else []),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_WAITING)),
        expected_start_time=FlowRunFilterExpectedStartTime(after_=mine.expected_start_time, before_=datetime.now(UTC)),
    )
