"""Pixels of a decoded picture that are the same bits on every machine, for streams that other streams refer to.

The synthesis g_s sums thousands of products for each pixel, and kernels differ in the order in which they sum. In
float32 the sums differ by up to 1e-4 levels, and now and then a value falls on the other side of a rounding edge. Here
all of it runs in float64: g_s, steps, modulation and post-filter. Orders of summation then differ by less than 1e-12
levels, and `synthesise_exactly` says how near any value came to an edge. The encoder keeps a picture as a reference
only if none came nearer than `MARGIN`; then no order of summation can round it another way (ADR 015).

A decoder checks the SHA-256 of the pixels all the same, whenever it makes them.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch

from clc.bitstream.container import Stream
from clc.codec.decoder import Decoder, SynthesisParts, synthesised
from clc.model.post_filter import PostFilter
from clc.model.prior.walk import Conditions, Decoded
from clc.pictures.picture import Picture

MARGIN = 1e-9
"""In levels: how far every value of a referenced picture stays from an edge between two rounded levels."""


class ExactPicture(NamedTuple):
    """The pixels uint8 (H, W, 3), and how far, in levels, the value nearest to a rounding edge lies from it."""

    image_HW3: Picture
    clearance: float

    @property
    def is_safe(self) -> bool:
        """Whether every machine makes the same pixels."""
        return self.clearance >= MARGIN


class ExactSynthesis:
    """The synthesis of one bundle in float64, on the CPU. Threads may share it."""

    def __init__(self, decoder: Decoder) -> None:
        model, fitted = decoder.model, decoder.bundle.postfilter
        weights = None if fitted is None else PostFilter(fitted.weights.double().cpu())
        to_g_s = None if model.self_prior is None else copy.deepcopy(model.self_prior.to_g_s).double().cpu()
        g_s, gains = copy.deepcopy(model.g_s).double().cpu(), copy.deepcopy(model.gains).double().cpu()
        self._parts = SynthesisParts(g_s, gains, weights, to_g_s)

    @torch.no_grad()
    def synthesise_exactly(self, stream: Stream, latents: Decoded, conditions: Conditions) -> ExactPicture:
        """The picture of a stream's decoded latents, in float64, and its clearance."""
        nearest = 0.5

        def watch(levels: torch.Tensor) -> None:
            nonlocal nearest
            distance = (levels - levels.floor()).sub_(0.5).abs_().min().item()
            nearest = min(nearest, distance)

        return ExactPicture(synthesised(self._parts, stream, latents, conditions, watch), nearest)
