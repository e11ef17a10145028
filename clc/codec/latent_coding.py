"""Latents to payload and back.

Both directions run `clc.model.prior.walk.walk`, the exact path in float64 on grids. They differ in the exchange alone:
the encoder's turns latents into symbols and pushes them into the range coder, the decoder's pops them.

Order of the symbols in a payload: those of a self-generated prior, where the model has one, and z, each by channel,
row, column; then for each slice and phase (a `Turn`) the positions of the phase, by channel, row, column.

Order of the tables: sets of 64, one table for each scale level; each of the first turns has a set of its own, and the
last set serves all later turns. Then a table for each channel of z, another for each channel of z in streams with an
aligned reference, and one for each channel of a self-generated prior.
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
from clc.model.prior.walk import Conditions, Decoded, HyperLatents, Trace, Turn, walk
from clc.model.quantisation import thrifty_round

SYMBOL_LIMIT = 1 << 18


class Analysed(NamedTuple):
    """What an encoder codes, in float: y over its step (1, M, h, w), hyper-latents z (1, Z, h/4, w/4).

    `bits_per_squared_step` (1, M, 1, 1) makes rounding thrifty (`clc.model.quantisation`); with None every latent is
    rounded to the nearest integer. `p_hat` (1, P, h/2, w/2) are the symbols of a self-generated prior, float64, for a
    model that has one.
    """

    scaled_y: Tensor
    z: Tensor
    bits_per_squared_step: Tensor | None = None
    p_hat: Tensor | None = None


class Tables(NamedTuple):
    """Which tables a bundle's model uses; see the module for their order.

    `sets` of tables for the scale levels of y, `hyper` channels of z, `self_prior` channels of a self-generated prior.
    """

    sets: int
    hyper: int
    self_prior: int

    @classmethod
    def of(cls, prior: Prior, table: CdfTable, hyper: int) -> Tables:
        """The tables of a model with so many channels of z."""
        own = 0 if prior.self_generated is None else prior.self_generated.latents
        return cls(scale_sets(table, hyper, own), hyper, own)

    def of_p(self) -> slice:
        """Those of a self-generated prior, by channel."""
        first = SCALE_LEVELS * self.sets + 2 * self.hyper
        return slice(first, first + self.self_prior)

    def of_z(self, *, is_aligned: bool) -> slice:
        """Those of z, by channel."""
        first = SCALE_LEVELS * self.sets + (self.hyper if is_aligned else 0)
        return slice(first, first + self.hyper)


def encode_latents(prior: Prior, table: CdfTable, analysed: Analysed, conditions: Conditions) -> tuple[bytes, Decoded]:
    """Returns the payload of a picture's latents and what a decoder will make of it."""
    encoder, tables = Encoder(table), Tables.of(prior, table, analysed.z.shape[1])
    if analysed.p_hat is not None:
        encoder.push(_integers(analysed.p_hat.flatten()), _by_channel(analysed.p_hat, tables.of_p()))
    z_hat = rounded(analysed.z)
    is_aligned = conditions.aligned is not None
    encoder.push(_integers(z_hat.flatten()), _by_channel(z_hat, tables.of_z(is_aligned=is_aligned)))
    y = analysed.scaled_y.double()

    def exchange(turn: Turn, mean: Tensor, level: Tensor) -> Tensor:
        offset = turn.of(y) - mean
        if analysed.bits_per_squared_step is not None:
            offset = thrifty_round(
                offset.float(), level.float(), analysed.bits_per_squared_step[:, turn.channels]
            ).double()
        symbols = torch.round(offset).clamp_(-SYMBOL_LIMIT, SYMBOL_LIMIT)
        encoder.push(_integers(symbols.flatten()), _y_tables(turn, level, tables.sets))
        return symbols + mean

    decoded = walk(prior, HyperLatents(z_hat, analysed.p_hat), conditions, exchange)
    return encoder.finish(), decoded


def rounded(latents: Tensor) -> Tensor:
    """Hyper-latents, or those of a self-generated prior, as they are coded: integers in float64, within the limit."""
    return torch.round(latents.double()).clamp(-SYMBOL_LIMIT, SYMBOL_LIMIT)


def check_payload(
    prior: Prior, table: CdfTable, payload_bytes: int, shape: tuple[int, int, int], *, is_aligned: bool
) -> None:
    """Refuses a payload that is too short for latents of `shape` (Z, h/4, w/4), before any are made: `CorruptStream`.

    The likeliest symbol of every table still costs bits. Which table a symbol of y will use is not known yet, so the
    cheapest one is assumed.
    """
    hyper, rows, columns = shape
    tables = Tables.of(prior, table, hyper)
    p_bits = float(table.least_bits[tables.of_p()].sum()) * 4
    z_bits = float(table.least_bits[tables.of_z(is_aligned=is_aligned)].sum())
    y_bits = float(table.least_bits[: SCALE_LEVELS * tables.sets].min()) * sum(prior.slices) * 16
    check_capacity(payload_bytes, (p_bits + z_bits + y_bits) * rows * columns)


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
    latents, tables = sum(prior.slices), Tables.of(prior, table, hyper)
    own = tables.self_prior * rows * columns * 4
    decoder = Decoder(table, payload, own + hyper * rows * columns + latents * rows * columns * 16)
    device = conditions.tokens_1NT.device

    def popped(size: tuple[int, ...], of_channels: slice) -> Tensor:
        like = torch.zeros(1, *size, dtype=torch.float64)
        return torch.from_numpy(decoder.pop(_by_channel(like, of_channels)).astype(np.float64)).view_as(like).to(device)

    p_hat = popped((tables.self_prior, 2 * rows, 2 * columns), tables.of_p()) if own else None
    z_hat = popped((hyper, rows, columns), tables.of_z(is_aligned=conditions.aligned is not None))

    def exchange(turn: Turn, mean: Tensor, level: Tensor) -> Tensor:
        values = decoder.pop(_y_tables(turn, level, tables.sets)).astype(np.float64)
        return torch.from_numpy(values).view_as(mean).to(device) + mean

    return walk(prior, HyperLatents(z_hat, p_hat), conditions, exchange, trace)


def _integers(values: Tensor) -> npt.NDArray[np.int32]:
    return values.cpu().numpy().astype(np.int32)


def scale_sets(table: CdfTable, hyper: int, self_prior: int = 0) -> int:
    """The number of sets of tables for scale levels, which stand before those of z and of a self-generated prior."""
    return (table.n_tables - 2 * hyper - self_prior) // SCALE_LEVELS


def _y_tables(turn: Turn, level: Tensor, sets: int) -> npt.NDArray[np.int32]:
    """The table of each symbol of a turn, by its scale level."""
    return _integers(level.flatten()) + np.int32(SCALE_LEVELS * min(turn.number, sets - 1))


def _by_channel(plane_1Chw: Tensor, tables: slice) -> npt.NDArray[np.int32]:
    """The table of each symbol of a plane: each channel has one of `tables`, in order."""
    return np.repeat(np.arange(tables.start, tables.stop, dtype=np.int32), plane_1Chw.shape[2] * plane_1Chw.shape[3])
