"""The one order in which latents are coded: slice by slice, and each slice phase by phase.

    p_hat, z_hat --> h --> a --> for each slice: a again, for each phase: mean, scale --> symbols --> y_hat

`walk_slices` is that order. Training runs it on whole planes in float32 with gradients (`clc.model.model`); `walk` runs
it on the exact prior, tile by tile, for the encoder and the decoder alike (`clc.codec.latent_coding`), so that both
sides see the same numbers. What differs between them is the `Exchange`, which turns the mean and the scale of what is
coded next into latents.

Shapes: B pictures, M latent channels, C channels of a slice, h and w rows and columns of latents, A features.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor

from clc.exact.checkerboard import Phase, assembled, decoded_anchors
from clc.exact.grid import MEAN_BITS
from clc.model.prior.prior import Prior
from clc.model.prior.self_generated import SelfGenerated
from clc.model.prior.slices import Context, SliceBase, SliceParameters
from clc.model.tiling import GRAIN, Tile, in_tiles, tiles
from clc.references.aligned import PATCH_PX, AlignedLatents, AlignedPixels

HYPER_REACH, PRIOR_REACH, STRUCTURE_REACH = 8, 4, 4
"""Reach, in latents, of h_s (two hyper-latents), of CLM and the aligned reference (F_a works at half scale), and of the
structure of a self-generated prior, whose first layer works at half scale, too.
"""

Trace = Callable[[str, Tensor], None]
"""Is shown each intermediate result of the exact path with its name, for the self-test."""


class Turn(NamedTuple):
    """Latents that are coded at once: the `channels` of a slice at the positions of a `phase`.

    `number` counts the turns of a picture from 0.
    """

    number: int
    channels: slice
    phase: Phase

    def of(self, y: Tensor) -> Tensor:
        """The part of latents (B, M, h, w) that this turn codes: (B, C, .., ..), the positions of the phase."""
        return self.phase.of(y[:, self.channels])


Exchange = Callable[[Turn, Tensor, Tensor], Tensor]
"""From a turn, its mean and its scale level to its latents y_hat; all three (B, C, .., ..), at the turn's positions."""


class SlicePrior(Protocol):
    """What a walk asks of a prior; `clc.model.prior.prior.Prior` says what each of these is."""

    @property
    def slices(self) -> Sequence[int]:
        """The channels of each slice."""

    def phases(self, index: int) -> tuple[Phase, ...]:
        """See `Prior.phases`."""

    def refreshed(self, index: int, context: Context, decoded: list[Tensor]) -> Context:
        """See `Prior.refreshed`."""

    def slice_base(self, index: int, context: Context, decoded: list[Tensor]) -> SliceBase:
        """See `Prior.slice_base`."""

    def slice_parameters(
        self, index: int, phase: int, base: SliceBase, first: Tensor | None, context: Context
    ) -> SliceParameters:
        """See `Prior.slice_parameters`."""


def walk_slices(
    prior: SlicePrior,
    context: Context,
    exchange: Exchange,
    *,
    into: Tensor | None = None,
    is_context_followed: bool = True,
    trace: Trace | None = None,
) -> tuple[Tensor, Tensor]:
    """Codes all slices in order; returns y_hat (B, M, h, w) and the features a (B, A, h, w) of the last slice.

    Each turn's mean and scale level follow from the context and from all latents that `exchange` has returned before.
    `into` is memory for y_hat; without it the slices are joined at the end, as gradients need it. With
    `is_context_followed` gradients reach the latents through what they tell later ones.
    """
    is_followed = is_context_followed and torch.is_grad_enabled()
    decoded: list[Tensor] = []
    number = channel0 = 0
    for index, width in enumerate(prior.slices):
        with torch.set_grad_enabled(is_followed):
            context = prior.refreshed(index, context, decoded)
            base = prior.slice_base(index, context, decoded)
        if trace is not None:
            trace(f"a of slice {index}", context.a)
        channels, phases = slice(channel0, channel0 + width), prior.phases(index)
        parts: list[Tensor] = []
        for place, phase in enumerate(phases):
            with torch.set_grad_enabled(is_followed):
                squares = prior.slice_parameters(index, place, base, decoded_anchors(phases, parts), context)
                mean, level = (phase.within(plane) for plane in squares)
            if trace is not None:
                trace(f"slice {index} mean of phase {place}", mean)
                trace(f"slice {index} scale of phase {place}", level)
            parts.append(exchange(Turn(number, channels, phase), mean, level))
            number += 1
        y_hat = assembled(phases, parts)
        decoded.append(y_hat if into is None else into[:, channels].copy_(y_hat))
        channel0 = channels.stop
    return torch.cat(decoded, dim=1) if into is None else into, context.a


class HyperLatents(NamedTuple):
    """The symbols that are coded before those of y, float64: z_hat (1, Z, h/4, w/4), and p_hat (1, P, h/2, w/2) where
    the model has a self-generated prior.
    """

    z_hat: Tensor
    p_hat: Tensor | None = None


class Decoded(NamedTuple):
    """`y_hat` (1, M, h, w) in symbol units and `a` (1, A, h, w), float64; the aligned reference; `latents_crc32`.

    `structure` (1, S, h, w) is that of a self-generated prior, None where the model has none.
    """

    y_hat: Tensor
    a: Tensor
    reference: AlignedLatents | None
    crc32: int
    structure: Tensor | None = None


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

    @property
    def slices(self) -> Sequence[int]:
        return self.prior.slices

    def phases(self, index: int) -> tuple[Phase, ...]:
        return self.prior.phases(index)

    def refreshed(self, index: int, context: Context, decoded: list[Tensor]) -> Context:
        if not self.prior.asks_again_before(index):
            return context
        return context._replace(a=self.matched(context, decoded))

    def hyper_features(self, z_hat: Tensor, quality_q6_B: Tensor, structure: Tensor | None) -> Tensor:
        def compute(tile: Tile) -> tuple[Tensor, ...]:
            return (self.prior.hyper_features(tile.hyper_latents(z_hat), quality_q6_B, self._part(tile, structure)),)

        return in_tiles(tiles(*self.size, HYPER_REACH), compute)[0]

    def matched(self, context: Context, decoded: list[Tensor] | None = None) -> Tensor:
        """The features a of a context; with the slices `decoded` where the conditioner is asked once more."""

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
        reference = context.reference
        if reference is not None:
            reference = AlignedLatents(*(part.to(self.dtype) for part in tile.aligned_latents(reference)))
        h, a = (tile.latents(part).to(self.dtype) for part in (context.h, context.a))
        return Context(h, a, reference, context.memory, self._part(tile, context.structure))

    def _part(self, tile: Tile, plane: Tensor | None) -> Tensor | None:
        return None if plane is None else tile.latents(plane).to(self.dtype)


def walk(
    prior: Prior,
    hyper: HyperLatents | Tensor,
    conditions: Conditions,
    exchange: Exchange,
    trace: Trace | None = None,
) -> Decoded:
    """Runs the exact path from z_hat (1, Z, h/4, w/4), float64, through all that `exchange` makes of each turn.

    z_hat alone is enough for a model without a self-generated prior.
    """
    z_hat, p_hat = hyper if isinstance(hyper, HyperLatents) else HyperLatents(hyper)
    tiled = _Tiled(prior, (z_hat.shape[2] * GRAIN, z_hat.shape[3] * GRAIN), z_hat.dtype)
    reference = aligned_latents(prior, conditions)
    structure = None if p_hat is None else structure_of(prior, p_hat, conditions.quality_q6)
    h = tiled.hyper_features(z_hat, torch.tensor([conditions.quality_q6], device=z_hat.device), structure)
    context = Context(h, h[:, :0], reference, prior.matching.remember(conditions.tokens_1NT), structure)
    context = context._replace(a=tiled.matched(context))
    if trace is not None:
        if reference is not None:
            trace("aligned r", reference.r)
            trace("aligned features", reference.features)
        if structure is not None:
            trace("structure", structure)
        trace("h", h)
        trace("a", context.a)
    y_hat = h.new_empty(len(h), sum(prior.slices), *h.shape[2:], dtype=z_hat.dtype)
    y_hat, a = walk_slices(tiled, context, exchange, into=y_hat, trace=trace)
    return Decoded(y_hat, a, reference, latents_crc32(conditions.header, z_hat, y_hat, p_hat), structure)


def structure_of(prior: Prior, p_hat: Tensor, quality_q6: int) -> Tensor:
    """The structure (1, S, h, w) of a self-generated prior p_hat (1, P, h/2, w/2), as the exact path sees it.

    `prior` has one.
    """
    generated = cast("SelfGenerated", prior.self_generated)
    quality = torch.tensor([quality_q6], device=p_hat.device)

    def compute(tile: Tile) -> tuple[Tensor, ...]:
        return (generated(tile.self_prior(p_hat), quality),)

    return in_tiles(tiles(2 * p_hat.shape[2], 2 * p_hat.shape[3], STRUCTURE_REACH), compute)[0]


def aligned_latents(prior: Prior, conditions: Conditions) -> AlignedLatents | None:
    """The aligned reference as the exact path sees it, None where the stream has none."""
    pixels = conditions.aligned
    if pixels is None:
        return None
    cut = tiles(pixels.levels.shape[2] // PATCH_PX, pixels.levels.shape[3] // PATCH_PX, PRIOR_REACH)
    inverse_step = prior.inverse_step(torch.tensor([conditions.quality_q6], device=pixels.levels.device))

    def compute(tile: Tile) -> tuple[Tensor, ...]:
        seen = AlignedPixels(*(part.double() for part in tile.aligned_pixels(pixels)))
        reference: AlignedLatents = prior.fusion(seen, inverse_step)
        return reference.r, reference.covered, reference.features

    r, covered, features = in_tiles(cut, compute)
    return AlignedLatents(r, covered, features, pixels.present.double())


def latents_crc32(header: bytes, z_hat: Tensor, y_hat: Tensor, p_hat: Tensor | None = None) -> int:
    """CRC-32 over the header, then p_hat if there is one, z_hat, and y_hat in 1/64, all as little-endian int32."""
    crc = zlib.crc32(header)
    if p_hat is not None:
        crc = zlib.crc32(p_hat.to(torch.int32).cpu().numpy().astype("<i4").tobytes(), crc)
    crc = zlib.crc32(z_hat.to(torch.int32).cpu().numpy().astype("<i4").tobytes(), crc)
    for channel in y_hat.flatten(0, 1):
        fixed = torch.round(channel * (1 << MEAN_BITS)).to(torch.int32).cpu().numpy()
        crc = zlib.crc32(fixed.astype("<i4").tobytes(), crc)
    return crc
