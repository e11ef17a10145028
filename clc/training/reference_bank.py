"""Describing latents and finding the dictionary entries that resemble them.

The encoder alone retrieves (its result travels in the stream), so this is ordinary float code. The descriptor is
spatial pyramid pooling over the codec's own analysis transform: training, export and encoding share it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from clc.model.description import analysis_features

PYRAMID = (1, 2, 4)

Latents = Callable[[Tensor], Tensor]


def pyramid_descriptor(features_BChw: Tensor) -> Tensor:
    """Spatial pyramid pooling {1x1, 2x2, 4x4} by the maximum, as `clc.retrieval.pyramid.spp` does it: -> (B, 21 C)."""
    cells = [F.adaptive_max_pool2d(features_BChw, size).flatten(1) for size in PYRAMID]
    return torch.cat(cells, dim=1)


class ReferenceBank:
    """The dictionary as training sees it: latents of K entries under the current g_a, found by descriptor.

    `photos` names the photo that each entry was cut from: a crop never gets an entry of its own photo.
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
        """Recomputes the latents (in units of the middle step) and descriptors of all entries."""
        parts = [g_a(chunk.to(middle_step.device).float() / 255.0) / middle_step for chunk in self._patches.split(8)]
        scaled = torch.cat(parts)
        self._descriptor_KD = pyramid_descriptor(analysis_features(scaled))
        self._y_KMhw = scaled.to(torch.float16)

    @torch.no_grad()
    def find(self, scaled_BMhw: Tensor, photos: list[str], count: int, anew: Latents | None = None) -> Tensor:
        """Latents (B, count, M, 16, 16) of the entries nearest to each crop, none from the crop's own photo.

        They are those of the last `refresh`, or made by `anew` from the patches of the entries found.
        """
        query = pyramid_descriptor(analysis_features(scaled_BMhw))
        distance = torch.cdist(query, self._descriptor_KD)
        own = torch.tensor([self._code.get(name, -1) for name in photos])[:, None] == self._photo_K[None]
        distance.masked_fill_(own.to(distance.device), torch.inf)
        nearest = distance.topk(count, dim=1, largest=False).indices
        if anew is None:
            return self._y_KMhw[nearest].float()
        patches = self._patches[nearest.flatten().cpu()].to(scaled_BMhw.device)
        return anew(patches.float() / 255.0).unflatten(0, (len(scaled_BMhw), count))
