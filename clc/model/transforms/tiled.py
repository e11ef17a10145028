"""g_a and g_s on pictures of any size, tile by tile."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from clc.model.tiling import Tile, in_tiles, tiles
from clc.model.transforms.interface import Analysis, Synthesis
from clc.references.aligned import PATCH_PX, AlignedPixels, AlignedView


def analyse(g_a: Analysis, x: Tensor, aligned: AlignedPixels | None) -> Tensor:
    """`g_a(x, aligned)` for pictures (B, 3, H, W), H and W multiples of 64."""

    def compute(tile: Tile) -> tuple[Tensor, ...]:
        return (g_a(tile.pixels(x), None if aligned is None else tile.aligned_pixels(aligned)),)

    return in_tiles(tiles(x.shape[2] // PATCH_PX, x.shape[3] // PATCH_PX, g_a.reach()), compute)[0]


def synthesise(
    g_s: Synthesis,
    y_hat: Tensor,
    step: Tensor,
    film: tuple[Tensor, Tensor],
    sides: tuple[Tensor, AlignedView | None],
    behind: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """`g_s(y_hat, step, film, a, aligned)` with `sides` = (a, aligned), as uint8 pictures (B, 3, H, W).

    `behind` filters pixels, of float levels 0..255 and of a tile, seeing at most a latent's width around each; where an
    aligned reference covers the picture it leaves them alone.
    """
    a, view = sides

    def compute(tile: Tile) -> tuple[Tensor, ...]:
        seen = None
        if view is not None:
            seen = AlignedView(tile.aligned_pixels(view.pixels), tile.aligned_latents(view.latents))
        levels = g_s(tile.latents(y_hat), step, film, tile.latents(a), seen).clamp_(0.0, 1.0).mul_(255.0)
        if behind is not None:
            filtered = behind(levels).clamp_(0.0, 255.0)
            levels = filtered if seen is None else torch.where(seen.pixels.inside > 0, levels, filtered)
        return (torch.round(levels).to(torch.uint8),)

    reach = g_s.reach()
    if reach is not None and behind is not None:
        reach += 1
    return in_tiles(tiles(y_hat.shape[2], y_hat.shape[3], reach), compute)[0]
