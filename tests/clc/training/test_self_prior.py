"""Training a model with a self-generated prior: from the KLT, from a trained model, resumed, by the command line."""

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from clc.bundle.bundle import SHIPPED
from clc.model.model import Model
from clc.model.transforms.self_generated import small_blocks
from clc.pictures.images import png_bytes, read_image
from clc.training.__main__ import SELF_PRIOR_WARMUP_STEPS, _begun, _parser
from clc.training.__main__ import main as train_command
from clc.training.checkpoint import save_checkpoint
from clc.training.config import TrainingConfig, read_config
from clc.training.data import PictureSet, random_patches
from clc.training.klt_start import start_self_prior
from clc.training.run_folder import write_model
from clc.training.train import train
from clc.training.trainer import Trainer
from storage.arrays import write_arrays
from tests.conftest import SMALL, Picture
from tests.self_prior import SELF_PRIOR

CONFIG = TrainingConfig(
    minutes=60.0,
    steps=4,
    batch_px=2 * 64 * 64,
    crops=((0.0, 64),),
    warmup_steps=2,
    held_out=1,
    self_prior_warmup_steps=10,
    model=SELF_PRIOR,
)


@pytest.fixture(scope="module")
def data() -> PictureSet:
    names = ("astronaut.png", "chelsea.png", "coffee.png")
    return PictureSet([read_image((files("skimage") / "data" / name).read_bytes()) for name in names], list(names))


@pytest.fixture(scope="module")
def entries(data: PictureSet) -> PictureSet:
    return random_patches(data, 4, 256, seed=0)


def test_its_bits_are_charged_little_by_little_and_logged(
    data: PictureSet, entries: PictureSet, tmp_path: Path
) -> None:
    assert [CONFIG.self_prior_charge(step) for step in (0, 5, 10)] == [0.05, 0.55, 1.0]
    assert replace(CONFIG, self_prior_warmup_steps=0).self_prior_charge(0) == 1.0
    losses = {}
    for steps in (0, 10):
        trainer = Trainer(replace(CONFIG, self_prior_warmup_steps=steps), data, entries, tmp_path)
        trainer.start_fresh()
        losses[steps] = trainer.train_step()
    assert losses[0]["p_bpp"] == losses[10]["p_bpp"] > 0.001
    assert losses[0]["bpp"] - losses[10]["bpp"] == pytest.approx(0.95 * losses[0]["p_bpp"], rel=1e-3)


def test_a_resumed_run_equals_an_uninterrupted_one_to_the_bit(
    data: PictureSet, entries: PictureSet, tmp_path: Path
) -> None:
    whole = train(CONFIG, data, entries, tmp_path / "whole")
    first = Trainer(CONFIG, data, entries, tmp_path / "parts")
    first.start_fresh()
    for _ in range(2):
        first.train_step()
    save_checkpoint(first, tmp_path / "parts")
    resumed = train(CONFIG, data, entries, tmp_path / "parts", is_resumed=True)
    assert all(torch.equal(whole.weights[name], resumed.weights[name]) for name in whole.weights)
    fresh = Trainer(CONFIG, data, entries, tmp_path / "fresh")
    fresh.start_fresh()
    moved = [n for n, p in fresh.model.named_parameters() if not torch.equal(p, whole.weights[n])]
    assert {"self_prior.source.linear.weight", "self_prior.to_g_a.film.weight", "p_prior.log_scale"} <= set(moved)
    assert "prior.self_generated.log_step.values" in moved


@torch.no_grad()
def test_it_starts_as_the_klt_of_small_pictures(data: PictureSet, photo: Picture) -> None:
    model = Model(SELF_PRIOR)
    start_self_prior(model, data.pictures, np.random.default_rng(0))
    assert model.self_prior is not None
    weight = model.self_prior.source.linear.weight.flatten(1)
    torch.testing.assert_close(weight @ weight.T, torch.eye(4), atol=1e-5, rtol=0)
    x = torch.from_numpy(photo[:256, :448].copy()).permute(2, 0, 1)[None] / 255.0
    blocks = small_blocks(x)
    assert blocks.shape == (1, 192, 8, 14)
    kept = torch.nn.functional.conv2d(blocks, weight[:, :, None, None]).square().sum()
    assert kept / blocks.square().sum() > 0.7
    # The distribution of p fits: about as many bits as values of such a spread must cost, and no more.
    bits = model.p_prior.bits(torch.round(model.self_prior.source(x))).mean()
    assert 1.0 < bits < 5.0


def test_the_command_adds_one_to_a_bundle_and_not_twice(
    tmp_path: Path, photo: Picture, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--data", "x", "--out", "y", "--start", str(SHIPPED), "--self-prior", "4"]
    model, weights = _begun(SMALL, _parser().parse_args(given))
    assert model.self_prior == 4
    assert weights is not None
    assert weights["prior.h_s.leave.weight"][:, -64:].abs().max() == 0
    (tmp_path / "pictures").mkdir()
    for i in range(3):
        (tmp_path / "pictures" / f"{i}.png").write_bytes(png_bytes(np.ascontiguousarray(photo[:, i * 60 :])))
    torch.manual_seed(0)
    small = tmp_path / "small"
    write_arrays(small / "weights.safetensors", {n: v.numpy() for n, v in Model(SMALL).state_dict().items()}, None)
    write_model(small, SMALL)
    (tmp_path / "config.json").write_text(json.dumps({"batch_px": 64 * 64, "crops": [[0, 64]], "steps": 2}))
    shared = ["--data", str(tmp_path / "pictures"), "--config", str(tmp_path / "config.json"), "--entries", "3"]
    first, second = tmp_path / "first", tmp_path / "second"
    assert train_command([*shared, "--out", str(first), "--start", str(small), "--self-prior", "3"]) == 0
    assert read_config(first / "config.json").self_prior_warmup_steps == SELF_PRIOR_WARMUP_STEPS
    assert load_file(first / "weights.safetensors")["self_prior.source.linear.weight"].shape == (3, 192, 1, 1)
    capsys.readouterr()
    assert train_command([*shared, "--out", str(second), "--start", str(first), "--self-prior", "3"]) == 1
    assert "has a self-generated prior; leave --self-prior out" in capsys.readouterr().err
    assert train_command([*shared, "--out", str(second), "--start", str(first)]) == 0
    assert read_config(second / "config.json").self_prior_warmup_steps == 0
