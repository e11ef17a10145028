"""At its start a model is an orthonormal transform: errors of latents are errors of pixels."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from clc.model.config import ModelConfig, tcm_config
from clc.model.model import Model
from clc.training.klt_start import klt_basis, linear_layers, start_from_klt
from tests.conftest import SMALL, Picture

DEPTHCONV = ["g_a.linear.weight", "g_a.linear.bias"]
PRIOR = ["prior.fusion.klt.weight", "prior.fusion.klt.bias"]
BEHIND_PREDICTION = ["g_s.synthesis.linear.weight", "g_s.synthesis.linear.bias"]


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (ModelConfig(), [*DEPTHCONV, *BEHIND_PREDICTION, *PRIOR]),
        (replace(SMALL, residual_prediction=False), [*DEPTHCONV, "g_s.linear.weight", "g_s.linear.bias", *PRIOR]),
        (tcm_config(), PRIOR),
    ],
)
def test_the_layers_that_start_as_the_klt_are_these(config: ModelConfig, names: list[str]) -> None:
    with torch.device("meta"):
        model = Model(config)
    linear = {parameter for layer in linear_layers(model) for parameter in layer.parameters()}
    assert [name for name, parameter in model.named_parameters() if parameter in linear] == names


def test_the_error_of_latents_is_that_of_the_pixels_that_they_become(photo: Picture) -> None:
    torch.manual_seed(0)
    model = Model(SMALL).eval()
    start_from_klt(model, klt_basis([photo], SMALL.latents, np.random.default_rng(0)))
    x = torch.from_numpy(photo[:256, :256].copy()).permute(2, 0, 1)[None] / 255.0
    y, quality = model.g_a(x), torch.tensor([1600])
    tokens, absent = torch.zeros(1, 0, SMALL.token), torch.zeros(1, dtype=torch.bool)
    rounded = model(y, quality, tokens, absent)
    exact = model(y, quality, tokens, absent, quantise=lambda offset, level, worth: offset)
    of_pixels = (rounded.x_hat - exact.x_hat).square().mean().item()
    assert rounded.latent_mse.item() == pytest.approx(of_pixels, rel=0.1)
    assert exact.latent_mse.item() < 1e-9
    alone = model(y, quality, tokens, absent, is_synthesised=False)
    assert alone.x_hat.numel() == 0
    assert torch.equal(alone.latent_mse, rounded.latent_mse)
