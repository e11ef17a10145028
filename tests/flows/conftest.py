"""What tests of flows share: a workspace of their own, and one Prefect server for the whole session."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.runtime.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Return a fresh workspace, and make it the one that the flows find in the environment."""
    monkeypatch.setenv("CLC_WORKSPACE", str(tmp_path / "workspace"))
    return Workspace.from_environment()


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[None]:
    """Have a Prefect server with a database of its own while the session lasts; flows called in a test talk to it."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield
