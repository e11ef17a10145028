"""How long the encoder may search: effort 0 to 9. A decoder never needs to know.

    level    key pictures tried    of these aligned at once    steps of refinement
    0        none, nor tokens      -                           -
    1, 2     2, 4                  1                           -
    3, 4     8, 12                 2                           -
    5        16 (the default)      3                           -
    6 to 9   16                    3                           100, 200, 400, 1000

Refinement moves the latents of this one picture against the frozen decoder, by the gradient of rate + lambda *
distortion (Campos et al., "Content adaptive optimization for neural image compression", CVPRW 2019). It works on tiles,
so that memory is bounded and the time linear in the pixels. What each level buys and costs stands in the README.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from clc.errors import InputError
from clc.fusion import PATCH_PX, AlignedPixels
from clc.losses import rate_distortion_loss
from clc.model import Model
from clc.quantisation import Quantiser, thrifty_round

DEFAULT_EFFORT = 5
TILE_PX = 512
STEP_SIZE = 0.01
HOT, COLD = 0.5, 0.05


class Effort(NamedTuple):
    """One level; see the table of the module."""

    registered: int
    aligned: int
    steps: int


_LEVELS = (
    Effort(0, 0, 0),
    Effort(2, 1, 0),
    Effort(4, 1, 0),
    Effort(8, 2, 0),
    Effort(12, 2, 0),
    Effort(16, 3, 0),
    Effort(16, 3, 100),
    Effort(16, 3, 200),
    Effort(16, 3, 400),
    Effort(16, 3, 1000),
)
DEFAULT = _LEVELS[DEFAULT_EFFORT]


def effort_of(level: int) -> Effort:
    """The effort of a level 0..9; raises `InputError` for another one."""
    if not isinstance(level, int) or not 0 <= level < len(_LEVELS):
        raise InputError(f"the effort must be a whole number from 0 to {len(_LEVELS) - 1}, not {level!r}")
    return _LEVELS[level]


class Target(NamedTuple):
    """What a refinement aims at: `x` (1, 3, H, W) in 0..1, padded as `clc.model.padded` does, and how it is coded."""

    x: Tensor
    quality_q6: int
    tokens_1NT: Tensor
    aligned: AlignedPixels | None


@torch.enable_grad()
def refine(model: Model, y: Tensor, target: Target, steps: int) -> Tensor:
    """Latents (1, M, h, w) near `y` that cost less rate + lambda * distortion, after `steps` of Adam on each tile."""
    refined = y.clone()
    for top in range(0, target.x.shape[2], TILE_PX):
        for left in range(0, target.x.shape[3], TILE_PX):
            tile = (..., slice(top, top + TILE_PX), slice(left, left + TILE_PX))
            latents = (..., _at_sixteenth(tile[1]), _at_sixteenth(tile[2]))
            aligned = target.aligned
            if aligned is not None:
                aligned = AlignedPixels(aligned.levels[tile], aligned.inside[tile], aligned.present)
            part = target._replace(x=target.x[tile], aligned=aligned)
            refined[latents] = _refine_tile(model, y[latents], part, steps)
    return refined


def _at_sixteenth(pixels: slice) -> slice:
    return slice(pixels.start // PATCH_PX, pixels.stop // PATCH_PX)


def _refine_tile(model: Model, y: Tensor, target: Target, steps: int) -> Tensor:
    quality = torch.tensor([target.quality_q6], device=y.device)
    step = model.gains.step(quality)
    scaled = (y / step).requires_grad_(True)
    optimiser = torch.optim.Adam([scaled], lr=STEP_SIZE)
    seen = torch.ones(1, dtype=torch.bool, device=y.device)
    generator = torch.Generator(device=y.device).manual_seed(0)

    def code(quantise: Quantiser) -> tuple[Tensor, Tensor]:
        result = model(scaled * step, quality, target.tokens_1NT, seen, aligned=target.aligned, quantise=quantise)
        return rate_distortion_loss(result, target.x, quality / 64.0).total, result.y_hat

    with torch.no_grad():
        before = code(thrifty_round)
    for index in range(steps):
        progress = index / steps
        optimiser.param_groups[0]["lr"] = STEP_SIZE * (1.0 - progress)
        temperature = HOT * (COLD / HOT) ** progress
        loss, _ = code(partial(_annealed_round, temperature=temperature, generator=generator))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        after = code(thrifty_round)
    # The rounded latents: they lie in the middle of their intervals, where no small difference turns a symbol.
    return step * (after if after[0] < before[0] else before)[1]


def _annealed_round(x: Tensor, level: Tensor, worth: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """Between floor and ceiling of x at random, likelier and harder towards the nearer one as it cools."""
    del level, worth
    low = torch.floor(x)
    above = (x - low).clamp(1e-4, 1.0 - 1e-4)
    odds = (torch.atanh(1.0 - above) - torch.atanh(above)) / temperature  # of the floor against the ceiling
    uniform = torch.rand(x.shape, generator=generator, device=x.device).clamp(1e-6, 1.0 - 1e-6)
    gumbel = torch.log(uniform) - torch.log1p(-uniform)
    return low + torch.sigmoid((gumbel - odds) / temperature)
