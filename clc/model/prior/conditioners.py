"""All conditioners by name."""

from __future__ import annotations

from clc.model.config import ModelConfig
from clc.model.prior.interface import Conditioner, NoConditioner
from clc.model.prior.matching import Matching, Unmatched


def make_conditioner(config: ModelConfig, *, is_exact: bool) -> Conditioner:
    """The conditioner of a model, by `conditioner` and `matching`."""
    if config.conditioner == "none":
        return NoConditioner()
    if not config.matching:
        return Unmatched(config, is_exact=is_exact)
    return Matching(config, is_exact=is_exact)
