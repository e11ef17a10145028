"""A run folder has the files and names of 0.16.0, and a run goes on from one."""

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from clc.errors import InputError
from clc.model.model import Model
from clc.pictures.images import read_image
from clc.training.checkpoint import resume_checkpoint, save_checkpoint
from clc.training.config import TrainingConfig
from clc.training.data import PictureSet, random_patches
from clc.training.train import train
from clc.training.trainer import Trainer
from tests.conftest import SMALL

CONFIG = TrainingConfig(
    minutes=60.0, steps=4, batch_px=2 * 64 * 64, crops=((0.0, 64),), warmup_steps=2, start_share=0.25, model=SMALL
)


@pytest.fixture(scope="module")
def data() -> PictureSet:
    names = ("astronaut.png", "chelsea.png", "coffee.png")
    return PictureSet([read_image((files("skimage") / "data" / name).read_bytes()) for name in names], list(names))


@pytest.fixture(scope="module")
def entries(data: PictureSet) -> PictureSet:
    return random_patches(data, 4, 256, seed=0)


@pytest.fixture(scope="module")
def start() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return Model(SMALL).state_dict()


@pytest.fixture
def interrupted(data: PictureSet, entries: PictureSet, start: dict[str, torch.Tensor], tmp_path: Path) -> Trainer:
    trainer = Trainer(CONFIG, data, entries, tmp_path)
    trainer.start_from(start)
    for _ in range(2):
        trainer.train_step()
    return trainer


def write_as_0_16_0(trainer: Trainer, folder: Path) -> None:
    """Write the files of a run as release 0.16.0 did, with the names of then."""
    folder.mkdir()
    state = {"middle_step": trainer.bank_step}
    for name, parameter in trainer.model.named_parameters():
        state[f"model.{name}"] = parameter.detach().clone()
        state[f"ema.{name}"] = trainer.ema[name]
        state[f"start.{name}"] = trainer.start[name]
        if parameter.requires_grad and parameter in trainer.optimiser.state:
            for key in ("step", "exp_avg", "exp_avg_sq"):
                state[f"adam.{name}.{key}"] = trainer.optimiser.state[parameter][key]
    for name, value in trainer.bank_g_a.items():
        state[f"bank.{name}"] = value
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "state.safetensors")
    position = {
        "step": trainer.step,
        "batches": trainer.batches,
        "minutes": trainer.minutes,
        "hyper_warmup_steps": trainer.hyper_warmup_steps,
    }
    (folder / "state.json").write_text(json.dumps(position))
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in trainer.log))
    (folder / "model.json").write_text(json.dumps(SMALL.to_json(), indent=1))
    average = trainer.average_state()
    save_file({name: value.contiguous() for name, value in average.items()}, folder / "weights.safetensors")
    assert trainer.best is not None
    notes = {"step": str(trainer.best.step), "loss": repr(trainer.best.loss)}
    save_file(trainer.best.weights, folder / "best.safetensors", notes)


def test_a_run_folder_holds_what_it_held_in_0_16_0_to_the_byte(interrupted: Trainer, tmp_path: Path) -> None:
    interrupted.log.append({"step": 2, "loss": 1.5})
    write_as_0_16_0(interrupted, tmp_path / "then")
    save_checkpoint(interrupted, tmp_path / "now")
    then, now = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("then", "now"))
    assert then.keys() == now.keys()
    # The notes of a safetensors file are in no order.
    best = [(load_file(tmp_path / name / "best.safetensors"), notes(tmp_path / name)) for name in ("then", "now")]
    assert best[0][1] == best[1][1]
    assert all(torch.equal(value, best[1][0][name]) for name, value in best[0][0].items())
    assert {name for name in then if then[name] != now[name]} <= {"best.safetensors"}


def notes(folder: Path) -> dict[str, str]:
    with safe_open(folder / "best.safetensors", "pt") as file:
        found: dict[str, str] = file.metadata()
    return found


def test_a_run_of_0_16_0_goes_on_to_the_bit(
    interrupted: Trainer, data: PictureSet, entries: PictureSet, start: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    write_as_0_16_0(interrupted, tmp_path / "then")
    resumed = train(CONFIG, data, entries, tmp_path / "then", is_resumed=True)
    whole = train(CONFIG, data, entries, tmp_path / "whole", start=start)
    assert (resumed.steps, resumed.kept_step) == (whole.steps, whole.kept_step) == (4, whole.kept_step)
    for name in ("state.safetensors", "weights.safetensors"):
        assert (tmp_path / "then" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_state_of_one_trainer_is_that_of_another_which_takes_it(
    interrupted: Trainer, data: PictureSet, entries: PictureSet, tmp_path: Path
) -> None:
    other = Trainer(CONFIG, data, entries, tmp_path)
    other.load_state(interrupted.state())
    one, two = interrupted.state(), other.state()
    assert one.position == two.position == (2, 2, 0.0, 0)
    assert list(two.average) == list(one.average) == list(one.parameters)
    assert one.moments.keys() == two.moments.keys()
    assert all(torch.equal(one.parameters[name], two.parameters[name]) for name in one.parameters)
    assert one.best is two.best


@pytest.mark.parametrize("lacking", ["state.safetensors", "state.json", "log.jsonl"])
def test_what_is_missing_from_a_run_folder_is_told(
    interrupted: Trainer, data: PictureSet, entries: PictureSet, tmp_path: Path, lacking: str
) -> None:
    save_checkpoint(interrupted, tmp_path)
    (tmp_path / lacking).unlink()
    with pytest.raises(InputError, match="cannot resume from"):
        resume_checkpoint(Trainer(CONFIG, data, entries, tmp_path), tmp_path)


def test_a_run_of_another_model_is_not_resumed(
    interrupted: Trainer, data: PictureSet, entries: PictureSet, tmp_path: Path
) -> None:
    save_checkpoint(interrupted, tmp_path)
    other = replace(CONFIG, model=replace(SMALL, wide=24))
    with pytest.raises(InputError, match="cannot resume from"):
        resume_checkpoint(Trainer(other, data, entries, tmp_path), tmp_path)
