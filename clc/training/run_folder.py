"""The weights in the folder of a training run: the names of the files, and how they are written and read.

    weights.safetensors   the moving average of the parameters: usable at any moment, whatever stops the run
    best.safetensors      the averaged weights that validated best so far, with their step and loss
    model.json            the configuration that the weights belong to

Called by `clc.training.checkpoint`, which adds the files that a run needs to go on; by `clc.training.train`, which
starts runs from such a folder; and by `train-codec`. The contract: the names of the files and of the tensors do not
change between releases.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from clc.errors import InputError
from clc.model.model import ModelConfig
from clc.training.weight_shards import INDEX, read_shards
from storage.atomic import remove_leftovers, write_bytes

WEIGHTS, BEST, STATE, POSITION, LOG, MODEL = (
    "weights.safetensors",
    "best.safetensors",
    "state.safetensors",
    "state.json",
    "log.jsonl",
    "model.json",
)


class Best(NamedTuple):
    """The averaged weights with the lowest validation loss so far: a state dict on the CPU, with its step and loss."""

    step: int
    loss: float
    weights: dict[str, Tensor]


def write_model(folder: Path, config: ModelConfig) -> None:
    """Writes the configuration of a model into the folder of its weights."""
    write_bytes(folder / MODEL, json.dumps(config.to_json(), indent=1).encode())


def packed(tensors: Mapping[str, Tensor], notes: dict[str, str] | None = None) -> bytes:
    """The bytes of a safetensors file of these tensors, with `notes` as its metadata."""
    return save({name: value.clone().contiguous() for name, value in tensors.items()}, notes)


def write_best(folder: Path, best: Best) -> None:
    """Writes the best weights, with their step and loss as notes of the file."""
    write_bytes(folder / BEST, packed(best.weights, {"step": str(best.step), "loss": repr(best.loss)}))


def read_best(folder: Path) -> Best:
    """The inverse of `write_best`. Raises `OSError`, `SafetensorError`, `KeyError` or `ValueError` for a bad file."""
    with safe_open(folder / BEST, "pt") as file:
        notes = file.metadata()
    return Best(int(notes["step"]), float(notes["loss"]), load_file(folder / BEST))


def forget_best(folder: Path) -> None:
    """Removes the best weights of an earlier run in the same folder."""
    (folder / BEST).unlink(missing_ok=True)


def clear_leftovers(folder: Path) -> None:
    """Removes what a process that was killed while it saved has left. Nobody may be saving into the folder."""
    remove_leftovers(*(folder / name for name in (WEIGHTS, BEST, STATE, POSITION, LOG, MODEL)))


def refuse_former_run(folder: Path) -> None:
    """Raises `InputError` where the folder holds files of a run, which another run would replace."""
    former = next((name for name in (BEST, WEIGHTS, STATE, LOG, INDEX) if os.path.lexists(folder / name)), None)
    if former is not None:
        raise InputError(
            f"{folder} holds a training run already ({former}); go on with it by --resume, name another folder, or "
            "replace it by --overwrite"
        )


def weights_file(folder: Path) -> Path | None:
    """The file to take a run's weights from: the best ones, else the last, else the index of shards, else None."""
    return next((folder / name for name in (BEST, WEIGHTS, INDEX) if (folder / name).is_file()), None)


def read_model(folder: Path) -> ModelConfig:
    """The inverse of `write_model`. Raises `InputError` when the file is missing or damaged."""
    try:
        return ModelConfig.from_json(json.loads((folder / MODEL).read_text()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"no model of a training run in {folder}: {error}") from error


def read_weights(folder: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """The configuration and the averaged weights in the folder of a run, or of shards (`clc.training.weight_shards`).

    Raises `InputError` when they are missing or damaged.
    """
    config, found = read_model(folder), weights_file(folder)
    if found is None:
        raise InputError(f"no weights of a training run in {folder}")
    try:
        return config, read_shards(folder) if found.name == INDEX else load_file(found)
    except (OSError, SafetensorError) as error:
        raise InputError(f"no weights of a training run in {folder}: {error}") from error
