"""Latent residual prediction: a guess at what rounding took from the latents, before g_s.

    y_hat, a --1x1--3x3--1x1-- tanh / 2 --+-- y_hat + residual --> g_s

Minnen and Singh, "Channel-wise autoregressive entropy models for learned image compression", ICIP 2020, section 3.2.
There the result of a slice is context for the next one. Here it would have to be exact for that; it is float and feeds
g_s only, from all slices at once, so that it never decides a symbol. It wraps any backbone's g_s.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clc.exact.grid import compand
from clc.model.growing import JoinedInputs
from clc.model.transforms.interface import SLOPE, ScaleAndShift, Synthesis, near_zero
from clc.references.aligned import AlignedView

WIDTH = 96


class RefinedSynthesis(Synthesis, JoinedInputs):
    """g_s behind a network that moves each latent by less than half a step; starts as `synthesis` itself."""

    def __init__(self, synthesis: Synthesis, latents: int, conditioning: int) -> None:
        super().__init__()
        self.synthesis, self.latents, self.conditioning = synthesis, latents, conditioning
        self.enter = nn.Conv2d(latents + conditioning, WIDTH, 1)
        self.spatial = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.leave = near_zero(nn.Conv2d(WIDTH, latents, 1), 0.0)

    def residual(self, y_hat: Tensor, a: Tensor) -> Tensor:
        """The predicted y - y_hat (B, M, h, w), within +-0.5 symbol units."""
        u = F.leaky_relu(self.enter(torch.cat([compand(y_hat, is_exact=False), a], dim=1)), SLOPE)
        return 0.5 * torch.tanh(self.leave(F.leaky_relu(self.spatial(u), SLOPE)))

    def forward(
        self,
        y_hat: Tensor,
        step: Tensor,
        rate_modulation: ScaleAndShift,
        a: Tensor,
        aligned: AlignedView | None = None,
    ) -> Tensor:
        """Latents to pictures."""
        pictures: Tensor = self.synthesis(y_hat + self.residual(y_hat, a), step, rate_modulation, a, aligned)
        return pictures

    def reach(self) -> int | None:
        """That of the wrapped g_s and one more for the 3x3 convolution."""
        inner = self.synthesis.reach()
        return None if inner is None else inner + 1

    def linear_path(self) -> nn.Conv2d | None:
        """That of the wrapped g_s."""
        return self.synthesis.linear_path()

    def input_parts(self) -> dict[str, tuple[int, ...]]:
        """`enter` reads latents and a."""
        return {"enter": (self.latents, self.conditioning)}
