"""The dictionary in training: latents of its entries, and the search for the entries that resemble a crop.

Called by `clc.training.trainer`. A bundle stores tokens and keys, once and for all; in training g_a changes, and the
bank is refreshed now and then. Searching is float code: only an encoder searches, and a stream names the entries found.
The contract: the descriptor is that of export and encoding (`clc.retrieval.pyramid.spp` of `analysis_features`).

Shapes: K entries, B crops, M latent channels, D values of a descriptor.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from clc.model.description import analysis_features

PYRAMID = (1, 2, 4)
"""Cells along a side at each level of the pyramid."""

Analyse = Callable[[Tensor], Tensor]
"""From pictures (B, 3, H, W) in 0..1 to latents (B, M, h, w), in units of the step of the middle quality."""


def pyramid_descriptor(features_BChw: Tensor) -> Tensor:
    """Descriptors (B, 21 C) of feature maps (B, C, h, w): maxima over pyramids of 1x1, 2x2 and 4x4 cells.

    The same function as `clc.retrieval.pyramid.spp`, in torch.
    """
    cells = [F.adaptive_max_pool2d(features_BChw, size).flatten(1) for size in PYRAMID]
    return torch.cat(cells, dim=1)


class ReferenceBank:
    """The K dictionary patches, uint8 (K, 3, 256, 256), with their latents and descriptors as of the last `refresh`.

    `photos` names the photo that each patch was cut from: a crop never gets an entry of its own photo.
    """

    def __init__(self, patches_K3HW: Tensor, photos: list[str]) -> None:
        names = sorted(set(photos))
        self._code = {name: index for index, name in enumerate(names)}
        self._patches = patches_K3HW
        self._photo_K = torch.tensor([self._code[name] for name in photos])
        self._y_KMhw = torch.empty(0)
        self._descriptor_KD = torch.empty(0)

    @torch.no_grad()
    def refresh(self, g_a: torch.nn.Module, middle_step: Tensor) -> None:
        """Computes the latents and descriptors of all entries by `g_a`.

        `middle_step` (1, M, 1, 1) are the quantisation steps of the middle quality, in which the latents are measured.
        """
        parts = [g_a(chunk.to(middle_step.device).float() / 255.0) / middle_step for chunk in self._patches.split(8)]
        scaled = torch.cat(parts)
        self._descriptor_KD = pyramid_descriptor(analysis_features(scaled))
        self._y_KMhw = scaled.to(torch.float16)

    @torch.no_grad()
    def find(self, scaled_BMhw: Tensor, photos: list[str], count: int, analyse: Analyse | None = None) -> Tensor:
        """Latents float32 (B, count, M, 16, 16) of the entries nearest to each crop, none of its own photo.

        `scaled_BMhw` are the latents of the crops over the steps of the middle quality. Those returned are of the last
        `refresh`, or are computed by `analyse` from the patches of the entries found.
        """
        query = pyramid_descriptor(analysis_features(scaled_BMhw))
        distance = torch.cdist(query, self._descriptor_KD)
        is_same_photo = torch.tensor([self._code.get(name, -1) for name in photos])[:, None] == self._photo_K[None]
        distance.masked_fill_(is_same_photo.to(distance.device), torch.inf)
        nearest = distance.topk(count, dim=1, largest=False).indices
        if analyse is None:
            return self._y_KMhw[nearest].float()
        patches = self._patches[nearest.flatten().cpu()].to(scaled_BMhw.device)
        return analyse(patches.float() / 255.0).unflatten(0, (len(scaled_BMhw), count))
