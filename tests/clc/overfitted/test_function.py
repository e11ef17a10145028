"""The function's parts, each against a law that it obeys."""

import torch
import torch.nn.functional as F

from clc.overfitted.function import BICUBIC, Function, laplace_bits, upsampling
from clc.overfitted.layout import layout_of


def test_the_upsampling_starts_as_a_bicubic_one() -> None:
    x = torch.rand(1, 1, 5, 7, generator=torch.Generator().manual_seed(0))
    taps = torch.tensor(BICUBIC)
    ours = upsampling(taps, 5) @ x[0, 0] @ upsampling(taps, 7).t()
    theirs = F.interpolate(x, scale_factor=2, mode="bicubic", align_corners=False)
    torch.testing.assert_close(ours, theirs[0, 0])


def test_the_function_makes_latents_of_any_size() -> None:
    for height, width in ((1, 1), (3, 10), (17, 4)):
        layout = layout_of(height, width)
        assert Function(5)(torch.zeros(layout.n_latents), layout).shape == (1, 5, height, width)


def test_the_bits_of_all_values_are_those_of_one_distribution() -> None:
    values = torch.arange(-200.0, 201.0)
    for mean, log_scale in ((0.0, -1.0), (0.3, 0.0), (-0.5, 2.5)):
        bits = laplace_bits(values, torch.tensor(mean), torch.tensor(log_scale))
        near = (values - mean).abs() < 5 * 2**log_scale
        assert abs(float(torch.exp2(-bits[near]).sum()) - 1.0) < 0.01


def test_bits_have_gradients_everywhere() -> None:
    values = torch.tensor([-3.0, -0.5, 0.0, 0.5, 40.0], requires_grad=True)
    mean, log_scale = torch.zeros(5, requires_grad=True), torch.full((5,), -4.0, requires_grad=True)
    laplace_bits(values, mean, log_scale).sum().backward()  # type: ignore[no-untyped-call]
    assert all(bool(torch.isfinite(one.grad).all()) for one in (values, mean, log_scale) if one.grad is not None)
