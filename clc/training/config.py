"""The configuration of a training run and its schedule: the side of the crops and the learning rate.

The command line of `clc.training` and the flow `train-codec` make a configuration; `clc.training.trainer` is built from
it. The schedule follows the share of the budget that is used, so that a run ends with a learning rate of 0 however long
it is. `docs/training.md` describes the options.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path

from clc.errors import InputError
from clc.model.config import ModelConfig
from clc.model.objective import LATENTS, MS_SSIM, OBJECTIVES, SMALLEST_CROP_PX

CROPS = ((0.0, 128), (0.65, 256))
"""The side of the crops in px, each from a share of the budget on."""
CROPS_MS_SSIM = ((0.0, 192), (0.65, 256))
"""The same for MS-SSIM, whose five scales need larger ones."""
GPU_WORKERS = 8
"""Threads that draw batches ahead beside a GPU, where nobody says how many."""
ADAPTATION_RATE = 3e-4
"""The peak of the learning rate when a run begins with trained weights."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """One training run of `model`. Shares are of 0..1.

    Budget: it ends at `minutes` or `steps`, whichever is first. Learning rate: `learning_rate` is the peak, and that of
    the linear paths is `linear_rate_factor` of it; it rises over `warmup_steps` and falls from the share `decay_from`
    of the budget on. Batches: `batch_px` pixels for each step and process, in squares of `crops`, of which
    `rescaled_share` are cut larger and scaled down; `reference_share` of the crops may see tokens of dictionary
    entries, which are described anew every `refresh_steps`; `aligned_share` of the batches have aligned references,
    `real_share` of their crops real ones. `hyper_warmup_steps` phase the bits of z in when a run starts from the KLT,
    `self_prior_warmup_steps` those of a self-generated prior, in any run: 0 but where it is new.

    Optimisation: gradients are clipped to a norm of `clip`; `ema` is the decay of the parameters' moving average;
    `objective` is one of `OBJECTIVES`. Only parameters whose names begin with `only` are trained. Validation: about
    `held_out` pictures are never trained on, and weights a `start_share` of the way back to the start are tried, too.
    `log_s`, `save_s` and `validate_s` are the seconds between lines of the log, checkpoints and validations.

    Machine: torch's `device`; `workers`, threads that draw batches ahead; `compile` and `bf16`
    (`clc.training.acceleration`). Raises `InputError` for values that no run can have.
    """

    minutes: float = 60.0
    steps: int | None = None
    learning_rate: float = 1e-3
    linear_rate_factor: float = 0.1
    warmup_steps: int = 200
    decay_from: float = 0.4
    objective: str = "mse"
    batch_px: int = 8 * 128 * 128
    crops: tuple[tuple[float, int], ...] = CROPS
    rescaled_share: float = 0.0
    reference_share: float = 0.5
    hyper_warmup_steps: int = 900
    self_prior_warmup_steps: int = 0
    aligned_share: float = 0.3
    real_share: float = 0.5
    refresh_steps: int = 4000
    clip: float = 1.0
    ema: float = 0.999
    start_share: float = 0.0
    held_out: int = 12
    log_s: float = 15.0
    save_s: float = 120.0
    validate_s: float = 300.0
    seed: int = 0
    device: str = "cpu"
    workers: int = 0
    compile: bool = False
    bf16: bool = False
    only: str = ""
    model: ModelConfig = field(default_factory=ModelConfig)

    def __post_init__(self) -> None:
        if not self.minutes > 0.0 or (self.steps is not None and self.steps < 1):
            raise InputError(f"a budget of {self.minutes} minutes and {self.steps} steps trains nothing")
        if not 0.0 <= self.start_share < 1.0:
            raise InputError(f"start_share is a share, 0 to 1, not {self.start_share}")
        if self.objective not in OBJECTIVES:
            raise InputError(f"no objective {self.objective!r}: say {' or '.join(OBJECTIVES)}")
        if not self.crops or any(crop < 64 or crop % 64 for _, crop in self.crops):
            raise InputError(f"crops are multiples of 64 px, not {self.crops}")
        if self.objective == MS_SSIM and min(crop for _, crop in self.crops) < SMALLEST_CROP_PX:
            raise InputError(f"MS-SSIM needs crops of {SMALLEST_CROP_PX} px or more, not {self.crops}")
        if self.objective == LATENTS and not self.only.startswith("prior."):
            raise InputError('the objective "latents" is for the prior alone: set only to "prior."')

    def crop_px(self, progress: float) -> int:
        """The side of the crops, in px, at the share `progress` of the budget."""
        return [crop for start, crop in self.crops if progress >= start][-1]

    def self_prior_charge(self, step: int) -> float:
        """The share of its bits that a self-generated prior is charged at a step, see `self_prior_warmup_steps`."""
        return min(1.0, 0.05 + step / self.self_prior_warmup_steps) if self.self_prior_warmup_steps else 1.0

    def rate_factor(self, progress: float, step: int) -> float:
        """The learning rate over its peak: a linear warm-up over steps, constant, then linear to 0 by the budget."""
        warm = min(1.0, (step + 1) / self.warmup_steps)
        return warm * min(1.0, max(0.0, (1.0 - progress) / (1.0 - self.decay_from)))


def adaptation(minutes: float, *, learning_rate: float | None = None, seed: int = 0) -> TrainingConfig:
    """The configuration of adapting trained weights to a collection of pictures for so many minutes."""
    return TrainingConfig(
        minutes=minutes,
        learning_rate=learning_rate or ADAPTATION_RATE,
        warmup_steps=50,
        decay_from=0.2,
        batch_px=8 * 256 * 256,
        crops=((0.0, 256),),
        aligned_share=0.2,
        start_share=0.1,
        seed=seed,
    )


def read_config(path: Path) -> TrainingConfig:
    """The configuration in a JSON file: an object of the fields, of which `model` is one of those of `ModelConfig`.

    A missing field has its default. Raises `InputError` when the file cannot be read or holds an unknown field.
    """
    known = [one.name for one in fields(TrainingConfig)]
    try:
        given = json.loads(path.read_text(encoding="utf-8-sig"))
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise InputError(f"{path}: no field {', '.join(unknown)} in a training; there are {', '.join(known)}")
        if "model" in given:
            given["model"] = ModelConfig.from_json(given["model"])
        if "crops" in given:
            given["crops"] = tuple((float(start), int(crop)) for start, crop in given["crops"])
        return TrainingConfig(**given)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} is no training configuration: {error}") from error
