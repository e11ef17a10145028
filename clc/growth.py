"""A larger model that starts as a trained one: what is added does nothing at first.

When a model of some size has learned what it can, further training buys nothing, and starting over with a larger one
throws away what was paid for. A residual block whose last layers are zero is the identity, so blocks can be added
behind those that there are; and the first slice can be split into three phases, of which the second sees nothing of the
first at first. The larger model codes every picture as the smaller one did until it is trained. Called by
`clc.training`.
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

    It may have more blocks of depthconv, and three phases of the first slice instead of two. Raises `InputError` for
    any other difference, and for weights that are not those of `config`.
    """
    blocks, phases = (wanted.narrow_blocks, wanted.wide_blocks), wanted.first_phases
    there = config.narrow_blocks, config.wide_blocks
    if (config.backbone != "depthconv" and blocks != there) or blocks[0] < there[0] or blocks[1] < there[1]:
        raise InputError(
            f"a {config.backbone} of {there} blocks cannot be made one of {blocks}: say more of depthconv's"
        )
    if phases < config.first_phases:
        raise InputError(f"a model of {config.first_phases} phases cannot be made one of {phases}")
    if replace(config, narrow_blocks=blocks[0], wide_blocks=blocks[1], first_phases=phases) != wanted:
        raise InputError("a model can grow by blocks and by a phase of the first slice, by nothing else")
    with torch.device("meta"):
        expected = set(Model(config).state_dict())
    if set(weights) != expected:
        raise InputError("the weights to grow do not fit their configuration")
    if phases > config.first_phases:
        weights = _with_three_phases(weights)
    fresh = Model(wanted).state_dict()
    added = {
        name: torch.zeros_like(value) if name.endswith(ENDS) else value
        for name, value in fresh.items()
        if name not in weights
    }
    return {**weights, **added}


def _with_three_phases(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The first slice's layers of its second phase as those of a third, those of its first as those of its second."""
    split = dict(weights)
    for name, value in weights.items():
        if match := _OF_LAST_PHASE.fullmatch(name):
            layers, kind = match.groups()
            split[f"{layers}.2.{kind}"] = value
            split[name] = weights[f"{layers}.0.{kind}"].clone()
    return split
