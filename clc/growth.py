"""A larger model that starts as a trained one: what is added does nothing at first.

When a model of some size has learned what it can, further training buys nothing, and starting over with a larger one
throws away what was paid for. A residual block whose last layers are zero is the identity, so blocks can be added
behind those that there are, in the transforms and in the prior; channels at 1/8 can be added of which the others take
nothing; and the first slice can be split into more phases, of which the new ones see nothing of those before. The
larger model codes every picture as the smaller one did until it is trained. Called by `clc.training`.
"""

from __future__ import annotations

import re
from dataclasses import replace

import torch
from torch import Tensor

from clc.configuration import ModelConfig
from clc.errors import InputError
from clc.model import Model

ENDS = (".leave.weight", ".leave.bias", ".narrow.weight", ".narrow.bias", "_out.weight", "_out.bias")
"""Layers that make what is added do nothing while they are zero."""

GROWS = ("narrow_blocks", "wide_blocks", "narrow", "first_phases", "context_blocks")
"""Fields of the configuration that may be larger."""

_OF_A_PHASE = re.compile(r"(prior\.nets\.0\.(?:hidden|mean|shape|fusion\.trust))\.(\d+)\.(weight|bias)")


def grown(config: ModelConfig, weights: dict[str, Tensor], wanted: ModelConfig) -> dict[str, Tensor]:
    """Weights of the model `wanted` that compute what those of `config` compute.

    It may have more blocks of depthconv and in the prior, more channels at 1/8, and more phases of the first slice.
    Raises `InputError` for any other difference, and for weights that are not those of `config`.
    """
    sizes, there = _sizes(wanted), _sizes(config)
    if (config.backbone != "depthconv" and sizes != there) or any(a < b for a, b in zip(sizes, there, strict=True)):
        raise InputError(
            f"a {config.backbone} of {there} blocks and channels at 1/8 cannot be made one of {sizes}: "
            "say more of depthconv's"
        )
    for name in ("first_phases", "context_blocks"):
        if getattr(wanted, name) < getattr(config, name):
            raise InputError(f"{name} of {getattr(config, name)} cannot be made {getattr(wanted, name)}")
    if replace(config, **{name: getattr(wanted, name) for name in GROWS}) != wanted:
        raise InputError(f"a model can grow by {', '.join(GROWS)}, by nothing else")
    with torch.device("meta"):
        expected = set(Model(config).state_dict())
    if set(weights) != expected:
        raise InputError("the weights to grow do not fit their configuration")
    weights = _with_phases(weights, config.first_phases, wanted.first_phases)
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


def _with_phases(weights: dict[str, Tensor], there: int, wanted: int) -> dict[str, Tensor]:
    """The first slice's layers of its first phase as those of all new ones too, which come before the others."""
    split = {name: value for name, value in weights.items() if not _OF_A_PHASE.fullmatch(name)}
    for name in weights.keys() - split.keys():
        layers, number, kind = _OF_A_PHASE.findall(name)[0]
        added = wanted - there
        for place in range(added + 1) if number == "0" else [int(number) + added]:
            split[f"{layers}.{place}.{kind}"] = weights[name].clone()
    return split
