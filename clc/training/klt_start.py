"""Initial weights from the training pictures: linear paths from the Karhunen-Loeve transform, and h_a in scale.

192 of the 768 components of 16x16x3 patches keep 99.5 % of the energy of photographs. A model that starts from them is
a transform codec at once, and saves most of the training that random transforms need. Called by
`clc.training.trainer` where a run starts without weights, and by the command line of `clc.training` where latents are
added to a trained model. The contract: at the start the linear paths of g_a and g_s are orthonormal and inverse to one
another, so that errors of latents are errors of pixels.

Shapes: M latent channels, 768 = 16 * 16 * 3 values of a patch in the order of `pixel_unshuffle(x, 16)`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from clc.errors import InputError
from clc.exact.layers import GridConv2d
from clc.model.model import STRIDE_Z, Model
from clc.model.prior.fusion import PIXEL_SCALE
from clc.model.prior.hyperprior import COMPONENTS
from clc.model.transforms.self_generated import SelfPriorTransforms, small_blocks
from clc.quality import MAX_QUALITY_Q6
from clc.references.aligned import PATCH_PX

NO_TRUST = -2.0
"""The bias of a layer of `SliceFusion.trust` for a trust of 0: on the edge of the clamp, where gradients still pass."""
HYPER_SPREAD = 1.5
"""The standard deviation of z that `spread_hyper_latents` makes."""
NEW_LATENTS_CROPS = 600
"""Crops from which `start_new_latents` learns."""


def klt_basis(
    pictures: Sequence[npt.NDArray[np.uint8]], components: int, generator: np.random.Generator
) -> torch.Tensor:
    """The first components of the KLT of patches: orthonormal rows, float32 (components, 768), by falling energy.

    `pictures` are uint8 (H, W, 3); the moments are those of random crops of 128 px, without pictures that are smaller.
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
    """The layers that start as the KLT: the linear paths of g_a and g_s, if the backbone has any, and of the prior."""
    paths = model.g_a.linear_path(), model.g_s.linear_path(), model.prior.linear_path()
    return [path for path in paths if path is not None]


def start_from_klt(model: Model, basis: torch.Tensor) -> None:
    """Sets the linear paths of g_a, g_s and the prior from `basis` (M, 768): the KLT, its transpose, the KLT.

    A backbone without linear paths keeps its random weights. The prior still sees aligned references by the KLT, but r
    lies in another basis than y and predicts nothing of it: the trust in r therefore starts at 0.
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
    """Sets the prior's linear path to that of g_a, in the units of `clc.model.prior.fusion`.

    Leaves it as it is if g_a has no linear path.
    """
    linear, klt = model.g_a.linear_path(), model.prior.fusion.klt
    if linear is None:
        return
    with torch.no_grad():
        klt.weight.copy_(linear.weight * (PIXEL_SCALE / 510.0))
        if linear.bias is not None:
            klt.bias.copy_(linear.bias)


@torch.no_grad()
def start_self_prior(model: Model, pictures: Sequence[npt.NDArray[np.uint8]], generator: np.random.Generator) -> None:
    """Sets the linear path of a self-generated prior to the KLT of small pictures, and the distribution of p to fit it.

    Small pictures are means of 4x4 px in blocks of 8x8, 192 values; the KLT is orthonormal, so that p is well above 1
    and does not round to 0. `model` has such a prior. Raises `InputError` where no picture has 128 px.
    """
    source = cast("SelfPriorTransforms", model.self_prior).source
    blocks = torch.cat([small_blocks(x).flatten(2)[0].double() for x in _crops(pictures, generator)], dim=1)
    vectors = torch.linalg.eigh(blocks @ blocks.T)[1].flip(1)
    _set_linear(source.linear, vectors[:, : model.config.self_prior].T.float())
    p = source.linear.weight.flatten(1).double() @ blocks
    spread = p.std(dim=1, keepdim=True).clamp_min(0.25).float()
    model.p_prior.mean.copy_(p.mean(dim=1, keepdim=True).float() + spread * torch.linspace(-1.0, 1.0, COMPONENTS))
    model.p_prior.log_scale.copy_(torch.log(0.5 * spread).expand(-1, COMPONENTS))


@torch.no_grad()
def start_new_latents(
    model: Model, pictures: Sequence[npt.NDArray[np.uint8]], first: int, generator: np.random.Generator
) -> None:
    """Sets the linear paths of the latents from number `first` on: they code what the others leave out of pictures.

    For a model to which `clc.training.growth` has added a slice. What the others leave out is x - g_s(g_a(x)) at
    quality 100, unrounded. The new columns of g_s are its KLT; the new rows of g_a and of the prior are the linear
    prediction of its components from x, by least squares. `pictures` are uint8 (H, W, 3). Raises `InputError` for a
    backbone without linear paths.
    """
    analysis, synthesis = model.g_a.linear_path(), model.g_s.linear_path()
    if analysis is None or synthesis is None:
        raise InputError("a backbone without linear paths has no place for new latents")
    size = 3 * PATCH_PX**2
    left, cross, energy = (torch.zeros(size, size, dtype=torch.float64) for _ in range(3))
    quality, absent = torch.tensor([MAX_QUALITY_Q6]), torch.zeros(1, dtype=torch.bool)
    no_tokens = torch.zeros(1, 0, model.config.token)
    for x in _crops(pictures, generator):
        generated = model.generate_prior(x, quality)
        y = model.analysis(x, None, generated)
        result = model(y, quality, no_tokens, absent, quantise=_unrounded, generated=generated)
        patches = F.pixel_unshuffle(torch.cat([x - 0.5, x - result.x_hat]).double(), PATCH_PX).flatten(2)
        energy += patches[0] @ patches[0].T
        cross += patches[1] @ patches[0].T
        left += patches[1] @ patches[1].T
    count = analysis.weight.shape[0] - first
    basis = torch.linalg.eigh(left)[1].flip(1)[:, :count]
    floor = 1e-6 * energy.diagonal().mean() * torch.eye(size, dtype=torch.float64)
    rows = torch.linalg.solve(energy + floor, cross.T @ basis).T.float()
    analysis.weight[first:] = rows[:, :, None, None]
    synthesis.weight[:, first:] = basis.float()[:, :, None, None]
    model.prior.fusion.klt.weight[first:] = rows[:, :, None, None] * (PIXEL_SCALE / 510.0)
    for layer in (analysis, model.prior.fusion.klt):
        if layer.bias is not None:
            layer.bias[first:] = 0.0


def _unrounded(offset: torch.Tensor, level: torch.Tensor, bits_per_squared_step: torch.Tensor) -> torch.Tensor:
    """A `Quantiser` that rounds nothing."""
    del level, bits_per_squared_step
    return offset


def _crops(pictures: Sequence[npt.NDArray[np.uint8]], generator: np.random.Generator) -> Iterator[torch.Tensor]:
    """`NEW_LATENTS_CROPS` random crops, float32 (1, 3, 128, 128) in 0..1, of pictures that are large enough."""
    crop = 2 * STRIDE_Z
    large = [picture for picture in pictures if min(picture.shape[:2]) >= crop]
    if not large:
        raise InputError(f"no picture has {crop} px on both sides; give larger ones")
    for picture in (large[i] for i in generator.choice(len(large), size=NEW_LATENTS_CROPS)):
        top, left = (int(generator.integers(side - crop + 1)) for side in picture.shape[:2])
        x = torch.from_numpy(picture[top : top + crop, left : left + crop].copy()).permute(2, 0, 1)[None]
        yield x.float() / 255.0


@torch.no_grad()
def spread_hyper_latents(model: Model, crops_B3HW: torch.Tensor) -> None:
    """Scales the last layer of h_a so that each channel of z has mean 0 and standard deviation 1.5 over all rates.

    `crops_B3HW` are uint8; the first eight are used. A random h_a makes z far smaller than 1, so that all of it rounds
    to 0, h_s learns nothing from it, and training settles on a codec without hyperprior (measured: for all of 24,000
    steps).
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
