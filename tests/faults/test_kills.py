"""A stage that is killed at any moment leaves nothing wrong, and the next run makes what it would have made."""

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest

from flows.runtime.workspace import Workspace
from flows.upkeep.cleaning import clean
from storage.atomic import is_temporary
from storage.digest import sha256_bytes, sha256_file
from storage.manifest import MANIFEST_NAME
from storage.tables import read_table
from tests.faults.killing import Stages, photos
from tests.flows.tiny_training import fill, small_start

SEED = 7
MEASURED = ["encode_s", "decode_s", "peak_mb"]
WITH_SECONDS = (MANIFEST_NAME, "summary.json", "report.html", "log.jsonl", "curve.json")
"""Files that say when something was made, or how long it took."""


def moments(count: int, first: float = 0.0) -> list[float]:
    """Return shares of the time that a stage takes, after which it is killed.

    The earliest comes first: on a machine that is busy for a while, a later one may be after the end.
    """
    generator = random.Random(SEED * count)  # noqa: S311
    return sorted(first + (1 - first) * generator.random() for _ in range(count))


class Case(NamedTuple):
    """A stage, what is given to it, and when it is killed; a cluster takes a while to start."""

    stage: str
    shares: list[float]
    arguments: dict[str, Any] = {}  # noqa: RUF012 - nobody changes it
    has_own_workers: bool = True


BRIEFLY = [
    Case("ingest-images", moments(5)),
    Case("ingest-images", [0.35, 0.8], {"shard_files": 8}),
    Case("extract-features", moments(3), has_own_workers=False),
    Case("build-dictionary", moments(6)),
    Case("evaluate-codec", [0.3, 0.75], {"most_pictures": 1}),
]
AT_LENGTH = [
    Case("ingest-images", moments(20)),
    Case("ingest-images", moments(20, 0.2), {"shard_files": 8}),
    Case("extract-features", moments(20, 0.2)),
    Case("extract-features", moments(20), has_own_workers=False),
    Case("build-dictionary", moments(20)),
    Case("train-codec", moments(20), {"steps": 6, "is_tracked": True}),
    Case("evaluate-codec", moments(20), {"most_pictures": 2}),
]


def named(case: Case) -> str:
    where = ", small shards" if "shard_files" in case.arguments else ""
    where = where if case.has_own_workers else ", workers that stay"
    return f"{case.stage}{where}, {len(case.shares)} times"


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, killer: Stages, scheduler: str) -> Path:
    """A workspace with a finished ingest, its features and their dictionary."""
    folder = tmp_path_factory.mktemp("given")
    root = folder / "workspace"
    killer.run("ingest-images", root, source=str(photos(folder / "photos", 12, 64)))
    killer.run("extract-features", root, dask_scheduler=scheduler)
    killer.run("build-dictionary", root)
    return root


def contents(path: Path) -> str:
    """Return the digest of a file; of a table of measurements that of what is no measurement of time or memory."""
    if path.name == "rows.parquet":
        table = read_table(path)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.drop_columns(MEASURED).schema) as writer:
            writer.write_table(table.drop_columns(MEASURED))
        return sha256_bytes(sink.getvalue().to_pybytes())
    return "" if path.name in WITH_SECONDS else sha256_file(path)


def made(root: Path) -> dict[str, str]:
    """Return the digests of all files of a workspace that are there for good, by name."""
    kept = [path for path in root.rglob("*") if path.is_file() and path.relative_to(root).parts[0] not in OTHERS]
    return {path.relative_to(root).as_posix(): contents(path) for path in kept}


OTHERS = ("locks", "intake", "mlflow.db", "mlflow-artifacts")


def tracked(root: Path) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return the runs that MLflow has, experiment and name: those that finished, and those that are running."""
    database = root / "mlflow.db"
    if not database.is_file():
        return [], []
    query = "SELECT e.name, r.name, r.status FROM runs r JOIN experiments e USING (experiment_id) ORDER BY 1, 2"
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(query).fetchall()
    finished, running = ([row[:2] for row in rows if row[2] == status] for status in ("FINISHED", "RUNNING"))
    return finished, running


def kill_once(run: Callable[[float], bool], delay_s: float, root: Path) -> None:
    """Run a stage until it is killed, each time from what `root` holds now and after half the time of the time before.

    How long a stage takes is measured a moment before, and on a busy machine it may be done by then the next time.
    """
    prepared = root.with_name("prepared")
    if root.exists():
        shutil.copytree(root, prepared)
    while not run(delay_s):
        shutil.rmtree(root)
        if prepared.exists():
            shutil.copytree(prepared, root)
        delay_s /= 2
        assert delay_s > 1e-3, "it is done before it can be killed"


def ends_as_if_it_never_was(case: Case, given: Path, killer: Stages, scheduler: str, tmp_path: Path) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    arguments = dict(case.arguments)
    if not case.has_own_workers:
        arguments["dask_scheduler"] = scheduler
    if case.stage == "ingest-images":
        arguments["source"] = str(photos(tmp_path / "photos", 40, 300))
    elif case.stage == "train-codec":
        arguments["start"] = small_start(tmp_path / "start")
        fill(Workspace(undisturbed))
        fill(Workspace(disturbed))
    else:
        for root in (undisturbed, disturbed):
            shutil.copytree(given, root, ignore=lambda folder, names: {case.stage} & set(names))
    seconds = killer.run(case.stage, undisturbed, **arguments).seconds
    first, *others = sorted(case.shares)

    def killed(delay_s: float) -> bool:
        return killer.run(case.stage, disturbed, delay_s, **arguments).was_killed

    kill_once(killed, first * seconds, disturbed)
    for share in others:
        killer.run(case.stage, disturbed, share * seconds, **arguments)
    for path in (disturbed / "blobs").rglob("*"):
        assert path.is_dir() or is_temporary(path.name) or sha256_bytes(path.read_bytes()) == path.name
    assert not killer.run(case.stage, disturbed, **arguments).was_killed
    clean(Workspace(disturbed))
    assert made(disturbed) == made(undisturbed)
    assert not list(disturbed.glob("stages/*/.*"))
    finished, running = tracked(disturbed)
    assert not running
    # A training that is killed when it has told all, and has yet to write its bundle, is told of twice.
    assert (sorted(set(finished)) if case.stage == "train-codec" else finished) == tracked(undisturbed)[0]


@pytest.mark.parametrize("case", BRIEFLY, ids=named)
def test_killed_at_some_moments_it_ends_as_if_it_never_was(
    case: Case, given: Path, killer: Stages, scheduler: str, tmp_path: Path
) -> None:
    ends_as_if_it_never_was(case, given, killer, scheduler, tmp_path)


def test_killed_while_the_database_of_mlflow_is_made_the_next_run_makes_it(killer: Stages, tmp_path: Path) -> None:
    seconds = killer.run("mlflow", tmp_path / "undisturbed").seconds
    disturbed = [tmp_path / f"{share}" for share in (0.2, 0.4, 0.6)]
    for root, share in zip(disturbed, (0.2, 0.4, 0.6), strict=True):
        killer.run("mlflow", root, share * seconds)
        killer.run("mlflow", root)
    assert [tracked(root) for root in disturbed] == [tracked(tmp_path / "undisturbed")] * 3


@pytest.mark.faults
@pytest.mark.parametrize("case", AT_LENGTH, ids=named)
def test_killed_at_many_moments_it_ends_as_if_it_never_was(
    case: Case, given: Path, killer: Stages, scheduler: str, tmp_path: Path
) -> None:
    ends_as_if_it_never_was(case, given, killer, scheduler, tmp_path)
