"""The exact parts against plain integer arithmetic, and the bounds that make them exact."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clc.errors import InputError
from clc.exact.functions import GridSoftmax, exp_table
from clc.exact.grid import ACTIVATION_BITS, activate, compand, mix, residual, share, snap
from clc.exact.layers import BIAS_BITS, GridConv2d, GridTable, sum_bound_bits


def random_grid(*shape: int, seed: int = 0, limit: int = 32 << ACTIVATION_BITS) -> torch.Tensor:
    integers = np.random.default_rng(seed).integers(-limit, limit + 1, shape)
    return torch.from_numpy(integers.astype(np.float64) / (1 << ACTIVATION_BITS))


def exact_copy(layer: GridConv2d, in_channels: int, out_channels: int, kernel: int, groups: int) -> GridConv2d:
    twin = GridConv2d(in_channels, out_channels, kernel, groups=groups, is_exact=True)
    twin.load_integers(**layer.export())
    return twin


def in_python_integers(x: torch.Tensor, parts: dict[str, torch.Tensor], kernel: int, groups: int) -> np.ndarray:
    """The layer's definition, slowly: arbitrary-precision integers, one output at a time, rounded half up."""
    weight, shift, bias = (parts[name].numpy() for name in ("weight", "shift", "bias"))
    values = np.round(x[0].numpy() * (1 << ACTIVATION_BITS)).astype(int)
    pad = kernel // 2
    padded = np.pad(values, [(0, 0), (pad, pad), (pad, pad)])
    height, width = values.shape[1:]
    out = np.zeros((weight.shape[0], height, width))
    for o in range(weight.shape[0]):
        first = o if groups > 1 else 0
        unit = max(BIAS_BITS, ACTIVATION_BITS + int(shift[o]))
        for i in range(height):
            for j in range(width):
                window = padded[first : first + weight.shape[1], i : i + kernel, j : j + kernel]
                total = sum(int(a) * int(w) for a, w in zip(window.ravel(), weight[o].ravel(), strict=True))
                total = (total << (unit - ACTIVATION_BITS - int(shift[o]))) + (int(bias[o]) << (unit - BIAS_BITS))
                rounded = (total + (1 << (unit - ACTIVATION_BITS - 1))) >> (unit - ACTIVATION_BITS)
                out[o, i, j] = np.clip(rounded / (1 << ACTIVATION_BITS), -32, 32)
    return out


@pytest.mark.parametrize(("kernel", "groups"), [(1, 1), (3, 1), (3, 6)])
def test_an_exact_layer_is_integer_arithmetic_to_the_last_bit(kernel: int, groups: int) -> None:
    torch.manual_seed(kernel + groups)
    out_channels = 6 if groups > 1 else 5
    layer = GridConv2d(6, out_channels, kernel, groups=groups)
    with torch.no_grad():
        layer.bias.uniform_(-1, 1)
    x = random_grid(1, 6, 4, 5, seed=kernel)
    y = exact_copy(layer, 6, out_channels, kernel, groups)(x)[0].numpy()
    assert np.array_equal(y, in_python_integers(x, layer.export(), kernel, groups))


def test_the_order_of_a_sum_does_not_matter() -> None:
    torch.manual_seed(1)
    layer = GridConv2d(512, 8, 3)
    parts, x = layer.export(), random_grid(1, 512, 6, 6)
    shuffled = torch.randperm(512)
    twin, other = GridConv2d(512, 8, 3, is_exact=True), GridConv2d(512, 8, 3, is_exact=True)
    twin.load_integers(**parts)
    other.load_integers(parts["weight"][:, shuffled], parts["shift"], parts["bias"])
    assert torch.equal(twin(x), other(x[:, shuffled]))


def test_the_float_twin_agrees_within_rounding() -> None:
    torch.manual_seed(2)
    layer = GridConv2d(32, 16, 3)
    x = random_grid(1, 32, 8, 8, limit=2 << ACTIVATION_BITS)
    difference = exact_copy(layer, 32, 16, 3, 1)(x) - layer(x.float()).detach()
    assert float(difference.abs().max()) < 2e-3


def test_integers_survive_export_and_loading() -> None:
    layer = GridConv2d(16, 4, 3)
    parts = layer.export()
    other = GridConv2d(16, 4, 3)
    other.load_integers(**parts)
    assert all(torch.equal(value, parts[name]) for name, value in other.export().items())


def test_a_layer_whose_sums_could_leave_the_mantissa_is_refused() -> None:
    layer = GridConv2d(4096, 1, 3, is_exact=True)
    weight = torch.full((1, 4096, 3, 3), 32767, dtype=torch.int16)
    shift, bias = torch.tensor([20], dtype=torch.int8), torch.zeros(1, dtype=torch.int32)
    assert sum_bound_bits(weight, shift, bias) > 45
    huge = torch.full((1, 4096, 3, 3), 2**30, dtype=torch.int64)
    with pytest.raises(InputError, match="2\\*\\*53"):
        layer.load_integers(huge, shift, bias)
    with pytest.raises(InputError, match="shift"):
        layer.load_integers(weight, torch.tensor([40], dtype=torch.int8), bias)
    with pytest.raises(InputError, match="shape"):
        layer.load_integers(weight[:, :2], shift, bias)


@given(st.floats(-2000, 2000), st.floats(-2000, 2000))
@settings(max_examples=200)
def test_companding_is_odd_monotone_and_on_the_grid(a: float, b: float) -> None:
    pair = torch.tensor([a, b], dtype=torch.float64)
    bent = compand(pair, is_exact=True)
    assert (bent[0] - bent[1]) * (a - b) >= 0
    assert torch.equal(bent, snap(bent, is_exact=True))
    assert torch.allclose(compand(-pair, is_exact=False), -compand(pair, is_exact=False))


def test_exact_softmax_is_close_to_softmax_and_never_sums_to_more_than_one() -> None:
    logits = random_grid(3, 5, 40, limit=6 << ACTIVATION_BITS)
    softmax = GridSoftmax(is_exact=True)
    softmax.load_integers(exp_table())
    weights = softmax(snap(logits, 6, is_exact=True))
    assert float(weights.sum(dim=-1).max()) <= 1.0
    assert torch.allclose(weights, torch.softmax(logits, dim=-1), atol=0.02)
    assert torch.equal(weights * 2**15, torch.floor(weights * 2**15))


def test_a_table_meets_its_knots_and_lies_between_them() -> None:
    table = GridTable(9, 3, is_exact=True)
    values = torch.randint(-9999, 9999, (9, 3), dtype=torch.int32)
    table.load_integers(values)
    knots = table.interpolate(torch.arange(9) * 800, 6400)
    assert torch.equal(knots * 1024, values.double())
    middle = table.interpolate(torch.tensor([400]), 6400)
    assert torch.allclose(middle[0] * 1024, (values[0] + values[1]).double() / 2, atol=0.51)


LAYERS = [(1, 1), (3, 1), (3, 6)]


@pytest.mark.parametrize(("kernel", "groups"), LAYERS)
def test_an_activated_layer_is_the_layer_and_then_the_rectifier(kernel: int, groups: int) -> None:
    torch.manual_seed(4)
    layer = exact_copy(GridConv2d(6, 6, kernel, groups=groups), 6, 6, kernel, groups)
    for limit in (1 << ACTIVATION_BITS, 32 << ACTIVATION_BITS):
        x = random_grid(2, 6, 5, 7, seed=limit, limit=limit)
        plain = layer(x)
        assert (plain < 0).any()
        assert torch.equal(layer.activated(x), in_many_steps(torch.maximum(plain, plain * 0.125)))


@pytest.mark.parametrize(("kernel", "groups"), LAYERS)
def test_parts_are_the_channels_of_one_input_and_stay_as_they_were(kernel: int, groups: int) -> None:
    torch.manual_seed(5)
    layer = exact_copy(GridConv2d(6, 6, kernel, groups=groups), 6, 6, kernel, groups)
    x = random_grid(2, 6, 5, 7, seed=6)
    before, parts = x.clone(), x.split([1, 3, 2], dim=1)
    assert torch.equal(layer(*parts), layer(x))
    assert torch.equal(layer.activated(*parts), layer.activated(x))
    assert torch.equal(x, before)


def in_many_steps(x: torch.Tensor, bits: int = ACTIVATION_BITS, limit: float = 32.0) -> torch.Tensor:
    return (torch.floor(x * 2.0**bits + 0.5) / 2.0**bits).clamp(-limit, limit)


def test_the_steps_between_layers_are_their_definitions_and_change_no_input() -> None:
    x, y = random_grid(4000, seed=7), random_grid(4000, seed=8)
    kept = x.clone(), y.clone()
    wide = x * 30
    magnitude = wide.abs()
    bent = torch.minimum(torch.minimum(magnitude, magnitude / 4 + 1.5), magnitude / 32 + 5)
    weight = share(y, 0.5, is_exact=True)
    assert torch.equal(snap(x / 3, is_exact=True), in_many_steps(x / 3))
    assert torch.equal(activate(x + y, is_exact=True), in_many_steps(torch.maximum(x + y, (x + y) / 8)))
    assert torch.equal(residual(x, y, is_exact=True), in_many_steps(x + y))
    assert torch.equal(weight, in_many_steps(y / 4 + 0.5).clamp(0, 1))
    assert torch.equal(mix(wide, x, weight, is_exact=True), in_many_steps(wide + weight * (x - wide), 6, 4096.0))
    assert torch.equal(compand(wide, is_exact=True), in_many_steps(torch.sign(wide) * bent))
    assert torch.equal(x, kept[0])
    assert torch.equal(y, kept[1])


def test_both_arithmetics_of_a_step_mean_the_same() -> None:
    x, y = random_grid(500, seed=9), random_grid(500, seed=10)
    assert torch.allclose(residual(x, y, is_exact=True), residual(x, y, is_exact=False))
    assert torch.allclose(share(x, 0.75, is_exact=True), share(x, 0.75, is_exact=False), atol=1e-3)
    weight = share(y, 0.5, is_exact=True)
    assert torch.allclose(mix(x, y, weight, is_exact=True), mix(x, y, weight, is_exact=False), atol=1 / 64)
