"""Latents to payload and back.

Both directions run `clc.model.prior.walk.walk`, the exact path in float64 on grids. They differ in the exchange alone:
the encoder's turns latents into symbols and pushes them into the range coder, the decoder's pops them.

Order of the symbols in a payload: z by channel, row, column; then for each slice and phase (a `Turn`) the positions of
the phase, by channel, row, column.

Order of the tables: sets of 64, one table for each scale level; each of the first turns has a set of its own, and the
last set serves all later turns. Then a table for each channel of z, and another for each channel of z in streams with
an aligned reference.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clc.bitstream.range_coder import CdfTable, Decoder, Encoder, check_capacity
from clc.model.prior.prior import Prior
from clc.model.prior.slices import SCALE_LEVELS
from clc.model.prior.walk import Conditions, Decoded, Trace, Turn, walk
from clc.model.quantisation import thrifty_round

SYMBOL_LIMIT = 1 << 18


class Analysed(NamedTuple):
    """What an encoder codes, in float: y over its step (1, M, h, w), hyper-latents z (1, Z, h/4, w/4).

    `bits_per_squared_step` (1, M, 1, 1) makes rounding thrifty (`clc.model.quantisation`); with None every latent is
    rounded to the nearest integer.
    """

    scaled_y: Tensor
    z: Tensor
    bits_per_squared_step: Tensor | None = None


def encode_latents(prior: Prior, table: CdfTable, analysed: Analysed, conditions: Conditions) -> tuple[bytes, Decoded]:
    """Returns the payload of a picture's latents and what a decoder will make of it."""
    encoder, sets = Encoder(table), scale_sets(table, analysed.z.shape[1])
    z_hat = torch.round(analysed.z.double()).clamp(-SYMBOL_LIMIT, SYMBOL_LIMIT)
    encoder.push(_integers(z_hat.flatten()), _z_tables(z_hat, sets, conditions))
    y = analysed.scaled_y.double()

    def exchange(turn: Turn, mean: Tensor, level: Tensor) -> Tensor:
        offset = turn.of(y) - mean
        if analysed.bits_per_squared_step is not None:
            offset = thrifty_round(
                offset.float(), level.float(), analysed.bits_per_squared_step[:, turn.channels]
            ).double()
        symbols = torch.round(offset).clamp_(-SYMBOL_LIMIT, SYMBOL_LIMIT)
        encoder.push(_integers(symbols.flatten()), _y_tables(turn, level, sets))
        return symbols + mean

    decoded = walk(prior, z_hat, conditions, exchange)
    return encoder.finish(), decoded


def check_payload(
    prior: Prior, table: CdfTable, payload_bytes: int, shape: tuple[int, int, int], *, is_aligned: bool
) -> None:
    """Refuses a payload that is too short for latents of `shape` (Z, h/4, w/4), before any are made: `CorruptStream`.

    The likeliest symbol of every table still costs bits. Which table a symbol of y will use is not known yet, so the
    cheapest one is assumed.
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
    """The inverse of `encode_latents`; `shape` is (Z, h/4, w/4). Raises what `clc.bitstream.range_coder.Decoder`
    raises.
    """
    hyper, rows, columns = shape
    latents, sets = sum(prior.slices), scale_sets(table, hyper)
    decoder = Decoder(table, payload, hyper * rows * columns + latents * rows * columns * 16)
    device = conditions.tokens_1NT.device
    like = torch.zeros(1, hyper, rows, columns, dtype=torch.float64)
    z_hat = torch.from_numpy(decoder.pop(_z_tables(like, sets, conditions)).astype(np.float64)).view_as(like).to(device)

    def exchange(turn: Turn, mean: Tensor, level: Tensor) -> Tensor:
        values = decoder.pop(_y_tables(turn, level, sets)).astype(np.float64)
        return torch.from_numpy(values).view_as(mean).to(device) + mean

    return walk(prior, z_hat, conditions, exchange, trace)


def _integers(values: Tensor) -> npt.NDArray[np.int32]:
    return values.cpu().numpy().astype(np.int32)


def scale_sets(table: CdfTable, hyper: int) -> int:
    """The number of sets of tables for scale levels, which stand before those of the `hyper` channels of z."""
    return (table.n_tables - 2 * hyper) // SCALE_LEVELS


def _y_tables(turn: Turn, level: Tensor, sets: int) -> npt.NDArray[np.int32]:
    """The table of each symbol of a turn, by its scale level."""
    return _integers(level.flatten()) + np.int32(SCALE_LEVELS * min(turn.number, sets - 1))


def _z_tables(z_1Zhw: Tensor, sets: int, conditions: Conditions) -> npt.NDArray[np.int32]:
    """The table of each z symbol: channel c uses the c-th behind the scales, or Z further on beside a reference."""
    channels, area = z_1Zhw.shape[1], z_1Zhw.shape[2] * z_1Zhw.shape[3]
    first = SCALE_LEVELS * sets + (channels if conditions.aligned is not None else 0)
    return np.repeat(np.arange(first, first + channels, dtype=np.int32), area)
