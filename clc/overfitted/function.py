"""The function that is overfitted to one picture: integer latents to the latents y_hat of an autoencoder.

    latents on seven grids -> learned upsampling -> synthesis -> y_hat (C, h, w)
    latents known so far   -> context network    -> mean and scale of the next ones

Upsampling and synthesis are float32 and decide no symbol. The context network decides them: `ContextNet` is what is
fitted, in float32, and `clc.overfitted.coding` runs the same network in integers
(`clc.overfitted.integers.ExactContextNet`).
"""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clc.overfitted.layout import CONTEXTS, FEATURES, Layout
from clc.overfitted.tables import LOG_SCALE_HIGH, LOG_SCALE_LOW

Network = TypeVar("Network", bound=nn.Module)

CONTEXT_SCALE = 4.0
"""Latents enter the context network, and means leave it, divided by this: +-128 fit on the activation grid."""

SLOPE = 0.125
"""Slope of the leaky ReLU below 0, a power of two, as in `clc.exact.grid.activate`."""

LEAST_MASS = 2.0**-16
"""The mass that every value keeps under the coder's tables."""

HIDDEN = 16
"""Width of the first layer of the synthesis."""

BICUBIC = (-0.03515625, -0.10546875, 0.26171875, 0.87890625, 0.87890625, 0.26171875, -0.10546875, -0.03515625)
"""The taps of a bicubic upsampling by two (a = -0.75), with which the learned one begins. Those at even places make the
value left of an input's, the others that right of it."""


class ContextNet(nn.Module):
    """Mean and scale of latents from their contexts: layers of 8, 8 and 2 channels, residuals around the first two."""

    def __init__(self) -> None:
        super().__init__()
        widths = (CONTEXTS, CONTEXTS, 2)
        self.weights = nn.ParameterList(torch.zeros(width, CONTEXTS) for width in widths)
        self.biases = nn.ParameterList(torch.zeros(width, 1) for width in widths)

    def forward(self, contexts_8N: Tensor) -> Tensor:
        """(8, n) values of latents -> (2, n): means, and the base-2 logarithms of the scales."""
        x = contexts_8N / CONTEXT_SCALE
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            x = x + F.leaky_relu(torch.addmm(bias, weight, x), SLOPE)
        mean, log_scale = torch.addmm(self.biases[-1], self.weights[-1], x)
        return torch.stack((mean * CONTEXT_SCALE, log_scale))


class Synthesis(nn.Module):
    """Features (F, h, w) -> y_hat (1, channels, h, w): two layers across channels, two across neighbours."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(sum(FEATURES), HIDDEN, 1)
        self.spread = nn.Conv2d(HIDDEN, channels, 1)
        self.near = tuple(nn.Conv2d(channels, channels, 3, padding=1, groups=channels) for _ in range(2))
        self.near_first, self.near_second = self.near  # by which the parameters are found
        for parameter in (*self.near_first.parameters(), *self.near_second.parameters()):
            nn.init.zeros_(parameter)
        channels_last(self)

    def forward(self, features_Fhw: Tensor) -> Tensor:
        """See the class."""
        features = features_Fhw[None].contiguous(memory_format=torch.channels_last)  # several times as fast
        y = self.spread(F.leaky_relu(self.mix(features), SLOPE))
        y = y + F.leaky_relu(self.near[0](y), SLOPE)
        return y + self.near[1](y)


class Function(nn.Module):
    """Upsampling and synthesis of one picture, with the context network beside it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.context = ContextNet()
        self.taps = nn.Parameter(torch.tensor(BICUBIC))
        self.synthesis = Synthesis(channels)

    def features(self, latents: Tensor, layout: Layout) -> Tensor:
        """Flat latents (n,) -> all features at the resolution of y, (F, h, w), those of the coarsest grid first."""
        made = latents.new_zeros(0, 1, 1)
        for grid in layout.grids:
            own = latents[grid.span].view(grid.shape)
            if len(made):
                sides = zip(made.shape[1:], grid.shape[1:], strict=True)
                rows, columns = (upsampling(self.taps, coarse)[:fine] for coarse, fine in sides)
                own = torch.cat((rows @ made @ columns.t(), own))
            made = own
        return made

    def forward(self, latents: Tensor, layout: Layout) -> Tensor:
        """Flat latents (n,) -> y_hat (1, channels, h, w)."""
        return self.synthesis(self.features(latents, layout))


def channels_last(network: Network) -> Network:
    """The network itself, its weights laid out for maps that are, too: depthwise layers are several times as fast."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack this form
    return network


def upsampling(taps: Tensor, n: int) -> Tensor:
    """The matrix (2 n, n) that upsamples a line of n values by two with 8 taps; values beyond its ends repeat them."""
    ends = F.pad(torch.eye(n, dtype=taps.dtype)[None], (2, 2), mode="replicate")[0]
    shifted = torch.stack([ends[:, i : i + n] for i in range(5)], dim=-1)
    left, right = F.pad(taps[0::2], (0, 1)), F.pad(taps[1::2], (1, 0))
    return (shifted @ torch.stack((left, right), dim=1)).flatten(1).t()


def laplace_bits(values: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """The bits of each value, the negative logarithm of a Laplace distribution's mass within 1/2 of it; all (n,)."""
    decay = -torch.exp2(-log_scale.clamp(LOG_SCALE_LOW, LOG_SCALE_HIGH))
    distance = (values - mean).abs()
    near = distance - 0.5
    at_near, at_far = torch.exp(near.abs() * decay), torch.exp((distance + 0.5) * decay)
    mass = 0.5 * torch.where(near < 0, 2.0 - at_near - at_far, at_near - at_far)
    return -torch.log2(mass.clamp_min(LEAST_MASS))
