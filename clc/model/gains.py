"""The step sizes of the latents and the modulation of g_s, for every quality."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clc.model.config import ModelConfig as ModelConfig
from clc.quality import MAX_QUALITY, MAX_QUALITY_Q6, rate_distortion_lambda


class Gains(nn.Module):
    """Step sizes for each rate level and channel, interpolated in the logarithm over the quality."""

    def __init__(self, knots: int, latents: int, wide: int) -> None:
        super().__init__()
        qualities = torch.linspace(0.0, MAX_QUALITY, knots)
        # The step that minimises rate + lambda * distortion for uniform quantisation: step**2 = 26 / lambda / 255**2.
        step = torch.sqrt(26.0 / rate_distortion_lambda(qualities)) / 255.0
        self.log_step = nn.Parameter(torch.log(step)[:, None].repeat(1, latents))
        self.film = nn.Parameter(torch.zeros(knots, 2 * wide))

    def _interpolate(self, table: Tensor, quality_q6_B: Tensor) -> Tensor:
        place = quality_q6_B.to(table.dtype) * (table.shape[0] - 1) / MAX_QUALITY_Q6
        knot = place.floor().clamp(0, table.shape[0] - 2).long()
        rest = (place - knot)[:, None]
        return (table[knot] * (1.0 - rest) + table[knot + 1] * rest)[:, :, None, None]

    def step(self, quality_q6_B: Tensor) -> Tensor:
        """Quantisation steps (B, M, 1, 1), in units of the orthonormal transform of pictures in 0..1."""
        return torch.exp(self._interpolate(self.log_step, quality_q6_B))

    def modulation(self, quality_q6_B: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and shift (B, wide, 1, 1) for g_s."""
        scale, shift = self._interpolate(self.film, quality_q6_B).chunk(2, dim=1)
        return scale, shift
