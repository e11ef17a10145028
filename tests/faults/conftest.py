"""What tests of faults share: the process that runs stages, and a cluster that outlives them."""

from collections.abc import Iterator

import pytest
from distributed import LocalCluster

from tests.faults.killing import Stages, stages

FLOWS = ("flows.ingest", "flows.features", "flows.dictionary", "flows.evaluate", "tests.flows.tiny_training")
MODULES = ("mlflow.store.tracking.sqlalchemy_store", "alembic.command", "clc.codec.codec", *FLOWS)


@pytest.fixture(scope="session")
def killer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stages]:
    with stages(tmp_path_factory.mktemp("stages"), *MODULES) as running:
        yield running


@pytest.fixture(scope="session")
def scheduler() -> Iterator[str]:
    """The address of a cluster in this process: its workers do not know that a flow was killed."""
    threads = {"n_workers": 1, "threads_per_worker": 1, "processes": False}
    with LocalCluster(**threads, host="127.0.0.1", protocol="tcp", dashboard_address="127.0.0.1:0") as cluster:
        yield cluster.scheduler_address
