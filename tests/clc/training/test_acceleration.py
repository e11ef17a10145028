"""Faster steps are the same steps: compiled, in bfloat16, or plain where there is nothing to compile with."""

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from clc.training import acceleration
from clc.training.config import TrainingConfig
from clc.training.data import PictureSet, random_patches
from clc.training.trainer import Trainer
from tests.conftest import SMALL, Picture

CONFIG = TrainingConfig(
    steps=9, minutes=60.0, crops=((0.0, 64),), batch_px=2 * 64 * 64, warmup_steps=2, aligned_share=0.5, model=SMALL
)


def losses_of(config: TrainingConfig, photo: Picture, folder: Path) -> list[float]:
    data = PictureSet([photo] * 4, list("abcd"))
    trainer = Trainer(config, data, random_patches(data, 3, 256, seed=0), folder)
    trainer.start_fresh()
    return [trainer.train_step()["loss"] for _ in range(2)]


@pytest.fixture(scope="module")
def plain(photo: Picture, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    return losses_of(CONFIG, photo, tmp_path_factory.mktemp("plain"))


def test_bfloat16_changes_the_loss_by_little(plain: list[float], photo: Picture, tmp_path: Path) -> None:
    found = losses_of(replace(CONFIG, bf16=True), photo, tmp_path)
    assert found == pytest.approx(plain, rel=0.02)
    assert found != plain


@pytest.mark.filterwarnings("ignore")
def test_the_walk_is_traced_whole_and_gives_the_same_loss(
    plain: list[float], photo: Picture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiler behind it takes minutes and is not ours; what a compiled walk needs of us is the tracing."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager", fullgraph=True))
    assert losses_of(replace(CONFIG, compile=True), photo, tmp_path) == pytest.approx(plain, rel=1e-4)


def test_without_a_compiler_training_runs_plain_after_a_warning(
    plain: list[float],
    photo: Picture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise RuntimeError("No working C++ compiler found\nand more")

    monkeypatch.setattr(torch, "compile", refuse)
    with caplog.at_level(logging.WARNING, "clc.training.acceleration"):
        assert losses_of(replace(CONFIG, compile=True), photo, tmp_path) == plain
    assert "No working C++ compiler found; install a C++ compiler" in caplog.text
    assert acceleration.why_nothing_compiles(torch.device("cpu")) == "No working C++ compiler found"
