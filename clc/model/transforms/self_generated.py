"""The float side of a self-generated prior: what makes it at the encoder, and how g_a and g_s see it.

    x -- mean of 4x4 -- unshuffle 8 --+-- linear (KLT) --+-- p          structure -- 1x1 -- scale, shift for g_a, g_s
                                      +-- network -------+

The exact side, from p_hat to the structure, is `clc.model.prior.self_generated`. The linear path starts as a KLT
(`clc.training.klt_start.start_self_prior`): p that starts near zero would round to zero, and then nothing behind it
ever gets a gradient. The layers of scale and shift start at zero.

Shapes: B pictures, P latents of the prior at 1/32, S channels of the structure, h = H/16, w = W/16.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from clc.model.transforms.depthconv import DepthConvBlock
from clc.model.transforms.interface import ScaleAndShift, near_zero

MEAN_PX, BLOCK = 4, 8
"""Means of 4x4 px, of which blocks of 8x8 make a value of p: its stride is 32 px."""
INPUTS = 3 * BLOCK**2
WIDTH = 64


def small_blocks(x: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) in 0..1 -> blocks of their means (B, 192, H/32, W/32), around 0."""
    return F.pixel_unshuffle(F.avg_pool2d(x - 0.5, MEAN_PX), BLOCK)


class Source(nn.Module):
    """Pictures (B, 3, H, W) in 0..1, H and W multiples of 32 -> p (B, P, H/32, W/32), not yet over its step."""

    def __init__(self, latents: int) -> None:
        super().__init__()
        self.linear = nn.Conv2d(INPUTS, latents, 1)
        self.enter = nn.Conv2d(INPUTS, WIDTH, 1)
        self.block = DepthConvBlock(WIDTH)
        self.leave = near_zero(nn.Conv2d(WIDTH, latents, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Pictures to the latents of the prior."""
        blocks = small_blocks(x)
        p: Tensor = self.linear(blocks) + self.leave(self.block(self.enter(blocks * 2.0)))
        return p


class Modulation(nn.Module):
    """Structure (B, S, h, w) -> scale and shift (B, wide, h, w) of a transform at 1/16; both start at zero."""

    def __init__(self, structure: int, wide: int) -> None:
        super().__init__()
        self.film = near_zero(nn.Conv2d(structure, 2 * wide, 1), 0.0)

    def forward(self, structure: Tensor) -> ScaleAndShift:
        """Scale and shift."""
        scale, shift = self.film(structure).chunk(2, dim=1)
        return scale, shift


def added(one: ScaleAndShift, other: ScaleAndShift) -> ScaleAndShift:
    """Both modulations at once."""
    return one[0] + other[0], one[1] + other[1]


class SelfPriorTransforms(nn.Module):
    """The source of p, and the modulations by which g_a and g_s see the structure."""

    def __init__(self, latents: int, structure: int, wide: int) -> None:
        super().__init__()
        self.source = Source(latents)
        self.to_g_a = Modulation(structure, wide)
        self.to_g_s = Modulation(structure, wide)
