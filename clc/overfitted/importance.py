"""How much an error of the latents shows in the picture, by the Jacobian J of an autoencoder's decoder.

An error e of the latents at one place costs about w e^T S e in squared error of the pixels: S = E[J^T J] over the
picture, w how much more or less this place counts than the mean of all. Latents of an autoencoder are nearly white,
while some of their directions matter a hundred times as much as others, and texture ten times as much as sky: their
plain squared error is a poor measure. `clc.overfitted.fit` weighs by both; a decoder needs nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Decode = Callable[[Tensor], Tensor]
"""Latents (1, C, h, w) to pixels 0..1, (1, 3, stride h, stride w)."""

TILE = 96
"""Side, in latents, of the pieces that are probed one after the other, which bounds the memory."""

STEP = 0.05
"""Size of the changes by which a decoder without gradients is probed; latents have a spread near 1."""

SMOOTHING = 5
"""Side, in latents, of the square over which the places' importance is averaged: one probe is noisy."""

FLOOR = 1e-4
"""Share of the mean importance that no direction falls below, so that S has a root, and no place either."""


class Importance(NamedTuple):
    """`directions_CC` is S, float32 (C, C), in squared pixels 0..1 of all colours; `places_hw` is w, 1 on average."""

    directions_CC: Tensor
    places_hw: Tensor

    def root(self) -> Tensor:
        """L (C, C) with L^T L = S, every direction lifted to a floor: e^T S e is the square of L e."""
        channels = self.directions_CC.shape[0]
        floor = FLOOR * float(self.directions_CC.trace()) / channels
        lifted = self.directions_CC.double() + max(floor, 1e-12) * torch.eye(channels, dtype=torch.float64)
        root: Tensor = torch.linalg.cholesky(lifted)
        return root.t().float()

    def plain(self) -> Importance:
        """The same importance in all directions and places, as large in all: the plain squared error."""
        channels = self.directions_CC.shape[0]
        mean = self.directions_CC.trace() / channels
        return Importance(mean * torch.eye(channels), torch.ones_like(self.places_hw))


def importance_by_gradients(decode: Decode, y_1Chw: Tensor, generator: torch.Generator) -> Importance:
    """The importance for a decoder that torch can differentiate.

    For pixels v of unit noise, J^T v has the covariance J^T J, and its block at every place is a sample.
    """
    samples = torch.empty_like(y_1Chw)
    for rows, columns in _tiles(y_1Chw):
        with torch.enable_grad():
            y = y_1Chw[:, :, rows, columns].clone().requires_grad_()
            x = decode(y)
            (samples[:, :, rows, columns],) = torch.autograd.grad(x, y, torch.randn(x.shape, generator=generator))
    places_CN = samples[0].flatten(1).double()
    return _importance(places_CN @ places_CN.t() / places_CN.shape[1], samples.square().sum(dim=1))


@torch.no_grad()
def importance_by_differences(decode: Decode, y_1Chw: Tensor, generator: torch.Generator) -> Importance:
    """The importance for any decoder, by small changes of one channel after the other, with random signs at all places.

    Products of the responses to two channels hold S where both changed the same place; where they did not, the signs
    cancel on average. It takes a decoding for each channel.
    """
    _, channels, height, width = y_1Chw.shape
    total = torch.zeros(channels, channels, dtype=torch.float64)
    energy = torch.zeros(1, height, width)
    for rows, columns in _tiles(y_1Chw):
        tile = y_1Chw[:, :, rows, columns]
        signs = torch.randint(0, 2, tile.shape[2:], generator=generator) * 2.0 - 1.0
        before, responses = decode(tile), []
        for channel in range(channels):
            changed = tile.clone()
            changed[0, channel] += STEP * signs
            responses.append((decode(changed) - before) / STEP)
        responses_CN = torch.cat(responses).flatten(1).double()
        total += responses_CN @ responses_CN.t()
        by_pixel = torch.cat(responses).square().sum(dim=(0, 1))
        energy[:, rows, columns] = F.adaptive_avg_pool2d(by_pixel[None], (signs.shape[0], signs.shape[1]))
    return _importance(total / (height * width), energy)


def _importance(directions_CC: Tensor, places_1hw: Tensor) -> Importance:
    pad = SMOOTHING // 2
    padded = F.pad(places_1hw[None], (pad,) * 4, mode="replicate")
    smoothed = F.avg_pool2d(padded, SMOOTHING, stride=1)[0, 0]
    mean = smoothed.mean().clamp_min(1e-12)
    return Importance(directions_CC.float(), (smoothed / mean).clamp_min(FLOOR))


def _tiles(y_1Chw: Tensor) -> Iterator[tuple[slice, slice]]:
    """The rows and columns of pieces that make up all latents."""
    height, width = y_1Chw.shape[2:]
    for row in range(0, height, TILE):
        for column in range(0, width, TILE):
            yield slice(row, row + TILE), slice(column, column + TILE)
