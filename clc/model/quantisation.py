"""Quantisation: from latents to symbols, and estimates of what symbols cost.

The choice of symbols is the encoder's alone; no decoder needs to know how it was made. The nearest integer is often not
the cheapest one: a symbol that is barely not zero may cost several bits and mend little. `thrifty_round` weighs bits
against error for each symbol by itself, in training and when coding; `clc.codec.refinement` does so for all symbols of
a picture together.

Shapes: offsets are latents in units of their step, less their mean (B, C, h, w); scale levels have the same shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from clc.bitstream.cdf_tables import SIGMA_MAX, SIGMA_MIN
from clc.model.prior.slices import SCALE_LEVELS

THRIFT = 0.25

Quantiser = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From offsets (B, C, h, w), scale levels alike, and what a squared error of one step is worth in bits (B, C, 1, 1), to
symbols.
"""


def straight_through_round(offset: Tensor, level: Tensor, bits_per_squared_step: Tensor) -> Tensor:
    """Rounds offsets to the nearest integer, with the gradient of the identity."""
    del level, bits_per_squared_step
    return offset + (torch.round(offset) - offset).detach()


def thrifty_round(offset: Tensor, level: Tensor, bits_per_squared_step: Tensor) -> Tensor:
    """Rounds offsets to the nearest integer, or one step towards zero where that saves more bits than its error costs.

    The gradient is that of the identity. `bits_per_squared_step` (B, C, 1, 1) is what a squared error of one step
    costs, see `clc.model.model.Model.bits_per_squared_step`. Only the share `THRIFT` of the saved bits counts, because
    a symbol that is zeroed also tells less about its neighbours. Measured on a model that was trained without it,
    BD-rate at a thrift of 0.12, 0.25, 0.5 and 1: -1.0, -1.4, -1.1 and +1.1 %.
    """
    with torch.no_grad():
        nearest = torch.round(offset)
        magnitude = nearest.abs()
        below = (magnitude - 1.0).clamp_min(0.0)
        saved = gaussian_bits(magnitude, level) - gaussian_bits(below, level)
        added = bits_per_squared_step * (2.0 * offset.abs() - 2.0 * magnitude + 1.0)
        is_spared = (magnitude > 0.0) & (THRIFT * saved > added)
        symbols = torch.where(is_spared, nearest - torch.sign(nearest), nearest)
    return offset + (symbols - offset).detach()


def sigma(level: Tensor) -> Tensor:
    """The standard deviation that a scale level 0..63 stands for, in symbols."""
    return SIGMA_MIN * torch.exp(level * (math.log(SIGMA_MAX / SIGMA_MIN) / (SCALE_LEVELS - 1)))


def gaussian_bits(offset: Tensor, level: Tensor) -> Tensor:
    """-log2 of the mass of N(0, sigma**2) on the unit interval around `offset`; sigma from the scale level 0..63.

    Beyond 4.5 sigma the mass underflows, and its gradient with it. A linear term takes over there, so that a latent far
    from its mean still pulls mean and scale.
    """
    inverse = 1.0 / sigma(level)
    magnitude = offset.abs()
    root = math.sqrt(0.5)
    mass = 0.5 * (torch.erfc((magnitude - 0.5) * inverse * root) - torch.erfc((magnitude + 0.5) * inverse * root))
    return -torch.log2(mass.clamp_min(1e-6)) + 0.5 * torch.relu(magnitude * inverse - 4.5)


def trained_bits(rounded: Tensor, level: Tensor, offset: Tensor, noise: Tensor) -> Tensor:
    """The rate for training: the value is that of the symbols in `rounded`, the gradient is a mixture.

    Scales learn from the symbols. A zero symbol says nothing of how near its latent was to 1, so latents and means
    learn from the rate of `offset` + `noise` instead of rounding (Balle et al., ICLR 2017); `noise` is uniform within
    +-0.5. `docs/adr/007-what-the-rate-is-trained-on.md` compares the alternatives.
    """
    noisy = gaussian_bits(offset + noise, level.detach())
    return gaussian_bits(rounded.detach(), level) + (noisy - noisy.detach())
