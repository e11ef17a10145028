"""The `depthconv` backbone: norm-free depthwise-separable blocks at 1/8 and 1/16, beside a linear transform.

    x --+-- 16x16 linear transform (KLT) ------------------------+-- y        y_hat --+-- inverse KLT -------+-- x_hat
        +-- unshuffle 8 - blocks - unshuffle 2 - blocks - 1x1 ---+                    +-- blocks - shuffle --+

The linear path starts as the KLT of 16x16x3 patches and the last layer of the other path near zero, so that training
begins at a transform codec and learns the rest. Everything here is float32: it makes latents at the encoder and pixels
at the decoder, and never an entropy parameter.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clc.exact import compand

PATCH_PX = 16
SLOPE = 0.125


class DepthConvBlock(nn.Module):
    """1x1 - activation - depthwise 3x3 - 1x1, then a two-layer 1x1 network, each with a residual: (B, C, H, W) kept."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels, channels, 1)
        self.spatial = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.leave = nn.Conv2d(channels, channels, 1)
        self.widen = nn.Conv2d(channels, 2 * channels, 1)
        self.narrow = nn.Conv2d(2 * channels, channels, 1)
        with torch.no_grad():
            self.leave.weight.mul_(0.3)
            self.narrow.weight.mul_(0.3)

    def forward(self, x: Tensor) -> Tensor:
        """One block."""
        x = x + self.leave(self.spatial(F.leaky_relu(self.enter(x), SLOPE)))
        return x + self.narrow(F.leaky_relu(self.widen(x), SLOPE))


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*[DepthConvBlock(channels) for _ in range(count)])


def _near_zero(conv: nn.Conv2d) -> nn.Conv2d:
    with torch.no_grad():
        conv.weight.mul_(0.01)
        if conv.bias is not None:
            conv.bias.zero_()
    return conv


class Analysis(nn.Module):
    """g_a: pictures (B, 3, H, W) in 0..1 with H, W multiples of 16 -> latents y (B, M, H/16, W/16)."""

    def __init__(self, latents: int, narrow: int, wide: int) -> None:
        super().__init__()
        self.linear = nn.Conv2d(3 * PATCH_PX**2, latents, 1)
        self.eighth = nn.Sequential(nn.Conv2d(192, narrow, 1), *_blocks(narrow, 2))
        self.sixteenth = nn.Sequential(nn.Conv2d(4 * narrow, wide, 1), *_blocks(wide, 3))
        self.leave = _near_zero(nn.Conv2d(wide, latents, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Pictures to latents."""
        centred = x - 0.5
        deep = F.pixel_unshuffle(self.eighth(F.pixel_unshuffle(centred, 8) * 2.0), 2)
        return self.linear(F.pixel_unshuffle(centred, PATCH_PX)) + self.leave(self.sixteenth(deep))


class Synthesis(nn.Module):
    """g_s: y_hat in symbol units, step sizes, rate-level vectors and reference features -> pictures (B, 3, H, W).

    `y_hat` (B, M, h, w) are latents over their step; `step` (B, M, 1, 1) brings them back to the linear path's scale.
    `a` (B, A, h, w) are the aligned reference features of `clc.matching`. The output is not clamped.
    """

    def __init__(self, latents: int, narrow: int, wide: int, reference: int) -> None:
        super().__init__()
        self.linear = nn.Conv2d(latents, 3 * PATCH_PX**2, 1)
        self.enter = nn.Conv2d(latents + reference, wide, 1)
        self.sixteenth = _blocks(wide, 3)
        self.expand = nn.Conv2d(wide, 4 * narrow, 1)
        self.eighth = _blocks(narrow, 2)
        self.leave = _near_zero(nn.Conv2d(narrow, 192, 1))

    def forward(self, y_hat: Tensor, step: Tensor, film: tuple[Tensor, Tensor], a: Tensor) -> Tensor:
        """Latents to pictures; `film` holds scale and shift (B, wide, 1, 1) of the rate level."""
        deep = self.enter(torch.cat([compand(y_hat, is_exact=False), a], dim=1))
        deep = self.sixteenth(deep * (1.0 + film[0]) + film[1])
        deep = self.leave(self.eighth(F.pixel_shuffle(self.expand(deep), 2)))
        smooth = F.pixel_shuffle(self.linear(y_hat * step), PATCH_PX)
        return smooth + F.pixel_shuffle(deep, 8) + 0.5


class HyperAnalysis(nn.Module):
    """h_a: latents in symbol units (B, M, h, w), h and w multiples of 4 -> z (B, Z, h/4, w/4)."""

    def __init__(self, latents: int, width: int, hyper: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(latents, width, 1)
        self.first = DepthConvBlock(width)
        self.to_half = nn.Conv2d(4 * width, width, 1)
        self.second = DepthConvBlock(width)
        self.to_quarter = nn.Conv2d(4 * width, hyper, 1)

    def forward(self, y: Tensor) -> Tensor:
        """Latents to hyper-latents."""
        h = self.first(self.enter(compand(y, is_exact=False)))
        h = self.second(self.to_half(F.pixel_unshuffle(h, 2)))
        return self.to_quarter(F.pixel_unshuffle(F.leaky_relu(h, SLOPE), 2))
