"""A training run's state on disk: written as it goes, read to go on from.

    weights.safetensors   the moving average of the parameters: usable at any moment, whatever stops the run
    best.safetensors      the averaged weights that validated best so far, with their step and loss
    model.json            the configuration that the weights belong to
    state.safetensors     the tensors of `TrainerState`: `model.`, `ema.`, `start.`, `bank.` and the name of a
                          parameter, `adam.`, its name and that of a moment, and `middle_step`
    state.json            the whole numbers and minutes of `Position`
    log.jsonl             every line of the log so far

Each file is replaced atomically, `state.json` last. Beside them the command line of `clc.training` keeps the
configuration of the run, `config.json`. Called by `clc.training.loop` and `clc.training.train`. The contract: a run
folder of release 0.16.0 can be resumed, and on a CPU a resumed run makes the same steps, to the bit, as an
uninterrupted one, with the same number of threads and no compiler. No generator's state is kept, for crops and noise
follow from the seed and the number of the batch (`clc.training.batches`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from clc.errors import InputError
from clc.training.run_folder import BEST, LOG, POSITION, STATE, WEIGHTS, packed, read_best, write_best, write_model
from clc.training.trainer import Position, Trainer, TrainerState
from storage.atomic import write_bytes


class CannotResume(InputError):
    """The files of a run are missing, damaged or of another model, so that it cannot go on."""


def save_checkpoint(trainer: Trainer, folder: Path) -> None:
    """Writes the files of the module's table into `folder`, which is made where it is missing.

    Raises `StorageError` when the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = trainer.state()
    write_model(folder, trainer.config.model)
    write_bytes(folder / WEIGHTS, packed(trainer.average_state()))
    if state.best is not None:
        write_best(folder, state.best)
    write_bytes(folder / LOG, "".join(json.dumps(line) + "\n" for line in state.log).encode())
    write_bytes(folder / STATE, packed(_named(state)))
    write_bytes(folder / POSITION, json.dumps(state.position._asdict()).encode())


def resume_checkpoint(trainer: Trainer, folder: Path) -> None:
    """Puts a trainer of the same model into the state that `save_checkpoint` wrote.

    Raises `CannotResume` when a file is missing, damaged or of another model.
    """
    try:
        tensors = load_file(folder / STATE, device=str(trainer.device))
        position = json.loads((folder / POSITION).read_text())
        log = _log_up_to(folder, position["step"])
        best = read_best(folder) if (folder / BEST).is_file() else None
        trainer.load_state(
            TrainerState(
                parameters=_with_prefix(tensors, "model."),
                average=_with_prefix(tensors, "ema."),
                start=_with_prefix(tensors, "start."),
                moments=_moments(_with_prefix(tensors, "adam.")),
                bank_g_a=_with_prefix(tensors, "bank."),
                bank_step=tensors["middle_step"],
                position=Position(*(position[name] for name in Position._fields)),
                log=log,
                best=best,
            )
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise CannotResume(f"cannot resume from {folder}: {error}; start the run anew without --resume") from error


def step_reached(folder: Path) -> int | None:
    """The step of the checkpoint in the folder of a run; None where there is none, or none that can be read."""
    try:
        return int(json.loads((folder / POSITION).read_text())["step"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def lines_so_far(folder: Path) -> list[dict[str, Any]]:
    """The lines of the log up to the checkpoint in the folder of a run; none where nothing can be gone on with."""
    step = step_reached(folder)
    try:
        return [] if step is None else _log_up_to(folder, step)
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _log_up_to(folder: Path, step: int) -> list[dict[str, Any]]:
    """The lines of the log up to a step: a process that was killed while it saved may have written more of them."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
    return [line for line in lines if line["step"] <= step]


def _named(state: TrainerState) -> dict[str, Tensor]:
    """The tensors of a state by their names in the file."""
    groups = {
        "model.": state.parameters,
        "ema.": state.average,
        "start.": state.start,
        "adam.": {f"{name}.{key}": one for name, group in state.moments.items() for key, one in group.items()},
        "bank.": state.bank_g_a,
    }
    named = {prefix + name: value for prefix, group in groups.items() for name, value in group.items()}
    return {**named, "middle_step": state.bank_step}


def _moments(named: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The optimiser's tensors of each parameter, from those of all by the parameter's name and their own."""
    moments: dict[str, dict[str, Tensor]] = {}
    for name, value in named.items():
        parameter, _, moment = name.rpartition(".")
        moments.setdefault(parameter, {})[moment] = value
    return moments


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """One group of the file: the tensors whose names begin with `prefix`, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
