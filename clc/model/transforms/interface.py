"""What every backbone offers: g_a, g_s and h_a with one way to call each, and the layers that backbones share.

    x -- Analysis -- y        y_hat -- Synthesis -- x_hat        y over its step -- HyperAnalysis -- z

`clc.model.model`, `clc.codec` and training call the transforms through these classes alone, so a backbone is one file
beside this one and a name in `clc.model.transforms.backbones`. All of it is float32: a transform makes latents at the
encoder and pixels at the decoder, and never an entropy parameter.

A batch may come with an aligned reference (`clc.model.prior.fusion`). A transform sees it through layers of its own
that start at zero and are not run otherwise, so that a picture without one is coded as if there were no such layers.

Shapes: B pictures, M latent channels, Z hyper channels, h = H/16, w = W/16, A reference features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from clc.exact.grid import compand
from clc.references.aligned import AlignedLatents, AlignedPixels, AlignedView

SLOPE = 0.125


ScaleAndShift = tuple[Tensor, Tensor]
"""Of the features of a transform; each (B, wide, 1, 1), or (B, wide, h, w) where it differs from place to place."""


class Analysis(nn.Module, ABC):
    """g_a: pictures (B, 3, H, W) in 0..1 with H, W multiples of 64 -> latents y (B, M, h, w).

    `modulation` (B, wide, h, w) each is what a self-generated prior makes of the features (`self_generated`).
    """

    @abstractmethod
    def forward(
        self, x: Tensor, aligned: AlignedPixels | None = None, modulation: ScaleAndShift | None = None
    ) -> Tensor:
        """Pictures to latents."""

    def linear_path(self) -> nn.Conv2d | None:
        """The 1x1 convolution (768 -> M) of 16x16 patches that the latents follow, where the backbone has one."""
        return None

    def reach(self) -> int | None:
        """Beyond how many latents (16 px) nothing influences one; None where all of the picture may."""
        return None


class Synthesis(nn.Module, ABC):
    """g_s: y_hat in symbol units, step sizes, rate-level vectors and reference features -> pictures (B, 3, H, W).

    `y_hat` (B, M, h, w) are latents over their step; `step` (B, M, 1, 1) brings them back to the scale of y;
    `rate_modulation` holds scale and shift of the rate level, and of a self-generated prior where there is one; `a`
    (B, A, h, w) are the features of the conditioner. The output is not clamped.
    """

    @abstractmethod
    def forward(
        self,
        y_hat: Tensor,
        step: Tensor,
        rate_modulation: ScaleAndShift,
        a: Tensor,
        aligned: AlignedView | None = None,
    ) -> Tensor:
        """Latents to pictures."""

    def linear_path(self) -> nn.Conv2d | None:
        """The 1x1 convolution (M -> 768) that inverts `Analysis.linear_path`, where the backbone has one."""
        return None

    def reach(self) -> int | None:
        """See `Analysis.reach`."""
        return None


class HyperAnalysis(nn.Module, ABC):
    """h_a: latents in symbol units (B, M, h, w), h and w multiples of 4 -> z (B, Z, h/4, w/4)."""

    @abstractmethod
    def forward(self, y: Tensor, aligned: AlignedLatents | None = None) -> Tensor:
        """Latents to hyper-latents."""

    @abstractmethod
    def last_layer(self) -> nn.Conv2d:
        """The convolution that makes z; its weight is scaled when training starts
        (`clc.training.klt_start.spread_hyper_latents`).
        """


class Transforms(NamedTuple):
    """The three transforms of one backbone."""

    g_a: Analysis
    g_s: Synthesis
    h_a: HyperAnalysis


def near_zero(conv: nn.Conv2d, factor: float = 0.01) -> nn.Conv2d:
    """Scales the weights of a fresh layer by `factor` and clears its bias; returns the layer."""
    with torch.no_grad():
        conv.weight.mul_(factor)
        if conv.bias is not None:
            conv.bias.zero_()
    return conv


def in_full_precision(layer: nn.Module, x: Tensor) -> Tensor:
    """The layer in float32, or in float64 where `x` is, without autocast: bfloat16 has too few digits for a linear
    transform of pictures.
    """
    with torch.autocast(x.device.type, enabled=False):
        y: Tensor = layer(x if x.dtype is torch.float64 else x.float())
    return y


def shown(aligned: AlignedPixels) -> Tensor:
    """The warped pixels as g_a takes pictures: around 0, and 0 where the reference does not reach."""
    return (aligned.levels / 255.0 - 0.5) * aligned.inside


def seen_beside(y: Tensor, latents: AlignedLatents) -> Tensor:
    """What latents y (B, M, h, w) look like beside those of a reference: r, error and coverage (B, 2 M + 1, h, w)."""
    error = (y - latents.r) * latents.covered
    return torch.cat([compand(latents.r, is_exact=False), compand(error, is_exact=False), latents.covered], dim=1)


def parts_beside(latents: int) -> tuple[int, int, int]:
    """The channels of r, error and coverage in `seen_beside`, for M latent channels."""
    return latents, latents, 1
