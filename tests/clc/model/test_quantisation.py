"""Rounding weighs the bits of a symbol against the error that it mends."""

import numpy as np
import pytest
import torch

from clc.codec import Codec
from clc.model.quantisation import gaussian_bits, sigma, straight_through_round, thrifty_round, trained_bits
from tests.conftest import Picture

NARROW, BROAD = 4.0, 50.0


def rounded(offset: float, level: float, bits_per_squared_step: float) -> float:
    shape = (1, 1, 1, 1)
    return thrifty_round(
        torch.full(shape, offset), torch.full(shape, level), torch.full(shape, bits_per_squared_step)
    ).item()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_what_is_barely_not_zero_is_spared_where_it_would_be_dear(sign: float) -> None:
    assert rounded(sign * 0.55, NARROW, 9.0) == pytest.approx(0.0)
    assert rounded(sign * 0.55, BROAD, 9.0) == pytest.approx(sign)
    assert rounded(sign * 0.95, NARROW, 9.0) == pytest.approx(sign)
    assert rounded(sign * 0.55, NARROW, 1000.0) == pytest.approx(sign)


def test_thrift_moves_a_symbol_by_one_at_most_and_only_towards_zero() -> None:
    offset = 6.0 * torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    level = 63.0 * torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    nearest = straight_through_round(offset, level, torch.ones(4, 3, 1, 1))
    thrifty = torch.round(thrifty_round(offset, level, torch.full((4, 3, 1, 1), 5.0)))
    moved = nearest - thrifty
    assert moved.abs().max() == 1.0
    assert bool((moved * torch.sign(nearest) >= 0.0).all())
    assert gaussian_bits(thrifty, level).sum() < gaussian_bits(nearest, level).sum()


def test_thrift_never_moves_a_symbol_where_the_error_is_worth_more_than_the_bits() -> None:
    offset = 3.0 * torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    level, bits_per_squared_step = torch.full_like(offset, 20.0), torch.full((2, 3, 1, 1), 9.0)
    nearest, thrifty = torch.round(offset), torch.round(thrifty_round(offset, level, bits_per_squared_step))
    saved = gaussian_bits(nearest, level) - gaussian_bits(thrifty, level)
    added = bits_per_squared_step * ((offset - thrifty).square() - (offset - nearest).square())
    assert bool((saved >= added - 1e-3).all())


def test_rounding_passes_its_gradient_straight_through() -> None:
    offset = torch.randn(1, 2, 4, 4, requires_grad=True)
    thrifty_round(offset, torch.full_like(offset, 20.0), torch.full((1, 2, 1, 1), 9.0)).sum().backward()
    assert torch.equal(offset.grad, torch.ones_like(offset))


def test_the_standard_deviation_rises_from_that_of_the_first_table_to_that_of_the_last() -> None:
    deviations = sigma(torch.arange(64.0))
    assert bool((deviations[1:] > deviations[:-1]).all())
    assert torch.allclose(deviations[1:] / deviations[:-1], deviations[1] / deviations[0], rtol=1e-4)


def test_a_thrifty_stream_costs_less_rate_and_distortion_than_one_of_nearest_integers(
    shipped: Codec, photo: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.ascontiguousarray(photo[:192, :256])
    cost, size = {}, {}
    for thrift in (0.25, 0.0):
        monkeypatch.setattr("clc.model.quantisation.THRIFT", thrift)
        costs = []
        for quality in (20, 50, 80):
            data = shipped.encode(image, quality, "none")
            error = shipped.decode(data).astype(np.float64) - image
            trade = 0.0009 * (0.05 / 0.0009) ** (quality / 100)
            costs.append(len(data) * 8 / (192 * 256) + trade * np.square(error).mean())
            size[thrift, quality] = len(data)
        cost[thrift] = np.array(costs)
    assert all(size[0.25, quality] < size[0.0, quality] for quality in (20, 50, 80))
    assert (cost[0.25] / cost[0.0]).mean() < 1.0


def test_what_is_trained_costs_what_is_coded_and_learns_by_noise() -> None:
    offset = torch.tensor([0.3, -0.2, 1.4], requires_grad=True)
    level = torch.tensor([20.0, 4.0, 30.0], requires_grad=True)
    noise = torch.tensor([0.4, -0.4, 0.1])
    symbols = torch.round(offset)
    bits = trained_bits(symbols, level, offset, noise)
    assert torch.equal(bits, gaussian_bits(symbols, level))
    to_offset, to_level = torch.autograd.grad(bits.sum(), [offset, level])
    noisy = offset.detach().requires_grad_(True)
    rounded = level.detach().requires_grad_(True)
    (by_noise,) = torch.autograd.grad(gaussian_bits(noisy + noise, level.detach()).sum(), noisy)
    (by_symbols,) = torch.autograd.grad(gaussian_bits(symbols.detach(), rounded).sum(), rounded)
    assert torch.equal(to_offset, by_noise)
    assert torch.equal(to_level, by_symbols)
    # A symbol of zero alone would say nothing to the latent.
    assert to_offset[0] > 0.0
