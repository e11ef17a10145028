"""A workspace whose path has signs that mean something in an address: all that it holds lies in it, and is found."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import make_url

from flows.runtime.prefect_server import prefect_server
from flows.runtime.workspace import Workspace, sqlite_uri
from flows.upkeep.cleaning import clean
from tests.faults.killing import Stages, photos

NAMES = ["two words", "50%41 off", "#1", "what?mode=ro", 'it\'s "called" so', "M\u00fcll & Co."]
ALL_SIGNS = "a b?mode=ro#c%41&d=e;f"


@pytest.mark.parametrize("name", [*NAMES, ALL_SIGNS])
def test_the_address_of_a_database_is_that_of_its_path(name: str) -> None:
    path = Path("/in") / name / "mlflow.db"
    assert make_url(sqlite_uri(path)).database == str(path)
    assert make_url(sqlite_uri(path, "aiosqlite")).drivername == "sqlite+aiosqlite"


def test_the_address_of_an_ordinary_path_stays_what_it_was() -> None:
    assert sqlite_uri(Path("/my/work space/mlflow.db")) == "sqlite:////my/work space/mlflow.db"


def works(root: Path, killer: Stages, scheduler: str) -> None:
    source = photos(root.parent / "photos", 12, 64)
    killer.run("ingest-images", root, source=str(source))
    killer.run("extract-features", root, dask_scheduler=scheduler)
    killer.run("build-dictionary", root)
    killer.run("evaluate-codec", root, most_pictures=1)
    assert sorted(path.name for path in (root / "stages").iterdir()) == [
        *("build-dictionary", "evaluate-codec", "extract-features", "ingest-images"),
        *("measure-baselines", "measure-codec"),
    ]
    with closing(sqlite3.connect(root / "mlflow.db")) as connection:
        assert connection.execute("SELECT status FROM runs").fetchall() == [("FINISHED",)]
    assert [path.name for path in root.glob("mlflow-artifacts/*/*/artifacts/*.html")] == ["report.html"]
    assert sorted(path.name for path in root.parent.iterdir()) == sorted(["photos", root.name])
    assert not clean(Workspace(root), is_dry=True).paths


def test_stages_and_tracking_work_in_a_workspace_of_any_name(killer: Stages, scheduler: str, tmp_path: Path) -> None:
    works(tmp_path / ALL_SIGNS, killer, scheduler)


@pytest.mark.faults
@pytest.mark.parametrize("name", NAMES)
def test_stages_and_tracking_work_in_a_workspace_of_that_name(
    name: str, killer: Stages, scheduler: str, tmp_path: Path
) -> None:
    works(tmp_path / name, killer, scheduler)


@pytest.mark.faults
def test_prefect_keeps_its_database_in_a_workspace_of_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    root = tmp_path / ALL_SIGNS
    with prefect_server(Workspace(root)):
        assert (root / "prefect" / "prefect.db").is_file()
    assert [path.name for path in tmp_path.iterdir()] == [ALL_SIGNS]
