"""bench/self_prior.py: both legs begin alike, are stopped and gone on with, and end in a table."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from clc.model.model import Model
from clc.pictures.images import png_bytes
from clc.training.run_folder import WEIGHTS, read_weights
from tests.conftest import SMALL, Picture

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(BENCH))
    module = importlib.import_module("self_prior")
    torch.manual_seed(0)
    bundle = SimpleNamespace(config=replace(SMALL), state=Model(SMALL).state_dict)
    monkeypatch.setattr(module, "Bundle", SimpleNamespace(load=lambda: bundle))
    monkeypatch.setattr(module, "ENTRIES", 4)
    monkeypatch.setattr(module, "QUALITIES", (0, 50, 100))
    monkeypatch.setattr(module, "LOW", 2)
    return module


def three_pictures(folder: Path, photo: Picture) -> str:
    (folder / "pictures").mkdir()
    for index in range(3):
        picture = np.ascontiguousarray(photo[:260, index * 50 : index * 50 + 260])
        (folder / "pictures" / f"{index}.png").write_bytes(png_bytes(picture))
    return str(folder / "pictures")


@pytest.mark.parametrize("start", [[], ["--klt"]])
def test_both_legs_make_the_same_steps_and_are_compared(
    bench, photo: Picture, tmp_path: Path, monkeypatch, capsys, start: list[str]
) -> None:
    state, pictures = tmp_path / "state", three_pictures(tmp_path, photo)
    given = ["--data", pictures, "--pictures", pictures, "--state", str(state), "--crops", "1", "--turn", "1", *start]
    for steps in ("1", "2"):
        monkeypatch.setattr(sys, "argv", ["self_prior.py", *given, "--steps", steps, "--count", "1"])
        assert bench.main() == 0
    said = capsys.readouterr().out
    assert said.count("without step=2 ") == said.count("with step=2 ") == 1  # the first step was not made again
    assert "p_bpp=" in said
    assert said.count("measured on 1 pictures") == 2 * 4
    rows = [line for line in said.splitlines() if line.startswith("│ with")]
    assert [row.split("│")[1].strip() for row in rows[-4:]] == [
        "without",
        "with",
        "with, not into g_a",
        "with, not into the prior",
    ]
    assert rows[-4].split("│")[3].strip() == "0.00000, 0.00000, 0.00000"
    assert all(float(bpp) > 0 for bpp in rows[-3].split("│")[3].split(","))
    configs = {name: read_weights(state / name)[0].self_prior for name in ("without", "with")}
    assert configs == {"without": 0, "with": 4}


def test_the_averages_at_the_last_step_are_measured_and_not_the_weights_of_the_start(
    bench, photo: Picture, tmp_path: Path, monkeypatch
) -> None:
    state, pictures = tmp_path / "state", three_pictures(tmp_path, photo)
    given = ["--data", pictures, "--pictures", pictures, "--state", str(state), "--crops", "1", "--steps", "1"]
    monkeypatch.setattr(sys, "argv", ["self_prior.py", *given])
    assert bench.main() == 0
    for name, model in bench.variants(state):
        if name in ("without", "with"):
            last = load_file(state / name / WEIGHTS)
            assert all(torch.equal(value, last[key]) for key, value in model.state_dict().items())


def test_what_cannot_be_read_is_one_line(bench, tmp_path: Path, monkeypatch, capsys) -> None:
    given = ["--data", str(tmp_path / "none"), "--pictures", str(tmp_path), "--state", str(tmp_path / "state")]
    monkeypatch.setattr(sys, "argv", ["self_prior.py", *given])
    assert bench.main() == 1
    assert capsys.readouterr().err.startswith("error: ")
