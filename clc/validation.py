"""Rate and distortion of a model in training, from its own estimates: quick, and the same crops and noise each time."""

from __future__ import annotations

import torch
from torch import Tensor

from clc.fusion import AlignedPixels
from clc.losses import rate_distortion_loss
from clc.model import Model

QUALITIES = (0.0, 25.0, 50.0, 75.0, 100.0)
AT_ONCE = 4


@torch.no_grad()
def rd_points(model: Model, crops_B3HW: Tensor, aligned: AlignedPixels | None) -> tuple[list[float], list[float]]:
    """Mean bpp and PSNR in dB at each of `QUALITIES` on uint8 crops, with their aligned references if given, no tokens.

    H, W are multiples of 64.
    """
    noise = torch.Generator().manual_seed(1)
    rates, psnrs = [], []
    for quality in QUALITIES:
        bpp, psnr = [], []
        for start in range(0, len(crops_B3HW), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            x = crops_B3HW[part].float() / 255.0
            seen = None if aligned is None else AlignedPixels(*(tensor[part] for tensor in aligned))
            level = torch.full((len(x),), round(quality * 64))
            absent = torch.zeros(len(x), dtype=torch.bool)
            no_tokens = torch.zeros(len(x), 0, model.config.token)
            y = model.g_a(x, seen)
            result = model(y, level, no_tokens, absent, aligned=seen, generator=noise)
            loss = rate_distortion_loss(result._replace(x_hat=result.x_hat.clamp(0, 1)), x, level / 64.0)
            bpp.append(loss.bpp)
            psnr.append(-10.0 * torch.log10(loss.mse))
        rates.append(torch.cat(bpp).mean().item())
        psnrs.append(torch.cat(psnr).mean().item())
    return rates, psnrs
