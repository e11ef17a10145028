"""The Karhunen-Loeve transform of picture patches: where the linear paths of g_a and g_s start.

192 of the 768 components of 16x16x3 patches keep 99.5 % of the energy of photographs; starting there saves most of the
training that a randomly initialised transform needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from clc.errors import InputError
from clc.exact.layers import GridConv2d
from clc.model.model import STRIDE_Z, Model
from clc.model.prior.fusion import PIXEL_SCALE
from clc.quality import MAX_QUALITY_Q6
from clc.references.aligned import PATCH_PX

# Trust in r is 0.25 times this plus 0.5, see `SliceFusion.trust_in_r`: none, at the very edge, where gradients pass.
NO_TRUST = -2.0
HYPER_SPREAD = 1.5
NEW_LATENTS_CROPS = 600


def klt_basis(
    pictures: Sequence[npt.NDArray[np.uint8]], components: int, generator: np.random.Generator
) -> torch.Tensor:
    """Orthonormal rows (components, 768), by falling energy, from random 128 px crops of uint8 (H, W, 3) pictures.

    The order of the 768 values is that of `torch.nn.functional.pixel_unshuffle(x, 16)`.
    """
    crop = 8 * PATCH_PX
    moment = torch.zeros(3 * PATCH_PX**2, 3 * PATCH_PX**2, dtype=torch.float64)
    chosen = generator.choice(len(pictures), size=min(len(pictures) * 4, 1500))
    for picture in (pictures[i] for i in chosen):
        if min(picture.shape[:2]) < crop:
            continue
        top = int(generator.integers(picture.shape[0] - crop + 1))
        left = int(generator.integers(picture.shape[1] - crop + 1))
        x = torch.from_numpy(picture[top : top + crop, left : left + crop].copy()).permute(2, 0, 1)[None]
        patches = F.pixel_unshuffle(x.double() / 255.0 - 0.5, PATCH_PX)[0].flatten(1)
        moment += patches @ patches.T
    _, vectors = torch.linalg.eigh(moment)
    return vectors.flip(1)[:, :components].T.float().contiguous()


def linear_layers(model: Model) -> list[nn.Module]:
    """The layers that start as the KLT: the linear paths of g_a and g_s, where there are any, and of the prior."""
    paths = model.g_a.linear_path(), model.g_s.linear_path(), model.prior.linear_path()
    return [path for path in paths if path is not None]


def start_from_klt(model: Model, basis: torch.Tensor) -> None:
    """Starts a model from the KLT: `basis` (M, 768) and its transpose become the linear paths of g_a and g_s.

    A backbone without linear paths keeps its random start. There the KLT serves only to show aligned references to the
    prior: r is then in no way a guess at y, so that the means begin without trust in it, and the nets learn from it.
    """
    analysis, synthesis = model.g_a.linear_path(), model.g_s.linear_path()
    with torch.no_grad():
        for conv, weight in ((analysis, basis), (synthesis, basis.T)):
            if conv is not None:
                _set_linear(conv, weight)
        if analysis is None:
            _set_linear(model.prior.fusion.klt, basis * (PIXEL_SCALE / 510.0))
            for bias in model.prior.trust_biases():
                bias.fill_(NO_TRUST)
    follow_analysis(model)


def _set_linear(conv: nn.Conv2d | GridConv2d, weight: torch.Tensor) -> None:
    conv.weight.copy_(weight[:, :, None, None])
    if conv.bias is not None:
        conv.bias.zero_()


def follow_analysis(model: Model) -> None:
    """Sets the transform of aligned references to the linear path of g_a, in the units of `clc.model.prior.fusion`.

    Without a linear path it stays what it is.
    """
    linear, klt = model.g_a.linear_path(), model.prior.fusion.klt
    if linear is None:
        return
    with torch.no_grad():
        klt.weight.copy_(linear.weight * (PIXEL_SCALE / 510.0))
        if linear.bias is not None:
            klt.bias.copy_(linear.bias)


@torch.no_grad()
def start_new_latents(
    model: Model, pictures: Sequence[npt.NDArray[np.uint8]], first: int, generator: np.random.Generator
) -> None:
    """Makes the latents from number `first` on the linear transform of what the others leave out at quality 100.

    Of pictures uint8 (H, W, 3): their synthesis is the KLT of x - g_s(g_a(x)), nothing rounded, their analysis the
    linear guess at its components from x. For a model that `clc.training.growth` gave a further slice, with linear
    paths.
    """
    analysis, synthesis = model.g_a.linear_path(), model.g_s.linear_path()
    if analysis is None or synthesis is None:
        raise InputError("a backbone without linear paths has no place for new latents")
    sides = 3 * PATCH_PX**2
    left, cross, energy = (torch.zeros(sides, sides, dtype=torch.float64) for _ in range(3))
    quality, absent = torch.tensor([MAX_QUALITY_Q6]), torch.zeros(1, dtype=torch.bool)
    no_tokens = torch.zeros(1, 0, model.config.token)
    for x in _crops(pictures, generator):
        result = model(model.g_a(x), quality, no_tokens, absent, quantise=lambda offset, level, worth: offset)
        patches = F.pixel_unshuffle(torch.cat([x - 0.5, x - result.x_hat]).double(), PATCH_PX).flatten(2)
        energy += patches[0] @ patches[0].T
        cross += patches[1] @ patches[0].T
        left += patches[1] @ patches[1].T
    count = analysis.weight.shape[0] - first
    basis = torch.linalg.eigh(left)[1].flip(1)[:, :count]
    floor = 1e-6 * energy.diagonal().mean() * torch.eye(sides, dtype=torch.float64)
    rows = torch.linalg.solve(energy + floor, cross.T @ basis).T.float()
    analysis.weight[first:] = rows[:, :, None, None]
    synthesis.weight[:, first:] = basis.float()[:, :, None, None]
    model.prior.fusion.klt.weight[first:] = rows[:, :, None, None] * (PIXEL_SCALE / 510.0)
    for layer in (analysis, model.prior.fusion.klt):
        if layer.bias is not None:
            layer.bias[first:] = 0.0


def _crops(pictures: Sequence[npt.NDArray[np.uint8]], generator: np.random.Generator) -> Iterator[torch.Tensor]:
    """Some hundred crops (1, 3, 128, 128) in 0..1 of pictures that are large enough."""
    crop = 2 * STRIDE_Z
    large = [picture for picture in pictures if min(picture.shape[:2]) >= crop]
    for picture in (large[i] for i in generator.choice(len(large), size=NEW_LATENTS_CROPS)):
        top, left = (int(generator.integers(side - crop + 1)) for side in picture.shape[:2])
        x = torch.from_numpy(picture[top : top + crop, left : left + crop].copy()).permute(2, 0, 1)[None]
        yield x.float() / 255.0


@torch.no_grad()
def spread_hyper_latents(model: Model, crops_B3HW: torch.Tensor) -> None:
    """Scales the last layer of h_a so that each channel of z has mean 0 and spread 1.5 on uint8 crops, at all rates.

    A random h_a makes z far smaller than 1: all of it rounds to 0, nothing behind it learns to use it, and training
    settles on a codec without hyperprior (measured: it never left that state in 24,000 steps). H, W multiples of 64.
    """
    side = crops_B3HW.shape[-1] // STRIDE_Z * STRIDE_Z
    x = crops_B3HW[:8, :, :side, :side].float() / 255.0
    qualities = torch.linspace(0, MAX_QUALITY_Q6, 5).long()
    z = torch.cat([model.h_a(model.g_a(x) / model.gains.step(quality[None])) for quality in qualities])
    spread, mean = z.std(dim=(0, 2, 3)), z.mean(dim=(0, 2, 3))
    gain = HYPER_SPREAD / spread.clamp_min(1e-6)
    last = model.h_a.last_layer()
    last.weight.mul_(gain[:, None, None, None])
    if last.bias is not None:
        last.bias.copy_((last.bias - mean) * gain)
