"""Large pictures in tiles: memory is that of a tile, time is linear in the pixels.

Each tile is computed with a margin as wide as the reach of the computation (`Analysis.reach`, `Synthesis.reach`, in
latents), and the margin is thrown away. For the float transforms the result is that of the whole picture up to the
order in which a convolution sums; for the exact path (`clc.codec.latent_coding`) it is the same bits. A transform
without a bounded reach is run on the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from clc.exact.checkerboard import Phase
from clc.references.aligned import PATCH_PX, AlignedLatents, AlignedPixels

WHOLE_LATENTS = 8192
"""Positions (16 px squared) that are computed at once: 2 megapixels, and about as many in a tile of more."""
WIDEST_LATENTS = 96
GRAIN = 4
"""The kept part of a tile begins and ends at multiples of so many latents, the width of a hyper-latent."""


class Span(NamedTuple):
    """Latents `start` to `stop` along one side are computed, of which `first` to `last` are kept."""

    start: int
    first: int
    last: int
    stop: int

    def scaled(self, latents: int, size: int) -> int:
        """Converts a number of latents into values of a plane that has `size` values over this span."""
        return latents * size // (self.stop - self.start)

    def kept(self, origin: int, size: int) -> slice:
        """The slice that is kept, counted from latent `origin`, in values of a plane of `size` values; see `scaled`."""
        return slice(self.scaled(self.first - origin, size), self.scaled(self.last - origin, size))


class Tile(NamedTuple):
    """A part of a picture to compute."""

    rows: Span
    columns: Span

    def latents(self, x: Tensor) -> Tensor:
        """The part of a plane at 1/16 of the resolution (.., h, w), margin included."""
        return self._of(x, lambda latent: latent)

    def pixels(self, x: Tensor) -> Tensor:
        """The part of a plane at full resolution (.., H, W), margin included."""
        return self._of(x, lambda latent: latent * PATCH_PX)

    def hyper_latents(self, x: Tensor) -> Tensor:
        """The part of a plane at 1/64 of the resolution, margin included; the reach must be a multiple of 4 latents."""
        return self._of(x, lambda latent: latent // GRAIN)

    def self_prior(self, x: Tensor) -> Tensor:
        """The part of a plane at 1/32 of the resolution, margin included; the reach must be even."""
        return self._of(x, lambda latent: latent // 2)

    def squares(self, x: Tensor, phase: Phase) -> Tensor:
        """The part of a phase plane (`clc.exact.checkerboard`) on the board of `phase`, margin included."""
        (top, _, _, bottom), (left, _, _, right) = self
        grain = 2 if phase.is_coarse else 1
        return x[..., top // grain : bottom // grain, left // (2 * grain) : right // (2 * grain)]

    def aligned_pixels(self, aligned: AlignedPixels) -> AlignedPixels:
        """The part of warped references that the tile sees."""
        return AlignedPixels(self.pixels(aligned.levels), self.pixels(aligned.inside), aligned.present)

    def aligned_latents(self, reference: AlignedLatents) -> AlignedLatents:
        """The part of the latents of warped references that the tile sees."""
        r, covered, features = (self.latents(part) for part in (reference.r, reference.covered, reference.features))
        return AlignedLatents(r, covered, features, reference.present)

    def _of(self, x: Tensor, place: Callable[[int], int]) -> Tensor:
        (top, _, _, bottom), (left, _, _, right) = self
        return x[..., place(top) : place(bottom), place(left) : place(right)]


def tiles(rows: int, columns: int, reach: int | None) -> list[Tile]:
    """Cuts (rows, columns) latents, multiples of 4, into tiles of about `WHOLE_LATENTS` that see `reach` beyond."""
    if reach is None or rows * columns <= WHOLE_LATENTS:
        return [Tile(Span(0, 0, rows, rows), Span(0, 0, columns, columns))]
    margin = reach + reach % 2  # even, as a checkerboard and half scales want it
    across = _spans(columns, WIDEST_LATENTS, margin)
    down = _spans(rows, WHOLE_LATENTS // (across[0].last - across[0].first), margin)
    return [Tile(y, x) for y in down for x in across]


def _spans(length: int, longest: int, margin: int) -> list[Span]:
    """Cuts `length` into equal parts of at most `longest`, at multiples of `GRAIN`."""
    count = -(-length // max(GRAIN, longest))
    size = -(-length // (count * GRAIN)) * GRAIN
    parts = [(first, min(length, first + size)) for first in range(0, length, size)]
    return [Span(max(0, first - margin), first, last, min(length, last + margin)) for first, last in parts]


def in_tiles(cut: Sequence[Tile], compute: Callable[[Tile], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Planes (.., h, w) put together from what `compute` gives for each tile of `tiles`, margins included.

    A plane is at the resolution of the latents, at a whole multiple of it, or a phase plane. Planes that are put
    together from float64 tiles are float32: the grids of `clc.exact` have 19 bits at most, and memory is what large
    planes cost.
    """
    if len(cut) == 1:
        return compute(cut[0])
    rows, columns = cut[-1].rows.last, cut[-1].columns.last
    whole: tuple[Tensor, ...] = ()
    for tile in cut:
        parts = compute(tile)
        down, across = tile
        if not whole:
            sides = [(down.scaled(rows, part.shape[-2]), across.scaled(columns, part.shape[-1])) for part in parts]
            whole = tuple(_plane(part, side) for part, side in zip(parts, sides, strict=True))
        for plane, part in zip(whole, parts, strict=True):
            height, width = part.shape[-2:]
            kept = part[..., down.kept(down.start, height), across.kept(across.start, width)]
            plane[..., down.kept(0, height), across.kept(0, width)] = kept
    return whole


def _plane(part: Tensor, side: tuple[int, int]) -> Tensor:
    dtype = torch.float32 if part.dtype is torch.float64 else part.dtype
    return part.new_empty(*part.shape[:-2], *side, dtype=dtype)
