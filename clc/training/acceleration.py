"""Faster training steps on the machine at hand: the memory layout of a GPU, `torch.compile` and bfloat16.

The walk over the slices is compiled: a compiler fuses its many small operations. The transforms, a few large
convolutions, would get slower by it; their convolutions may run in bfloat16. Called by `clc.training.trainer`. The
contract: the parameters stay float32 and have the same names, so that checkpoints are the same with and without.
"""

from __future__ import annotations

import logging
from typing import Any

import torch

from clc.model.model import Model, channels_last
from clc.training.config import TrainingConfig

logger = logging.getLogger(__name__)

VARIANTS = 32
"""The most variants of the walk that are compiled: with and without references, both counts of bits, each crop size."""


def prepare(model: Model, config: TrainingConfig) -> Model:
    """Moves a fresh model to the `device` of the configuration, applies its `bf16` and `compile`, and returns it."""
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
    """Compiles `model.walk_slices` for passes with gradients; others, such as validations, run as they are.

    Logs a warning and changes nothing where torch cannot compile.
    """
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
    """Why torch compiles nothing on `device`: the first line of its error on a trivial function, empty if it does."""
    try:
        torch.compile(lambda x: x * 2.0 + 1.0)(torch.ones(8, device=device))
    except RuntimeError as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return ""
