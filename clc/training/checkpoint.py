"""What a training run keeps on disk, and how it goes on from there.

    weights.safetensors   the moving average of the parameters: usable at any moment, whatever stops the run
    best.safetensors      the averaged weights that validated best so far, with their step and loss
    model.json            the configuration that the weights belong to
    state.safetensors     parameters, average, start, optimiser moments, what described the dictionary
    state.json            step, batches drawn, minutes used
    log.jsonl             every line of the log so far

Beside them the command line of `clc.training` keeps what it was asked for, `config.json`. Each file is replaced
atomically, `state.json` last. Crops and noise follow from the seed and the number of the batch
(`clc.training.batches`), so that no generator's state is kept. On a CPU a resumed run makes the same steps as an
uninterrupted one, given the same number of threads and no compiler.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.torch import load_file

from clc.errors import InputError
from clc.training.run_folder import BEST, LOG, POSITION, STATE, WEIGHTS, _packed, _read_best, write_model
from storage.atomic import write_bytes

if TYPE_CHECKING:
    from clc.training.trainer import Trainer


def save_checkpoint(trainer: Trainer, folder: Path) -> None:
    """Writes the files of the module's table. Raises `StorageError` when the folder cannot be written."""
    folder.mkdir(parents=True, exist_ok=True)
    write_model(folder, trainer.config.model)
    write_bytes(folder / WEIGHTS, _packed(trainer.average_state()))
    if trainer.best is not None:
        step, loss, weights = trainer.best
        write_bytes(folder / BEST, _packed(weights, {"step": str(step), "loss": repr(loss)}))
    write_bytes(folder / LOG, "".join(json.dumps(line) + "\n" for line in trainer.log).encode())
    state = {f"model.{name}": parameter.detach() for name, parameter in trainer.model.named_parameters()}
    state |= {f"ema.{name}": value for name, value in trainer.ema.items()}
    state |= {f"start.{name}": value for name, value in trainer.start.items()}
    for name, parameter in trainer.model.named_parameters():
        state |= {f"adam.{name}.{key}": value for key, value in trainer.optimiser.state[parameter].items()}
    state |= {f"bank.{name}": value for name, value in trainer.described_by.items()}
    state["middle_step"] = trainer.described_at
    write_bytes(folder / STATE, _packed(state))
    position = {
        "step": trainer.step,
        "batches": trainer.batches,
        "minutes": trainer.minutes,
        "hyper_warmup_steps": trainer.hyper_warmup_steps,
    }
    write_bytes(folder / POSITION, json.dumps(position).encode())


def resume_checkpoint(trainer: Trainer, folder: Path) -> None:
    """Restores what `save_checkpoint` wrote; raises `InputError` when it is missing, damaged or of another model."""
    try:
        state = load_file(folder / STATE, device=str(trainer.device))
        position = json.loads((folder / POSITION).read_text())
        trainer.log = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
        trainer.copy_parameters({k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")})
        trainer.ema = {name: state[f"ema.{name}"] for name, _ in trainer.model.named_parameters()}
        trainer.start = {k.removeprefix("start."): v for k, v in state.items() if k.startswith("start.")}
        for name, parameter in trainer.model.named_parameters():
            moments = {k.rpartition(".")[2]: v for k, v in state.items() if k.startswith(f"adam.{name}.")}
            if moments:
                trainer.optimiser.state[parameter] = moments
        trainer.step, trainer.batches = position["step"], position["batches"]
        trainer.minutes, trainer.hyper_warmup_steps = position["minutes"], position["hyper_warmup_steps"]
        trainer.best = _read_best(folder / BEST) if (folder / BEST).is_file() else None
        described_by = {k.removeprefix("bank."): v for k, v in state.items() if k.startswith("bank.")}
        trainer.restore_bank(described_by, state["middle_step"])
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise InputError(f"cannot resume from {folder}: {error}; start the run anew without --resume") from error
