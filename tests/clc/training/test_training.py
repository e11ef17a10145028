"""Training: budgets, the schedule, resuming to the bit, and stopping when the numbers go wrong."""

import json
import subprocess
import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from clc.errors import ClcError, InputError
from clc.model.model import Model
from clc.pictures.images import png_bytes, read_image
from clc.training.__main__ import _config, _parser
from clc.training.__main__ import main as train_command
from clc.training.batches import BatchSource
from clc.training.checkpoint import resume_checkpoint, save_checkpoint
from clc.training.config import TrainingConfig, adaptation, read_config
from clc.training.data import CropSampler, PictureSet, random_patches, read_folders, spread_crops
from clc.training.run_folder import BEST, WEIGHTS, read_weights
from clc.training.train import train
from clc.training.trainer import Trainer
from tests.conftest import SMALL

CONFIG = TrainingConfig(
    minutes=60.0, steps=6, batch_px=2 * 64 * 64, crops=((0.0, 64), (0.5, 128)), warmup_steps=2, held_out=1, model=SMALL
)


@pytest.fixture(scope="module")
def data() -> PictureSet:
    names = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
    pictures = [read_image((files("skimage") / "data" / name).read_bytes()) for name in names]
    return PictureSet(pictures, list(names))


@pytest.fixture(scope="module")
def entries(data: PictureSet) -> PictureSet:
    return random_patches(data, 4, 256, seed=0)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_ends_at_its_steps_and_leaves_weights_and_log(
    data: PictureSet, entries: PictureSet, tmp_path: Path
) -> None:
    result = train(CONFIG, data, entries, tmp_path)
    assert result.steps == 6
    assert {"weights.safetensors", "state.safetensors", "state.json", "log.jsonl", "model.json"} <= {
        path.name for path in tmp_path.iterdir()
    }
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines[-3]["pictures_per_s"] > 0
    assert len(lines[-2]["validation_bpp"]) == 5
    assert lines[-2]["validation_bpp"] == sorted(lines[-2]["validation_bpp"])
    assert lines[-1] == {**lines[-1], "kept": "last", "kept_step": 6, "kept_loss": lines[-2]["validation_loss"]}


def test_a_fresh_start_leaves_z_alive_at_every_rate(data: PictureSet, entries: PictureSet, tmp_path: Path) -> None:
    trainer = Trainer(CONFIG, data, entries, tmp_path)
    trainer.start_fresh()
    x = trainer.held_out.crops.float() / 255.0
    for quality in (0, 3200, 6400):
        with torch.no_grad():
            z = trainer.model.h_a(trainer.model.g_a(x) / trainer.model.gains.step(torch.tensor([quality])))
        assert (torch.round(z) != 0).float().mean() > 0.3


def test_a_resumed_run_equals_an_uninterrupted_one_to_the_bit(
    data: PictureSet, entries: PictureSet, tmp_path: Path
) -> None:
    whole = train(CONFIG, data, entries, tmp_path / "whole")
    first = Trainer(CONFIG, data, entries, tmp_path / "parts")
    first.start_fresh()
    for _ in range(3):
        first.train_step()
    save_checkpoint(first, tmp_path / "parts")
    resumed = train(CONFIG, data, entries, tmp_path / "parts", is_resumed=True)
    assert resumed.steps == whole.steps
    assert same(resumed.weights, whole.weights)


def test_of_a_model_one_part_alone_can_be_trained_and_resumed(
    data: PictureSet, entries: PictureSet, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    start, config = Model(SMALL).state_dict(), replace(CONFIG, only="prior.nets.")
    trained = train(config, data, entries, tmp_path, start={name: value.clone() for name, value in start.items()})
    last = load_file(tmp_path / WEIGHTS)
    moved = {name for name, value in last.items() if not torch.equal(value, start[name])}
    assert moved
    assert all(name.startswith("prior.nets.") for name in moved)
    assert trained.steps == 6
    resumed = train(replace(config, steps=8), data, entries, tmp_path, is_resumed=True)
    assert resumed.steps == 8
    with pytest.raises(InputError, match="nothing would be trained"):
        Trainer(replace(CONFIG, only="priors."), data, entries, tmp_path)


def test_a_prior_is_trained_on_the_latents_alone(data: PictureSet, entries: PictureSet, tmp_path: Path) -> None:
    config = replace(CONFIG, only="prior.", objective="latents", steps=40, learning_rate=2e-3)
    trainer = Trainer(config, data, entries, tmp_path)
    trainer.start_fresh()
    before = trainer.validate()["validation_loss"]
    start = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    lines = [trainer.train_step() for _ in range(40)]
    assert trainer.validate()["validation_loss"] < before
    assert all(np.isfinite(list(line.values())).all() for line in lines)
    moved = {name for name, value in trainer.model.state_dict().items() if not torch.equal(value, start[name])}
    assert moved
    assert all(name.startswith("prior.") for name in moved)
    with pytest.raises(InputError, match="for the prior alone"):
        replace(CONFIG, objective="latents")


def test_training_lowers_the_loss(data: PictureSet, entries: PictureSet, tmp_path: Path) -> None:
    trainer = Trainer(replace(CONFIG, steps=60, learning_rate=2e-3), data, entries, tmp_path)
    trainer.start_fresh()
    before = trainer.validate()
    for _ in range(60):
        trainer.train_step()
    after = trainer.validate()
    assert after["validation_bpp"][2] < 0.8 * before["validation_bpp"][2]
    assert after["validation_psnr_db"][2] > before["validation_psnr_db"][2] - 0.5


def test_nothing_to_resume_is_told(data: PictureSet, entries: PictureSet, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot resume"):
        train(CONFIG, data, entries, tmp_path, is_resumed=True)


def test_weights_of_another_model_are_refused(data: PictureSet, entries: PictureSet, tmp_path: Path) -> None:
    other = Model(replace(SMALL, wide=24)).state_dict()
    with pytest.raises(InputError, match="do not fit"):
        train(CONFIG, data, entries, tmp_path, start=other)


def test_three_non_finite_gradients_stop_the_run_and_name_the_step(
    data: PictureSet, entries: PictureSet, tmp_path: Path
) -> None:
    trainer = Trainer(CONFIG, data, entries, tmp_path)
    trainer.start_fresh()
    before = {name: value.clone() for name, value in trainer.average_state().items()}
    with torch.no_grad():
        trainer.model.g_s.enter.bias.fill_(float("nan"))
    for _ in range(2):
        trainer.train_step()
    with pytest.raises(ClcError, match="stopped at step 0"):
        trainer.train_step()
    assert same(trainer.average_state(), before)


def test_linear_paths_learn_slower_than_all_else(data: PictureSet, entries: PictureSet, tmp_path: Path) -> None:
    trainer = Trainer(CONFIG, data, entries, tmp_path)
    names = {parameter: name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad}
    fast, slow = ([names[one] for one in group["params"]] for group in trainer.optimiser.param_groups)
    assert [group["lr"] for group in trainer.optimiser.param_groups] == [1e-3, 1e-4]
    assert slow == [
        *("g_a.linear.weight", "g_a.linear.bias", "g_s.synthesis.linear.weight", "g_s.synthesis.linear.bias"),
        *("prior.fusion.klt.weight", "prior.fusion.klt.bias"),
    ]
    assert fast == [name for name in names.values() if name not in slow]


def test_the_schedule_warms_up_holds_and_decays_to_zero() -> None:
    config = TrainingConfig(warmup_steps=10, decay_from=0.5)
    assert config.rate_factor(0.0, 0) == pytest.approx(0.1)
    assert config.rate_factor(0.3, 100) == 1.0
    assert config.rate_factor(0.75, 100) == pytest.approx(0.5)
    assert config.rate_factor(1.0, 100) == 0.0
    assert [config.crop_px(share) for share in (0.0, 0.64, 0.65, 1.0)] == [128, 128, 256, 256]


def test_crops_come_from_inside_and_small_pictures_are_mirrored() -> None:
    ramp = np.arange(40 * 30 * 3).reshape(40, 30, 3).astype(np.uint8)
    pixels, photos = CropSampler(PictureSet([ramp], ["ramp"])).sample(np.random.default_rng(0), 4, 64)
    assert pixels.shape == (4, 3, 64, 64)
    assert photos == ["ramp"] * 4
    assert set(np.unique(pixels.numpy())) <= set(np.unique(ramp))


def test_rescaled_crops_show_more_in_as_many_pixels() -> None:
    fine = np.indices((256, 256)).sum(axis=0)[..., None].repeat(3, axis=2) % 2 * np.uint8(255)
    sampler = CropSampler(PictureSet([fine.astype(np.uint8)], ["fine"]), rescaled_share=0.5)
    pixels, photos = sampler.sample(np.random.default_rng(0), 40, 96)
    assert pixels.shape == (40, 3, 96, 96)
    assert photos == ["fine"] * 40
    is_native = ((pixels == 0) | (pixels == 255)).flatten(1).all(dim=1)
    assert 10 <= int(is_native.sum()) <= 30
    assert bool((pixels[~is_native].float().flatten(1).std(dim=1) < 120).all())


def test_what_is_too_small_for_a_larger_cut_is_not_rescaled() -> None:
    fine = np.indices((64, 90)).sum(axis=0)[..., None].repeat(3, axis=2) % 2 * np.uint8(255)
    pixels, _ = CropSampler(PictureSet([fine.astype(np.uint8)], ["a"]), 1.0).sample(np.random.default_rng(0), 4, 64)
    assert set(np.unique(pixels.numpy())) == {0, 255}


def test_one_small_picture_is_enough_to_train_on(entries: PictureSet, tmp_path: Path) -> None:
    small = PictureSet([np.full((100, 90, 3), 99, np.uint8)], ["small"])
    assert train(replace(CONFIG, steps=2), small, entries, tmp_path).steps == 2


def test_fewer_entries_than_a_crop_is_given_are_told(data: PictureSet, entries: PictureSet, tmp_path: Path) -> None:
    few = PictureSet(entries.pictures[:2], entries.photos[:2])
    with pytest.raises(InputError, match="holds 2 entries"):
        train(CONFIG, data, few, tmp_path)


def test_a_broken_picture_among_training_pictures_is_left_out(
    tmp_path: Path, photo: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "good.png").write_bytes(png_bytes(photo))
    (tmp_path / "bad.png").write_bytes(b"\x89PNG nothing")
    assert len(read_folders([tmp_path])) == 1
    assert "bad.png" in caplog.text


def test_a_batch_is_a_function_of_seed_number_and_rank(data: PictureSet, entries: PictureSet, tmp_path: Path) -> None:
    trainer = Trainer(CONFIG, data, entries, tmp_path)
    sampler = trainer.source._sampler
    alone, ahead = (BatchSource(replace(CONFIG, workers=workers), sampler, 0) for workers in (0, 2))
    drawn = [[source.take(number, lambda n: 64) for number in range(3)] for source in (alone, ahead)]
    ahead.close()
    for one, other in zip(*drawn, strict=True):
        assert torch.equal(one.crops.x, other.crops.x)
        assert one.noise_seed == other.noise_seed
    assert not torch.equal(drawn[0][0].crops.x, drawn[0][1].crops.x)
    assert not torch.equal(drawn[0][0].crops.x, BatchSource(CONFIG, sampler, 1).draw(0, 64).crops.x)


def test_all_crops_of_a_batch_have_references_or_none_alike_in_every_process(
    data: PictureSet, entries: PictureSet, tmp_path: Path
) -> None:
    sampler = Trainer(CONFIG, data, entries, tmp_path).source._sampler
    found = [
        [BatchSource(CONFIG, sampler, rank).draw(number, 64).crops.aligned for number in range(20)] for rank in (0, 1)
    ]
    has = [[aligned is not None for aligned in one] for one in found]
    assert has[0] == has[1]
    assert 2 <= sum(has[0]) <= 12
    assert all(bool((aligned.present == 1).all()) for aligned in found[0] if aligned is not None)


def test_earlier_weights_are_kept_when_later_ones_validate_worse(
    data: PictureSet, entries: PictureSet, tmp_path: Path
) -> None:
    start = train(replace(CONFIG, steps=30), data, entries, tmp_path / "start").weights
    ruinous = replace(CONFIG, steps=8, learning_rate=0.02, ema=0.0)
    result = train(ruinous, data, entries, tmp_path / "ruined", start=start)
    assert result.kept_step == 0
    assert result.log[-1]["kept"] == "best"
    assert same(result.weights, start)
    assert same(read_weights(tmp_path / "ruined")[1], start)
    assert (tmp_path / "ruined" / BEST).read_bytes() != (tmp_path / "ruined" / WEIGHTS).read_bytes()


@pytest.mark.parametrize(("nearer_loss", "share"), [(1.0005, 0.25), (0.9, 0.25), (1.002, 0.0)])
def test_weights_nearer_to_the_start_are_kept_unless_they_are_clearly_worse(
    data: PictureSet, entries: PictureSet, tmp_path: Path, nearer_loss: float, share: float
) -> None:
    torch.manual_seed(1)
    start, config = Model(SMALL).state_dict(), replace(CONFIG, start_share=0.25)
    trainer, resumed = (Trainer(config, data, entries, tmp_path) for _ in range(2))
    trainer.start_from({name: value.clone() for name, value in start.items()})
    for _ in range(3):
        trainer.train_step()
    save_checkpoint(trainer, tmp_path)
    resume_checkpoint(resumed, tmp_path)
    assert not same(resumed.ema, {name: start[name] for name in resumed.ema})
    losses = iter([1.0, nearer_loss])
    resumed.held_out = SimpleNamespace(measure=lambda model, objective: {"validation_loss": next(losses)})
    resumed.best = None
    figures = resumed.validate()
    assert figures.get("start_share", 0.0) == share
    for name, average in resumed.ema.items():
        torch.testing.assert_close(resumed.best.weights[name], (1.0 - share) * average + share * start[name])


def test_few_held_out_pictures_are_measured_in_several_places() -> None:
    ramp = np.arange(600 * 500 * 3, dtype=np.uint32).reshape(600, 500, 3).astype(np.uint8)
    one, many = PictureSet([ramp], ["a"]), PictureSet([ramp] * 5, list("abcde"))
    assert torch.equal(spread_crops(one, 256, 4)[0], torch.from_numpy(ramp[86:342, 61:317]).permute(2, 0, 1))
    assert len({crop.numpy().tobytes() for crop in spread_crops(one, 256, 4)}) == 4
    assert len(spread_crops(many, 256, 4)) == 5
    assert torch.equal(spread_crops(many, 256, 4)[0], torch.from_numpy(ramp[172:428, 122:378]).permute(2, 0, 1))
    assert len(spread_crops(PictureSet([ramp[:256, :256]], ["a"]), 256, 4)) == 1


def test_the_best_weights_outlive_a_resumption_and_not_a_new_run(
    data: PictureSet, entries: PictureSet, tmp_path: Path
) -> None:
    first = Trainer(CONFIG, data, entries, tmp_path)
    first.start_fresh()
    first.train_step()
    first.validate()
    assert first.best is not None
    kept = first.best._replace(loss=-1.0)
    first.best = kept
    save_checkpoint(first, tmp_path)
    resumed = train(CONFIG, data, entries, tmp_path, is_resumed=True)
    assert (resumed.kept_step, resumed.steps) == (1, 6)
    assert same(resumed.weights, kept.weights)
    assert train(CONFIG, data, entries, tmp_path).kept_step == 6


def test_no_photo_is_both_trained_on_and_held_out() -> None:
    pictures = [np.full((70, 70, 3), n, np.uint8) for n in range(20)]
    photos = [f"p{n // 4}" for n in range(20)]
    for seed in range(5):
        training, apart = PictureSet(pictures, photos).split(3, np.random.default_rng(seed))
        assert not set(training.photos) & set(apart.photos)
        assert len(training) + len(apart) == 20
        assert len(apart) == 4


def test_the_same_pictures_are_held_out_whatever_the_seed(
    data: PictureSet, entries: PictureSet, tmp_path: Path
) -> None:
    trained_on = {
        tuple(Trainer(replace(CONFIG, seed=seed), data, entries, tmp_path).training.photos) for seed in range(8)
    }
    assert len(trained_on) == 1


def test_a_configuration_is_read_from_json_and_the_command_line_goes_before_it(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"steps": 7, "crops": [[0.0, 64]], "bf16": True, "model": SMALL.to_json()}))
    config = read_config(path)
    assert config == TrainingConfig(steps=7, crops=((0.0, 64),), bf16=True, model=SMALL)
    assert config.minutes == 60.0  # as without a file, and as the documentation says
    path.write_text(json.dumps({"stepps": 7}))
    with pytest.raises(InputError, match="no field stepps"):
        read_config(path)


def test_from_weights_the_command_trains_as_an_adaptation_does() -> None:
    given = ["--data", "x", "--out", "y"]
    assert _config(_parser().parse_args([*given, "--start", "z", "--minutes", "5"])) == adaptation(5.0)
    assert _config(_parser().parse_args(given)) == TrainingConfig(minutes=60.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"minutes": 0.0},
        {"steps": 0},
        {"objective": "vmaf"},
        {"start_share": 1.0},
        {"crops": ((0.0, 100),)},
        {"objective": "ms-ssim"},
    ],
)
def test_what_no_run_can_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        TrainingConfig(**wrong)


def test_the_command_says_in_one_line_that_there_are_no_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_command(["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--minutes", "1"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_bare_worker_can_import_the_command() -> None:
    absent = (
        "cv2 scipy skimage sklearn faiss compressai constriction pytorch_msssim bjontegaard prefect mlflow dask typer"
    )
    program = f"import sys; sys.modules.update(dict.fromkeys({absent.split()!r})); import clc.training.__main__"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
