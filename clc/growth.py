"""A larger model that starts as a trained one: what is added does nothing at first.

When a model of some size has learned what it can, further training buys nothing, and starting over with a larger one
throws away what was paid for. A residual block whose last layers are zero is the identity, so blocks can be added
behind those that there are; channels at 1/8 can be added of which the others take nothing; and the first slice can be
split into three phases, of which the second sees nothing of the first. The larger model codes every picture as the
smaller one did until it is trained. Called by `clc.training`.
"""

from __future__ import annotations

import re
from dataclasses import replace

import torch
from torch import Tensor

from clc.configuration import ModelConfig
from clc.errors import InputError
from clc.model import Model

ENDS = (".leave.weight", ".leave.bias", ".narrow.weight", ".narrow.bias", ".corner_out.weight", ".corner_out.bias")
"""Layers that make what is added do nothing while they are zero."""

_OF_LAST_PHASE = re.compile(r"(prior\.nets\.0\.(?:hidden|mean|shape|fusion\.trust))\.1\.(weight|bias)")


def grown(config: ModelConfig, weights: dict[str, Tensor], wanted: ModelConfig) -> dict[str, Tensor]:
    """Weights of the model `wanted` that compute what those of `config` compute.

    It may have more blocks of depthconv and more channels at 1/8, and three phases of the first slice instead of two.
    Raises `InputError` for any other difference, and for weights that are not those of `config`.
    """
    sizes, there = _sizes(wanted), _sizes(config)
    if (config.backbone != "depthconv" and sizes != there) or any(a < b for a, b in zip(sizes, there, strict=True)):
        raise InputError(
            f"a {config.backbone} of {there} blocks and channels at 1/8 cannot be made one of {sizes}: "
            "say more of depthconv's"
        )
    phases = wanted.first_phases
    if phases < config.first_phases:
        raise InputError(f"a model of {config.first_phases} phases cannot be made one of {phases}")
    narrow_blocks, wide_blocks, narrow = sizes
    larger = replace(config, narrow_blocks=narrow_blocks, wide_blocks=wide_blocks, narrow=narrow, first_phases=phases)
    if larger != wanted:
        raise InputError(
            "a model can grow by blocks, by channels at 1/8 and by a phase of the first slice, by nothing else"
        )
    with torch.device("meta"):
        expected = set(Model(config).state_dict())
    if set(weights) != expected:
        raise InputError("the weights to grow do not fit their configuration")
    if phases > config.first_phases:
        weights = _with_three_phases(weights)
    state = Model(wanted).state_dict()
    for name, fresh in state.items():
        if name in weights:
            state[name] = _widened(weights[name], fresh)
        elif name.endswith(ENDS):
            state[name] = torch.zeros_like(fresh)
    return state


def _sizes(config: ModelConfig) -> tuple[int, int, int]:
    return config.narrow_blocks, config.wide_blocks, config.narrow


def _widened(value: Tensor, fresh: Tensor) -> Tensor:
    """`fresh` with `value` as its first rows: these take nothing of the inputs that are new."""
    if value.shape == fresh.shape:
        return value
    wide = fresh.clone()
    wide[: len(value)] = 0.0
    wide[tuple(slice(0, size) for size in value.shape)] = value
    return wide


def _with_three_phases(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The first slice's layers of its second phase as those of a third, those of its first as those of its second."""
    split = dict(weights)
    for name, value in weights.items():
        if match := _OF_LAST_PHASE.fullmatch(name):
            layers, kind = match.groups()
            split[f"{layers}.2.{kind}"] = value
            split[name] = weights[f"{layers}.0.{kind}"].clone()
    return split
