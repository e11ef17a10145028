"""Weights in small files: the same weights back, altered or missing files told, and training goes on from them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from clc.bundle.bundle import SHIPPED, Bundle
from clc.errors import InputError
from clc.model.model import Model
from clc.pictures.images import png_bytes
from clc.training.__main__ import main as train_command
from clc.training.config import TrainingConfig, read_config
from clc.training.data import PictureSet, random_patches
from clc.training.run_folder import read_weights, write_model
from clc.training.train import read_start
from clc.training.trainer import Trainer
from clc.training.weight_shards import INDEX, read_shards, write_shards
from tests.conftest import SMALL, Picture

LIMIT_MIB = 0.02


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {f"layer{n}.weight": torch.randn(30 + n, 40, generator=generator) for n in range(9)}


def test_shards_hold_the_weights_and_no_file_is_above_the_limit(
    weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    paths = write_shards(tmp_path, weights, LIMIT_MIB)
    assert len(paths) > 2
    assert [path.name for path in paths][:2] == ["weights-0000.safetensors", "weights-0001.safetensors"]
    assert max(path.stat().st_size for path in paths) <= LIMIT_MIB * 2**20
    found = read_shards(tmp_path)
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)


def test_fewer_shards_leave_none_of_the_former(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    write_shards(tmp_path, weights, LIMIT_MIB)
    write_shards(tmp_path, weights)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["weights-0000.safetensors", INDEX]
    assert read_shards(tmp_path).keys() == weights.keys()


@pytest.mark.parametrize("limit", [0.0, 15.5, 0.001])
def test_limits_that_cannot_be_are_refused(weights: dict[str, torch.Tensor], tmp_path: Path, limit: float) -> None:
    with pytest.raises(InputError, match="shard"):
        write_shards(tmp_path, weights, limit)


def test_damage_is_told(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = write_shards(tmp_path, weights, LIMIT_MIB)[1]
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(InputError, match="fetch it again"):
        read_shards(tmp_path)
    path.unlink()
    with pytest.raises(InputError, match="no weights in shards"):
        read_shards(tmp_path)
    path.write_bytes(whole)
    index = json.loads((tmp_path / INDEX).read_text())
    (tmp_path / INDEX).write_text(json.dumps({**index, "shards": index["shards"][:-1]}))
    with pytest.raises(InputError, match="tensors"):
        read_shards(tmp_path)


def test_training_goes_on_from_shards_with_a_warm_optimiser(photo: Picture, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in "abc":
        (tmp_path / "data" / f"{name}.png").write_bytes(png_bytes(photo))
    config = {
        "minutes": 600.0,
        "steps": 2,
        "crops": [[0.0, 64]],
        "batch_px": 64 * 64,
        "warmup_steps": 10,
        "model": SMALL.to_json(),
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    common = ["--data", str(tmp_path / "data"), "--config", str(tmp_path / "config.json"), "--entries", "3"]
    assert train_command([*common, "--out", str(tmp_path / "a"), "--shards", "0.05"]) == 1
    assert not (tmp_path / "a").exists()
    assert train_command([*common, "--out", str(tmp_path / "a"), "--shards", "0.4"]) == 0
    shards = tmp_path / "a" / "shards"
    assert len(list(shards.glob("weights-*.safetensors"))) > 1
    model, weights = read_weights(shards)
    assert model == SMALL

    del config["model"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert train_command([*common, "--out", str(tmp_path / "b"), "--start", str(shards)]) == 0
    without_config = [*common[:2], *common[4:], "--out", str(tmp_path / "b"), "--resume", "--steps", "3"]
    assert train_command(without_config) == 0
    assert read_config(tmp_path / "b" / "config.json") == TrainingConfig(
        minutes=600.0, steps=3, crops=((0.0, 64),), batch_px=64 * 64, warmup_steps=10, model=SMALL
    )
    assert read_weights(tmp_path / "b")[0] == SMALL
    assert json.loads((tmp_path / "b" / "state.json").read_text())["step"] == 3

    data = PictureSet([photo] * 3, list("abc"))
    started = TrainingConfig(steps=20, crops=((0.0, 64),), batch_px=64 * 64, warmup_steps=10, model=SMALL)
    trainer = Trainer(started, data, random_patches(data, 3, 256, seed=0), tmp_path / "c")
    trainer.start_from(weights)
    rates = []
    for _ in range(3):
        trainer.train_step()
        rates.append(trainer.optimiser.param_groups[0]["lr"] / started.learning_rate)
    assert rates == pytest.approx([0.1, 0.2, 0.3])


def test_a_start_is_a_bundle_a_run_shards_or_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = Model(SMALL).state_dict()
    run, shards = tmp_path / "run", tmp_path / "shards"
    for folder in (run, shards):
        write_model(folder, SMALL)
    save_file(weights, run / "weights.safetensors")
    write_shards(shards, weights)
    for path, config in ((run, SMALL), (shards, SMALL), (run / "weights.safetensors", None)):
        model, found = read_start(path)
        assert model == config
        assert found.keys() == weights.keys()
        assert all(torch.equal(found[name], weights[name]) for name in weights)
    bundle = Bundle.load()
    model, found = read_start(SHIPPED)
    assert model == bundle.config
    assert found.keys() == bundle.model.state_dict().keys()
    (tmp_path / "text").write_text("no weights")
    for nothing in (tmp_path / "text", tmp_path / "nowhere", tmp_path):
        with pytest.raises(InputError):
            read_start(nothing)


def test_a_folder_with_a_model_and_no_weights_is_told(tmp_path: Path) -> None:
    write_model(tmp_path, replace(SMALL, knots=3))
    with pytest.raises(InputError, match="no weights of a training run"):
        read_weights(tmp_path)
