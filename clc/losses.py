"""The training objective: rate plus lambda times distortion, for pictures of different lambda in one batch."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from clc.model import LAMBDA_LOW, TrainingPass, rate_distortion_lambda

BALANCE = 0.35


class Loss(NamedTuple):
    """`total` is what is minimised (a scalar); `bpp` and `mse` (B,) are those of each picture, mse on 0..1."""

    total: Tensor
    bpp: Tensor
    mse: Tensor


def rate_distortion_loss(result: TrainingPass, x: Tensor, quality_B: Tensor) -> Loss:
    """bpp + lambda * 255**2 * MSE, mean over the batch, each picture weighted by (lambda / lambda_low)**-0.35.

    Rate grows about like lambda**0.55, so that unweighted the high qualities would own the gradient; BD-rate counts
    relative savings at all rates alike.
    """
    bpp = (result.y_bits + result.z_bits) / (x.shape[-2] * x.shape[-1])
    mse = (result.x_hat - x).square().mean(dim=(1, 2, 3))
    trade = rate_distortion_lambda(quality_B)
    weight = (trade / LAMBDA_LOW) ** -BALANCE
    return Loss(torch.mean(weight * (bpp + trade * 255.0**2 * mse)), bpp, mse)
