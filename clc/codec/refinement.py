"""Refinement: the latents of one picture are moved so that the frozen decoder gives less rate + lambda * distortion.

It follows the gradient of rate + lambda * distortion (Campos et al., "Content adaptive optimization for neural image
compression", CVPRW 2019) in two ways:

- Steps down take the gradient of the very symbols that would be coded, straight through the rounding, and a share of
  Newton's step. What does not help is left out of them (`docs/adr/011-what-a-step-leaves-out.md`).
- Annealed steps (Yang, Bamler and Mandt, "Improving inference for neural image compression", NeurIPS 2020) go on from
  there, slowly.

It works on tiles, so that memory is bounded and the time linear in the pixels. `clc.codec.effort` says how many steps
of each kind a level takes.
"""

from __future__ import annotations

from functools import partial
from types import EllipsisType
from typing import NamedTuple

import torch
from torch import Tensor

from clc.codec.effort import Effort
from clc.model.model import STRIDE_Z, GeneratedPrior, Model
from clc.model.objective import Loss, TrainingPass, rate_distortion_loss
from clc.model.quantisation import Quantiser, thrifty_round
from clc.quality import from_q6, rate_distortion_lambda
from clc.references.aligned import PATCH_PX, AlignedPixels

TILE_PX = 768
RATE_STEP, ERROR_STEP = 0.25, 0.3
"""The first step down, as shares of Newton's."""
OWN_ANSWER = 0.7
"""What a latent's own rounding error adds to its gradient, in Newton's steps; 1 if g_s were orthonormal."""
STEP_SIZE = 0.01
HOT, COLD = 0.5, 0.05


class Target(NamedTuple):
    """What a refinement aims at: `x` (1, 3, H, W) in 0..1, padded as `clc.model.model.padded` does, and how it is
    coded.

    `z` (1, Z, h/4, w/4) are the hyper-latents, which stay as they are. Tokens of references are not among it: they
    change little, and a picture is refined once for all entries that it may be coded with. `structure` (1, S, h, w) is
    that of a self-generated prior, which stays as it is, too.
    """

    x: Tensor
    quality_q6: int
    z: Tensor
    aligned: AlignedPixels | None
    structure: Tensor | None = None


@torch.enable_grad()
def refine(model: Model, y: Tensor, target: Target, effort: Effort) -> Tensor:
    """Latents (1, M, h, w) near `y` that cost less rate + lambda * distortion, found tile by tile.

    Annealed latents lie on what their symbols stand for: they are to be rounded to the nearest integer.
    """
    refined = y.clone()
    for top in range(0, target.x.shape[2], TILE_PX):
        for left in range(0, target.x.shape[3], TILE_PX):
            tile = (..., slice(top, top + TILE_PX), slice(left, left + TILE_PX))
            latents = _at(tile, PATCH_PX)
            aligned = target.aligned
            if aligned is not None:
                aligned = AlignedPixels(aligned.levels[tile], aligned.inside[tile], aligned.present)
            structure = None if target.structure is None else target.structure[latents]
            z = target.z[_at(tile, STRIDE_Z)]
            part = target._replace(x=target.x[tile], z=z, aligned=aligned, structure=structure)
            moved = _stepped_down(model, y[latents], part, effort.down)
            refined[latents] = _annealed(model, moved, part, effort.annealed) if effort.annealed else moved
    return refined


def _at(tile: tuple[EllipsisType, slice, slice], stride_px: int) -> tuple[EllipsisType, slice, slice]:
    rows, columns = (slice(side.start // stride_px, side.stop // stride_px) for side in tile[1:])
    return ..., rows, columns


def _stepped_down(model: Model, y: Tensor, target: Target, steps: int) -> Tensor:
    """Steps against the gradient of rate and error, without the part that each latent's own rounding error adds to it.

    That part would push latents away from the values they are rounded to.
    """
    # A latent's error is a pixel's where g_s is orthonormal, so that the second derivative is the same for all.
    newton = target.x.numel() / (2.0 * _trade(target))
    step = model.gains.step(torch.tensor([target.quality_q6], device=y.device)).detach()
    for index in range(steps):
        y = y.detach().requires_grad_(True)
        loss, result = _coded(model, y, target, thrifty_round, is_context_followed=False)
        cost = RATE_STEP * loss.bpp + ERROR_STEP * _trade(target) * loss.mse
        (slope,) = torch.autograd.grad(cost.sum(), y)
        own = ERROR_STEP * OWN_ANSWER * (result.y_hat.detach() * step - y)
        y = y - (1.0 - index / steps) * (newton * slope - own)
    return y.detach()


def _annealed(model: Model, y: Tensor, target: Target, steps: int) -> Tensor:
    """Annealed latents, moved to the middle of their rounding intervals, where no small difference changes a symbol."""
    step = model.gains.step(torch.tensor([target.quality_q6], device=y.device)).detach()
    scaled = (y / step).requires_grad_(True)
    optimiser = torch.optim.Adam([scaled], lr=STEP_SIZE)
    generator = torch.Generator(device=y.device).manual_seed(0)
    with torch.no_grad():
        before, as_before = _cost(model, y, target, thrifty_round)
    for index in range(steps):
        progress = index / steps
        optimiser.param_groups[0]["lr"] = STEP_SIZE * (1.0 - progress)
        temperature = HOT * (COLD / HOT) ** progress
        rounding = partial(_annealed_round, temperature=temperature, generator=generator)
        cost, _ = _cost(model, scaled * step, target, rounding)
        (scaled.grad,) = torch.autograd.grad(cost, scaled)
        optimiser.step()
    with torch.no_grad():
        after, as_after = _cost(model, scaled * step, target, thrifty_round)
    return step * (as_after if after < before else as_before).y_hat


def _cost(model: Model, y: Tensor, target: Target, quantise: Quantiser) -> tuple[Tensor, TrainingPass]:
    """Rate + lambda * distortion of latents, bits a pixel, and the training pass that it was computed from."""
    loss, result = _coded(model, y, target, quantise, is_context_followed=True)
    return (loss.bpp + _trade(target) * loss.mse).sum(), result


def _coded(
    model: Model, y: Tensor, target: Target, quantise: Quantiser, *, is_context_followed: bool
) -> tuple[Loss, TrainingPass]:
    """What latents cost, and the training pass that it was computed from."""
    quality = torch.tensor([target.quality_q6], device=y.device)
    result = model(
        y,
        quality,
        y.new_zeros(1, 0, model.config.token),
        torch.ones(1, dtype=torch.bool, device=y.device),
        aligned=target.aligned,
        quantise=quantise,
        z=target.z,
        generated=None if target.structure is None else GeneratedPrior(target.structure, y.new_zeros(1)),
        is_context_followed=is_context_followed,
    )
    return rate_distortion_loss(result, target.x, from_q6(quality)), result


def _trade(target: Target) -> float:
    """What a squared error of 0..1 costs, bits a pixel."""
    return rate_distortion_lambda(torch.tensor(from_q6(target.quality_q6))).item() * 255.0**2


def _annealed_round(
    x: Tensor, level: Tensor, bits_per_squared_step: Tensor, temperature: float, generator: torch.Generator
) -> Tensor:
    """A random point between floor and ceiling of x, nearer to the nearer one the lower the temperature."""
    del level, bits_per_squared_step
    low = torch.floor(x)
    above = (x - low).clamp(1e-4, 1.0 - 1e-4)
    odds = (torch.atanh(1.0 - above) - torch.atanh(above)) / temperature  # of the floor against the ceiling
    uniform = torch.rand(x.shape, generator=generator, device=x.device).clamp(1e-6, 1.0 - 1e-6)
    gumbel = torch.log(uniform) - torch.log1p(-uniform)
    return low + torch.sigmoid((gumbel - odds) / temperature)
