"""What a model is: its widths, its backbone, and the switches of the paper's ablation, as one frozen configuration.

`clc.model.model` builds a model from it, a bundle's manifest and a training run's `model.json` keep it. Fields added
later have defaults, so that older JSON stays readable and means the model that it meant. What each switch does to the
model and what it leaves alone: `docs/adr/006-backbones-and-switches.md`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from clc.errors import InputError
from clc.exact.checkerboard import PHASES
from clc.limits import MAX_REFERENCES

BACKBONES = ("depthconv", "tcm")
CONDITIONERS = ("none", "dictionary")
WIDTHS = ("narrow", "wide", "hyper", "hyper_width", "features", "token", "reference", "aligned", "context")
MAX_WIDTH = 2048
MAX_KNOTS = 101
MAX_BLOCKS = 32
MAX_SELF_PRIOR = 64
BEFORE = {
    "first_phases": 2,
    "context_blocks": 0,
    "refresh_before": 0,
    "alignment_scales": 1,
    "residual_prediction": False,
}
"""What JSON means that lacks these fields: models made before they existed."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Widths and switches of a model. `latents` is M, split into `slices`; `knots` rate levels are interpolated.

    `narrow` and `wide` are the backbone's widths: depthconv at 1/8 and 1/16; in tcm `narrow` is the paper's N and
    `wide` is 2 N. `narrow_blocks` and `wide_blocks` count depthconv's blocks at 1/8 and at 1/16, in g_a and g_s alike.
    `hyper_width` is the width of h_a.

    The switches, all as the shipped model has them by default: `conditioner` says what the latents are conditioned on;
    `matching` is CLM and `synthesis` CLS; `learned_tokens` counts the tokens beside those of references, 0 for none;
    `first_phases` is 2, 3 or 5, the phases of the first slice (`clc.exact.checkerboard`); `context_blocks` counts the
    blocks by which the features of a slice are refined before its phases; `refresh_before` is the slice before which
    CLM asks once more, knowing the slices decoded by then, 0 for never; `alignment_scales` is 1 or 2, the scales at
    which F_a works; `residual_prediction` adds the predicted error of rounding before g_s; `self_prior` counts the
    latents of a self-generated prior (`clc.model.prior.self_generated`), 0 for none. Training only: `cache`
    conditions on stored latents of entries, `perturbation` is the probability that a reference is a wrong one,
    `sampling` the spread with which the means are sampled (CLC Eq. 5), as a share of their scale. Encoder only:
    `multi_query` asks the dictionary with a turned copy too, `references` is the paper's M, for training also.

    Raises `InputError` for a value out of range.
    """

    slices: tuple[int, ...] = (16, 32, 64, 144, 64)
    narrow: int = 128
    wide: int = 192
    narrow_blocks: int = 2
    wide_blocks: int = 3
    hyper: int = 64
    hyper_width: int = 96
    features: int = 128
    token: int = 48
    reference: int = 64
    aligned: int = 64
    context: int = 128
    knots: int = 9
    backbone: str = "depthconv"
    conditioner: str = "dictionary"
    matching: bool = True
    synthesis: bool = True
    learned_tokens: int = 16
    first_phases: int = 5
    context_blocks: int = 2
    refresh_before: int = 2
    alignment_scales: int = 2
    residual_prediction: bool = True
    self_prior: int = 0
    cache: bool = True
    perturbation: float = 0.0
    sampling: float = 0.0
    multi_query: bool = True
    references: int = 3

    def __post_init__(self) -> None:
        widths = [*self.slices, *(getattr(self, name) for name in WIDTHS)]
        if not self.slices or not all(isinstance(width, int) and 1 <= width <= MAX_WIDTH for width in widths):
            raise InputError(f"every width and slice of a model is a whole number from 1 to {MAX_WIDTH}, not {widths}")
        depths = self.narrow_blocks, self.wide_blocks
        if not all(isinstance(depth, int) and 1 <= depth <= MAX_BLOCKS for depth in depths):
            raise InputError(f"narrow_blocks and wide_blocks are whole numbers from 1 to {MAX_BLOCKS}, not {depths}")
        if not isinstance(self.knots, int) or not 2 <= self.knots <= MAX_KNOTS:
            raise InputError(f"knots is {self.knots}, but must lie within 2 and {MAX_KNOTS}")
        for name, known in (("backbone", BACKBONES), ("conditioner", CONDITIONERS)):
            if getattr(self, name) not in known:
                raise InputError(f"no {name} {getattr(self, name)!r}: say {' or '.join(known)}")
        if self.backbone == "tcm" and (self.wide != 2 * self.narrow or self.hyper_width % 2):
            raise InputError(f"tcm: wide is {self.wide}, but must be twice narrow ({self.narrow}), hyper_width even")
        if not 1 <= self.references <= MAX_REFERENCES:
            raise InputError(f"references is {self.references}, but must lie within 1 and {MAX_REFERENCES}")
        if not 0.0 <= self.perturbation <= 1.0 or self.learned_tokens < 0:
            raise InputError("perturbation is a probability, 0 to 1, and learned_tokens a count")
        if not 0.0 <= self.sampling <= 1.0 or self.alignment_scales not in (1, 2):
            raise InputError("sampling is a share of the scale, 0 to 1, and alignment_scales is 1 or 2")
        if self.first_phases not in PHASES:
            raise InputError(f"first_phases is {self.first_phases}, but must be one of {', '.join(map(str, PHASES))}")
        if not isinstance(self.context_blocks, int) or not 0 <= self.context_blocks <= MAX_BLOCKS:
            raise InputError(f"context_blocks is a whole number from 0 to {MAX_BLOCKS}, not {self.context_blocks}")
        if not isinstance(self.self_prior, int) or not 0 <= self.self_prior <= MAX_SELF_PRIOR:
            raise InputError(f"self_prior is a whole number from 0 to {MAX_SELF_PRIOR}, not {self.self_prior}")
        if not 0 <= self.refresh_before < len(self.slices):
            raise InputError(f"refresh_before is {self.refresh_before}, but must be one of the slices, or 0 for never")

    @property
    def latents(self) -> int:
        """M, the number of latent channels."""
        return sum(self.slices)

    @property
    def conditioning_width(self) -> int:
        """The channels of the conditioner's layers; the field `reference`, not `references`."""
        return self.reference

    @property
    def conditioning(self) -> int:
        """A, the channels of the conditioner's features a: `conditioning_width`, or 0 without a conditioner."""
        return 0 if self.conditioner == "none" else self.conditioning_width

    @property
    def token_references(self) -> int:
        """How many dictionary entries' tokens a stream may name: M, or 0 where the model would not look at them."""
        return self.references if self.conditioner == "dictionary" and self.matching else 0

    def to_json(self) -> dict[str, Any]:
        """As a JSON object. Without a self-generated prior it is that of releases that know none, and they read it."""
        fields = {**asdict(self), "slices": list(self.slices)}
        return fields if self.self_prior else {name: value for name, value in fields.items() if name != "self_prior"}

    @property
    def before_refresh(self) -> int:
        """How many latent channels CLM knows when it asks once more; 0 where it does not."""
        asks = self.conditioner == "dictionary" and self.matching
        return sum(self.slices[: self.refresh_before]) if asks else 0

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> ModelConfig:
        """The inverse of `to_json`; a missing field is that of `BEFORE`, or else its default.

        Raises `TypeError` for an unknown field and `KeyError` without `slices`.
        """
        return cls(**{**BEFORE, **fields, "slices": tuple(fields["slices"])})


def tcm_config(n: int = 64) -> ModelConfig:
    """The paper's sizes for the tcm backbone: N of 64 or 128, M = 320 in five slices, 192 hyper channels."""
    return ModelConfig(backbone="tcm", slices=(64,) * 5, narrow=n, wide=2 * n, hyper=192, hyper_width=2 * n)
