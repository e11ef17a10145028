"""The prior of the latents: hyper synthesis h_s, slices with a checkerboard, conditional latent synthesis (CLS).

    z_hat -- h_s --+-- h --+---------------------------+
    quality -------+       |                           |
                           CLM with tokens -- a -------+-- slice i, phase 0, 1 --> mean (q6), scale index (0..63)
                                                       |
                           slices < i, first phase ----+

One function, `Prior.slice_parameters`, makes the mean and the scale of a slice for training, encoding and decoding
(CLC Eq. 7 and 8; the paper's entropy model does not see the references, ours does). CLS (Eq. 5 and 6) is the form of
the mean: alpha * mu_h + (1 - alpha) * y_a with alpha from the features of both. Built from `clc.exact` only.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clc.exact import MEAN_BITS, MEAN_LIMIT, GridConv2d, GridTable, activate, compand, snap
from clc.matching import Matching

PHASES = 2
SCALE_LEVELS = 64
QUALITY_TOP_Q6 = 6400


class SliceParameters(NamedTuple):
    """`mean` (B, C, h, w) in symbol units, on q6 if exact; `scale` (B, C, h, w): level 0..63, an integer if exact."""

    mean: Tensor
    scale: Tensor


def checkerboard(phase: int, like: Tensor) -> Tensor:
    """1 where a position is coded in `phase` (0 or 1), else 0: (1, 1, h, w) for `like` (.., h, w), of its dtype."""
    height, width = like.shape[-2:]
    rows = torch.arange(height, device=like.device)[:, None]
    columns = torch.arange(width, device=like.device)[None, :]
    return ((rows + columns) % PHASES == phase).to(like.dtype)[None, None]


class HyperSynthesis(nn.Module):
    """h_s: z_hat (B, Z, h/4, w/4) and a vector of the rate level (B, C) -> h (B, C, h, w)."""

    def __init__(self, hyper: int, width: int, features: int, *, is_exact: bool) -> None:
        super().__init__()
        self.is_exact = is_exact
        self.enter = GridConv2d(hyper, width, 3, is_exact=is_exact)
        self.to_half = GridConv2d(width, 4 * width, is_exact=is_exact)
        self.spatial = GridConv2d(width, width, 3, groups=width, is_exact=is_exact)
        self.to_full = GridConv2d(width, 4 * features, is_exact=is_exact)
        self.smooth = GridConv2d(features, features, 3, groups=features, is_exact=is_exact)
        self.leave = GridConv2d(features, features, is_exact=is_exact)

    def forward(self, z_hat: Tensor, level_BC: Tensor) -> Tensor:
        """Hyper-latents to hyper features."""
        is_exact = self.is_exact
        h = activate(self.enter(compand(z_hat, is_exact=is_exact)), is_exact=is_exact)
        h = F.pixel_shuffle(activate(self.to_half(h), is_exact=is_exact), 2)
        h = snap(h + activate(self.spatial(h), is_exact=is_exact), is_exact=is_exact)
        h = snap(F.pixel_shuffle(self.to_full(h), 2) + level_BC[:, :, None, None], is_exact=is_exact)
        h = activate(h, is_exact=is_exact)
        h = snap(h + activate(self.smooth(h), is_exact=is_exact), is_exact=is_exact)
        return activate(self.leave(h), is_exact=is_exact)


class SliceNet(nn.Module):
    """The parameters of one slice of C channels, in two checkerboard phases, from everything known before it."""

    def __init__(self, known: int, channels: int, reference: int, width: int, *, is_exact: bool) -> None:
        super().__init__()
        self.is_exact = is_exact
        self.enter = GridConv2d(known, width, is_exact=is_exact)
        self.spatial = GridConv2d(width, width, 3, groups=width, is_exact=is_exact)
        self.anchor_in = GridConv2d(channels, width // 2, 3, is_exact=is_exact)
        self.anchor_out = GridConv2d(width // 2, width, is_exact=is_exact)
        self.hidden = nn.ModuleList(GridConv2d(width, width, is_exact=is_exact) for _ in range(PHASES))
        self.mean = nn.ModuleList(_mean_layer(width, channels, is_exact) for _ in range(PHASES))
        self.shape = nn.ModuleList(GridConv2d(width, 2 * channels, is_exact=is_exact) for _ in range(PHASES))
        self.aligned = _mean_layer(reference, channels, is_exact)

    def base(self, known: Tensor) -> Tensor:
        """What both phases share: known features (B, known, h, w) -> (B, width, h, w)."""
        u = activate(self.enter(known), is_exact=self.is_exact)
        return snap(u + activate(self.spatial(u), is_exact=self.is_exact), is_exact=self.is_exact)

    def slice_parameters(self, phase: int, base: Tensor, anchors: Tensor | None, a: Tensor) -> SliceParameters:
        """Mean and scale level of the slice; `anchors` (B, C, h, w) are the latents of phase 0, zero elsewhere."""
        is_exact = self.is_exact
        u = base
        if anchors is not None:
            v = activate(self.anchor_in(compand(anchors, is_exact=is_exact)), is_exact=is_exact)
            u = snap(u + self.anchor_out(v), is_exact=is_exact)
        u = activate(self.hidden[phase](u), is_exact=is_exact)
        mu_h = self.mean[phase](u)
        scale, blend = self.shape[phase](u).chunk(2, dim=1)
        alpha = snap(blend * 0.25 + 0.75, is_exact=is_exact).clamp(0.0, 1.0)
        mean = snap(alpha * mu_h + (1.0 - alpha) * self.aligned(a), MEAN_BITS, MEAN_LIMIT, is_exact=is_exact)
        level = scale * 8.0 + 24.0
        inside = level.clamp(0.0, SCALE_LEVELS - 1.0)
        if is_exact:
            return SliceParameters(mean, torch.floor(inside + 0.5))
        return SliceParameters(mean, level + (inside - level).detach())


def _mean_layer(inputs: int, channels: int, is_exact: bool) -> GridConv2d:
    return GridConv2d(inputs, channels, bits=MEAN_BITS, limit=MEAN_LIMIT, is_exact=is_exact)


class Prior(nn.Module):
    """p(y_hat | z_hat, quality, references): hyper features, matching and one `SliceNet` for each slice."""

    def __init__(
        self,
        slices: tuple[int, ...],
        *,
        hyper: int,
        features: int,
        token: int,
        reference: int,
        width: int,
        knots: int,
        is_exact: bool = False,
    ) -> None:
        super().__init__()
        self.slices, self.is_exact = slices, is_exact
        self.levels = GridTable(knots, features, spread=0.1, is_exact=is_exact)
        self.h_s = HyperSynthesis(hyper, 96, features, is_exact=is_exact)
        self.matching = Matching(features, token, reference, is_exact=is_exact)
        known = features + reference
        nets = []
        for channels in slices:
            nets.append(SliceNet(known, channels, reference, width, is_exact=is_exact))
            known += channels
        self.nets = nn.ModuleList(nets)

    def hyper_features(self, z_hat: Tensor, quality_q6_B: Tensor) -> Tensor:
        """z_hat (B, Z, h/4, w/4) and quality (int64 (B,), 64 units a quality step) -> h (B, C, h, w)."""
        return self.h_s(z_hat, self.levels.interpolate(quality_q6_B, QUALITY_TOP_Q6))

    def slice_base(self, index: int, h: Tensor, a: Tensor, decoded: list[Tensor]) -> Tensor:
        """The shared features of slice `index`, from h, a and the latents of the slices before it."""
        known = [h, a, *(compand(y_hat, is_exact=self.is_exact) for y_hat in decoded)]
        return self._net(index).base(torch.cat(known, dim=1))

    def slice_parameters(
        self, index: int, phase: int, base: Tensor, anchors: Tensor | None, a: Tensor
    ) -> SliceParameters:
        """Mean and scale level of slice `index` in `phase`: the one function for training, encoding and decoding."""
        return self._net(index).slice_parameters(phase, base, anchors, a)

    def _net(self, index: int) -> SliceNet:
        return cast("SliceNet", self.nets[index])
