"""What a warped reference picture tells the prior: its 16x16 transform, on the latents' own scale, and features of it.

    warped pixels --16x16 KLT-- / step(quality) -- r --+-- compand -- network -- features
    coverage -- share of each block -- covered --------+

Where an aligned reference shows the same place, r is close to the latents themselves: the linear path of g_a applied to
the warped pixels (`docs/adr/005-aligned-references.md`). Everything here enters the prior and
is therefore exact (`clc.exact.layers`); the float transforms get their view of the reference from `clc.model.model`.

Shapes: B pictures, M latent channels, h = H/16, w = W/16, A features.
"""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from clc.exact.checkerboard import Phase, of_phase
from clc.exact.functions import GridExp2
from clc.exact.grid import MEAN_BITS, MEAN_LIMIT, compand, mix, residual, share, snap
from clc.exact.layers import GridConv2d, GridTable, from_zero
from clc.model.growing import JoinedInputs
from clc.references.aligned import PATCH_PX, AlignedLatents, AlignedPixels

LATENT_BITS = 14
PIXEL_SCALE = 256.0


class Fusion(nn.Module, JoinedInputs):
    """Warped pixels -> `AlignedLatents`."""

    def __init__(self, latents: int, features: int, knots: int, *, is_exact: bool) -> None:
        super().__init__()
        self.latents, self.is_exact = latents, is_exact
        self.klt = GridConv2d(3 * PATCH_PX**2, latents, bits=LATENT_BITS, is_exact=is_exact)
        self.log_gain = GridTable(knots, latents, is_exact=is_exact)
        self.exp2 = GridExp2(is_exact=is_exact)
        self.enter = GridConv2d(latents + 1, features, is_exact=is_exact)
        self.spatial = GridConv2d(features, features, 3, groups=features, is_exact=is_exact)
        self.leave = GridConv2d(features, features, is_exact=is_exact)
        # Derived from the gains at export; training scales by the gains themselves.
        self.log_gain.requires_grad_(False)

    def inverse_step(self, quality_q6_B: Tensor, top_q6: int) -> Tensor:
        """1 / step of each channel (B, M, 1, 1): two to the power of an interpolated table, and so exact."""
        gain: Tensor = self.exp2(self.log_gain.interpolate(quality_q6_B, top_q6))
        return gain[:, :, None, None]

    def forward(self, pixels: AlignedPixels, inverse_step: Tensor) -> AlignedLatents:
        """Transforms and describes the references; H and W are multiples of 16."""
        is_exact = self.is_exact
        centred = (pixels.levels * (2.0 / PIXEL_SCALE) - 255.0 / PIXEL_SCALE) * pixels.inside
        latents = self.klt(F.pixel_unshuffle(centred, PATCH_PX))
        r = snap(latents * inverse_step, MEAN_BITS, MEAN_LIMIT, is_exact=is_exact)
        covered = F.avg_pool2d(pixels.inside, PATCH_PX)
        u = self.enter.activated(compand(r, is_exact=is_exact), covered)
        u = residual(u, self.spatial.activated(u), is_exact=is_exact)
        features = snap(self.leave(u) * covered, is_exact=is_exact)
        return AlignedLatents(r, covered, features, pixels.present)

    def input_parts(self) -> dict[str, tuple[int, ...]]:
        """`enter` reads r and the coverage."""
        return {"enter": (self.latents, 1)}


class SliceFusion(nn.Module):
    """What one slice of C channels takes from an aligned reference. At first it only follows r by half.

    `before` counts the channels of the slices before. How well r predicted those says how far to trust it here.
    """

    def __init__(
        self, before: int, channels: int, features: int, width: int, phases: tuple[Phase, ...], *, is_exact: bool
    ) -> None:
        super().__init__()
        self.is_exact = is_exact
        self.enter = from_zero(GridConv2d(features + channels + before, width, is_exact=is_exact))
        for phase in reversed(phases[1:]):
            self.add_module(phase.layer_name, from_zero(GridConv2d(channels, width // 2, 3, is_exact=is_exact)))
        self.trust = nn.ModuleList(from_zero(GridConv2d(width, channels, is_exact=is_exact)) for _ in phases)

    def base(self, reference: AlignedLatents, r_i: Tensor, errors: list[Tensor]) -> Tensor:
        """An addend (B, width, h, w) to the slice's features; `errors` are y_hat - r of the slices before."""
        parts = [reference.features, compand(r_i, is_exact=self.is_exact)]
        parts += [compand(error * reference.covered, is_exact=self.is_exact) for error in errors]
        return self.enter(*parts) * reference.present

    def around(self, phase: Phase, reference: AlignedLatents, error: Tensor) -> Tensor:
        """An addend (B, width / 2, h, w/2) for a phase, from the `error` (B, C, h, w/2) of r at colour 0."""
        seen = compand(error * of_phase(reference.covered, 0), is_exact=self.is_exact)
        return cast("GridConv2d", getattr(self, phase.layer_name)).from_anchors(seen, phase.colour) * reference.present

    def trust_in_r(self, phase: int, features: Tensor) -> Tensor:
        """How far to follow r, 0 to 1, for each latent (B, C, h, w/2), from the features of the phase."""
        return share(self.trust[phase](features), 0.5, is_exact=self.is_exact)

    def blend(self, reference: AlignedLatents, colour: int, r_i: Tensor, mean: Tensor, trust: Tensor) -> Tensor:
        """Moves the mean (B, C, h, w/2) of a colour towards `r_i` (B, C, h, w) by `trust` times the coverage."""
        weight = snap(trust * of_phase(reference.covered, colour), is_exact=self.is_exact) * reference.present
        return mix(mean, of_phase(r_i, colour), weight, is_exact=self.is_exact)
