"""Latents to payload and back: the exact path, walked once for encoding and for decoding by the same function.

    z_hat --> h --> a --> for each slice: a again, for each phase: mean, scale --> symbols --> y_hat

`walk` is that path. The encoder's exchange turns the latents into symbols and pushes them, the decoder's pops them; all
else is shared, so that both sides see the same numbers. Everything is float64 on grids (`clc.exact`).

Order of the symbols in a payload: z by channel, row, column; then for each slice and phase (a `Turn`) the positions of
the phase, by channel, row, column.

Tables: sets of 64, one for each scale level, of which the first turns have one each and the last serves all later turns
too; then one for each channel of z, and one for each of z beside an aligned reference.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clc.checkerboard import Phase, assembled, squares_known
from clc.entropy import SCALE_LEVELS, Context, Prior, SliceBase, SliceParameters
from clc.exact import MEAN_BITS
from clc.fusion import PATCH_PX, AlignedLatents, AlignedPixels
from clc.quantisation import thrifty_round
from clc.rangecoder import CdfTable, Decoder, Encoder, check_capacity
from clc.tiling import GRAIN, Tile, in_tiles, tiles

SYMBOL_LIMIT = 1 << 18
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


class Analysed(NamedTuple):
    """What an encoder codes, in float: y over its step (1, M, h, w), hyper-latents z (1, Z, h/4, w/4).

    `worth` (1, M, 1, 1) of a squared error makes rounding thrifty (`clc.quantisation`); None rounds to the nearest.
    """

    scaled_y: Tensor
    z: Tensor
    worth: Tensor | None = None


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


def encode_latents(prior: Prior, table: CdfTable, analysed: Analysed, conditions: Conditions) -> tuple[bytes, Decoded]:
    """Returns the payload of a picture's latents and what a decoder will make of it."""
    encoder, sets = Encoder(table), scale_sets(table, analysed.z.shape[1])
    z_hat = torch.round(analysed.z.double()).clamp(-SYMBOL_LIMIT, SYMBOL_LIMIT)
    encoder.push(_integers(z_hat.flatten()), _z_tables(z_hat, sets, conditions))
    y = analysed.scaled_y.double()

    def exchange(turn: Turn, mean: Tensor, level: Tensor) -> Tensor:
        offset = turn.of(y) - mean
        if analysed.worth is not None:
            offset = thrifty_round(offset.float(), level.float(), analysed.worth[:, turn.channels]).double()
        symbols = torch.round(offset).clamp_(-SYMBOL_LIMIT, SYMBOL_LIMIT)
        encoder.push(_integers(symbols.flatten()), _y_tables(turn, level, sets))
        return symbols

    decoded = walk(prior, z_hat, conditions, exchange)
    return encoder.finish(), decoded


def check_payload(
    prior: Prior, table: CdfTable, payload_bytes: int, shape: tuple[int, int, int], *, is_aligned: bool
) -> None:
    """Refuses a payload that is too short for latents of `shape` (Z, h/4, w/4), before any are made: `CorruptStream`.

    The likeliest symbol of every table still costs something; which table a y symbol will use nobody knows yet.
    """
    hyper, rows, columns = shape
    scales = SCALE_LEVELS * scale_sets(table, hyper)
    first = scales + (hyper if is_aligned else 0)
    z_bits = float(table.least_bits[first : first + hyper].sum())
    y_bits = float(table.least_bits[:scales].min()) * sum(prior.slices) * 16
    check_capacity(payload_bytes, (z_bits + y_bits) * rows * columns)


def decode_latents(
    prior: Prior,
    table: CdfTable,
    payload: bytes,
    shape: tuple[int, int, int],
    conditions: Conditions,
    trace: Trace | None = None,
) -> Decoded:
    """The inverse of `encode_latents`; `shape` is (Z, h/4, w/4). Raises what `clc.rangecoder.Decoder` raises."""
    hyper, rows, columns = shape
    latents, sets = sum(prior.slices), scale_sets(table, hyper)
    decoder = Decoder(table, payload, hyper * rows * columns + latents * rows * columns * 16)
    device = conditions.tokens_1NT.device
    like = torch.zeros(1, hyper, rows, columns, dtype=torch.float64)
    z_hat = torch.from_numpy(decoder.pop(_z_tables(like, sets, conditions)).astype(np.float64)).view_as(like).to(device)

    def exchange(turn: Turn, mean: Tensor, level: Tensor) -> Tensor:
        values = decoder.pop(_y_tables(turn, level, sets)).astype(np.float64)
        return torch.from_numpy(values).view_as(mean).to(device)

    return walk(prior, z_hat, conditions, exchange, trace)


def _integers(values: Tensor) -> npt.NDArray[np.int32]:
    return values.cpu().numpy().astype(np.int32)


def scale_sets(table: CdfTable, hyper: int) -> int:
    """How many sets of tables for the scale levels stand before those of the `hyper` channels of z."""
    return (table.n_tables - 2 * hyper) // SCALE_LEVELS


def _y_tables(turn: Turn, level: Tensor, sets: int) -> npt.NDArray[np.int32]:
    """The table of each symbol of a turn, by its scale level."""
    return _integers(level.flatten()) + np.int32(SCALE_LEVELS * min(turn.number, sets - 1))


def _z_tables(z_1Zhw: Tensor, sets: int, conditions: Conditions) -> npt.NDArray[np.int32]:
    """The table of each z symbol: channel c uses the c-th behind the scales, or Z further on beside a reference."""
    channels, area = z_1Zhw.shape[1], z_1Zhw.shape[2] * z_1Zhw.shape[3]
    first = SCALE_LEVELS * sets + (channels if conditions.aligned is not None else 0)
    return np.repeat(np.arange(first, first + channels, dtype=np.int32), area)


def _no_trace(name: str, values: Tensor) -> None:
    del name, values
