"""bench/adaptation.py: a training of moments, real files of both codecs, the figures, and inputs that are none."""

import importlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from bench.results.tables.adaptation import values_of
from clc.pictures.images import png_bytes
from clc.training import validation
from clc.training.config import TrainingConfig
from tests.conftest import Picture

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def adaptation(monkeypatch: pytest.MonkeyPatch):
    """The program, with a small dictionary, and steps and validations of small crops."""
    monkeypatch.syspath_prepend(str(BENCH))
    module = importlib.import_module("adaptation")
    planned = module.adaptation

    def small(minutes: float) -> TrainingConfig:
        return replace(planned(minutes), batch_px=2 * 64 * 64, crops=((0.0, 64),))

    monkeypatch.setattr(module, "adaptation", small)
    monkeypatch.setattr(module, "ENTRIES", 4)
    monkeypatch.setattr(validation, "SIDE_PX", 64)
    return module


def call(module, *arguments: str):
    app = typer.Typer()
    app.command()(module.command)
    return CliRunner().invoke(app, arguments)


def test_half_of_a_folder_is_adapted_to_and_the_other_half_coded(adaptation, photo: Picture, tmp_path: Path) -> None:
    pictures = tmp_path / "strip"
    pictures.mkdir()
    for index, left in enumerate(range(0, 120, 30)):
        # What is coded is smaller than what is adapted to.
        rows, columns = (
            (slice(256), slice(left, left + 256)) if index % 2 == 0 else (slice(64, 192), slice(left, left + 128))
        )
        crop = np.ascontiguousarray(photo[rows, columns])
        (pictures / f"{index}.png").write_bytes(png_bytes(crop))
    out = tmp_path / "a.json"
    given = ("--set", str(pictures), "--json", str(out), "--minutes", "0.01", "--qualities", "0,30,60,100")
    result = call(adaptation, *given, "--out", str(tmp_path / "kept"))
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text())
    assert found["training"]["pictures"] == 2
    assert set(found["by_picture"]) == {"1.png", "3.png"}
    rates = {name: one["percent"] for name, one in found["bd_rates"].items()}
    assert set(rates) == {"shipped, aligned", "adapted, none", "adapted, aligned"}
    # A few steps change little; key pictures that show all but a margin change much.
    assert abs(rates["adapted, none"]) < 5.0
    kept = values_of(found)
    assert (kept["coded"], kept["training"]["pictures"], set(kept["by_picture"])) == (2, 2, {"1", "3"})
    assert kept["bd_rates"] == rates
    assert kept["most"] <= kept["least"]
    again = call(adaptation, *given, "--run", str(tmp_path / "kept" / "run"), "--limit", "1", "--overwrite")
    assert again.exit_code == 0, again.output
    assert json.loads(out.read_text())["by_picture"] == {"1.png": found["by_picture"]["1.png"]}


def test_results_and_runs_that_exist_are_left_alone(adaptation, tmp_path: Path) -> None:
    (tmp_path / "kept/run").mkdir(parents=True)
    (tmp_path / "a.json").write_text("old")
    given = ("--set", str(tmp_path), "--json")
    result = call(adaptation, *given, str(tmp_path / "a.json"))
    assert result.exit_code == 1
    assert "a.json exists already" in result.output
    result = call(adaptation, *given, str(tmp_path / "b.json"), "--out", str(tmp_path / "kept"))
    assert result.exit_code == 1
    assert "run exists already; name another folder for --out" in result.output
    assert (tmp_path / "a.json").read_text() == "old"


def test_qualities_that_are_no_numbers_are_refused(adaptation, tmp_path: Path) -> None:
    result = call(adaptation, "--set", str(tmp_path), "--json", str(tmp_path / "a.json"), "--qualities", "high")
    assert result.exit_code == 1
    assert "numbers with commas" in result.output


def test_a_folder_of_one_picture_is_refused(adaptation, photo: Picture, tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(png_bytes(photo))
    result = call(adaptation, "--set", str(tmp_path), "--json", str(tmp_path / "a.json"))
    assert result.exit_code == 1
    assert "one picture" in result.output
