"""One training run, from pictures and the weights to start from to trained weights.

Called by the command line of `clc.training` and by the flow `train-codec`. The contract: both train alike.
"""

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
    """Trains a model on the pictures `data` with the dictionary patches `entries`, uint8 (256, 256, 3).

    The files of the run are kept in the folder `out`. The run starts from the state dict `start`, or from the KLT of
    the pictures without one; with `is_resumed` it goes on from the files in `out`. `pairs` are pictures with aligned
    references. Returned are the averaged weights that validated best, which may be those of `start`. Raises
    `InputError` for unusable input and `ClcError` after three non-finite gradients.
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
    """The configuration and the state dict of a trained model, to start a run from.

    `path` is the folder of a bundle, of a run or of shards, or a safetensors file. A file alone has no configuration:
    it is None then. Raises `InputError` when there are no weights, and `StorageError` for a damaged bundle.
    """
    if (path / "manifest.json").is_file():
        # Imported here, for a worker that starts from no bundle may lack the libraries that read one.
        from clc.bundle.bundle import Bundle

        bundle = Bundle.load(path)
        return bundle.config, bundle.state()
    if path.is_dir():
        return read_weights(path)
    try:
        return None, load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"no weights in {path}: {error}") from error
