"""One training run from pictures to weights, for the command line and the flow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from clc.training.checkpoint import resume_checkpoint
from clc.training.config import TrainingConfig
from clc.training.data import PictureSet
from clc.training.distributed import ALONE, Ranks
from clc.training.loop import SILENT, Observer, TrainingResult, run
from clc.training.pairs import Pair
from clc.training.trainer import Trainer


def train(
    config: TrainingConfig,
    data: PictureSet,
    entries: PictureSet,
    out: Path,
    *,
    pairs: Sequence[Pair] = (),
    start: dict[str, Tensor] | None = None,
    is_resumed: bool = False,
    observer: Observer = SILENT,
    ranks: Ranks = ALONE,
) -> TrainingResult:
    """Trains a model on `data` with the dictionary patches `entries`, into the folder `out`.

    `pairs` are overlapping pictures, registered. `start` gives weights to go on from (a fine-tuning), else the KLT
    start; `is_resumed` continues the run whose files are in `out`. Returns the averaged weights that validated best,
    which may be those of `start`. Raises `InputError` on unusable input and `ClcError` if the loss stays non-finite.
    """
    trainer = Trainer(config, data, entries, out, pairs, ranks=ranks)
    if is_resumed:
        resume_checkpoint(trainer, out)
    elif start is not None:
        trainer.start_from(start)
    else:
        trainer.start_fresh()
    return run(trainer, observer)
