"""Transforms of large pictures in strips, so that memory follows the strip and time the pixels.

Each strip is computed with a margin as wide as the transform reaches (`Analysis.reach`, `Synthesis.reach`, in latents),
of which nothing is kept: the result is that of the whole picture, up to the order in which a convolution sums. A
transform without a bounded reach is run on the whole. The exact path is not cut: it depends on all that came before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from clc.fusion import PATCH_PX, AlignedLatents, AlignedPixels
from clc.transforms.interface import AlignedView, Analysis, Synthesis

WHOLE_LATENTS = 8192
"""Positions (16 px squared) that are transformed at once: 2 megapixels."""


class Strip(NamedTuple):
    """Rows of latents to compute, `start` to `stop`, and which of these rows to keep."""

    start: int
    stop: int
    keep: slice

    def latents(self, x: Tensor) -> Tensor:
        """The strip's rows of something at 1/16 of the resolution."""
        return x[..., self.start : self.stop, :]

    def pixels(self, x: Tensor) -> Tensor:
        """The strip's rows of something at full resolution."""
        return x[..., self.start * PATCH_PX : self.stop * PATCH_PX, :]

    def kept_pixels(self) -> slice:
        """`keep` at full resolution."""
        return slice(self.keep.start * PATCH_PX, self.keep.stop * PATCH_PX)


def strips(rows: int, columns: int, reach: int | None) -> Iterator[Strip]:
    """Cuts (rows, columns) latents into strips of about `WHOLE_LATENTS`, in multiples of 4 rows."""
    if reach is None or rows * columns <= WHOLE_LATENTS:
        yield Strip(0, rows, slice(0, rows))
        return
    height = max(4, WHOLE_LATENTS // columns // 4 * 4)
    margin = -(-reach // 4) * 4
    for top in range(0, rows, height):
        bottom = min(rows, top + height)
        start = max(0, top - margin)
        yield Strip(start, min(rows, bottom + margin), slice(top - start, bottom - start))


def analyse(g_a: Analysis, x: Tensor, aligned: AlignedPixels | None) -> Tensor:
    """`g_a(x, aligned)` for pictures (B, 3, H, W), H and W multiples of 64."""
    parts = []
    for strip in strips(x.shape[2] // PATCH_PX, x.shape[3] // PATCH_PX, g_a.reach()):
        seen = None if aligned is None else _pixels_of(strip, aligned)
        parts.append(g_a(strip.pixels(x), seen)[..., strip.keep, :])
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def synthesise(
    g_s: Synthesis, y_hat: Tensor, step: Tensor, film: tuple[Tensor, Tensor], sides: tuple[Tensor, AlignedView | None]
) -> Tensor:
    """`g_s(y_hat, step, film, a, aligned)` with `sides` = (a, aligned)."""
    a, view = sides
    parts = []
    for strip in strips(y_hat.shape[2], y_hat.shape[3], g_s.reach()):
        seen = None if view is None else AlignedView(_pixels_of(strip, view.pixels), _latents_of(strip, view.latents))
        x_hat = g_s(strip.latents(y_hat), step, film, strip.latents(a), seen)
        parts.append(x_hat[..., strip.kept_pixels(), :])
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def _pixels_of(strip: Strip, aligned: AlignedPixels) -> AlignedPixels:
    return AlignedPixels(strip.pixels(aligned.levels), strip.pixels(aligned.inside), aligned.present)


def _latents_of(strip: Strip, own: AlignedLatents) -> AlignedLatents:
    return AlignedLatents(strip.latents(own.r), strip.latents(own.covered), strip.latents(own.features), own.present)
