"""The `tcm` backbone: transformers and convolutions mixed, as the paper of CLC has it.

    x --down--mix--down--mix--down--mix--conv/2-- y        y_hat --enter--up--mix--up--mix--up--mix--conv*2-- x_hat
       1/2        1/4        1/8        1/16                      1/16     1/8    1/4      1/2           1

A mixing block (Liu, Sun and Katto, "Learned Image Compression with Mixed Transformer-CNN Architectures", CVPR 2023,
section 3.2) splits its 2 N channels into two halves: a residual convolution block and a block of window attention, in
windows of 8 positions in g_a and g_s and of 4 in h_a, every second one shifted by half a window; a 1x1 convolution
joins them, with a residual around all. Strided residual blocks with GDN go down, sub-pixel ones with inverse GDN up.

Where this differs from that paper: the picture is centred and the latents are scaled by a constant, so that fresh
weights start at the step sizes of `clc.model.gains.Gains`; g_s begins with a 1x1 layer that takes the conditioner's
features and the vector of the rate level; h_s and the entropy model are the exact ones of `clc.model.prior.prior`.
There is no linear path: what an aligned reference says as a KLT lies in another basis than y
(`clc.training.klt_start`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clc.exact.grid import compand
from clc.model.growing import JoinedInputs
from clc.model.transforms.interface import (
    Analysis,
    HyperAnalysis,
    ScaleAndShift,
    Synthesis,
    near_zero,
    parts_beside,
    seen_beside,
    shown,
)
from clc.model.transforms.windows import SwinBlock
from clc.references.aligned import AlignedLatents, AlignedPixels, AlignedView

WINDOW = 8
HYPER_WINDOW = 4
HEAD_WIDTHS = (8, 16, 32)
BLOCKS = 2
LATENT_SCALE = 8.0
GDN_FLOOR = 1e-6


class GDN(nn.Module):
    """x / sqrt(beta + gamma x**2) over the channels of (B, C, H, W), or times it (`is_inverse`); Balle et al. 2016.

    beta and gamma are squares of the parameters, hence never negative.
    """

    def __init__(self, channels: int, *, is_inverse: bool = False) -> None:
        super().__init__()
        self.is_inverse = is_inverse
        self.beta = nn.Parameter(torch.ones(channels))
        # A square has no slope at 0: what is off the diagonal starts a little beside it.
        self.gamma = nn.Parameter(torch.sqrt(0.1 * torch.eye(channels) + 2.0**-18))

    def forward(self, x: Tensor) -> Tensor:
        """Normalises, or undoes it."""
        energy = F.conv2d(x.square(), self.gamma.square()[:, :, None, None], self.beta.square() + GDN_FLOOR)
        return x * (torch.sqrt(energy) if self.is_inverse else torch.rsqrt(energy))


class ResidualDown(nn.Module):
    """Halves both sides: (B, C, H, W) -> (B, D, H/2, W/2); a strided 3x3, a 3x3 and GDN, beside a strided 1x1."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.gdn = GDN(outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """One step down."""
        # The stride is taken here: the gradient of a strided 1x1 convolution of three channels, channels last, writes
        # beyond its memory in oneDNN's AVX2 code (torch 2.13).
        skipped: Tensor = self.skip(x[..., ::2, ::2])
        return skipped + self.gdn(self.second(F.leaky_relu(self.first(x))))


class ResidualUp(nn.Module):
    """Doubles both sides: (B, C, H, W) -> (B, C, 2 H, 2 W); sub-pixel 3x3, 3x3 and inverse GDN, beside a sub-pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 4 * channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.gdn = GDN(channels, is_inverse=True)
        self.skip = nn.Conv2d(channels, 4 * channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """One step up."""
        wide = F.leaky_relu(F.pixel_shuffle(self.first(x), 2))
        return F.pixel_shuffle(self.skip(x), 2) + self.gdn(self.second(wide))


class MixedBlock(nn.Module):
    """One TCM block: (B, 2 N, H, W) kept; half of the channels through convolutions, half through attention."""

    def __init__(self, n: int, head_width: int, window: int, *, is_shifted: bool) -> None:
        super().__init__()
        self.split = nn.Conv2d(2 * n, 2 * n, 1)
        self.first = nn.Conv2d(n, n, 3, padding=1)
        self.second = nn.Conv2d(n, n, 3, padding=1)
        self.attention = SwinBlock(n, head_width, window, is_shifted=is_shifted)
        self.join = nn.Conv2d(2 * n, 2 * n, 1)

    def forward(self, x: Tensor) -> Tensor:
        """One block."""
        local, distant = self.split(x).chunk(2, dim=1)
        local = local + F.leaky_relu(self.second(F.leaky_relu(self.first(local))))
        joined: Tensor = self.join(torch.cat([local, self.attention(distant)], dim=1))
        return x + joined


def _mixed(n: int, head_width: int, window: int = WINDOW) -> nn.Sequential:
    blocks = [MixedBlock(n, head_width, window, is_shifted=bool(i % 2)) for i in range(BLOCKS)]
    return nn.Sequential(*blocks)


class TcmAnalysis(Analysis):
    """g_a; see `Analysis`. A reference's warped pixels and a self-generated prior join at 1/8."""

    def __init__(self, latents: int, n: int) -> None:
        super().__init__()
        wide = 2 * n
        self.at_half = nn.Sequential(ResidualDown(3, wide), _mixed(n, HEAD_WIDTHS[0]))
        self.at_quarter = nn.Sequential(ResidualDown(wide, wide), _mixed(n, HEAD_WIDTHS[1]))
        self.to_eighth = ResidualDown(wide, wide)
        self.at_eighth = _mixed(n, HEAD_WIDTHS[2])
        self.leave = nn.Conv2d(wide, latents, 3, stride=2, padding=1)
        self.eighth_aligned = near_zero(nn.Conv2d(193, wide, 1), 0.0)

    def forward(
        self, x: Tensor, aligned: AlignedPixels | None = None, modulation: ScaleAndShift | None = None
    ) -> Tensor:
        """Pictures to latents."""
        deep = self.to_eighth(self.at_quarter(self.at_half(x - 0.5)))
        if aligned is not None:
            deep = deep + self.eighth_aligned(_pixels_at_eighth(aligned)) * aligned.present
        if modulation is not None:
            scale, shift = (F.interpolate(part, scale_factor=2.0, mode="nearest") for part in modulation)
            deep = deep * (1.0 + scale) + shift
        latents: Tensor = self.leave(self.at_eighth(deep)) * LATENT_SCALE
        return latents


class TcmSynthesis(Synthesis, JoinedInputs):
    """g_s; see `Synthesis`.

    A reference's latents join at 1/16, its warped pixels at 1/8; at the end a share of the difference between the
    warped pixels and what was decoded is added, made for every pixel and colour.
    """

    def __init__(self, latents: int, n: int, conditioning: int) -> None:
        super().__init__()
        wide = 2 * n
        self.latents, self.conditioning = latents, conditioning
        self.enter = nn.Conv2d(latents + conditioning, wide, 1)
        self.to_eighth = ResidualUp(wide)
        self.at_eighth = _mixed(n, HEAD_WIDTHS[2])
        self.at_quarter = nn.Sequential(ResidualUp(wide), _mixed(n, HEAD_WIDTHS[1]))
        self.at_half = nn.Sequential(ResidualUp(wide), _mixed(n, HEAD_WIDTHS[0]))
        self.leave = near_zero(nn.Conv2d(wide, 12, 3, padding=1), 0.1)
        self.enter_aligned = near_zero(nn.Conv2d(2 * latents + 1, wide, 1), 0.0)
        self.eighth_aligned = near_zero(nn.Conv2d(193, wide, 1), 0.0)
        self.take_over = near_zero(nn.Conv2d(wide, 12, 1), 0.0)

    def forward(
        self,
        y_hat: Tensor,
        step: Tensor,
        rate_modulation: ScaleAndShift,
        a: Tensor,
        aligned: AlignedView | None = None,
    ) -> Tensor:
        """Latents to pictures."""
        deep = self.enter(torch.cat([y_hat * step / LATENT_SCALE, a], dim=1))
        if aligned is not None:
            deep = deep + self.enter_aligned(seen_beside(y_hat, aligned.latents)) * aligned.latents.present
        deep = self.to_eighth(deep * (1.0 + rate_modulation[0]) + rate_modulation[1])
        if aligned is not None:
            deep = deep + self.eighth_aligned(_pixels_at_eighth(aligned.pixels)) * aligned.pixels.present
        deep = self.at_half(self.at_quarter(self.at_eighth(deep)))
        decoded = F.pixel_shuffle(self.leave(deep), 2)
        if aligned is not None:
            pixels = aligned.pixels
            share = F.pixel_shuffle(self.take_over(deep), 2) * pixels.present
            decoded = decoded + share * (shown(pixels) - decoded) * pixels.inside
        return decoded + 0.5

    def input_parts(self) -> dict[str, tuple[int, ...]]:
        """`enter` reads latents and a, `enter_aligned` reads `seen_beside`."""
        return {"enter": (self.latents, self.conditioning), "enter_aligned": parts_beside(self.latents)}


class TcmHyperAnalysis(HyperAnalysis, JoinedInputs):
    """h_a; see `HyperAnalysis`."""

    def __init__(self, latents: int, width: int, hyper: int) -> None:
        super().__init__()
        self.latents = latents
        self.down = ResidualDown(latents, width)
        self.mixed = _mixed(width // 2, HEAD_WIDTHS[2], HYPER_WINDOW)
        self.leave = nn.Conv2d(width, hyper, 3, stride=2, padding=1)
        self.enter_aligned = near_zero(nn.Conv2d(4 * (2 * latents + 1), width, 1), 0.0)

    def forward(self, y: Tensor, aligned: AlignedLatents | None = None) -> Tensor:
        """Latents to hyper-latents."""
        h = self.down(compand(y, is_exact=False))
        if aligned is not None:
            h = h + self.enter_aligned(F.pixel_unshuffle(seen_beside(y, aligned), 2)) * aligned.present
        z: Tensor = self.leave(self.mixed(h))
        return z

    def last_layer(self) -> nn.Conv2d:
        """See `HyperAnalysis`."""
        return self.leave

    def input_parts(self) -> dict[str, tuple[int, ...]]:
        """`enter_aligned` reads `seen_beside`, of which `pixel_unshuffle` makes four channels of each."""
        return {"enter_aligned": tuple(4 * channels for channels in parts_beside(self.latents))}


def _pixels_at_eighth(aligned: AlignedPixels) -> Tensor:
    """Warped pixels and their coverage by 8x8 blocks (B, 193, H/8, W/8)."""
    seen = [F.pixel_unshuffle(shown(aligned), 8) * 2.0, F.avg_pool2d(aligned.inside, 8)]
    return torch.cat(seen, dim=1)
