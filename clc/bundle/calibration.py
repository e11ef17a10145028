"""Calibration: the symbols and the decoded pixels of a few pictures, to fit the CDF tables and the post-filter to.

A trained prior predicts a Gaussian, but rounded latents are not quite Gaussian: thrifty rounding makes more zeros, and
natural pictures have heavier tails. Tables of the frequencies found cost a decoder nothing. Nor does a stream spend any
bits on a post-filter that is fitted once. Called by `clc.bundle.export`. The contract: symbols and pixels are those
that the encoder and decoder make, without references.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clc.bitstream.cdf_tables import COUNTED
from clc.model.model import Model
from clc.model.post_filter import QUALITIES_Q6 as QUALITIES_OF_FILTER
from clc.model.post_filter import Example
from clc.model.prior.slices import SCALE_LEVELS
from clc.model.prior.walk import Conditions, HyperLatents, Turn, structure_of, walk
from clc.model.quantisation import thrifty_round
from clc.pictures.picture import Picture

QUALITIES_Q6 = (320, 1600, 2880, 4160, 5440)
"""The qualities, in 1/64, at which symbols are counted."""
MAX_PICTURES = 24
"""The most pictures whose symbols are counted."""
MAX_FILTER_PICTURES = 128
"""The most pictures that are decoded for the post-filter."""

Counts = npt.NDArray[np.int64]


@torch.no_grad()
def count_symbols(model: Model, pictures: Sequence[Picture]) -> Counts:
    """Counts of the symbols -64..64 at `QUALITIES_Q6`: int64 (S, 64, 129), by set of tables and by scale level.

    Each phase of the first slice has a set of tables, S in all, and later phases share the last one
    (`clc.codec.latent_coding`): the first phase, coded with nothing but z known, is further from Gaussian than all
    others. `pictures` are uint8 (H, W, 3); of more than `MAX_PICTURES` of them as many are taken, evenly apart. Symbols
    beyond +-64 are not counted.
    """
    counts = np.zeros((model.config.first_phases, SCALE_LEVELS, 2 * COUNTED + 1), dtype=np.int64)
    for picture in _evenly(pictures, MAX_PICTURES):
        y = None if model.self_prior else model.analyse(picture)
        for quality_q6 in QUALITIES_Q6:
            p_hat = _p_hat(model, picture, quality_q6)
            structure = None if p_hat is None else structure_of(model.prior, p_hat, quality_q6)
            of_quality = model.analyse(picture, structure=structure) if y is None else y
            _count(model, of_quality, quality_q6, counts, p_hat)
    return counts


def _p_hat(model: Model, picture: Picture, quality_q6: int) -> Tensor | None:
    p = model.self_prior_of(picture, torch.tensor([quality_q6]))
    return None if p is None else torch.round(p)


def _count(model: Model, y: Tensor, quality_q6: int, counts: Counts, p_hat: Tensor | None) -> None:
    quality = torch.tensor([quality_q6])
    step = model.gains.step(quality)
    scaled, bits_per_squared_step = y / step, model.bits_per_squared_step(quality, step)

    def exchange(turn: Turn, mean: Tensor, level: Tensor) -> Tensor:
        symbols = torch.round(thrifty_round(turn.of(scaled) - mean, level, bits_per_squared_step[:, turn.channels]))
        is_counted = symbols.abs() <= COUNTED
        levels = torch.round(level.clamp(0, SCALE_LEVELS - 1))[is_counted]
        of_set = counts[min(turn.number, len(counts) - 1)]
        np.add.at(of_set, (_integers(levels), _integers(symbols[is_counted]) + COUNTED), 1)
        return symbols + mean

    tokens = torch.zeros(1, 0, model.config.token)
    hyper = HyperLatents(torch.round(model.h_a(scaled)), p_hat)
    walk(model.prior, hyper, Conditions(quality_q6, tokens), exchange)


@torch.no_grad()
def decoded_examples(model: Model, pictures: Sequence[Picture]) -> Iterator[tuple[int, Example]]:
    """Decoded pictures beside the originals, both levels 0..255, float32 (1, 3, H, W), for `clc.model.post_filter.fit`.

    Each comes with the index of its quality in `clc.model.post_filter.QUALITIES_Q6`. `pictures` are uint8 (H, W, 3),
    H and W multiples of 64; of more than `MAX_FILTER_PICTURES` of them as many are taken, evenly apart.
    """
    quality = torch.tensor(QUALITIES_OF_FILTER)
    for picture in _evenly(pictures, MAX_FILTER_PICTURES):
        levels = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float()
        generated = model.generate_prior(levels.expand(len(quality), -1, -1, -1) / 255.0, quality)
        structure = None if generated is None else generated.structure
        y = model.analyse(picture, structure=structure).expand(len(quality), -1, -1, -1)
        tokens, absent = y.new_zeros(len(quality), 0, model.config.token), torch.zeros(len(quality), dtype=torch.bool)
        made = model(y, quality, tokens, absent, generated=generated).x_hat.clamp(0.0, 1.0) * 255.0
        for knot, decoded in enumerate(made.split(1)):
            yield knot, (decoded, levels)


def _evenly(pictures: Sequence[Picture], at_most: int) -> Sequence[Picture]:
    """At most `at_most` of the pictures, evenly apart."""
    return pictures[:: -(-len(pictures) // at_most)]


def _integers(values: Tensor) -> npt.NDArray[np.int64]:
    return values.numpy().astype(np.int64)
