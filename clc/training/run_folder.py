"""The files of a training run's folder, and the weights in it.

    weights.safetensors   the moving average of the parameters: usable at any moment, whatever stops the run
    best.safetensors      the averaged weights that validated best so far, with their step and loss
    model.json            the configuration that the weights belong to

`clc.training.checkpoint` writes these and what a run needs to go on; training starts and `train-codec` exports from
them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from clc.errors import InputError
from clc.model.model import ModelConfig
from clc.training.weight_shards import INDEX, read_shards
from storage.atomic import write_bytes

WEIGHTS, BEST, STATE, POSITION, LOG, MODEL = (
    "weights.safetensors",
    "best.safetensors",
    "state.safetensors",
    "state.json",
    "log.jsonl",
    "model.json",
)


class Best(NamedTuple):
    """The averaged weights with the lowest validation loss so far, on the CPU."""

    step: int
    loss: float
    weights: dict[str, Tensor]


def write_model(folder: Path, config: ModelConfig) -> None:
    """Writes the configuration of a model beside its weights."""
    write_bytes(folder / MODEL, json.dumps(config.to_json(), indent=1).encode())


def packed(tensors: Mapping[str, Tensor], notes: dict[str, str] | None = None) -> bytes:
    """Copies of the tensors, and notes, as the bytes of a safetensors file."""
    return save({name: value.clone().contiguous() for name, value in tensors.items()}, notes)


def write_best(folder: Path, best: Best) -> None:
    """Writes the best weights, with their step and loss as notes of the file."""
    write_bytes(folder / BEST, packed(best.weights, {"step": str(best.step), "loss": repr(best.loss)}))


def read_best(folder: Path) -> Best:
    """What `write_best` wrote. Raises `OSError`, `KeyError`, `ValueError` or `SafetensorError` where it cannot."""
    with safe_open(folder / BEST, "pt") as file:
        notes = file.metadata()
    return Best(int(notes["step"]), float(notes["loss"]), load_file(folder / BEST))


def forget_best(folder: Path) -> None:
    """Removes the best weights of an earlier run in the same folder."""
    (folder / BEST).unlink(missing_ok=True)


def weights_file(folder: Path) -> Path | None:
    """The file that stands for what a run left: its best weights, else the last, else the index of shards."""
    return next((folder / name for name in (BEST, WEIGHTS, INDEX) if (folder / name).is_file()), None)


def read_model(folder: Path) -> ModelConfig:
    """The configuration that `write_model` wrote; raises `InputError` when it is missing or damaged."""
    try:
        return ModelConfig.from_json(json.loads((folder / MODEL).read_text()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"no model of a training run in {folder}: {error}") from error


def read_weights(folder: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """The configuration and averaged weights of a run's output folder or a folder of shards
    (`clc.training.weight_shards`).

    Raises `InputError` when they are missing or damaged.
    """
    config, found = read_model(folder), weights_file(folder)
    if found is None:
        raise InputError(f"no weights of a training run in {folder}")
    try:
        return config, read_shards(folder) if found.name == INDEX else load_file(found)
    except (OSError, SafetensorError) as error:
        raise InputError(f"no weights of a training run in {folder}: {error}") from error
