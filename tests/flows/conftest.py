"""What tests of flows share: a workspace of their own, and what Prefect's server has been told."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.runtime import mlflow_session
from flows.runtime.workspace import Workspace


@pytest.fixture(scope="session", autouse=True)
def one_fresh_database() -> Iterator[None]:
    """Have MLflow make its tables once a session; each workspace gets a copy."""
    made: list[bytes] = []

    def copied(artifacts: Path, make: Callable[[Path], bytes] = mlflow_session.fresh_database) -> bytes:
        if not made:
            made.append(make(artifacts))
        return made[0]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(mlflow_session, "fresh_database", copied)
        yield


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Return a fresh workspace, and make it the one that the flows find in the environment."""
    monkeypatch.setenv("CLC_WORKSPACE", str(tmp_path / "workspace"))
    return Workspace.from_environment()


@pytest.fixture
def published(prefect_api: None) -> Callable[[str], tuple[list[dict[str, Any]], str]]:
    """Return the function that gives rows and description of the newest table under a key, of those of this server."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
    from prefect.client.schemas.sorting import ArtifactSort

    def read(key: str) -> tuple[list[dict[str, Any]], str]:
        wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
        with get_client(sync_client=True) as client:
            [found] = client.read_artifacts(limit=1, sort=ArtifactSort.UPDATED_DESC, artifact_filter=wanted)
        assert found.type == "table"
        assert found.flow_run_id is not None
        return json.loads(found.data), found.description

    return read
