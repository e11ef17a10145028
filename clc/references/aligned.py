"""Tensors of an aligned reference: key pictures warped onto the picture to code, as pixels and as latents.

The encoder finds the alignment (`clc.references.registration`), both sides warp (`clc.references.warp`), and the prior
(`clc.model.prior.fusion`) and the transforms are conditioned on these types.

Shapes: B pictures, M latent channels, A features, h = H/16, w = W/16.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from clc.exact.checkerboard import Phase

PATCH_PX = 16
"""Pixels of a picture, along a side, that one latent stands for."""


class AlignedPixels(NamedTuple):
    """Warped key pictures.

    - `levels` (B, 3, H, W), 0..255.
    - `inside` (B, 1, H, W), 1 where a key picture covers the pixel, else 0.
    - `present` (B, 1, 1, 1), 0 for pictures of a training batch without an aligned reference, 1 always when coding.
    """

    levels: Tensor
    inside: Tensor
    present: Tensor


class AlignedLatents(NamedTuple):
    """An aligned reference as the prior is conditioned on it, at 1/16 of the resolution.

    - `r` (B, M, h, w), its latents in symbol units, on q6 in exact arithmetic.
    - `covered` (B, 1, h, w), the share of each 16x16 px that it covers, 0..1.
    - `features` (B, A, h, w), which the slices share.
    - `present`, see `AlignedPixels`.
    """

    r: Tensor
    covered: Tensor
    features: Tensor
    present: Tensor

    def on_board(self, phase: Phase) -> AlignedLatents:
        """The same with `r` and `covered` on the board of a phase (`clc.exact.checkerboard`)."""
        return self._replace(r=phase.board(self.r), covered=phase.board(self.covered))

    def to_float(self) -> AlignedLatents:
        """The same in float32, for the transforms."""
        return AlignedLatents(*(part.float() for part in self))


class AlignedView(NamedTuple):
    """An aligned reference as pixels and as latents."""

    pixels: AlignedPixels
    latents: AlignedLatents
