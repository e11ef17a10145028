"""What makes a training step faster on the machine at hand, and leaves the model what it is.

`torch.compile` of the walk over the slices, many small operations that a compiler fuses (the transforms, few large
convolutions, get slower by it), and bfloat16 for the convolutions of g_a and g_s. Called by `clc.training.trainer`.
"""

from __future__ import annotations

import logging
from typing import Any

import torch

from clc.model.model import Model, channels_last
from clc.training.config import TrainingConfig

logger = logging.getLogger(__name__)

VARIANTS = 32
"""Compiled at most: with and without references, both kinds of rate, each size of crop."""


def prepare(model: Model, config: TrainingConfig) -> Model:
    """Moves a fresh model to its device and sets up what the configuration asks for; returns the model."""
    device = torch.device(config.device)
    model = model.to(device)
    if device.type == "cuda":
        model = channels_last(model)
    if config.bf16:
        model.low_precision = torch.bfloat16
    if config.compile:
        compile_walk(model)
    return model


def compile_walk(model: Model) -> None:
    """Has `model.walk_slices` compiled where gradients are wanted; a warning, and nothing else, where none can be."""
    reason = why_nothing_compiles(next(model.parameters()).device)
    if reason:
        logger.warning("training without torch.compile, which fails here: %s; install a C++ compiler", reason)
        return
    # Imported here because it takes seconds.
    from torch._dynamo import config as compiler

    compiler.recompile_limit = max(VARIANTS, compiler.recompile_limit)
    plain = model.walk_slices
    compiled = torch.compile(plain, dynamic=False)

    def walk(*arguments: Any) -> Any:
        return compiled(*arguments) if torch.is_grad_enabled() else plain(*arguments)

    model.walk_slices = walk  # type: ignore[assignment, method-assign]


def why_nothing_compiles(device: torch.device) -> str:
    """The first line of what goes wrong when a trivial function is compiled; empty when all is well."""
    try:
        torch.compile(lambda x: x * 2.0 + 1.0)(torch.ones(8, device=device))
    except RuntimeError as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return ""
