"""MS-SSIM as an objective: the figure that evaluation reports, and a loss that falls."""

from pathlib import Path

import numpy as np
import pytest
import torch

from clc.evaluation import metrics
from clc.model.ms_ssim import ms_ssim
from clc.model.objective import MS_SSIM_LAMBDA_HIGH, MS_SSIM_LAMBDA_LOW, ms_ssim_lambda
from clc.training.config import TrainingConfig
from clc.training.data import PictureSet, random_patches
from clc.training.trainer import Trainer
from tests.conftest import SMALL, Picture


def as_batch(picture: Picture) -> torch.Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255.0


@pytest.mark.parametrize(("size", "spread"), [((161, 161), 2.0), ((192, 256), 80.0), ((300, 451), 20.0)])
def test_the_objective_is_the_figure_of_the_evaluation(photo: Picture, size: tuple[int, int], spread: float) -> None:
    picture = photo[: size[0], : size[1]]
    noise = np.random.default_rng(0).normal(0.0, spread, picture.shape)
    worse = np.clip(np.round(picture + noise), 0, 255).astype(np.uint8)
    ours = ms_ssim(as_batch(picture), as_batch(worse)).item()
    assert ours == pytest.approx(metrics.ms_ssim(picture, worse), abs=2e-5)
    assert 0.2 < ours < 1.0


def test_equal_pictures_have_one_and_opposite_ones_a_finite_gradient(photo: Picture) -> None:
    x = as_batch(photo[:192, :192])
    assert ms_ssim(x, x).item() == pytest.approx(1.0)
    negative = (1.0 - x).requires_grad_()
    ms_ssim(negative, x).sum().backward()
    assert negative.grad is not None
    assert torch.isfinite(negative.grad).all()


def test_lambda_spans_its_range() -> None:
    found = ms_ssim_lambda(torch.tensor([0.0, 50.0, 100.0])).tolist()
    middle = (MS_SSIM_LAMBDA_LOW * MS_SSIM_LAMBDA_HIGH) ** 0.5
    assert found == pytest.approx([MS_SSIM_LAMBDA_LOW, middle, MS_SSIM_LAMBDA_HIGH])


def test_a_few_steps_lower_the_loss(photo: Picture, tmp_path: Path) -> None:
    data = PictureSet([photo, photo[::-1].copy()] * 2, list("abcd"))
    config = TrainingConfig(
        objective="ms-ssim",
        steps=40,
        learning_rate=3e-3,
        crops=((0.0, 192),),
        batch_px=192**2,
        warmup_steps=2,
        hyper_warmup_steps=0,
        aligned_share=0.0,
        model=SMALL,
    )
    trainer = Trainer(config, data, random_patches(data, 3, 256, seed=0), tmp_path)
    trainer.start_fresh()
    batch = trainer.source.draw(0, 192)
    losses = [trainer.learn(batch)["loss"] for _ in range(15)]
    assert losses[-1] < 0.97 * losses[0]
