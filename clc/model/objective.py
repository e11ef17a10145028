"""The training objectives: rate plus lambda times distortion, for pictures of different lambda in one batch."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from clc.model.config import ModelConfig as ModelConfig
from clc.model.ms_ssim import ms_ssim
from clc.quality import LAMBDA_LOW, MAX_QUALITY, rate_distortion_lambda

BALANCE = 0.35
MSE, MS_SSIM, LATENTS = OBJECTIVES = ("mse", "ms-ssim", "latents")
SMALLEST_CROP_PX = 192
"""The least multiple of 64 px that has five scales of MS-SSIM."""
MS_SSIM_LAMBDA_LOW, MS_SSIM_LAMBDA_HIGH = 2.4, 220.0


class Loss(NamedTuple):
    """The objective `total` (a scalar), and of each picture `bpp` and `mse` (B,), the latter of levels 0..1."""

    total: Tensor
    bpp: Tensor
    mse: Tensor


def ms_ssim_lambda(quality: Tensor) -> Tensor:
    """lambda of a quality 0..100, log-uniform from 2.4 to 220: the loss is bpp + lambda * (1 - MS-SSIM)."""
    return MS_SSIM_LAMBDA_LOW * (MS_SSIM_LAMBDA_HIGH / MS_SSIM_LAMBDA_LOW) ** (quality / float(MAX_QUALITY))


def rate_distortion_loss(result: TrainingPass, x: Tensor, quality_B: Tensor, objective: str = MSE) -> Loss:
    """bpp + lambda * distortion, mean over the batch, each picture weighted by (lambda / lambda_low)**-0.35.

    The distortion is 255**2 * MSE, of the latents alone for `LATENTS`; or 1 - MS-SSIM with its own lambda. Rate grows
    about like lambda**0.55, so that unweighted the high qualities would own the gradient; BD-rate counts relative
    savings at all rates alike.
    """
    bits = result.y_bits + result.z_bits
    bpp = (bits if result.p_bits is None else bits + result.p_bits) / (x.shape[-2] * x.shape[-1])
    mse = result.latent_mse if objective == LATENTS else (result.x_hat - x).square().mean(dim=(1, 2, 3))
    if objective == MS_SSIM:
        trade, lowest = ms_ssim_lambda(quality_B), MS_SSIM_LAMBDA_LOW
        distortion = 1.0 - ms_ssim(result.x_hat, x)
    else:
        trade, lowest = rate_distortion_lambda(quality_B), LAMBDA_LOW
        distortion = 255.0**2 * mse
    weight = (trade / lowest) ** -BALANCE
    return Loss(torch.mean(weight * (bpp + trade * distortion)), bpp, mse)


class TrainingPass(NamedTuple):
    """What a training pass gives: `x_hat` (B, 3, H, W), unclamped; `y_bits` and `z_bits` (B,), estimates; `y_hat`.

    A pass without g_s has an empty `x_hat`. `latent_mse` (B,): the squared error of a pixel, of 0..1, that g_s would
    make of y_hat if it were orthonormal. `p_bits` (B,) are those of a self-generated prior, None without one.
    """

    x_hat: Tensor
    y_bits: Tensor
    z_bits: Tensor
    y_hat: Tensor
    latent_mse: Tensor
    p_bits: Tensor | None = None
