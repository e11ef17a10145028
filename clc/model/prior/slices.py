"""One slice of the prior: the mean and the scale of its latents, phase by phase, from everything known before it.

CLS (CLC Eq. 5 and 6) is the form of the mean: alpha * mu_h + (1 - alpha) * y_a with alpha from the features of both, or
mu_h alone without CLS; where a reference is aligned, the mean then moves towards its latents r.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from clc.exact.checkerboard import TWO_PHASES, Phase, of_phase
from clc.exact.grid import MEAN_BITS, MEAN_LIMIT, activate, compand, mix, residual, share
from clc.exact.layers import GridConv2d, from_zero, ignoring_last
from clc.model.growing import ResidualBranches
from clc.model.prior.fusion import SliceFusion
from clc.model.prior.interface import Memory
from clc.references.aligned import AlignedLatents

SCALE_LEVELS = 64
NARROW_SCALE = -2.0
"""Output of a scale layer that means scale level 8, where nearly all symbols are 0."""
PHASE_LAYERS = ("hidden", "mean", "shape", "fusion.trust")
"""The module lists of a `SliceNet` that hold one layer for each phase, in the order of the phases."""


class SliceParameters(NamedTuple):
    """Phase planes (B, C, h, w/2): `mean` in symbol units, on q6 if exact; `scale` level 0..63, an integer if exact."""

    mean: Tensor
    scale: Tensor


class Context(NamedTuple):
    """What the slices are conditioned on: h (B, C, h, w), a (B, A, h, w) of `clc.model.prior.matching`, an aligned
    reference.

    `memory` holds the keys and values that a was found in; the conditioner may be asked again with it. `structure`
    (B, S, h, w) is that of a self-generated prior.
    """

    h: Tensor
    a: Tensor
    reference: AlignedLatents | None = None
    memory: Memory | None = None
    structure: Tensor | None = None


class SliceWidths(NamedTuple):
    """Channels of a slice's inputs: h, the conditioner's features a, latents `before` it, its own, aligned features.

    `is_synthesised`: the mean is that of CLS. `phases` are those of `clc.exact.checkerboard`; `blocks` are
    `ContextBlock`s. `structure` counts the channels of that of a self-generated prior.
    """

    features: int
    conditioning: int
    before: int
    channels: int
    aligned: int
    is_synthesised: bool
    phases: tuple[Phase, ...] = TWO_PHASES
    blocks: int = 0
    structure: int = 0


class SliceBase(NamedTuple):
    """What all phases of a slice share: features `u` (B, width, h, w) and, with CLS, its y_a (B, C, h, w)."""

    u: Tensor
    y_a: Tensor | None = None


class ContextBlock(nn.Module, ResidualBranches):
    """A residual block: 1x1, activation, depthwise 3x3, activation, 1x1. Its residual starts at zero."""

    def __init__(self, width: int, *, is_exact: bool) -> None:
        super().__init__()
        self.is_exact = is_exact
        self.enter = GridConv2d(width, width, is_exact=is_exact)
        self.spatial = GridConv2d(width, width, 3, groups=width, is_exact=is_exact)
        self.leave = from_zero(GridConv2d(width, width, is_exact=is_exact))

    def forward(self, u: Tensor) -> Tensor:
        """One block."""
        return residual(u, self.leave(self.spatial.activated(self.enter.activated(u))), is_exact=self.is_exact)

    def last_layers(self) -> Iterable[nn.Module]:
        """`leave`, the end of the residual branch."""
        return (self.leave,)


class SliceNet(nn.Module, ResidualBranches):
    """The parameters of one slice of C channels, in checkerboard phases, from everything known before it.

    `r` (B, C, h, w) are the latents of this slice in an aligned reference. Without a reference it is None, and the
    layers of `fusion` are not run.
    """

    def __init__(self, widths: SliceWidths, width: int, *, is_exact: bool) -> None:
        super().__init__()
        self.is_exact = is_exact
        channels, phases = widths.channels, widths.phases
        self.channels, self.phases = channels, phases
        inputs = widths.features + widths.conditioning + widths.before + widths.structure
        self.enter = ignoring_last(GridConv2d(inputs, width, is_exact=is_exact), widths.structure)
        self.spatial = GridConv2d(width, width, 3, groups=width, is_exact=is_exact)
        self.blocks = nn.Sequential(*(ContextBlock(width, is_exact=is_exact) for _ in range(widths.blocks)))
        for phase in reversed(phases[1:]):
            self.add_module(f"{phase.layer_name}_in", GridConv2d(channels, width // 2, 3, is_exact=is_exact))
            self.add_module(f"{phase.layer_name}_out", GridConv2d(width // 2, width, is_exact=is_exact))
        self.hidden = nn.ModuleList(GridConv2d(width, width, is_exact=is_exact) for _ in phases)
        self.mean = nn.ModuleList(_mean_layer(width, channels, is_exact) for _ in phases)
        shapes = 2 * channels if widths.is_synthesised else channels
        self.shape = nn.ModuleList(GridConv2d(width, shapes, is_exact=is_exact) for _ in phases)
        self.aligned = _mean_layer(widths.conditioning, channels, is_exact) if widths.is_synthesised else None
        self.fusion = SliceFusion(widths.before, channels, widths.aligned, width, phases, is_exact=is_exact)

    def base(self, context: Context, decoded: list[Tensor], r: Tensor | None, errors: list[Tensor]) -> SliceBase:
        """The features that all phases of the slice share; `errors` are y_hat - r of the slices before."""
        known = [context.h, context.a, *(compand(y_hat, is_exact=self.is_exact) for y_hat in decoded)]
        if context.structure is not None:
            known.append(context.structure)
        if context.reference is None or r is None:
            u = self.enter.activated(*known)
        else:
            u = activate(self.enter(*known) + self.fusion.base(context.reference, r, errors), is_exact=self.is_exact)
        u = self.blocks(residual(u, self.spatial.activated(u), is_exact=self.is_exact))
        return SliceBase(u, None if self.aligned is None else self.aligned(context.a))

    def slice_parameters(
        self, context: Context, phase: int, base: SliceBase, r: Tensor | None, first: Tensor | None
    ) -> SliceParameters:
        """Mean and scale level (B, C, h, w/2) at the squares of a phase's colour on its board.

        They are computed for all rows; the caller keeps those of the phase (`Phase.within`). `first` (B, C, h, w/2)
        holds the latents already decoded at colour 0 of that board, unknown rows 0; None before the first phase.
        """
        is_exact, of = self.is_exact, self.phases[phase]
        u = of_phase(of.board(base.u), of.colour)
        reference = None if context.reference is None else context.reference.on_board(of)
        r = None if r is None else of.board(r)
        if first is not None:
            u = residual(u, self._around(of, first, reference, r), is_exact=is_exact)
        u = cast("GridConv2d", self.hidden[phase]).activated(u)
        mean, scale = self.mean[phase](u), self.shape[phase](u)
        if base.y_a is not None:
            scale, blend = scale.chunk(2, dim=1)
            alpha = share(blend, 0.75, is_exact=is_exact)
            mean = mix(of_phase(of.board(base.y_a), of.colour), mean, alpha, is_exact=is_exact)
        if reference is not None and r is not None:
            mean = self.fusion.blend(reference, of.colour, r, mean, self.fusion.trust_in_r(phase, u))
        if is_exact:
            return SliceParameters(mean, (scale * 8.0).add_(24.5).floor_().clamp_(0.0, SCALE_LEVELS - 1.0))
        level = scale * 8.0 + 24.0
        inside = level.clamp(0.0, SCALE_LEVELS - 1.0)
        return SliceParameters(mean, level + (inside - level).detach())

    def last_layers(self) -> Iterable[nn.Module]:
        """The ends of the branches that read the latents of earlier phases."""
        return [cast("GridConv2d", getattr(self, f"{phase.layer_name}_out")) for phase in self.phases[1:]]

    @torch.no_grad()
    def start_as_constant(self) -> None:
        """Sets the output layers so that all latents have mean 0 and scale level 8, whatever the context is."""
        heads = [*self.mean, *self.shape] if self.aligned is None else [*self.mean, *self.shape, self.aligned]
        for layer in heads:
            cast("GridConv2d", layer).weight.zero_()
        for layer in self.shape:
            # With CLS the last half of the outputs are those of alpha.
            cast("GridConv2d", layer).bias[: self.channels] = NARROW_SCALE

    def _around(self, phase: Phase, first: Tensor, reference: AlignedLatents | None, r: Tensor | None) -> Tensor:
        """Features at the squares of a phase from the latents `first` already decoded around them."""
        enter, leave = (cast("GridConv2d", getattr(self, f"{phase.layer_name}_{end}")) for end in ("in", "out"))
        v = enter.from_anchors(compand(first, is_exact=self.is_exact), phase.colour)
        if reference is not None and r is not None:
            v = v + self.fusion.around(phase, reference, first - of_phase(r, 0))
        return cast("Tensor", leave(activate(v, is_exact=self.is_exact)))


def _mean_layer(inputs: int, channels: int, is_exact: bool) -> GridConv2d:
    return GridConv2d(inputs, channels, bits=MEAN_BITS, limit=MEAN_LIMIT, is_exact=is_exact)
