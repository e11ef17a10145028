"""The Karhunen-Loeve transform of picture patches: where the linear paths of g_a and g_s start.

192 of the 768 components of 16x16x3 patches keep 99.5 % of the energy of photographs; starting there saves most of the
training that a randomly initialised transform needs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from clc.fusion import PATCH_PX, PIXEL_SCALE
from clc.model import Model


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


def start_from_klt(model: Model, basis: torch.Tensor) -> None:
    """Sets the linear paths of a model to `basis` (M, 768) and its transpose."""
    with torch.no_grad():
        for conv, weight in ((model.g_a.linear, basis), (model.g_s.linear, basis.T)):
            conv.weight.copy_(weight[:, :, None, None])
            if conv.bias is not None:
                conv.bias.zero_()
    follow_analysis(model)


def follow_analysis(model: Model) -> None:
    """Sets the transform of aligned references to the linear path of g_a, in the units of `clc.fusion`."""
    linear, klt = model.g_a.linear, model.prior.fusion.klt
    with torch.no_grad():
        klt.weight.copy_(linear.weight * (PIXEL_SCALE / 510.0))
        if linear.bias is not None:
            klt.bias.copy_(linear.bias)
