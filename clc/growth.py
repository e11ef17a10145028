"""A deeper model that starts as a trained one: more blocks in g_a and g_s, each of which does nothing at first.

When a model of some size has learned what it can, further training buys nothing, and starting over with a larger one
throws away what was paid for. A residual block whose last layers are zero is the identity, so blocks can be added
behind those that there are, and the deeper model codes every picture as the shallower one did until it is trained.
Called by `clc.training`.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from clc.configuration import ModelConfig
from clc.errors import InputError
from clc.model import Model


def deepened(
    config: ModelConfig, weights: dict[str, Tensor], blocks: tuple[int, int]
) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Configuration and weights of the model with `blocks` at 1/8 and 1/16 that computes what the given one computes.

    Raises `InputError` for another backbone than depthconv, for fewer blocks than there are, and for weights that are
    not those of `config`.
    """
    there = config.narrow_blocks, config.wide_blocks
    if config.backbone != "depthconv" or blocks[0] < there[0] or blocks[1] < there[1]:
        raise InputError(
            f"a {config.backbone} of {there} blocks cannot be made one of {blocks}: say more of depthconv's"
        )
    deeper = replace(config, narrow_blocks=blocks[0], wide_blocks=blocks[1])
    fresh = Model(deeper).state_dict()
    with torch.device("meta"):
        expected = set(Model(config).state_dict())
    if set(weights) != expected:
        raise InputError("the weights to deepen do not fit their configuration")
    ends = (".leave.weight", ".leave.bias", ".narrow.weight", ".narrow.bias")
    added = {
        name: torch.zeros_like(value) if name.endswith(ends) else value
        for name, value in fresh.items()
        if name not in weights
    }
    return deeper, {**weights, **added}
