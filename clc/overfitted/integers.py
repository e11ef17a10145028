"""A fitted function as integers: what a stream holds of it.

Weights come in groups, each with one step, a power of two, and one scale of the distribution that codes them. The
context network's integers become exact layers, everything else the float32 function. `clc.overfitted.fit` chooses the
steps, `clc.overfitted.coding` writes and reads the integers.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clc.errors import CorruptStream, InputError
from clc.exact.grid import residual, snap
from clc.exact.layers import BIAS_BITS, GridConv2d
from clc.overfitted.function import CONTEXT_SCALE, Function
from clc.overfitted.layout import CONTEXTS

MAX_SHIFT = 15
"""Weights are multiples of 2**-shift, with a shift of 0 to MAX_SHIFT for each group."""

MAX_WEIGHT = 32_767
"""Largest magnitude of a weight's integer, which the exact layers hold in 16 bits."""

Int32Array = npt.NDArray[np.int32]


def groups_of(function: Function) -> tuple[tuple[Tensor, ...], ...]:
    """The weights of a function in the order of a stream: groups that share a step and a scale."""
    context, synthesis = function.context, function.synthesis
    across, near = (synthesis.mix, synthesis.spread), synthesis.near
    return (
        tuple(context.weights.parameters()),
        tuple(context.biases.parameters()),
        (function.taps,),
        tuple(layer.weight for layer in across),
        tuple(layer.weight for layer in near),
        tuple(bias for layer in (*across, *near) for name, bias in layer.named_parameters() if name == "bias"),
    )


def group_sizes(channels: int) -> tuple[int, ...]:
    """The number of weights in each group of a function with some output channels."""
    return tuple(sum(weight.numel() for weight in group) for group in groups_of(Function(channels)))


@dataclass(frozen=True, eq=False)
class FunctionIntegers:
    """All that a stream holds of a function for autoencoder latents of (channels, height, width).

    `weights` int32, one array for each group, in units of 2**-shift of `shifts`; `latents` int32 (n,), as
    `clc.overfitted.layout` orders them.
    """

    shape: tuple[int, int, int]
    shifts: tuple[int, ...]
    weights: tuple[Int32Array, ...]
    latents: Int32Array

    def crc32(self, start: bytes) -> int:
        """The CRC-32 of `start` and all integers."""
        crc = zlib.crc32(start)
        crc = zlib.crc32(bytes(self.shifts), crc)
        for part in (*self.weights, self.latents):
            crc = zlib.crc32(part.astype("<i4").tobytes(), crc)
        return crc

    def function(self) -> Function:
        """The float32 function of these integers."""
        function = Function(self.shape[0])
        with torch.no_grad():
            for group, shift, weights in zip(groups_of(function), self.shifts, self.weights, strict=True):
                values = torch.from_numpy(weights.astype(np.float32)) * 2.0**-shift
                for parameter, part in zip(group, values.split([one.numel() for one in group]), strict=True):
                    parameter.copy_(part.view(parameter.shape))
        return function.requires_grad_(False)

    def context_net(self) -> ExactContextNet:
        """The exact context network of these integers; raises `CorruptStream` where they break its bounds."""
        return ExactContextNet(self.weights[:2], self.shifts[:2])


class ExactContextNet:
    """`clc.overfitted.function.ContextNet` in integers: the same bits on every machine."""

    def __init__(self, weights: Sequence[Int32Array], shifts: Sequence[int]) -> None:
        widths = (CONTEXTS, CONTEXTS, 2)
        matrices = np.split(weights[0], np.cumsum([width * CONTEXTS for width in widths])[:-1])
        biases = np.split(weights[1], np.cumsum(widths)[:-1])
        self._layers = [GridConv2d(CONTEXTS, width, is_exact=True) for width in widths]
        for layer, matrix, bias in zip(self._layers, matrices, biases, strict=True):
            if max(np.abs(matrix).max(), np.abs(bias).max()) > MAX_WEIGHT:
                raise CorruptStream("a weight of the context network is out of range: the stream is damaged")
            integers = torch.from_numpy(matrix.astype(np.int16)).view(-1, CONTEXTS, 1, 1)
            shift = torch.full((len(bias),), shifts[0], dtype=torch.int8)
            scaled = torch.from_numpy(bias.astype(np.int64) << BIAS_BITS - shifts[1])
            if int(scaled.abs().max()) >= 1 << 31:
                raise CorruptStream("a bias of the context network is out of range: the stream is damaged")
            try:
                layer.load_integers(integers, shift, scaled.to(torch.int32))
            except InputError as error:
                raise CorruptStream(f"the context network is not exact ({error}): the stream is damaged") from error

    @torch.no_grad()
    def __call__(self, contexts_N8: npt.NDArray[np.int32]) -> Tensor:
        """(n, 8) latents -> (2, n) float64: means / 4 and base-2 logarithms of scales, on the activation grid."""
        contexts = torch.from_numpy(contexts_N8.T.astype(np.float64)).view(1, CONTEXTS, 1, -1)
        x = snap(contexts / CONTEXT_SCALE, is_exact=True)
        for layer in self._layers[:-1]:
            x = residual(x, layer.activated(x), is_exact=True)
        out: Tensor = self._layers[-1](x)
        return out[0, :, 0]
