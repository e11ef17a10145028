"""The order in which latents are coded, walked by the same function at the encoder and the decoder.

z_hat --> h --> a --> for each slice: a again, for each phase: mean, scale --> symbols --> y_hat
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from clc.exact.checkerboard import Phase, assembled, squares_known
from clc.exact.grid import MEAN_BITS
from clc.model.prior.prior import Prior
from clc.model.prior.slices import Context, SliceBase, SliceParameters
from clc.model.tiling import GRAIN, Tile, in_tiles, tiles
from clc.references.aligned import PATCH_PX, AlignedLatents, AlignedPixels

HYPER_REACH, PRIOR_REACH = 8, 4
"""How many latents beyond its own h_s sees, two of z; CLM and the aligned reference, for F_a at half scale."""
Trace = Callable[[str, Tensor], None]


class Turn(NamedTuple):
    """What is coded at once: the latent `channels` of a slice at the positions of a `phase`; `number` counts from 0."""

    number: int
    channels: slice
    phase: Phase

    def of(self, y: Tensor) -> Tensor:
        """Its part of latents (B, M, h, w)."""
        return self.phase.of(y[:, self.channels])


Exchange = Callable[[Turn, Tensor, Tensor], Tensor]


class Decoded(NamedTuple):
    """`y_hat` (1, M, h, w) in symbol units and `a` (1, A, h, w), float64; the aligned reference; `latents_crc32`."""

    y_hat: Tensor
    a: Tensor
    own: AlignedLatents | None
    crc32: int


@dataclass(frozen=True)
class Conditions:
    """What both sides know before the first symbol: quality in 1/64, tokens (1, N, T), warped pixels (1, 3, H, W).

    `header` are bytes that stand for all fields of the stream; they enter the checksum of the latents, so that a stream
    whose header was exchanged is noticed even where the latents come out the same.
    """

    quality_q6: int
    tokens_1NT: Tensor
    header: bytes = b""
    aligned: AlignedPixels | None = None


@dataclass(frozen=True)
class _Tiled:
    """The functions of a prior on whole planes, computed tile by tile: the same bits, for every part is exact.

    `size` counts latents, rows and columns; `dtype` is that of the prior's arithmetic, planes may be smaller.
    """

    prior: Prior
    size: tuple[int, int]
    dtype: torch.dtype

    def hyper_features(self, z_hat: Tensor, quality_q6_B: Tensor) -> Tensor:
        def compute(tile: Tile) -> tuple[Tensor, ...]:
            return (self.prior.hyper_features(tile.hyper_latents(z_hat), quality_q6_B),)

        return in_tiles(tiles(*self.size, HYPER_REACH), compute)[0]

    def matched(self, context: Context, decoded: list[Tensor] | None = None) -> Tensor:
        """What the conditioner makes of a context, with the slices `decoded` if it is asked once more."""

        def compute(tile: Tile) -> tuple[Tensor, ...]:
            known = None if decoded is None else [tile.latents(y_hat) for y_hat in decoded]
            return (self.prior.matching(tile.latents(context.h).to(self.dtype), context.memory, known),)

        return in_tiles(tiles(*self.size, PRIOR_REACH), compute)[0]

    def slice_base(self, index: int, context: Context, decoded: list[Tensor]) -> SliceBase:
        def compute(tile: Tile) -> tuple[Tensor, ...]:
            base = self.prior.slice_base(index, self._seen(tile, context), [tile.latents(y_hat) for y_hat in decoded])
            return tuple(plane for plane in base if plane is not None)

        return SliceBase(*in_tiles(tiles(*self.size, self.prior.base_reach), compute))

    def slice_parameters(
        self, index: int, phase: int, base: SliceBase, first: Tensor | None, context: Context
    ) -> SliceParameters:
        of = self.prior.phases(index)[phase]

        def compute(tile: Tile) -> tuple[Tensor, ...]:
            of_tile = SliceBase(*(tile.latents(plane).to(self.dtype) for plane in base if plane is not None))
            known = None if first is None else tile.squares(first, of)
            return self.prior.slice_parameters(index, phase, of_tile, known, self._seen(tile, context))

        return SliceParameters(*in_tiles(tiles(*self.size, of.reach), compute))

    def _seen(self, tile: Tile, context: Context) -> Context:
        own = context.own
        if own is not None:
            own = AlignedLatents(*(part.to(self.dtype) for part in tile.aligned_latents(own)))
        h, a = (tile.latents(part).to(self.dtype) for part in (context.h, context.a))
        return Context(h, a, own, context.memory)


def walk(
    prior: Prior, z_hat: Tensor, conditions: Conditions, exchange: Exchange, trace: Trace | None = None
) -> Decoded:
    """Runs the exact path; `exchange(turn, mean, level)` returns the symbols of a turn, whole numbers.

    Mean, level and symbols (1, C, .., ..) are at the positions of the turn's phase. `trace(name, values)` sees each
    intermediate result, for the self-test.
    """
    trace = trace or _no_trace
    tiled = _Tiled(prior, (z_hat.shape[2] * GRAIN, z_hat.shape[3] * GRAIN), z_hat.dtype)
    own = aligned_latents(prior, conditions)
    if own is not None:
        trace("aligned r", own.r)
        trace("aligned features", own.features)
    h = tiled.hyper_features(z_hat, torch.tensor([conditions.quality_q6], device=z_hat.device))
    trace("h", h)
    context = Context(h, h[:, :0], own, prior.matching.remember(conditions.tokens_1NT))
    context = context._replace(a=tiled.matched(context))
    trace("a", context.a)
    y_hat = h.new_empty(len(h), sum(prior.slices), *h.shape[2:], dtype=z_hat.dtype)
    decoded: list[Tensor] = []
    number = channel0 = 0
    for index, of_slice in enumerate(y_hat.split(prior.slices, dim=1)):
        if prior.asks_again_before(index):
            context = context._replace(a=tiled.matched(context, decoded))
        trace(f"a of slice {index}", context.a)
        base = tiled.slice_base(index, context, decoded)
        channels, phases = slice(channel0, channel0 + of_slice.shape[1]), prior.phases(index)
        parts: list[Tensor] = []
        for place, phase in enumerate(phases):
            squares = tiled.slice_parameters(index, place, base, squares_known(phases, parts), context)
            mean, level = (phase.within(plane) for plane in squares)
            trace(f"slice {index} mean of phase {place}", mean)
            trace(f"slice {index} scale of phase {place}", level)
            parts.append(exchange(Turn(number, channels, phase), mean, level) + mean)
            number += 1
        decoded.append(of_slice.copy_(assembled(phases, parts)))
        channel0 = channels.stop
    return Decoded(y_hat, context.a, own, latents_crc32(conditions.header, z_hat, y_hat))


def aligned_latents(prior: Prior, conditions: Conditions) -> AlignedLatents | None:
    """The aligned reference as the exact path sees it, None where the stream has none."""
    pixels = conditions.aligned
    if pixels is None:
        return None
    cut = tiles(pixels.levels.shape[2] // PATCH_PX, pixels.levels.shape[3] // PATCH_PX, PRIOR_REACH)
    inverse_step = prior.inverse_step(torch.tensor([conditions.quality_q6], device=pixels.levels.device))

    def compute(tile: Tile) -> tuple[Tensor, ...]:
        seen = AlignedPixels(*(part.double() for part in tile.aligned_pixels(pixels)))
        own: AlignedLatents = prior.fusion(seen, inverse_step)
        return own.r, own.covered, own.features

    r, covered, features = in_tiles(cut, compute)
    return AlignedLatents(r, covered, features, pixels.present.double())


def latents_crc32(header: bytes, z_hat: Tensor, y_hat: Tensor) -> int:
    """CRC-32 over the header, then z_hat, then y_hat in 1/64, both as little-endian int32."""
    crc = zlib.crc32(z_hat.to(torch.int32).cpu().numpy().astype("<i4").tobytes(), zlib.crc32(header))
    for channel in y_hat.flatten(0, 1):
        fixed = torch.round(channel * (1 << MEAN_BITS)).to(torch.int32).cpu().numpy()
        crc = zlib.crc32(fixed.astype("<i4").tobytes(), crc)
    return crc


def _no_trace(name: str, values: Tensor) -> None:
    del name, values
