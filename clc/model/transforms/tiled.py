"""g_a and g_s on pictures of any size, tile by tile."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from clc.model.tiling import Tile, in_tiles, tiles
from clc.model.transforms.interface import Analysis, ScaleAndShift, Synthesis
from clc.model.transforms.self_generated import Modulation, added
from clc.references.aligned import PATCH_PX, AlignedPixels, AlignedView


class Structured(NamedTuple):
    """The `structure` (B, S, h, w) of a self-generated prior, and the layer by which a transform sees it."""

    structure: Tensor
    layer: Modulation

    def of(self, tile: Tile) -> ScaleAndShift:
        """Scale and shift (B, wide, .., ..) for a tile."""
        modulation: ScaleAndShift = self.layer(tile.latents(self.structure))
        return modulation


def analyse(g_a: Analysis, x: Tensor, aligned: AlignedPixels | None, structured: Structured | None = None) -> Tensor:
    """Runs g_a on pictures (B, 3, H, W) in 0..1, H and W multiples of 64; returns latents y (B, M, h, w)."""

    def compute(tile: Tile) -> tuple[Tensor, ...]:
        seen = None if aligned is None else tile.aligned_pixels(aligned)
        return (g_a(tile.pixels(x), seen, None if structured is None else structured.of(tile)),)

    return in_tiles(tiles(x.shape[2] // PATCH_PX, x.shape[3] // PATCH_PX, g_a.reach()), compute)[0]


class Known(NamedTuple):
    """What g_s sees beside the latents: the features of the conditioner (B, A, h, w), and where there are such, an
    aligned reference and the structure of a self-generated prior.
    """

    a: Tensor
    view: AlignedView | None = None
    structured: Structured | None = None


def synthesise(
    g_s: Synthesis,
    y_hat: Tensor,
    step: Tensor,
    rate_modulation: ScaleAndShift,
    known: Known,
    post_filter: Callable[[Tensor], Tensor] | None = None,
    watch: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """Runs g_s on latents y_hat (B, M, h, w) and returns uint8 pictures (B, 3, H, W).

    `rate_modulation` is (B, wide, 1, 1) each; `known` is what else g_s sees.
    `post_filter` maps the float levels 0..255 of a tile (B, 3, .., ..) to filtered ones; a pixel may depend on others
    up to 16 px away. Where an aligned reference covers the picture, levels stay as g_s made them. `watch` is shown the
    levels of each tile, before and after the post-filter: all that are rounded on the way to the picture.
    """
    a, view, structured = known

    def compute(tile: Tile) -> tuple[Tensor, ...]:
        seen = None
        if view is not None:
            seen = AlignedView(tile.aligned_pixels(view.pixels), tile.aligned_latents(view.latents))
        modulation = rate_modulation if structured is None else added(rate_modulation, structured.of(tile))
        levels = g_s(tile.latents(y_hat), step, modulation, tile.latents(a), seen).clamp_(0.0, 1.0).mul_(255.0)
        if watch is not None:
            watch(levels)
        if post_filter is not None:
            filtered = post_filter(levels).clamp_(0.0, 255.0)
            levels = filtered if seen is None else torch.where(seen.pixels.inside > 0, levels, filtered)
            if watch is not None:
                watch(levels)
        return (torch.round(levels).to(torch.uint8),)

    reach = g_s.reach()
    if reach is not None and post_filter is not None:
        reach += 1
    return in_tiles(tiles(y_hat.shape[2], y_hat.shape[3], reach), compute)[0]
