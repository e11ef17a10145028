"""Muon beside AdamW: which parameters it moves, how far, and that it goes on where it was."""

import pytest
import torch
from torch import Tensor, nn

from clc.optimiser import ADAMW, MUON, Optimiser

RATE = 1e-3


def parameters(seed: int = 0) -> dict[str, nn.Parameter]:
    """Return one of each kind, with gradients."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "blocks.kernel": (48, 32, 3, 3),
        "blocks.depthwise": (48, 1, 3, 3),
        "blocks.small": (16, 48, 1, 1),
        "blocks.bias": (48,),
        "g_a.linear.weight": (48, 48, 1, 1),
    }
    made = {name: nn.Parameter(torch.randn(shape, generator=generator)) for name, shape in shapes.items()}
    for parameter in made.values():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    return made


def moved(held: dict[str, nn.Parameter], kind: str) -> dict[str, Tensor]:
    before = {name: parameter.detach().clone() for name, parameter in held.items()}
    Optimiser(held.items(), RATE, 0.1, kind).step()
    return {name: held[name].detach() - value for name, value in before.items()}


def test_muon_moves_kernels_that_join_channels_and_adamw_the_rest() -> None:
    adamw, muon = moved(parameters(), ADAMW), moved(parameters(), MUON)
    assert [name for name in adamw if not torch.equal(adamw[name], muon[name])] == ["blocks.kernel"]
    assert adamw["g_a.linear.weight"].abs().mean() == pytest.approx(0.1 * RATE, rel=1e-2)
    assert adamw["blocks.bias"].abs().mean() == pytest.approx(RATE, rel=1e-2)


def test_a_step_of_muon_is_nearly_orthogonal_and_of_adamws_size() -> None:
    step = moved(parameters(), MUON)["blocks.kernel"].flatten(1)
    lengths = torch.linalg.svdvals(step) / (RATE * 0.2 * (32 * 9) ** 0.5)
    assert 0.6 < float(lengths.min()) < float(lengths.max()) < 1.3


@pytest.mark.parametrize("of", ["kernel", "gradient", "both"])
def test_the_layout_of_a_kernel_or_its_gradient_is_all_one(of: str) -> None:
    held, expected = parameters(), moved(parameters(), MUON)["blocks.kernel"]
    kernel = held["blocks.kernel"]
    gradient = kernel.grad
    assert gradient is not None
    if of != "gradient":
        kernel.data = kernel.data.contiguous(memory_format=torch.channels_last)
    kernel.grad = gradient.contiguous(memory_format=torch.channels_last) if of != "kernel" else gradient
    # Sums of bfloat16 in another order.
    assert torch.allclose(moved(held, MUON)["blocks.kernel"], expected, atol=0.05 * float(expected.abs().max()))


def test_from_its_state_it_goes_on_to_the_bit_and_of_another_kind_takes_what_is_the_same() -> None:
    whole, halves = parameters(), parameters()
    first, second = Optimiser(whole.items(), RATE, 0.1, MUON), Optimiser(halves.items(), RATE, 0.1, MUON)
    first.step()
    second.step()
    state = {name: value.clone() for name, value in second.state().items()}
    assert {name.split(".")[0] for name in state} == {"adam", "muon"}
    assert "muon.blocks.kernel.momentum_buffer" in state
    third, other = Optimiser(halves.items(), RATE, 0.1, MUON), Optimiser(parameters().items(), RATE, 0.1, ADAMW)
    third.restore(state)
    for optimiser in (first, third):
        optimiser.set_rate(0.5)
        assert optimiser.rate == 0.5 * RATE
        optimiser.step()
    assert all(torch.equal(whole[name], halves[name]) for name in whole)
    other.restore(state)
    assert {name for name in state if name.startswith("adam.")} == set(other.state())
    other.step()


def test_parameters_without_a_gradient_stay() -> None:
    held = parameters()
    held["blocks.kernel"].grad = None
    held["blocks.bias"].requires_grad_(False)
    moves = moved(held, MUON)
    assert not moves["blocks.kernel"].any()
    assert not moves["blocks.bias"].any()
    assert moves["blocks.small"].any()
