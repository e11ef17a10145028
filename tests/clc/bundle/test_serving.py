"""What serves is changed in one write, and no bundle that ever served is lost by it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from clc.bundle import serving
from clc.bundle.identity import SHIPPED, id_of, read_manifest_bytes
from clc.bundle.locate import Shelf
from clc.bundle.service import service_bundle
from clc.bundle.serving import (
    Verdict,
    candidates,
    changing,
    in_service,
    put_in_service,
    read_verdicts,
    roll_back,
    served_before,
    write_verdict,
)
from clc.codec.__main__ import main
from clc.errors import InputError, StorageError
from storage.errors import LeaseHeld
from storage.locks import Lease


def id_in(folder: Path) -> str:
    return id_of(read_manifest_bytes(folder))


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLC_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.delenv("CLC_BUNDLES", raising=False)
    return tmp_path / "workspace"


def made(folder: Path, name: str) -> Path:
    """A bundle of its own: the shipped one, with another manifest."""
    folder.mkdir(parents=True)
    for path in SHIPPED.iterdir():
        if path.name != "manifest.json":
            (folder / path.name).symlink_to(path)
    manifest = json.loads((SHIPPED / "manifest.json").read_bytes())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "parent": name.rjust(16, "0")}))
    return folder


def verdict(bundle_id: str, sentence: str) -> Verdict:
    return Verdict(bundle_id, "f" * 16, False, sentence, 1.0, -1.0, 3.0, 5, {}, "e" * 16, "2026-01-01T00:00:00+00:00")


def test_rollback_walks_back_over_everything_that_served(workspace: Path) -> None:
    first, second = (
        made(workspace / "stages" / "train-codec" / name / "bundle", name) for name in ("a" * 16, "b" * 16)
    )
    put_in_service(workspace, first, "the first")
    put_in_service(workspace, second, "the second", {"evaluation": "e" * 16})
    assert service_bundle(workspace) == second
    assert json.loads((workspace / "service" / "current.json").read_text())["evaluation"] == "e" * 16
    assert [one.bundle_id for one in served_before(workspace)] == [id_in(first), id_in(SHIPPED)]
    assert roll_back(workspace).bundle_id == id_in(first)
    assert service_bundle(workspace) == first
    assert roll_back(workspace).bundle_id == id_in(SHIPPED)
    assert service_bundle(workspace) is None
    with pytest.raises(InputError, match="no other bundle served before"):
        roll_back(workspace)


def test_the_shipped_bundle_that_served_is_kept_for_when_a_release_replaces_it(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shipped_id = id_in(SHIPPED)
    later = made(tmp_path / "later", "1")
    put_in_service(workspace, made(workspace / "stages" / "train-codec" / ("a" * 16) / "bundle", "a"), "better")
    for module in ("identity", "serving", "locate"):
        monkeypatch.setattr(f"clc.bundle.{module}.SHIPPED", later)
    assert id_in(Shelf().find(shipped_id)) == shipped_id
    assert roll_back(workspace).bundle_id == shipped_id
    folder = service_bundle(workspace)
    assert folder is not None
    assert id_in(folder) == shipped_id


def test_a_bundle_from_elsewhere_is_copied_and_outlives_its_folder(workspace: Path, tmp_path: Path) -> None:
    bundle = made(tmp_path / "elsewhere", "2")
    bundle_id = id_in(bundle)
    put_in_service(workspace, bundle, "chosen")
    shutil.rmtree(bundle)
    assert Shelf(["service"]).first() == workspace / "service" / "bundles" / bundle_id
    roll_back(workspace)
    assert id_in(Shelf().find(bundle_id)) == bundle_id


def test_a_bundle_that_is_not_whole_never_serves(workspace: Path, tmp_path: Path) -> None:
    bundle = made(tmp_path / "damaged", "3")
    damaged = bytearray((SHIPPED / "prior.safetensors").read_bytes())
    damaged[-1] ^= 1
    (bundle / "prior.safetensors").unlink()
    (bundle / "prior.safetensors").write_bytes(damaged)
    with pytest.raises(StorageError, match=r"prior\.safetensors in .* is not the file"):
        put_in_service(workspace, bundle, "chosen")
    assert service_bundle(workspace) is None
    assert not (workspace / "service").exists()


def test_rollback_to_a_bundle_that_is_gone_changes_nothing_and_names_it(workspace: Path) -> None:
    first, second = (
        made(workspace / "stages" / "train-codec" / name / "bundle", name) for name in ("a" * 16, "b" * 16)
    )
    put_in_service(workspace, first, "")
    put_in_service(workspace, second, "")
    first_id = id_in(first)
    shutil.rmtree(first)
    with pytest.raises(StorageError, match=f"{first_id}, which served before, is no longer in"):
        roll_back(workspace)
    assert service_bundle(workspace) == second
    assert [(one.bundle_id, one.state) for one in candidates(workspace, print)][1] == (first_id, "gone")


def test_a_record_of_an_earlier_release_is_read(workspace: Path) -> None:
    bundle = made(workspace / "stages" / "train-codec" / ("a" * 16) / "bundle", "a")
    name = bundle.relative_to(workspace).as_posix()
    (workspace / "service").mkdir()
    (workspace / "service" / "current.json").write_text(
        json.dumps({"bundle": name, "bd_rate": -1.0, "former": "shipped", "promoted_utc": "2026-01-01T00:00:00+00:00"})
    )
    assert in_service(workspace).since_utc == "2026-01-01T00:00:00+00:00"
    assert [one.bundle for one in served_before(workspace)] == ["shipped"]
    assert roll_back(workspace).bundle == "shipped"


def test_the_list_says_what_was_found_of_each(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    better, worse = (
        made(workspace / "stages" / "train-codec" / name / "bundle", name) for name in ("a" * 16, "b" * 16)
    )
    put_in_service(workspace, better, "it is better")
    write_verdict(workspace, verdict(id_in(worse), "Not promoted: that may be chance."))
    assert main(["serve-bundle", "list", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["bundle_id"], one["state"], one["note"]) for one in lines] == [
        (id_in(better), "serves", "it is better"),
        (id_in(SHIPPED), "served", ""),
        (id_in(worse), "challenger", "Not promoted: that may be chance."),
    ]
    assert main(["serve-bundle", "list"]) == 0
    assert f"{id_in(worse)}  challenger  {worse}" in capsys.readouterr().out


def test_use_and_rollback_by_the_command(workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = made(tmp_path / "mine", "4")
    assert main(["serve-bundle", "use", str(bundle)]) == 0
    assert in_service(workspace).bundle_id == id_in(bundle)
    assert main(["serve-bundle", "use", id_in(bundle)]) == 0
    assert "serves already" in capsys.readouterr().out
    assert len(served_before(workspace)) == 1
    assert main(["serve-bundle", "use", "shipped"]) == 0
    assert in_service(workspace).bundle == "shipped"
    assert main(["serve-bundle", "rollback"]) == 0
    assert in_service(workspace).bundle_id == id_in(bundle)


def test_nothing_is_changed_while_retrain_is_at_work(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_PATIENCE_S", 0.1)
    with (
        Lease(workspace / "locks" / "service"),
        pytest.raises(LeaseHeld, match="a run of retrain is at work"),
        changing(workspace, 0.1),
    ):
        raise AssertionError("the lease was given twice")
    with changing(workspace, 0.1):
        pass


def test_the_newest_verdict_counts_and_a_damaged_one_is_named(workspace: Path) -> None:
    write_verdict(workspace, verdict("a" * 16, "the first"))
    write_verdict(workspace, replace(verdict("a" * 16, "the second"), percent=None))
    assert read_verdicts(workspace)["a" * 16].sentence == "the second"
    path = workspace / "service" / "verdicts" / "b.json"
    path.write_text("{")
    with pytest.raises(StorageError, match=r"b\.json is no verdict"):
        read_verdicts(workspace)
