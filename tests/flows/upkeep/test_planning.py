"""`clc plan` says what a run would do and why, makes nothing, and agrees with what the run then does."""

import inspect
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clc.errors import InputError
from clc.pictures.images import png_bytes
from flows import __main__ as commands
from flows import retrain
from flows.dictionary import build_dictionary
from flows.features import extract_features
from flows.ingest import ingest_images
from flows.runtime.command import run_command
from flows.runtime.stage import STAGES, resolve
from flows.runtime.workspace import Workspace
from flows.upkeep.planning import PlannedStage, plan

TINY_ONNX = str(Path(__file__).parents[2] / "golden" / "tiny_backbone.onnx")


def fill(folder: Path, numbers: range) -> None:
    folder.mkdir(exist_ok=True)
    for number in numbers:
        pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        (folder / f"{number}.png").write_bytes(png_bytes(pixels))


def made(workspace: Workspace) -> list[Path]:
    return sorted(path for place in (workspace.stages, workspace.blobs.root) for path in place.rglob("*"))


def planned(workspace: Workspace, **parameters: Any) -> dict[str, PlannedStage]:
    before = made(workspace)
    found = plan(workspace, {"backbone": TINY_ONNX, "entries": 2, **parameters})
    assert made(workspace) == before, "a plan makes nothing"
    assert [one.stage for one in found] == list(STAGES)
    return {one.stage: one for one in found}


def test_a_plan_follows_what_is_made_and_says_why_the_rest_is_stale(workspace: Workspace, tmp_path: Path) -> None:
    source = tmp_path / "photos"
    fill(source, range(8))
    first = planned(workspace, source=str(source))
    assert first["ingest-images"].why == "it was never made here (8 of 8 files are new)"
    assert first["evaluate-codec"].why == "waits for ingest-images"

    ingest = ingest_images.fn(str(source))
    second = planned(workspace, source=str(source))
    assert second["ingest-images"].key == ingest
    assert second["extract-features"].why == "it was never made here"
    assert second["build-dictionary"].why == "waits for extract-features"

    features = extract_features.fn(ingest=ingest, backbone=TINY_ONNX)
    dictionary = build_dictionary.fn(features=features, entries=2)
    third = planned(workspace, source=str(source))
    assert [third[stage].key for stage in STAGES[:3]] == [ingest, features, dictionary]
    assert third["extract-features"].last_seconds == resolve(workspace, "extract-features").manifest.seconds

    assert planned(workspace, source=str(source), fold=True)["build-dictionary"].key == dictionary, "nothing came since"
    evicting = planned(workspace, source=str(source), candidates=2)["build-dictionary"]
    assert evicting.why == "changed since the last one: candidates (was None, is 2)"

    fill(source, range(8, 10))
    fourth = planned(workspace, source=str(source))
    assert fourth["ingest-images"].why == "changed since the last one: pictures (2 of 10 files are new)"
    assert fourth["extract-features"].why == "waits for ingest-images"


def test_another_parameter_is_named_with_both_values(workspace: Workspace, tmp_path: Path) -> None:
    fill(tmp_path / "photos", range(8))
    ingest = ingest_images.fn(str(tmp_path / "photos"))
    found = planned(workspace, source=str(tmp_path / "photos"), patch_px=20)
    assert found["ingest-images"].why == "changed since the last one: patch_px (was None, is 20) (0 of 8 files are new)"
    assert planned(workspace, source=str(tmp_path / "photos"))["ingest-images"].key == ingest


def test_an_archive_is_not_read_for_a_plan(workspace: Workspace, tmp_path: Path) -> None:
    fill(tmp_path / "photos", range(5))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in sorted((tmp_path / "photos").iterdir()):
            archive.write(path, path.name)
    found = planned(workspace, source=str(tmp_path / "a.zip"))
    assert found["ingest-images"].why == f"{tmp_path / 'a.zip'}: it was never read"
    key = ingest_images.fn(str(tmp_path / "a.zip"))
    assert planned(workspace, source=str(tmp_path / "a.zip"))["ingest-images"].key == key


def test_what_the_run_would_refuse_the_plan_refuses(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder or list of pictures"):
        plan(workspace, {"source": str(tmp_path / "gone")})


def test_the_command_prints_a_line_a_stage(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "photos", range(4))
    monkeypatch.setattr("sys.argv", ["flows", "plan", "--source", str(tmp_path / "photos")])
    with pytest.raises(SystemExit, match="0"):
        run_command(commands.plan, commands.gc)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "ingest-images     to do: it was never made here (4 of 4 files are new); it was never timed here"
    )
    assert len(lines) == 5


def test_a_plan_without_options_is_that_of_a_run_without_options() -> None:
    of_run = inspect.signature(retrain.command).parameters
    for name, parameter in inspect.signature(commands.plan).parameters.items():
        assert (parameter.default, parameter.annotation) == (of_run[name].default, of_run[name].annotation), name
