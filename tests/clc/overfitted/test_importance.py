"""The importance of latents, for decoders whose Jacobian is known."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from clc.overfitted.importance import Importance, importance_by_differences, importance_by_gradients

MIX = torch.tensor([[1.0, 0.0], [0.0, 0.2], [0.5, 0.1]])  # of two channels to three colours


def linear(y: Tensor) -> Tensor:
    """Every latent paints a square of 2x2 px, on the right half three times as strongly."""
    strength = torch.ones(1, 1, 1, y.shape[3])
    strength[..., y.shape[3] // 2 :] = 3.0
    return F.interpolate(F.conv2d(y * strength, MIX[:, :, None, None]), scale_factor=2, mode="nearest")


@pytest.mark.parametrize("measure", [importance_by_gradients, importance_by_differences])
def test_a_linear_decoder_has_the_importance_of_its_matrix(measure) -> None:  # type: ignore[no-untyped-def]
    y = torch.zeros(1, 2, 64, 96)
    found: Importance = measure(linear, y, torch.Generator().manual_seed(0))
    expected = MIX.t() @ MIX * 4 * (1 + 9) / 2  # four pixels a latent, the mean of both strengths
    torch.testing.assert_close(found.directions_CC, expected, rtol=0.15, atol=0.4)
    left, right = found.places_hw[:, 4:40].mean(), found.places_hw[:, 56:92].mean()
    assert 6.0 < float(right / left) < 13.0
    assert float(found.places_hw.mean()) == pytest.approx(1.0, abs=0.01)


def test_the_root_gives_the_weighted_error() -> None:
    directions = torch.tensor([[2.0, 0.5], [0.5, 1.0]])
    root = Importance(directions, torch.ones(1, 1)).root()
    torch.testing.assert_close(root.t() @ root, directions, rtol=1e-3, atol=1e-3)


def test_what_a_decoder_ignores_has_a_root_all_the_same() -> None:
    assert bool(torch.isfinite(Importance(torch.zeros(2, 2), torch.ones(1, 1)).root()).all())


def test_plain_importance_weighs_as_much_in_all() -> None:
    plain = Importance(torch.diag(torch.tensor([5.0, 1.0])), torch.rand(2, 2)).plain()
    torch.testing.assert_close(plain.directions_CC, 3.0 * torch.eye(2))
    assert bool((plain.places_hw == 1.0).all())
