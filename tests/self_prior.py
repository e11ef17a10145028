"""A small untrained model with a self-generated prior whose exits do something, and its bundle."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from clc.bundle.export import export_bundle
from clc.exact.functions import GridExp2, GridSoftmax, exp2_table, exp_table
from clc.exact.layers import GridConv2d
from clc.model.config import ModelConfig
from clc.model.model import Model
from clc.model.prior.prior import Prior
from clc.model.prior.self_generated import STRUCTURE
from tests.conftest import SMALL, Picture

SELF_PRIOR = replace(SMALL, self_prior=4)


def exits(model: Model) -> dict[str, torch.Tensor]:
    """The weights by which h, the slices, g_a and g_s see the structure: views, by where they lead."""
    own = model.self_prior
    assert own is not None
    found = {"h": model.prior.h_s.leave.weight[:, -STRUCTURE:]}
    found |= {f"slice {i}": net.enter.weight[:, -STRUCTURE:] for i, net in enumerate(model.prior.nets)}
    return found | {"g_a": own.to_g_a.film.weight, "g_s": own.to_g_s.film.weight}


def model_with_self_prior(config: ModelConfig = SELF_PRIOR) -> Model:
    """Random weights, the same each time: p spreads over a few symbols, and all that it enters depends on it."""
    torch.manual_seed(4)
    model = Model(config).eval()
    assert model.self_prior is not None
    with torch.no_grad():
        model.self_prior.source.linear.weight.mul_(10.0)
        for weight in exits(model).values():
            weight.uniform_(-0.05, 0.05)
    return model


def export_with_self_prior(folder: Path, photo: Picture, config: ModelConfig = SELF_PRIOR) -> None:
    """Writes the bundle of `model_with_self_prior` into `folder`, with three entries cut from `photo`."""
    entries = [np.ascontiguousarray(photo[:256, left : left + 256]) for left in (0, 90, 180)]
    state = model_with_self_prior(config).state_dict()
    export_bundle(folder, config, state, entries, [{"name": str(i)} for i in range(len(entries))])


def prior_of_integers(channels: int) -> Prior:
    """An exact prior whose weights no machine rounds, with so many latents of a self-generated prior."""
    prior, numbers = Prior(replace(SMALL, self_prior=channels), is_exact=True), np.random.default_rng(5)
    for module in prior.modules():
        if isinstance(module, GridConv2d):
            weight = torch.from_numpy(numbers.integers(-2000, 2001, module.weight.shape).astype(np.int16))
            count = len(module.weight)
            module.load_integers(
                weight, torch.full((count,), 13, dtype=torch.int8), torch.zeros(count, dtype=torch.int32)
            )
        elif isinstance(module, GridSoftmax):
            module.load_integers(exp_table())
        elif isinstance(module, GridExp2):
            module.load_integers(exp2_table())
    return prior
