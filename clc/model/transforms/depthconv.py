"""The `depthconv` backbone: norm-free depthwise-separable blocks at 1/8 and 1/16, beside a linear transform.

    x --+-- 16x16 linear transform (KLT) ------------------------+-- y        y_hat --+-- inverse KLT -------+-- x_hat
        +-- unshuffle 8 - blocks - unshuffle 2 - blocks - 1x1 ---+                    +-- blocks - shuffle --+

The linear path starts as the KLT of 16x16x3 patches and the last layer of the other path near zero, so that training
begins at a transform codec and learns the rest. The shipped model has this backbone; its interface and how it sees
aligned references are those of `clc.model.transforms.interface`: g_a and g_s see the warped pixels, h_a and g_s also
the latents. g_s may take pixels over.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clc.exact.grid import compand
from clc.model.growing import JoinedInputs, ResidualBranches
from clc.model.transforms.interface import (
    SLOPE,
    Analysis,
    HyperAnalysis,
    ScaleAndShift,
    Synthesis,
    in_full_precision,
    near_zero,
    parts_beside,
    seen_beside,
    shown,
)
from clc.references.aligned import PATCH_PX, AlignedLatents, AlignedPixels, AlignedView

Blocks = tuple[int, int]
"""How many blocks there are at 1/8 and at 1/16."""


def _reach(blocks: Blocks) -> int:
    """In latents: each block has one 3x3 convolution."""
    return blocks[1] + -(-blocks[0] // 2)


class DepthConvBlock(nn.Module, ResidualBranches):
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

    def last_layers(self) -> Iterable[nn.Module]:
        """`leave` and `narrow`, the ends of the two residual branches."""
        return self.leave, self.narrow


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*[DepthConvBlock(channels) for _ in range(count)])


class DepthConvAnalysis(Analysis):
    """g_a; see `Analysis`."""

    def __init__(self, latents: int, narrow: int, wide: int, blocks: Blocks) -> None:
        super().__init__()
        self.blocks = blocks
        self.linear = nn.Conv2d(3 * PATCH_PX**2, latents, 1)
        self.eighth = nn.Sequential(nn.Conv2d(192, narrow, 1), *_blocks(narrow, blocks[0]))
        self.sixteenth = nn.Sequential(nn.Conv2d(4 * narrow, wide, 1), *_blocks(wide, blocks[1]))
        self.leave = near_zero(nn.Conv2d(wide, latents, 1))
        self.eighth_aligned = near_zero(nn.Conv2d(193, narrow, 1), 0.0)

    def forward(
        self, x: Tensor, aligned: AlignedPixels | None = None, modulation: ScaleAndShift | None = None
    ) -> Tensor:
        """Pictures to latents."""
        centred = x - 0.5
        deep = self.eighth[0](F.pixel_unshuffle(centred, 8) * 2.0)
        if aligned is not None:
            seen = [F.pixel_unshuffle(shown(aligned), 8) * 2.0, F.avg_pool2d(aligned.inside, 8)]
            deep = deep + self.eighth_aligned(torch.cat(seen, dim=1)) * aligned.present
        deep = self.sixteenth[0](F.pixel_unshuffle(self.eighth[1:](deep), 2))
        if modulation is not None:
            deep = deep * (1.0 + modulation[0]) + modulation[1]
        deep = self.sixteenth[1:](deep)
        return in_full_precision(self.linear, F.pixel_unshuffle(centred, PATCH_PX)) + self.leave(deep)

    def reach(self) -> int:
        """As far as its blocks see."""
        return _reach(self.blocks)

    def linear_path(self) -> nn.Conv2d:
        """The KLT."""
        return self.linear


class DepthConvSynthesis(Synthesis, JoinedInputs):
    """g_s; see `Synthesis`.

    An aligned reference serves twice at the end: a share `of_coarse` of its difference in what latents can carry and
    one `of_fine` of the detail that they cannot are added; both shares are made for every pixel and colour.
    """

    def __init__(self, latents: int, narrow: int, wide: int, conditioning: int, blocks: Blocks) -> None:
        super().__init__()
        self.blocks, self.latents, self.conditioning = blocks, latents, conditioning
        self.linear = nn.Conv2d(latents, 3 * PATCH_PX**2, 1)
        self.enter = nn.Conv2d(latents + conditioning, wide, 1)
        self.sixteenth = _blocks(wide, blocks[1])
        self.expand = nn.Conv2d(wide, 4 * narrow, 1)
        self.eighth = _blocks(narrow, blocks[0])
        self.leave = near_zero(nn.Conv2d(narrow, 192, 1))
        self.enter_aligned = near_zero(nn.Conv2d(2 * latents + 1, wide, 1), 0.0)
        self.eighth_aligned = near_zero(nn.Conv2d(385, narrow, 1), 0.0)
        self.take_over = near_zero(nn.Conv2d(narrow, 384, 1), 0.0)

    def forward(
        self,
        y_hat: Tensor,
        step: Tensor,
        rate_modulation: ScaleAndShift,
        a: Tensor,
        aligned: AlignedView | None = None,
    ) -> Tensor:
        """Latents to pictures."""
        smooth = F.pixel_shuffle(in_full_precision(self.linear, y_hat * step), PATCH_PX)
        known = torch.cat([compand(y_hat, is_exact=False), a], dim=1)
        # All layers behind keep this layout, in which a 1x1 convolution of bfloat16 takes half of the time on a CPU.
        deep = self.enter(known.contiguous(memory_format=torch.channels_last))
        if aligned is not None:
            deep = deep + self.enter_aligned(seen_beside(y_hat, aligned.latents)) * aligned.latents.present
        deep = self.sixteenth(deep * (1.0 + rate_modulation[0]) + rate_modulation[1])
        deep = F.pixel_shuffle(self.expand(deep), 2)
        if aligned is None:
            return smooth + F.pixel_shuffle(self.leave(self.eighth(deep)), 8) + 0.5
        pixels = aligned.pixels
        missing = (shown(pixels) - smooth) * pixels.inside
        seen = [F.pixel_unshuffle(shown(pixels), 8), F.pixel_unshuffle(missing, 8)]
        seen.append(F.avg_pool2d(pixels.inside, 8))
        deep = self.eighth(deep + self.eighth_aligned(torch.cat(seen, dim=1)) * pixels.present)
        coded = F.pixel_shuffle(in_full_precision(self.linear, aligned.latents.r * step), PATCH_PX)
        fine = (shown(pixels) - coded) * pixels.inside
        taken = self.take_over(deep) * pixels.present
        of_coarse, of_fine = (F.pixel_shuffle(part, 8) for part in taken.chunk(2, dim=1))
        return smooth + of_coarse * (missing - fine) + of_fine * fine + F.pixel_shuffle(self.leave(deep), 8) + 0.5

    def reach(self) -> int:
        """As far as its blocks see."""
        return _reach(self.blocks)

    def linear_path(self) -> nn.Conv2d:
        """The inverse KLT."""
        return self.linear

    def input_parts(self) -> dict[str, tuple[int, ...]]:
        """`enter` reads latents and a, `enter_aligned` reads `seen_beside`."""
        return {"enter": (self.latents, self.conditioning), "enter_aligned": parts_beside(self.latents)}


class DepthConvHyperAnalysis(HyperAnalysis, JoinedInputs):
    """h_a; see `HyperAnalysis`."""

    def __init__(self, latents: int, width: int, hyper: int) -> None:
        super().__init__()
        self.latents = latents
        self.enter = nn.Conv2d(latents, width, 1)
        self.first = DepthConvBlock(width)
        self.to_half = nn.Conv2d(4 * width, width, 1)
        self.second = DepthConvBlock(width)
        self.to_quarter = nn.Conv2d(4 * width, hyper, 1)
        self.enter_aligned = near_zero(nn.Conv2d(2 * latents + 1, width, 1), 0.0)

    def forward(self, y: Tensor, aligned: AlignedLatents | None = None) -> Tensor:
        """Latents to hyper-latents."""
        h = self.enter(compand(y, is_exact=False))
        if aligned is not None:
            h = h + self.enter_aligned(seen_beside(y, aligned)) * aligned.present
        h = self.first(h)
        h = self.second(self.to_half(F.pixel_unshuffle(h, 2)))
        return self.to_quarter(F.pixel_unshuffle(F.leaky_relu(h, SLOPE), 2))

    def last_layer(self) -> nn.Conv2d:
        """See `HyperAnalysis`."""
        return self.to_quarter

    def input_parts(self) -> dict[str, tuple[int, ...]]:
        """`enter_aligned` reads `seen_beside`."""
        return {"enter_aligned": parts_beside(self.latents)}
