"""The prior of the latents: hyper synthesis h_s, slices with a checkerboard, conditional latent synthesis (CLS).

    z_hat -- h_s --+-- h --+---------------------------+
    quality -------+       |                           |
                           CLM with tokens -- a -------+-- slice i, phase by phase --> mean (q6), scale index (0..63)
                              |                        |
                           slices < i, phases before --+
                                                       |
    warped reference -- clc.fusion -- r, features -----+

One function, `Prior.slice_parameters`, makes the mean and the scale of a slice for training, encoding and decoding
(CLC Eq. 7 and 8; the paper's entropy model does not see the references, ours does). CLS (Eq. 5 and 6) is the form of
the mean: alpha * mu_h + (1 - alpha) * y_a with alpha from the features of both, or mu_h alone without CLS; where a
reference is aligned, the mean then moves towards its latents r. Built from `clc.exact` only.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch.nn.functional as F
from torch import Tensor, nn

from clc.checkerboard import PHASES, TWO_PHASES, Phase, of_phase
from clc.configuration import ModelConfig
from clc.exact import (
    MEAN_BITS,
    MEAN_LIMIT,
    GridConv2d,
    GridTable,
    activate,
    compand,
    from_zero,
    mix,
    residual,
    share,
    snap,
)
from clc.fusion import AlignedLatents, Fusion, SliceFusion
from clc.matching import Memory, make_conditioner
from clc.quality import MAX_QUALITY_Q6

SCALE_LEVELS = 64


class SliceParameters(NamedTuple):
    """Phase planes (B, C, h, w/2): `mean` in symbol units, on q6 if exact; `scale` level 0..63, an integer if exact."""

    mean: Tensor
    scale: Tensor


class Context(NamedTuple):
    """What the slices are conditioned on: h (B, C, h, w), a (B, A, h, w) of `clc.matching`, an aligned reference.

    `memory` is what a was found in and may be found in once more.
    """

    h: Tensor
    a: Tensor
    own: AlignedLatents | None = None
    memory: Memory | None = None


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
        h = self.enter.activated(compand(z_hat, is_exact=is_exact))
        h = F.pixel_shuffle(self.to_half.activated(h), 2)
        h = residual(h, self.spatial.activated(h), is_exact=is_exact)
        h = snap(F.pixel_shuffle(self.to_full(h), 2) + level_BC[:, :, None, None], is_exact=is_exact)
        h = activate(h, is_exact=is_exact)
        h = residual(h, self.smooth.activated(h), is_exact=is_exact)
        return self.leave.activated(h)


class SliceWidths(NamedTuple):
    """Channels of a slice's inputs: hyper and reference features, latents `before` it, its own, aligned features.

    `is_synthesised`: the mean is that of CLS. `phases` are those of `clc.checkerboard`; `blocks` are `ContextBlock`s.
    """

    features: int
    reference: int
    before: int
    channels: int
    aligned: int
    is_synthesised: bool
    phases: tuple[Phase, ...] = TWO_PHASES
    blocks: int = 0


class SliceBase(NamedTuple):
    """What both phases of a slice share: features `u` (B, width, h, w), and CLS's y_a (B, C, h, w) if there is CLS."""

    u: Tensor
    y_a: Tensor | None = None


class ContextBlock(nn.Module):
    """1x1 - activation - depthwise 3x3 - activation - 1x1, beside its input (B, C, h, w); starts as nothing."""

    def __init__(self, width: int, *, is_exact: bool) -> None:
        super().__init__()
        self.is_exact = is_exact
        self.enter = GridConv2d(width, width, is_exact=is_exact)
        self.spatial = GridConv2d(width, width, 3, groups=width, is_exact=is_exact)
        self.leave = from_zero(GridConv2d(width, width, is_exact=is_exact))

    def forward(self, u: Tensor) -> Tensor:
        """One block."""
        return residual(u, self.leave(self.spatial.activated(self.enter.activated(u))), is_exact=self.is_exact)


class SliceNet(nn.Module):
    """The parameters of one slice of C channels, in checkerboard phases, from everything known before it.

    Where the context holds an aligned reference, `r` are its latents of this slice; else None, and `fusion` is not run.
    """

    def __init__(self, widths: SliceWidths, width: int, *, is_exact: bool) -> None:
        super().__init__()
        self.is_exact = is_exact
        channels, phases = widths.channels, widths.phases
        self.phases = phases
        self.enter = GridConv2d(widths.features + widths.reference + widths.before, width, is_exact=is_exact)
        self.spatial = GridConv2d(width, width, 3, groups=width, is_exact=is_exact)
        self.blocks = nn.Sequential(*(ContextBlock(width, is_exact=is_exact) for _ in range(widths.blocks)))
        for phase in reversed(phases[1:]):
            self.add_module(f"{phase.taps}_in", GridConv2d(channels, width // 2, 3, is_exact=is_exact))
            self.add_module(f"{phase.taps}_out", GridConv2d(width // 2, width, is_exact=is_exact))
        self.hidden = nn.ModuleList(GridConv2d(width, width, is_exact=is_exact) for _ in phases)
        self.mean = nn.ModuleList(_mean_layer(width, channels, is_exact) for _ in phases)
        shapes = 2 * channels if widths.is_synthesised else channels
        self.shape = nn.ModuleList(GridConv2d(width, shapes, is_exact=is_exact) for _ in phases)
        self.aligned = _mean_layer(widths.reference, channels, is_exact) if widths.is_synthesised else None
        self.fusion = SliceFusion(widths.before, channels, widths.aligned, width, phases, is_exact=is_exact)

    def base(self, context: Context, decoded: list[Tensor], r: Tensor | None, errors: list[Tensor]) -> SliceBase:
        """What both phases share; `errors` are y_hat - r of the slices before."""
        known = [context.h, context.a, *(compand(y_hat, is_exact=self.is_exact) for y_hat in decoded)]
        if context.own is None or r is None:
            u = self.enter.activated(*known)
        else:
            u = activate(self.enter(*known) + self.fusion.base(context.own, r, errors), is_exact=self.is_exact)
        u = self.blocks(residual(u, self.spatial.activated(u), is_exact=self.is_exact))
        return SliceBase(u, None if self.aligned is None else self.aligned(context.a))

    def slice_parameters(
        self, context: Context, phase: int, base: SliceBase, r: Tensor | None, first: Tensor | None
    ) -> SliceParameters:
        """Mean and scale level at all squares of a phase's colour, on its board, those of other rows to be left out.

        `first` (B, C, h, w/2) are the squares of colour 0 as far as the phases before made them known.
        """
        is_exact, of = self.is_exact, self.phases[phase]
        u = of_phase(of.board(base.u), of.colour)
        own = None if context.own is None else context.own.on_board(of)
        r = None if r is None else of.board(r)
        if first is not None:
            u = residual(u, self._around(of, first, own, r), is_exact=is_exact)
        u = cast("GridConv2d", self.hidden[phase]).activated(u)
        mean, scale = self.mean[phase](u), self.shape[phase](u)
        if base.y_a is not None:
            scale, blend = scale.chunk(2, dim=1)
            alpha = share(blend, 0.75, is_exact=is_exact)
            mean = mix(of_phase(of.board(base.y_a), of.colour), mean, alpha, is_exact=is_exact)
        if own is not None and r is not None:
            mean = self.fusion.blend(own, of.colour, r, mean, self.fusion.trust_in_r(phase, u))
        if is_exact:
            return SliceParameters(mean, (scale * 8.0).add_(24.5).floor_().clamp_(0.0, SCALE_LEVELS - 1.0))
        level = scale * 8.0 + 24.0
        inside = level.clamp(0.0, SCALE_LEVELS - 1.0)
        return SliceParameters(mean, level + (inside - level).detach())

    def _around(self, phase: Phase, first: Tensor, own: AlignedLatents | None, r: Tensor | None) -> Tensor:
        """What the squares of colour 0 say of those of colour 1, or their even rows of the odd ones."""
        enter, leave = (cast("GridConv2d", getattr(self, f"{phase.taps}_{end}")) for end in ("in", "out"))
        v = enter.from_squares(compand(first, is_exact=self.is_exact), phase.colour)
        if own is not None and r is not None:
            v = v + self.fusion.around(phase, own, first - of_phase(r, 0))
        return cast("Tensor", leave(activate(v, is_exact=self.is_exact)))


def _mean_layer(inputs: int, channels: int, is_exact: bool) -> GridConv2d:
    return GridConv2d(inputs, channels, bits=MEAN_BITS, limit=MEAN_LIMIT, is_exact=is_exact)


class Prior(nn.Module):
    """p(y_hat | z_hat, quality, references): hyper features, conditioner and one `SliceNet` for each slice.

    The conditioner is called `matching`, as CLM was the first of them. `base_reach` is how many latents beyond its own
    `slice_base` sees.
    """

    def __init__(self, config: ModelConfig, *, is_exact: bool = False) -> None:
        super().__init__()
        slices, features = config.slices, config.features
        self.slices, self.is_exact = slices, is_exact
        self.levels = GridTable(config.knots, features, spread=0.1, is_exact=is_exact)
        self.h_s = HyperSynthesis(config.hyper, 96, features, is_exact=is_exact)
        self.matching = make_conditioner(config, is_exact=is_exact)
        self.refresh_before = config.refresh_before if config.before_refresh else 0
        self.fusion = Fusion(sum(slices), config.aligned, config.knots, is_exact=is_exact)
        conditioning = config.conditioning
        is_synthesised = config.synthesis and conditioning > 0
        nets, before = [], 0
        for index, channels in enumerate(slices):
            phases = TWO_PHASES if index else PHASES[config.first_phases]
            inputs = SliceWidths(features, conditioning, before, channels, config.aligned, is_synthesised)
            widths = inputs._replace(phases=phases, blocks=config.context_blocks)
            nets.append(SliceNet(widths, config.context, is_exact=is_exact))
            before += channels
        self.nets = nn.ModuleList(nets)
        self.base_reach = 1 + config.context_blocks

    def hyper_features(self, z_hat: Tensor, quality_q6_B: Tensor) -> Tensor:
        """z_hat (B, Z, h/4, w/4) and quality (int64 (B,), 64 units a quality step) -> h (B, C, h, w)."""
        return self.h_s(z_hat, self.levels.interpolate(quality_q6_B, MAX_QUALITY_Q6))

    def context(
        self, h: Tensor, tokens_BNT: Tensor, present_B: Tensor | None = None, own: AlignedLatents | None = None
    ) -> Context:
        """What the first slice is conditioned on, from hyper features, tokens of references and an aligned one."""
        memory = self.matching.remember(tokens_BNT, present_B)
        return Context(h, self.matching(h, memory), own, memory)

    def refreshed(self, index: int, context: Context, decoded: list[Tensor]) -> Context:
        """The context of slice `index`: the same, or where the conditioner is asked again with a found anew."""
        if not self.asks_again_before(index):
            return context
        return context._replace(a=self.matching(context.h, context.memory, decoded))

    def asks_again_before(self, index: int) -> bool:
        """Whether the conditioner is asked once more, knowing the latents decoded by then, before slice `index`."""
        return self.refresh_before > 0 and index == self.refresh_before

    def inverse_step(self, quality_q6_B: Tensor) -> Tensor:
        """1 / step (B, M, 1, 1) as the exact path has it, see `Fusion.inverse_step`."""
        return self.fusion.inverse_step(quality_q6_B, MAX_QUALITY_Q6)

    def slice_base(self, index: int, context: Context, decoded: list[Tensor]) -> SliceBase:
        """The shared features of slice `index`, from the context and the latents of the slices before it."""
        errors = []
        if context.own is not None:
            references = context.own.r.split(self.slices, dim=1)
            errors = [y_hat - r for y_hat, r in zip(decoded, references, strict=False)]
        return self._net(index).base(context, decoded, self._reference(index, context), errors)

    def slice_parameters(
        self, index: int, phase: int, base: SliceBase, first: Tensor | None, context: Context
    ) -> SliceParameters:
        """Mean and scale level of slice `index` in phase number `phase`: for training, encoding and decoding alike.

        `first` is what `clc.checkerboard.squares_known` makes of the phases before. See `SliceNet.slice_parameters`.
        """
        return self._net(index).slice_parameters(context, phase, base, self._reference(index, context), first)

    def phases(self, index: int) -> tuple[Phase, ...]:
        """The phases in which slice `index` is coded."""
        return self._net(index).phases

    def trust_biases(self) -> list[Tensor]:
        """The biases (C,) from which the trust of every slice and phase in an aligned reference starts."""
        layers = [layer for index in range(len(self.slices)) for layer in self._net(index).fusion.trust]
        return [cast("GridConv2d", layer).bias for layer in layers]

    def _reference(self, index: int, context: Context) -> Tensor | None:
        return None if context.own is None else context.own.r.split(self.slices, dim=1)[index]

    def _net(self, index: int) -> SliceNet:
        return cast("SliceNet", self.nets[index])
