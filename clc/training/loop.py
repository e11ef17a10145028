"""The loop of a training run: steps until the budget ends, and at intervals a log line, a validation, a checkpoint.

Called by `clc.training.train`. Of several processes (`clc.training.distributed`) all make steps, and only the first
does the rest. The contract: the log, the checkpoints and the result are complete whenever `run` returns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from clc.training.checkpoint import save_checkpoint
from clc.training.run_folder import Best
from clc.training.trainer import Trainer


class Observer(NamedTuple):
    """Callbacks of those who follow a run.

    `report` gets each line of the log; `show` gets, at each validation, the step and a picture of reconstructions,
    uint8 (H, W, 3).
    """

    report: Callable[[dict[str, Any]], None] = lambda line: None
    show: Callable[[int, npt.NDArray[np.uint8]], None] | None = None


@dataclass(frozen=True)
class TrainingResult:
    """The result of a run: the averaged `weights` that validated best, a state dict on the CPU, and their `kept_step`.

    `steps` counts those of the whole run; `log` holds the lines of its log.
    """

    weights: dict[str, Tensor]
    kept_step: int
    steps: int
    log: list[dict[str, Any]]


SILENT = Observer()


def run(trainer: Trainer, observer: Observer = SILENT) -> TrainingResult:
    """Trains until the budget ends. Raises `ClcError` after three non-finite gradients."""
    config, ranks = trainer.config, trainer.ranks
    before, began = trainer.minutes, time.monotonic()
    logged = saved = validated = began
    recent: list[dict[str, float]] = []
    try:
        while trainer.progress() < 1.0:
            recent.append(trainer.train_step())
            now = time.monotonic()
            trainer.minutes = ranks.agree(before + (now - began) / 60.0)
            if not ranks.is_first:
                recent.clear()
                continue
            if now - logged >= config.log_s:
                _note_steps(trainer, recent, now - logged, observer)
                recent, logged = [], now
            if now - validated >= config.validate_s:
                _note_validation(trainer, observer)
                validated = time.monotonic()
            if now - saved >= config.save_s:
                save_checkpoint(trainer, trainer.out)
                saved = time.monotonic()
    finally:
        trainer.source.close()
    if ranks.is_first and recent:
        _note_steps(trainer, recent, max(1e-3, time.monotonic() - logged), observer)
    return _finished(trainer, observer)


def _finished(trainer: Trainer, observer: Observer) -> TrainingResult:
    """Validates the last weights, logs whether they or earlier ones are kept, saves, and returns the result."""
    if trainer.ranks.is_first:
        _note_validation(trainer, observer)
    best = trainer.best or Best(trainer.step, float("nan"), trainer.average_on_cpu())
    if trainer.ranks.is_first:
        kept = "last" if best.step == trainer.step else "best"
        _note(trainer, {"kept": kept, "kept_step": best.step, "kept_loss": best.loss}, observer)
        save_checkpoint(trainer, trainer.out)
    return TrainingResult(best.weights, best.step, trainer.step, trainer.log)


def _note_steps(trainer: Trainer, recent: list[dict[str, float]], seconds: float, observer: Observer) -> None:
    """Logs the means over the last steps. Their speed counts all of the time since the last line, validations too."""
    means = {key: float(np.mean([line[key] for line in recent])) for key in recent[0]}
    speed = len(recent) / seconds
    rate = trainer.optimiser.param_groups[0]["lr"]
    pictures = trainer.ranks.count * means.pop("pictures")
    figures = {**means, "learning_rate": rate, "steps_per_s": speed, "pictures_per_s": speed * pictures}
    _note(trainer, figures, observer)


def _note_validation(trainer: Trainer, observer: Observer) -> None:
    _note(trainer, trainer.validate(), observer)
    if observer.show is not None:
        with trainer.averaged() as model:
            observer.show(trainer.step, trainer.held_out.reconstructions(model))


def _note(trainer: Trainer, figures: dict[str, Any], observer: Observer) -> None:
    line = {"step": trainer.step, "minutes": round(trainer.minutes, 3), **figures}
    trainer.log.append(line)
    observer.report(line)
