"""A larger model that starts as a trained one: what is added does nothing at first.

When a model of some size has learned what it can, further training buys nothing, and starting over with a larger one
throws away what was paid for. A residual block whose last layers are zero is the identity, so blocks can be added
behind those that there are, in the transforms and in the prior; channels at 1/8 can be added of which the others take
nothing; and the first slice can be split into more phases, of which the new ones see nothing of those before. The
larger model codes every picture as the smaller one did until it is trained.

Further latents, a slice behind the others, are another matter: they start as the linear transform of what the smaller
model leaves (`clc.training.klt_start.start_new_latents`), and their prior knows nothing yet. Called by `clc.training`.
"""

from __future__ import annotations

import re
from dataclasses import replace

import torch
from torch import Tensor

from clc.errors import InputError
from clc.model.config import ModelConfig
from clc.model.model import Model

ENDS = (".leave.weight", ".leave.bias", ".narrow.weight", ".narrow.bias", "_out.weight", "_out.bias")
"""Layers that make what is added do nothing while they are zero."""

GROWS = ("narrow_blocks", "wide_blocks", "narrow", "first_phases", "context_blocks", "slices")
"""Fields of the configuration that may be larger."""

NARROW_SCALE = -2.0
"""Where the scales of new latents start: at scale level 8, where nearly all symbols are 0."""

_HEADS = re.compile(r"prior\.nets\.\d+\.(?:mean\.\d+|shape\.\d+|aligned)\.weight")
_SCALES = re.compile(r"prior\.nets\.(\d+)\.shape\.\d+\.bias")
_OF_A_PHASE = re.compile(r"(prior\.nets\.0\.(?:hidden|mean|shape|fusion\.trust))\.(\d+)\.(weight|bias)")


def grown(config: ModelConfig, weights: dict[str, Tensor], wanted: ModelConfig) -> dict[str, Tensor]:
    """Weights of the model `wanted` that compute what those of `config` compute.

    It may have more blocks of depthconv and in the prior, more channels at 1/8, more phases of the first slice, and
    further slices, of which g_s then sees nothing. Raises `InputError` for any other difference, and for weights that
    are not those of `config`.
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
    if wanted.slices[: len(config.slices)] != config.slices:
        raise InputError(f"slices of {config.slices} cannot be made {wanted.slices}: further ones come last")
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
            state[name] = _widened(weights[name], fresh, _inputs(name, config), _inputs(name, wanted))
        elif name.endswith(ENDS) or _HEADS.fullmatch(name):
            state[name] = torch.zeros_like(fresh)
        elif match := _SCALES.fullmatch(name):
            fresh[: wanted.slices[int(match[1])]] = NARROW_SCALE
    return state


def _sizes(config: ModelConfig) -> tuple[int, int, int]:
    return config.narrow_blocks, config.wide_blocks, config.narrow


def _inputs(name: str, config: ModelConfig) -> tuple[int, ...]:
    """The parts of which the inputs of a layer consist, where latents are not all of them or the last."""
    latents = config.latents
    if name.endswith("enter_aligned.weight"):
        return latents, latents, 1
    if name in ("g_s.enter.weight", "g_s.synthesis.enter.weight"):
        return latents, config.conditioning
    return (latents, 1) if name == "prior.fusion.enter.weight" else ()


def _widened(value: Tensor, fresh: Tensor, there: tuple[int, ...], wanted: tuple[int, ...]) -> Tensor:
    """`fresh` with `value` as its first rows: these take nothing of the inputs that are new.

    What has no inputs is longer, and begins with `value`: steps and gains of latents.
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
    """The first slice's layers of its first phase as those of all new ones too, which come before the others."""
    split = {name: value for name, value in weights.items() if not _OF_A_PHASE.fullmatch(name)}
    for name in weights.keys() - split.keys():
        layers, number, kind = _OF_A_PHASE.findall(name)[0]
        added = wanted - there
        for place in range(added + 1) if number == "0" else [int(number) + added]:
            split[f"{layers}.{place}.{kind}"] = weights[name].clone()
    return split
