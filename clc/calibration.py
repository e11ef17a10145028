"""How often each symbol occurs at each scale level: what the coder's tables are fitted to at export.

A trained prior predicts a Gaussian, but rounded latents are not quite Gaussian: thrifty rounding makes more zeros, and
natural pictures have heavier tails. Counting on a few pictures and giving the tables the frequencies found costs a
decoder nothing. Run at export only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clc.checkerboard import of_phase
from clc.entropy import SCALE_LEVELS
from clc.latents import Conditions, walk
from clc.model import Model, Picture
from clc.quantisation import thrifty_round
from clc.tables import COUNTED

QUALITIES_Q6 = (320, 1600, 2880, 4160, 5440)
MAX_PICTURES = 24

Counts = npt.NDArray[np.int64]


@torch.no_grad()
def count_symbols(model: Model, pictures: Sequence[Picture]) -> Counts:
    """Counts of the symbols -64..64 at each scale level, int64 (64, 129), over uint8 pictures (H, W, 3).

    At five qualities, without references, as the encoder makes symbols. Of more than 24 pictures as many, evenly apart,
    are taken; symbols beyond +-64 are left out.
    """
    counts = np.zeros((SCALE_LEVELS, 2 * COUNTED + 1), dtype=np.int64)
    for picture in pictures[:: -(-len(pictures) // MAX_PICTURES)]:
        y = model.analyse(picture)
        for quality_q6 in QUALITIES_Q6:
            _count(model, y, quality_q6, counts)
    return counts


def _count(model: Model, y: Tensor, quality_q6: int, counts: Counts) -> None:
    quality = torch.tensor([quality_q6])
    step = model.gains.step(quality)
    scaled, worth = y / step, model.worth(quality, step)

    def exchange(channel0: int, phase: int, mean: Tensor, level: Tensor) -> Tensor:
        channels = slice(channel0, channel0 + mean.shape[1])
        offset = of_phase(scaled[:, channels], phase) - mean
        symbols = torch.round(thrifty_round(offset, level, worth[:, channels]))
        is_counted = symbols.abs() <= COUNTED
        levels = torch.round(level.clamp(0, SCALE_LEVELS - 1))[is_counted]
        np.add.at(counts, (_integers(levels), _integers(symbols[is_counted]) + COUNTED), 1)
        return symbols

    tokens = torch.zeros(1, 0, model.config.token)
    walk(model.prior, torch.round(model.h_a(scaled)), Conditions(quality_q6, tokens), exchange)


def _integers(values: Tensor) -> npt.NDArray[np.int64]:
    return values.numpy().astype(np.int64)
