"""The hyperprior: the prior of z, one mixture of three logistics for each channel, and the hyper synthesis h_s.

In training the prior gives likelihoods with gradients; at export it becomes one integer table for each channel and is
never evaluated again. (Balle et al. 2018 use a small network for the same purpose; a mixture has fewer parts and no
auxiliary loss.)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clc.exact.grid import activate, compand, residual, snap
from clc.exact.layers import GridConv2d, ignoring_last

COMPONENTS = 3
SUPPORT = 96


class FactorizedPrior(nn.Module):
    """Channel-wise mixture of logistics over z (B, Z, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, COMPONENTS))
        self.mean = nn.Parameter(torch.linspace(-1.0, 1.0, COMPONENTS).repeat(channels, 1))
        self.log_scale = nn.Parameter(torch.full((channels, COMPONENTS), 0.5))

    def _cumulative(self, z_BChw: Tensor) -> Tensor:
        position = (z_BChw[..., None] - self.mean[:, None, None]) * torch.exp(-self.log_scale)[:, None, None]
        return (torch.softmax(self.weight, dim=-1)[:, None, None] * torch.sigmoid(position)).sum(dim=-1)

    def bits(self, z_BChw: Tensor) -> Tensor:
        """-log2 of the mass of the unit interval around each value, same shape."""
        mass = self._cumulative(z_BChw + 0.5) - self._cumulative(z_BChw - 0.5)
        return -torch.log2(mass.clamp_min(1e-7))

    @torch.no_grad()
    def masses(self) -> tuple[list[npt.NDArray[np.float64]], list[int]]:
        """A float64 probability vector for each channel, without tails below 2**-20, and the value of its first
        element.
        """
        grid = torch.arange(-SUPPORT, SUPPORT + 1, dtype=torch.float32, device=self.mean.device)
        spread = grid.expand(1, self.mean.shape[0], 1, -1)
        mass = (self._cumulative(spread + 0.5) - self._cumulative(spread - 0.5))[0, :, 0].double().cpu().numpy()
        rows, offsets = [], []
        for row in mass:
            inside = np.flatnonzero(row > 2.0**-20)
            low, high = min(int(inside[0]), SUPPORT - 1), max(int(inside[-1]), SUPPORT + 1)
            rows.append(row[low : high + 1] / row[low : high + 1].sum())
            offsets.append(low - SUPPORT)
        return rows, offsets


class HyperSynthesis(nn.Module):
    """h_s: z_hat (B, Z, h/4, w/4) and a vector of the rate level (B, C) -> h (B, C, h, w).

    The last layer reads the `structure` of a self-generated prior too, so many channels of it; at first it ignores it.
    """

    def __init__(self, hyper: int, width: int, features: int, structure: int = 0, *, is_exact: bool) -> None:
        super().__init__()
        self.is_exact = is_exact
        self.enter = GridConv2d(hyper, width, 3, is_exact=is_exact)
        self.to_half = GridConv2d(width, 4 * width, is_exact=is_exact)
        self.spatial = GridConv2d(width, width, 3, groups=width, is_exact=is_exact)
        self.to_full = GridConv2d(width, 4 * features, is_exact=is_exact)
        self.smooth = GridConv2d(features, features, 3, groups=features, is_exact=is_exact)
        self.leave = ignoring_last(GridConv2d(features + structure, features, is_exact=is_exact), structure)

    def forward(self, z_hat: Tensor, level_BC: Tensor, structure: Tensor | None = None) -> Tensor:
        """Hyper-latents to hyper features; `structure` (B, S, h, w)."""
        is_exact = self.is_exact
        h = self.enter.activated(compand(z_hat, is_exact=is_exact))
        h = F.pixel_shuffle(self.to_half.activated(h), 2)
        h = residual(h, self.spatial.activated(h), is_exact=is_exact)
        h = snap(F.pixel_shuffle(self.to_full(h), 2) + level_BC[:, :, None, None], is_exact=is_exact)
        h = activate(h, is_exact=is_exact)
        h = residual(h, self.smooth.activated(h), is_exact=is_exact)
        return self.leave.activated(h) if structure is None else self.leave.activated(h, structure)
