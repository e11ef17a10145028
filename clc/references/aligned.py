"""What a network sees of reference pictures that were warped onto the picture to code.

The encoder finds the alignment (`clc.references.registration`), both sides warp (`clc.references.warp`), and the prior
(`clc.model.prior.fusion`) and the transforms look at the result through these types.

Shapes: B pictures, M latent channels, h = H/16, w = W/16, A features.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from clc.exact.checkerboard import Phase

PATCH_PX = 16


class AlignedPixels(NamedTuple):
    """Warped references: `levels` (B, 3, H, W) of 0..255, `inside` (B, 1, H, W) 0 or 1, `present` (B, 1, 1, 1) 0 or 1.

    `present` is 0 for the pictures of a training batch that have no aligned reference; coding has it 1 always.
    """

    levels: Tensor
    inside: Tensor
    present: Tensor


class AlignedLatents(NamedTuple):
    """The reference as the prior sees it, at 1/16 of the resolution.

    `r` (B, M, h, w) in symbol units on q6; `covered` (B, 1, h, w), the share of each block that the reference covers;
    `features` (B, A, h, w); `present` as in `AlignedPixels`.
    """

    r: Tensor
    covered: Tensor
    features: Tensor
    present: Tensor

    def on_board(self, phase: Phase) -> AlignedLatents:
        """What the slices look at, on the board of a phase."""
        return self._replace(r=phase.board(self.r), covered=phase.board(self.covered))

    def to_float(self) -> AlignedLatents:
        """In float32, for the transforms."""
        return AlignedLatents(*(part.float() for part in self))


class AlignedView(NamedTuple):
    """Both views of an aligned reference."""

    pixels: AlignedPixels
    latents: AlignedLatents
