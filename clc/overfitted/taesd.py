"""The tiny autoencoder of the public taesd layout: its encoder and its decoder, made to fit a file of weights.

`clc.overfitted.autoencoder` loads the weights. Names of parameters are those of a plain `nn.Sequential`, as the public
files have them; width, number of latent channels and which blocks carry a pooling branch are read off the weights. Both
halves scale by 8.

    encoder   conv, block, then 3 x (conv with stride 2, 3 blocks), conv
    decoder   clamp, conv, ReLU, then 3 x (3 blocks, nearest neighbour x 2, conv), block, conv
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from clc.errors import InputError
from clc.overfitted.function import channels_last

STRIDE = 8
"""Pixels that one latent position stands for, in each direction."""

POOL_GROUPS, POOL_FACTOR = 4, 4


class Clamp(nn.Module):
    """Bends values smoothly into -3..3, where the decoder was trained."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape as `x`."""
        return torch.tanh(x / 3) * 3


class Block(nn.Module):
    """Three 3x3 convolutions and the input beside them; with a branch that normalises over the whole picture."""

    def __init__(self, width: int, *, has_pool: bool) -> None:
        super().__init__()
        self.conv = nn.Sequential(_conv(width, width), nn.ReLU(), _conv(width, width), nn.ReLU(), _conv(width, width))
        self.pool: nn.Module | None = None
        if has_pool:
            inner = width * POOL_FACTOR
            self.pool = nn.Sequential(
                nn.Conv2d(width, inner, 1, bias=False),
                nn.GroupNorm(POOL_GROUPS, inner),
                nn.ReLU(),
                nn.Conv2d(inner, width, 1, bias=False),
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, h, w) -> the same shape."""
        if self.pool is not None:
            x = x + self.pool(x)
        return torch.relu(self.conv(x) + x)


def encoder_of(weights: Mapping[str, Tensor]) -> nn.Sequential:
    """The encoder of these weights: pixels 0..1 (B, 3, H, W), sides multiples of 8 -> latents (B, C, H/8, W/8).

    Raises `InputError` for weights of another layout.
    """
    width, _ = _size(weights, "0.weight", 3)
    channels, _ = _size(weights, "14.weight", width)
    layers: list[nn.Module] = [_conv(3, width), _block(weights, 1, width)]
    for stage in range(3):
        first = 2 + 4 * stage
        layers.append(_conv(width, width, stride=2, bias=False))
        layers += [_block(weights, first + 1 + i, width) for i in range(3)]
    layers.append(_conv(width, channels))
    return _loaded(nn.Sequential(*layers), weights)


def decoder_of(weights: Mapping[str, Tensor]) -> nn.Sequential:
    """The decoder of these weights: latents (B, C, h, w) -> pixels around 0..1 (B, 3, 8 h, 8 w).

    Raises `InputError` for weights of another layout.
    """
    width, channels = _size(weights, "1.weight", None)
    layers: list[nn.Module] = [Clamp(), _conv(channels, width), nn.ReLU()]
    for stage in range(3):
        first = 3 + 5 * stage
        layers += [_block(weights, first + i, width) for i in range(3)]
        layers += [nn.Upsample(scale_factor=2), _conv(width, width, bias=False)]
    layers += [_block(weights, 18, width), _conv(width, 3)]
    return _loaded(nn.Sequential(*layers), weights)


def _conv(inputs: int, outputs: int, *, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, stride=stride, bias=bias)


def _block(weights: Mapping[str, Tensor], index: int, width: int) -> Block:
    return Block(width, has_pool=f"{index}.pool.0.weight" in weights)


def _size(weights: Mapping[str, Tensor], name: str, inputs: int | None) -> tuple[int, int]:
    """Outputs and inputs of the 3x3 convolution `name`."""
    shape = tuple(weights[name].shape) if name in weights else ()
    if len(shape) != 4 or shape[2:] != (3, 3) or (inputs is not None and shape[1] != inputs):
        raise InputError(f"these are no weights of the taesd layout: {name} has the shape {shape or 'of nothing'}")
    return shape[0], shape[1]


def _loaded(network: nn.Sequential, weights: Mapping[str, Tensor]) -> nn.Sequential:
    try:
        network.load_state_dict({name: weight.float() for name, weight in weights.items()})
    except RuntimeError as error:  # names or shapes that differ, listed over many lines
        said = str(error).splitlines()[:2][-1].strip()
        raise InputError(f"these are no weights of the taesd layout: {said}") from error
    return channels_last(network.requires_grad_(False).eval())
