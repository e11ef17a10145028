"""One training run from pictures to weights, for the command line and the flow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from clc.errors import InputError
from clc.model.config import ModelConfig
from clc.training.checkpoint import resume_checkpoint
from clc.training.config import TrainingConfig
from clc.training.data import PictureSet
from clc.training.distributed import ALONE, Ranks
from clc.training.loop import SILENT, Observer, TrainingResult, run
from clc.training.pairs import Pair
from clc.training.run_folder import read_weights
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


def read_start(path: Path) -> tuple[ModelConfig | None, dict[str, Tensor]]:
    """The configuration and the weights of the model to go on from, for `train`'s `start`.

    `path` is the folder of a bundle, of a run or of shards, or a safetensors file, which has no configuration beside
    it: then None. Raises `InputError` when there are no weights, and `StorageError` for a damaged bundle.
    """
    if (path / "manifest.json").is_file():
        # Imported here: a bare worker, which starts from no bundle, lacks what reads dictionaries.
        from clc.bundle.bundle import Bundle

        bundle = Bundle.load(path)
        return bundle.config, bundle.state()
    if path.is_dir():
        return read_weights(path)
    try:
        return None, load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"no weights in {path}: {error}") from error
