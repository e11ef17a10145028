"""Laws of verify-archive: it finds what `clc verify` finds, a row a fault, whoever works and however it is sharded."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import LocalCluster
from PIL import Image

from clc.archive.layout import Archive
from clc.archive.pack import PackOptions, pack
from clc.archive.unpack import verify
from clc.codec import Codec
from clc.errors import InputError, StorageError
from flows.archive.verify import verify_archive
from flows.runtime.artifacts import publish_table
from flows.runtime.workspace import Workspace
from tests.conftest import Picture

COUNT = 4


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a cluster inside this process, so that a test does not wait for processes to start."""
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster:
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, photo: Picture, shipped: Codec) -> Path:
    """An archive of four overlapping pictures, one of them the key picture of others, which nobody may change."""
    folder = tmp_path_factory.mktemp("sound")
    (folder / "sources").mkdir()
    for number in range(COUNT):
        part = np.ascontiguousarray(photo[40:136, 16 * number : 16 * number + 128])
        Image.fromarray(part).save(folder / "sources" / f"{number}.png")
    pack(folder / "sources", folder / "archive", shipped, PackOptions(quality=40.0, keys=1, effort=1))
    return folder / "archive"


@pytest.fixture
def archive(tmp_path: Path, whole: Path) -> Path:
    shutil.copytree(whole, tmp_path / "archive")
    return tmp_path / "archive"


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def names(archive: Path) -> tuple[str, list[str]]:
    """The key picture, and those that refer to it."""
    pictures = Archive(archive).manifest.pictures
    [key] = [one for one in pictures if one.pixels_sha256]
    return key.name, [one.name for one in pictures if one.references]


@pytest.mark.parametrize("shard_pictures", [1, 2, 100])
def test_a_sound_archive_passes_and_nothing_is_left(
    workspace: Workspace, scheduler: str, archive: Path, shard_pictures: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(archive.parent))
    before = {path: path.read_bytes() for path in archive.parent.rglob("*") if path.is_file()}
    assert verify_archive.fn(str(archive), shard_pictures=shard_pictures, dask_scheduler=scheduler) == COUNT
    assert {path: path.read_bytes() for path in archive.parent.rglob("*") if path.is_file()} == before


def test_a_damaged_key_picture_is_one_fault_and_names_what_is_lost_with_it(
    workspace: Workspace, scheduler: str, archive: Path, caplog: pytest.LogCaptureFixture, shipped: Codec
) -> None:
    key, beside = names(archive)
    assert len(beside) == COUNT - 1
    flip(archive / f"{Path(key).stem}.clc")
    [expected] = verify(Archive(archive), shipped)
    said = f"1 of {COUNT} pictures are damaged, {len(beside)} more depend on them: {key}: "
    with caplog.at_level("WARNING", logger="flows.archive.verify"), pytest.raises(StorageError, match=said):
        verify_archive.fn(str(archive), shard_pictures=1, dask_scheduler=scheduler)
    assert expected.lost_with == tuple(beside)
    [line] = [record.getMessage() for record in caplog.records if record.name == "flows.archive.verify"]
    assert line == f"fault name={key} reason={expected.reason!r} lost_with_it={', '.join(beside)!r}"


def test_several_faults_are_told_each(
    workspace: Workspace, scheduler: str, archive: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = names(archive)[1][:2]
    flip(archive / f"{Path(first).stem}.clc")
    (archive / f"{Path(second).stem}.clc").unlink()
    (archive / "notes.txt").write_text("mine")
    with pytest.raises(StorageError, match=f"2 of {COUNT} pictures are damaged: "):
        verify_archive.fn(str(archive), shard_pictures=2, dask_scheduler=scheduler)
    told = "\n".join(record.getMessage() for record in caplog.records)
    assert f"fault name={first} " in told
    assert f"fault name={second} " in told
    assert "not_in_the_table name=notes.txt" in told
    assert (archive / "notes.txt").read_text() == "mine"


def test_worker_processes_are_started_where_no_scheduler_is_given(workspace: Workspace, archive: Path) -> None:
    assert verify_archive.fn(str(archive), shard_pictures=2) == COUNT


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"shard_pictures": 0}, "shard_pictures is 0; it must be at least 1"),
        ({"workers": -1}, "workers is -1; it must be at least 1"),
    ],
)
def test_wrong_parameters_are_told(workspace: Workspace, archive: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        verify_archive.fn(str(archive), **options)


def test_a_folder_that_is_no_archive_is_told(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no archive"):
        verify_archive.fn(str(tmp_path))


def test_the_page_of_a_run_has_the_faults(
    workspace: Workspace,
    scheduler: str,
    archive: Path,
    published: Callable[[str], tuple[list[dict[str, Any]], str]],
) -> None:
    key, beside = names(archive)
    flip(archive / f"{Path(key).stem}.clc")
    with pytest.raises(StorageError, match="pictures are damaged"):
        verify_archive(str(archive), dask_scheduler=scheduler)
    [row], description = published("verify-archive-faults")
    assert (row["name"], row["lost_with_it"]) == (key, ", ".join(beside))
    assert f"1 of {COUNT} pictures are damaged" in description


def test_a_server_of_prefect_that_is_gone_costs_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        flow_run = type("Run", (), {"id": None})

    monkeypatch.setattr("flows.runtime.artifacts.FlowRunContext.get", lambda: Gone)
    monkeypatch.setattr("flows.runtime.artifacts.get_client", refuse)
    assert not publish_table("key", [], "")


def refuse(**options: Any) -> None:
    raise ConnectionRefusedError("nobody is there")
