"""What a fit finds, on small latents with few steps: laws that hold on any machine."""

import pytest
import torch
from torch import Tensor

from clc.overfitted.coding import decode_function, encode_function
from clc.overfitted.fit import Fitted, Fitter, soft_round
from clc.overfitted.importance import Importance
from clc.overfitted.layout import layout_of

CHANNELS, HEIGHT, WIDTH = 3, 16, 24


@pytest.fixture(scope="module")
def y() -> Tensor:
    """Smooth latents with an edge."""
    rows, columns = torch.meshgrid(torch.linspace(0, 3, HEIGHT), torch.linspace(0, 4, WIDTH), indexing="ij")
    first = torch.sin(rows) * torch.cos(columns)
    return torch.stack((first, (columns > 2) * 1.0 - 0.5, 0.3 * first + rows / 3))[None]


def alike() -> Importance:
    return Importance(torch.eye(CHANNELS), torch.ones(HEIGHT, WIDTH))


def errors(y: Tensor, fitted: Fitted) -> Tensor:
    y_hat = fitted.integers.function()(torch.from_numpy(fitted.integers.latents).float(), layout_of(HEIGHT, WIDTH))
    return (y_hat - y).square().mean(dim=(0, 2, 3))


@pytest.fixture(scope="module")
def fitted(y: Tensor) -> Fitted:
    return Fitter(y, alike(), 150).fit(30.0)


def test_a_fit_is_far_nearer_than_the_mean(y: Tensor, fitted: Fitted) -> None:
    assert float(errors(y, fitted).mean()) < 0.3 * float(y.var(dim=(0, 2, 3)).mean())


def test_the_payload_takes_the_bits_that_the_fit_says(fitted: Fitted) -> None:
    payload = encode_function(fitted.integers)
    assert abs(8 * len(payload) - fitted.estimated_bits) < 0.02 * fitted.estimated_bits + 8 * 28
    assert (decode_function(payload, fitted.integers.shape).latents == fitted.integers.latents).all()


def test_the_error_is_that_of_the_integers(y: Tensor, fitted: Fitted) -> None:
    assert float(errors(y, fitted).sum()) * HEIGHT * WIDTH == pytest.approx(fitted.error, rel=1e-3)


def test_the_same_seed_gives_the_same_function(y: Tensor) -> None:
    once, again, other = (Fitter(y, alike(), 12, seed).fit(30.0).integers.crc32(b"") for seed in (1, 1, 2))
    assert once == again != other


def test_a_higher_weight_gives_less_error_and_more_bits(y: Tensor) -> None:
    fitter = Fitter(y, alike(), 150)
    low, high = fitter.fit(5.0), fitter.fit(400.0)
    assert high.error < low.error
    assert high.estimated_bits > low.estimated_bits


def test_what_matters_more_has_less_error(y: Tensor) -> None:
    first = Importance(torch.diag(torch.tensor([2.9, 0.05, 0.05])), torch.ones(HEIGHT, WIDTH))
    second = Importance(torch.diag(torch.tensor([0.05, 2.9, 0.05])), torch.ones(HEIGHT, WIDTH))
    errors_of = [errors(y, Fitter(y, one, 100).fit(10.0)) for one in (first, second)]
    assert errors_of[0][0] < errors_of[1][0]
    assert errors_of[1][1] < errors_of[0][1]


def test_a_single_latent_can_be_fitted() -> None:
    fitted = Fitter(torch.full((1, 2, 1, 1), 0.7), Importance(torch.eye(2), torch.ones(1, 1)), 20).fit(100.0)
    assert decode_function(encode_function(fitted.integers), (2, 1, 1)).crc32(b"") == fitted.integers.crc32(b"")


def test_soft_rounding_keeps_integers_and_comes_near_to_rounding() -> None:
    x = torch.linspace(-2, 2, 81)
    whole = torch.arange(-2.0, 3.0)
    torch.testing.assert_close(soft_round(whole, 0.3), whole, atol=1e-4, rtol=0)
    is_clear = (x - x.floor() - 0.5).abs() > 0.15
    assert float((soft_round(x, 0.05) - x.round())[is_clear].abs().max()) < 0.01
    assert bool((soft_round(x, 0.3).diff() > -1e-6).all())
