"""At its start a model is an orthonormal transform: errors of latents are errors of pixels."""

import numpy as np
import pytest
import torch

from clc.model.model import Model
from clc.training.klt_start import klt_basis, start_from_klt
from tests.conftest import SMALL, Picture


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
