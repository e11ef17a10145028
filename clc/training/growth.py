"""A larger model that starts as a trained one: what is added does nothing at first.

When a model of some size has learned what it can, further training buys nothing, and starting over with a larger one
throws away what was paid for. So a trained model can be made larger and still code every picture as before, until
training changes that:

- further blocks, in the transforms and in the prior: a residual block whose last layers are zero is the identity;
- further channels at 1/8: the old layers take nothing of the new channels;
- further phases of the first slice: each new one starts as the first phase, and sees nothing of those before it;
- a self-generated prior: it is coded at once, and nothing takes anything of it yet
  (`clc.training.klt_start.start_self_prior` makes it the KLT of the pictures).

Further slices of latents do change what is coded. They start as the linear transform of what the smaller model leaves
out (`clc.training.klt_start.start_new_latents`), and their prior starts as one distribution for all of them.

Modules declare their residual branches and the inputs of their layers themselves (`clc.model.growing`). Called by the
command line of `clc.training`. The contract: up to the rounding of float32 the larger model gives the same bits and
pictures as the smaller one, with an aligned reference and without, but for the latents of further slices and the bits
of a self-generated prior.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import torch
from torch import Tensor

from clc.errors import InputError
from clc.model.config import ModelConfig
from clc.model.growing import JoinedInputs, ResidualBranches
from clc.model.model import Model
from clc.model.prior.slices import PHASE_LAYERS

GROWS = ("narrow_blocks", "wide_blocks", "narrow", "first_phases", "context_blocks", "slices", "self_prior")
"""Fields of the configuration that may be larger."""

FIRST_SLICE = "prior.nets.0"
"""The module with the phases that `first_phases` counts."""


def grown(config: ModelConfig, weights: dict[str, Tensor], wanted: ModelConfig) -> dict[str, Tensor]:
    """The state dict of a model `wanted` that computes what the model `config` with `weights` computes.

    `wanted` may have more blocks of depthconv and of the prior, more channels at 1/8, more phases of the first slice,
    a self-generated prior, and further slices behind the others, whose latents g_s does not see at first. New layers
    that need not be zero have random weights, from torch's global generator. Raises `InputError` for any other
    difference of the configurations, and for weights whose names are not those of `config`.
    """
    _check_growth(config, wanted)
    with torch.device("meta"):
        smaller = Model(config)
    if weights.keys() != smaller.state_dict().keys():
        raise InputError("the weights to grow do not fit their configuration")
    weights = _with_phases(weights, config.first_phases, wanted.first_phases)
    model = Model(wanted)
    _clear_new_branches(model, weights)
    model.prior.start_as_constant(first=len(config.slices))
    there, inputs = _input_parts(smaller), _input_parts(model)
    state = model.state_dict()
    for name, value in weights.items():
        state[name] = _widened(value, state[name], there.get(name, ()), inputs.get(name, ()))
    return state


def _check_growth(config: ModelConfig, wanted: ModelConfig) -> None:
    sizes, there = _sizes(wanted), _sizes(config)
    if (config.backbone != "depthconv" and sizes != there) or any(a < b for a, b in zip(sizes, there, strict=True)):
        raise InputError(
            f"a {config.backbone} of {there} blocks and channels at 1/8 cannot be made one of {sizes}: "
            "say more of depthconv's"
        )
    for name in ("first_phases", "context_blocks"):
        if getattr(wanted, name) < getattr(config, name):
            raise InputError(f"{name} of {getattr(config, name)} cannot be made {getattr(wanted, name)}")
    if wanted.slices[: len(config.slices)] != config.slices:
        raise InputError(f"slices of {config.slices} cannot be made {wanted.slices}: further ones come last")
    if config.self_prior not in (0, wanted.self_prior):
        raise InputError(f"a self_prior of {config.self_prior} cannot be made {wanted.self_prior}: it keeps its size")
    if replace(config, **{name: getattr(wanted, name) for name in GROWS}) != wanted:
        raise InputError(f"a model can grow by {', '.join(GROWS)}, by nothing else")


def _sizes(config: ModelConfig) -> tuple[int, int, int]:
    return config.narrow_blocks, config.wide_blocks, config.narrow


@torch.no_grad()
def _clear_new_branches(model: Model, weights: dict[str, Tensor]) -> None:
    """Sets the last layers of residual branches to zero where `weights` have none: new branches add nothing."""
    fresh = {parameter for name, parameter in model.named_parameters() if name not in weights}
    for module in model.modules():
        if isinstance(module, ResidualBranches):
            for layer in module.last_layers():
                for parameter in fresh.intersection(layer.parameters()):
                    parameter.zero_()


def _input_parts(model: Model) -> dict[str, tuple[int, ...]]:
    """The channels of the tensors that a layer's input consists of, by the name of its weight."""
    return {
        f"{name}.{layer}.weight": parts
        for name, module in model.named_modules()
        if isinstance(module, JoinedInputs)
        for layer, parts in module.input_parts().items()
    }


def _widened(value: Tensor, fresh: Tensor, there: tuple[int, ...], wanted: tuple[int, ...]) -> Tensor:
    """`value` in the shape of `fresh`: `value` where it reaches, `fresh` in the rows that are new.

    In the rows of `value`, the weights (out, in, k, k) of new inputs are 0. `there` and `wanted` are the channels of
    the tensors that the input consists of, before and after; without them it is one tensor, whose new channels are the
    last. What has no inputs (biases, steps, vectors of rate levels) begins with `value`.
    """
    if value.shape == fresh.shape:
        return value
    wide = fresh.clone()
    if value.ndim < 4:
        wide[tuple(slice(0, size) for size in value.shape)] = value
        return wide
    wide[: len(value)] = 0.0
    start = 0
    parts = torch.split(value, list(there), dim=1) if there else (value,)
    for part, size in zip(parts, wanted or [fresh.shape[1]], strict=True):
        wide[: len(value), start : start + part.shape[1]] = part
        start += size
    return wide


def _with_phases(weights: dict[str, Tensor], there: int, wanted: int) -> dict[str, Tensor]:
    """The weights with `wanted` phases of the first slice instead of `there`.

    New phases come before the others, with copies of the layers of the phase that was the first.
    """
    split = dict(weights)
    for layers, kind, phase in product(PHASE_LAYERS, ("weight", "bias"), range(wanted)):
        origin = max(0, phase - (wanted - there))
        split[f"{FIRST_SLICE}.{layers}.{phase}.{kind}"] = weights[f"{FIRST_SLICE}.{layers}.{origin}.{kind}"].clone()
    return split
