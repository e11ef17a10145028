"""bench/estimates.py: the curve of a training's average is held against the first model's."""

import importlib
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from clc.model.model import Model
from clc.pictures.images import png_bytes
from clc.training.run_folder import WEIGHTS, write_model
from tests.conftest import SMALL, Picture

BENCH = Path(__file__).parents[2] / "bench"


def training(folder: Path, shift: float) -> None:
    """A folder with the average of a small model, the biases of whose synthesis are so much larger."""
    torch.manual_seed(0)
    model = Model(SMALL)
    state = {name: value.contiguous().clone() for name, value in model.state_dict().items()}
    for name in state:
        if name.startswith("g_s") and name.endswith("bias"):
            state[name] += shift
    folder.mkdir()
    write_model(folder, SMALL)
    save_file(state, folder / WEIGHTS)


def test_a_model_is_held_against_the_first(photo: Picture, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    module = importlib.import_module("estimates")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(png_bytes(np.ascontiguousarray(photo[:128, :128])))
    for name, shift in (("a", 0.0), ("b", 0.0), ("c", 0.05)):
        training(tmp_path / name, shift)
    monkeypatch.chdir(tmp_path)  # so that the names are short enough for a line
    monkeypatch.setattr(sys, "argv", ["estimates.py", "a", "b", "c", "--pictures", "pictures"])
    assert module.main() == 0
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    found = {row[0]: row[1:] for row in rows if len(row) == 6}
    assert found["a"] == found["b"]
    assert found["c"][1] == found["a"][1]
    assert found["c"][0] != found["a"][0]


def test_a_folder_of_neither_kind_is_one_line(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    module = importlib.import_module("estimates")
    monkeypatch.setattr(sys, "argv", ["estimates.py", str(tmp_path), "--pictures", str(tmp_path)])
    assert module.main() == 1
    assert "is neither a bundle nor the folder of a training" in capsys.readouterr().err
