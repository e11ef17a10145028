"""The payload of an overfitted stream: the integers of a function, range-coded, and back.

    =========  =============  ==================================================================================
    bytes      field          content
    =========  =============  ==================================================================================
    2 each     groups         for each group of weights: shift of its step, 0 to 15; level of its scale. 128 more in
                              the very first byte: the tables are `FAR`; without it, as in the first streams, `NEAR`
    ..         symbols        weights by group, then latents by wavefront, as `clc.bitstream.range_coder` has them
    =========  =============  ==================================================================================

Mean and scale of a latent come from the exact context network, of latents in earlier wavefronts alone. An encoder
computes them for all latents at once, a decoder for one wavefront after the other; both by `Distribution`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from clc.bitstream.range_coder import Decoder, Encoder, check_capacity
from clc.errors import CorruptStream, TruncatedStream
from clc.limits import MAX_SYMBOL
from clc.overfitted.function import CONTEXT_SCALE
from clc.overfitted.integers import MAX_SHIFT, MAX_WEIGHT, ExactContextNet, FunctionIntegers, Int32Array, group_sizes
from clc.overfitted.layout import layout_of
from clc.overfitted.tables import (
    FAR,
    LEVELS,
    LEVELS_PER_OCTAVE,
    LOG_SCALE_LOW,
    MEAN_STEPS,
    NEAR,
    Reach,
    laplace_tables,
    table_of,
)

Integers = npt.NDArray[np.int64]

_HAS_FAR_TABLES = 0x80
_CENTRE = MEAN_STEPS // 2  # the place of a mean that is an integer


class Distribution(NamedTuple):
    """What the context network says of latents: the integer nearest to each mean, and the table of the rest; (n,)."""

    nearest: Integers
    table: Integers


def distribution(net: ExactContextNet, contexts_N8: Int32Array) -> Distribution:
    """The distribution of latents with these contexts: integer arithmetic, the same for both directions."""
    mean, log_scale = net(contexts_N8).numpy()
    sixteenths = np.floor(mean * (CONTEXT_SCALE * MEAN_STEPS) + 0.5).astype(np.int64) + _CENTRE
    level = np.floor((log_scale - LOG_SCALE_LOW) * LEVELS_PER_OCTAVE + 0.5).astype(np.int64).clip(0, LEVELS - 1)
    return Distribution(sixteenths // MEAN_STEPS, table_of(level, sixteenths % MEAN_STEPS))


def encode_function(integers: FunctionIntegers) -> bytes:
    """Returns the payload of a function."""
    levels = [best_level(weights) for weights in integers.weights]
    head = bytearray(value for pair in zip(integers.shifts, levels, strict=True) for value in pair)
    head[0] |= _HAS_FAR_TABLES
    encoder = Encoder(laplace_tables())
    for weights, level in zip(integers.weights, levels, strict=True):
        encoder.push(weights, _weight_tables(level, weights.size))
    layout = layout_of(*integers.shape[1:])
    order = np.argsort(layout.front, kind="stable")
    known = np.append(integers.latents, np.int32(0))
    nearest, table = distribution(integers.context_net(), known[layout.contexts[order]])
    encoder.push(integers.latents[order] - nearest, table)
    return bytes(head) + encoder.finish()


def decode_function(payload: bytes, shape: tuple[int, int, int]) -> FunctionIntegers:
    """The inverse of `encode_function`, for autoencoder latents of `shape` (channels, height, width).

    Raises `TruncatedStream` or `CorruptStream` where the payload is none of such a function.
    """
    sizes = group_sizes(shape[0])
    shifts, levels, reach = _read_groups(payload, len(sizes))
    layout = layout_of(*shape[1:])
    symbols = payload[2 * len(sizes) :]
    tables = laplace_tables(reach)
    check_capacity(len(symbols), float(tables.least_bits.min()) * layout.n_latents)
    decoder = Decoder(tables, symbols, sum(sizes) + layout.n_latents)
    weights = tuple(decoder.pop(_weight_tables(level, size)) for level, size in zip(levels, sizes, strict=True))
    if max(int(np.abs(group).max()) for group in weights) > MAX_WEIGHT:
        raise CorruptStream("a weight of the overfitted function is out of range: the stream is damaged")
    latents = np.zeros(layout.n_latents + 1, dtype=np.int32)
    net = ExactContextNet(weights[:2], shifts[:2])
    for front in layout.wavefronts():
        nearest, table = distribution(net, latents[layout.contexts[front]])
        latents[front] = decoder.pop(table) + nearest
    if int(np.abs(latents).max()) > MAX_SYMBOL:
        raise CorruptStream("a latent of the overfitted function is out of range: the stream is damaged")
    return FunctionIntegers(shape, shifts, weights, latents[:-1])


def ideal_bits(integers: FunctionIntegers) -> tuple[float, float]:
    """The information of weights and of latents under their tables, in bits, without what the coder adds."""
    tables = laplace_tables()
    mass = np.diff(tables.cdf.astype(np.int64), axis=1)

    def bits(symbols: Integers, table: Integers) -> float:
        place = np.clip(symbols, tables.offsets[table], tables.highest[table]) - tables.offsets[table]
        return float(np.sum(16.0 - np.log2(mass[table, place])))

    weights = sum(
        bits(group.astype(np.int64), _weight_tables(best_level(group), group.size)) for group in integers.weights
    )
    known = np.append(integers.latents, np.int32(0))
    nearest, table = distribution(integers.context_net(), known[layout_of(*integers.shape[1:]).contexts])
    return weights, bits(integers.latents - nearest, table)


def best_level(weights: Int32Array) -> int:
    """The level of the scale under which integers around 0 cost least."""
    return int(np.argmin(weight_bits(weights)))


def weight_bits(weights: Int32Array) -> npt.NDArray[np.float64]:
    """The bits of integers around 0 under each of the levels, float64 (37,), without what lies beyond a table."""
    tables = laplace_tables()
    rows = _weight_rows()
    mass = np.diff(tables.cdf[rows].astype(np.int64), axis=1)
    place = np.clip(weights, tables.offsets[rows, None], tables.highest[rows, None]) - tables.offsets[rows, None]
    coded = 16.0 - np.log2(np.take_along_axis(mass, place.astype(np.int64), axis=1))
    beyond = 8.0 * (np.abs(weights) >= tables.highest[rows, None])  # a byte beside the coder's words, at least
    total: npt.NDArray[np.float64] = (coded + beyond).sum(axis=1)
    return total


def _weight_rows() -> Integers:
    return table_of(np.arange(LEVELS), np.array(_CENTRE))


def _weight_tables(level: int, size: int) -> Integers:
    return np.full(size, _weight_rows()[level])


def _read_groups(payload: bytes, n_groups: int) -> tuple[tuple[int, ...], tuple[int, ...], Reach]:
    head = bytearray(payload[: 2 * n_groups])
    if len(head) < 2 * n_groups:
        raise TruncatedStream("the payload ends inside the steps of its weights: get the whole file again")
    reach = FAR if head[0] & _HAS_FAR_TABLES else NEAR
    head[0] &= ~_HAS_FAR_TABLES & 0xFF
    shifts, levels = tuple(head[0::2]), tuple(head[1::2])
    if max(shifts) > MAX_SHIFT or max(levels) >= LEVELS:
        raise CorruptStream("the payload claims a step or scale of its weights that no encoder writes")
    return shifts, levels, reach
