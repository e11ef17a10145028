"""Laws of pack-archive: what `clc pack` makes, whoever works, and however often it is killed; a row a picture."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import LocalCluster
from PIL import Image

from clc.archive.layout import Archive
from clc.archive.pack import PackOptions, pack
from clc.archive.packing.executors import InThisProcess
from clc.archive.packing.tasks import Call, Job
from clc.codec import Codec
from clc.errors import InputError, StorageError
from flows.archive import work
from flows.archive.ledger import Ledger, ledger_of
from flows.archive.pack import pack_archive
from flows.archive.work import PackCall, PackOutcome, carry_out
from flows.runtime.workspace import Workspace
from tests.conftest import Picture

# MLflow and what it brings warn about themselves when they are imported.
pytestmark = pytest.mark.filterwarnings("ignore")

Published = Callable[[str], tuple[list[dict[str, Any]], str]]

ROOT = Path(__file__).parents[3]
COUNT = 4
OPTIONS: dict[str, Any] = {"quality": 40.0, "keys": 1, "effort": 1}


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a cluster inside this process, so that a test does not wait for processes to start."""
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster:
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory, photo: Picture) -> Path:
    """Pictures of 128 x 96 px, each 16 px further right; a name that is no UTF-8, a broken picture and a text."""
    folder = tmp_path_factory.mktemp("sources") / "flight"
    folder.mkdir()
    for number in range(COUNT):
        part = np.ascontiguousarray(photo[40:136, 16 * number : 16 * number + 128])
        Image.fromarray(part).save(folder / f"{number}.png")
    (folder / os.fsdecode(b"caf\xe9.png")).write_bytes((folder / "3.png").read_bytes())
    (folder / "3.png").unlink()
    (folder / "broken.png").write_bytes(b"broken")
    (folder / "notes.txt").write_text("of the flight")
    return folder


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, sources: Path, shipped: Codec) -> dict[str, bytes]:
    """What an archive of the sources holds that this process packed alone."""
    out = tmp_path_factory.mktemp("expected") / "archive"
    pack(sources, out, shipped, PackOptions(**OPTIONS), executor=InThisProcess(shipped))
    return contents(out)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def packed(sources: Path, out: Path, **options: Any) -> Ledger:
    path = pack_archive.fn(str(sources), str(out), **{**OPTIONS, **options})
    assert Path(path) == ledger_of(out)
    return Ledger.read(Path(path))


def test_the_workers_of_a_cluster_make_the_archive_that_one_process_makes(
    workspace: Workspace, scheduler: str, sources: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    ledger = packed(sources, tmp_path / "archive", dask_scheduler=scheduler)
    assert contents(tmp_path / "archive") == expected
    rows = {row["name"]: row for row in ledger.rows}
    assert list(rows) == ["0.png", "1.png", "2.png", "broken.png", "caf\\xe9.png"]
    failed = rows.pop("broken.png")
    assert (failed["status"], failed["bytes"]) == ("failed", None)
    assert "broken.png" in failed["reason"]
    assert {row["status"] for row in rows.values()} == {"ok"}
    pictures = Archive(tmp_path / "archive").manifest.pictures
    assert [row["bytes"] for row in rows.values()] == [one.bytes for one in pictures]
    [key] = [row for row in rows.values() if row["is_reference"]]
    assert [row["references"] for row in rows.values() if row is not key] == [[key["name"]]] * (COUNT - 1)
    assert all(20 < row["psnr_db"] < 60 and row["seconds"] > 0 for row in rows.values())
    assert (ledger.totals["pictures"], ledger.totals["failed"], ledger.totals["passed_over"]) == (COUNT, 1, 1)
    assert ledger.totals["archive_bytes"] == sum(map(len, expected.values()))


def test_the_same_run_again_finds_the_archive_and_another_run_leaves_it(
    workspace: Workspace,
    scheduler: str,
    sources: Path,
    expected: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "archive"
    first = packed(sources, out, dask_scheduler=scheduler)
    monkeypatch.setattr("flows.archive.pack.pack", None)
    assert packed(sources, out, dask_scheduler=scheduler) == first
    before = ledger_of(out).read_bytes()
    with pytest.raises(InputError, match="is the ledger of another run"):
        packed(sources, out, quality=41.0, dask_scheduler=scheduler)
    assert ledger_of(out).read_bytes() == before
    assert contents(out) == expected


def test_a_file_in_the_place_of_the_ledger_is_left_alone(
    workspace: Workspace, scheduler: str, sources: Path, tmp_path: Path
) -> None:
    ledger_of(tmp_path / "archive").write_text("mine")
    with pytest.raises(InputError, match=r"archive.ledger.parquet: is in the way of the ledger; move it away"):
        packed(sources, tmp_path / "archive", dask_scheduler=scheduler)
    assert [path.name for path in tmp_path.iterdir()] == ["archive.ledger.parquet"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target_size": 9000}, "quality, target_size, target_psnr and max_error exclude one another"),
        ({"workers": 0}, "workers is 0; it must be at least 1"),
        ({"background": "mauvy"}, "background: 'mauvy' is no colour"),
        ({"dask_scheduler": "tcp://127.0.0.1:1"}, "no Dask scheduler answers at tcp://127.0.0.1:1"),
        ({"bundle": "nowhere"}, "no bundle folder at"),
    ],
)
def test_wrong_parameters_are_told_before_anything_is_written(
    workspace: Workspace, sources: Path, tmp_path: Path, options: dict[str, Any], said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("flows.runtime.dask_cluster._CONNECT_S", 1)
    with pytest.raises(InputError, match=said):
        packed(sources, tmp_path / "archive", **options)
    assert not (tmp_path / "archive").exists()


def test_a_worker_that_is_another_release_or_sees_other_files_says_so(tmp_path: Path, shipped: Codec) -> None:
    run, job = work.Run.of(shipped), Job(str(tmp_path / "none"), "", "cpu", 0, None)
    call = Call("alone", (None, 0))
    other = carry_out(PackCall(run._replace(release="0.0.1"), job, call))
    assert isinstance(other.error, InputError)
    assert "the flow 0.0.1: install the same release on both" in str(other.error)
    assert "does not see" in str(carry_out(PackCall(run, job, call)).error)
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "settings.json").write_text("{}")
    wrong = run._replace(bundle_id="0123456789abcdef")
    assert "and not 0123456789abcdef" in str(carry_out(PackCall(wrong, job, call)).error)


def dies_once(one: PackCall) -> PackOutcome:
    marker = Path(one.job.work).parent.parent / "died"
    if one.call.what == "beside" and not marker.exists():
        marker.touch()
        os._exit(9)
    return carry_out(one)


def test_workers_that_die_cost_a_try_and_no_picture(
    workspace: Workspace,
    sources: Path,
    expected: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flows.archive.work.carry_out", dies_once)
    packed(sources, tmp_path / "archive")
    assert (tmp_path / "died").exists()
    assert contents(tmp_path / "archive") == expected


def test_a_ledger_that_cannot_be_written_leaves_what_the_same_run_goes_on_with(
    workspace: Workspace,
    scheduler: str,
    sources: Path,
    expected: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "archive"

    def fail(self: Ledger, path: Path) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "write", fail)
        with pytest.raises(StorageError, match="the disk is full"):
            packed(sources, out, dask_scheduler=scheduler)
    assert (out / ".packing").is_dir()
    assert len(packed(sources, out, dask_scheduler=scheduler).rows) == COUNT + 1
    assert contents(out) == expected


KILLED = """
import sys
from flows.archive import work
from flows.archive.pack import pack_archive

def slowly(self, job, calls, run=work.OnDask.run):
    for found in run(self, job, calls):
        print(job.effort, flush=True)
        yield found

if __name__ == "__main__":
    work.OnDask.run = slowly
    pack_archive.fn(*sys.argv[1:3], quality=40.0, keys=1, effort=1)
"""


@pytest.mark.parametrize("calls", [2, 9])
def test_a_run_that_is_killed_goes_on_and_ends_with_the_same_archive(
    workspace: Workspace, scheduler: str, sources: Path, expected: dict[str, bytes], tmp_path: Path, calls: int
) -> None:
    out, script = tmp_path / "archive", tmp_path / "run.py"
    script.write_text(KILLED)
    process = subprocess.Popen(
        [sys.executable, str(script), str(sources), str(out)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    for _ in range(calls):
        assert process.stdout.readline(), "it ended before it was killed"
    process.kill()
    process.wait()
    assert not ledger_of(out).exists()
    assert list((out / ".packing").glob("*/*.json"))
    packed(sources, out, dask_scheduler=scheduler)
    assert contents(out) == expected


def test_the_page_of_a_run_has_the_totals_and_the_failures(
    workspace: Workspace, scheduler: str, sources: Path, tmp_path: Path, published: Published
) -> None:
    from mlflow import MlflowClient

    pack_archive(str(sources), str(tmp_path / "archive"), dask_scheduler=scheduler, **OPTIONS)
    totals = {row["what"]: row["value"] for row in published("pack-archive-totals")[0]}
    assert (totals["pictures"], totals["failed"]) == (COUNT, 1)
    assert totals["archive_bytes"] == sum(map(len, contents(tmp_path / "archive").values()))
    [row] = published("pack-archive-failures")[0]
    assert row["name"] == "broken.png"
    client = MlflowClient(tracking_uri=workspace.mlflow_uri)
    [run] = client.search_runs([client.get_experiment_by_name("pack-archive").experiment_id])
    assert run.data.metrics["pictures"] == COUNT
    assert run.data.params["effort"] == "1"
    assert [one.path for one in client.list_artifacts(run.info.run_id)] == ["archive.ledger.parquet"]


def test_where_samples_are_promised_the_ledger_has_no_quality(
    workspace: Workspace, scheduler: str, sources: Path, tmp_path: Path, published: Published
) -> None:
    from mlflow import MlflowClient

    folder = tmp_path / "two"
    folder.mkdir()
    for name in ("0.png", "1.png"):
        (folder / name).write_bytes((sources / name).read_bytes())
    out = tmp_path / "archive"
    path = pack_archive(str(folder), str(out), dask_scheduler=scheduler, max_error=0, effort=1)
    ledger = Ledger.read(Path(path))
    assert [(row["quality"], row["max_error"], row["psnr_db"]) for row in ledger.rows] == [(None, 0, None)] * 2
    totals = {row["what"]: row["value"] for row in published("pack-archive-totals")[0]}
    assert totals["max_error"] == 0
    assert not totals.keys() & {"quality", "psnr_db", "alone_psnr_db", "alone_bytes_at_psnr"}
    client = MlflowClient(tracking_uri=workspace.mlflow_uri)
    [run] = client.search_runs([client.get_experiment_by_name("pack-archive").experiment_id])
    assert (run.data.params["max_error"], "quality" in run.data.params) == ("0", False)
    assert "quality" not in run.data.metrics
