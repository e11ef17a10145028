"""What a training run keeps on disk, and how it goes on from there.

    weights.safetensors   the moving average of the parameters: usable at any moment, whatever stops the run
    model.json            the configuration that the weights belong to
    state.safetensors     parameters, average, optimiser moments, the noise generator, what described the dictionary
    state.json            step, minutes used, state of the sampler
    log.jsonl             every line of the log so far

Each file is replaced atomically, `state.json` last. On a CPU a resumed run makes the same steps as an uninterrupted
one, given the same number of threads.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from clc.errors import InputError
from clc.model import ModelConfig
from storage.atomic import write_bytes

if TYPE_CHECKING:
    from clc.training import Trainer

WEIGHTS, STATE, POSITION, LOG, MODEL = (
    "weights.safetensors",
    "state.safetensors",
    "state.json",
    "log.jsonl",
    "model.json",
)


def save_checkpoint(trainer: Trainer, folder: Path) -> None:
    """Writes the files of the module's table. Raises `StorageError` when the folder cannot be written."""
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / MODEL, json.dumps(trainer.config.model.to_json(), indent=1).encode())
    write_bytes(folder / WEIGHTS, save({name: value.contiguous() for name, value in trainer.average_state().items()}))
    write_bytes(folder / LOG, "".join(json.dumps(line) + "\n" for line in trainer.log).encode())
    state = {f"model.{name}": parameter.detach() for name, parameter in trainer.model.named_parameters()}
    state |= {f"ema.{name}": value for name, value in trainer.ema.items()}
    for name, parameter in trainer.model.named_parameters():
        state |= {f"adam.{name}.{key}": value for key, value in trainer.optimiser.state[parameter].items()}
    state |= {f"bank.{name}": value for name, value in trainer.described_by.items()}
    state["middle_step"] = trainer.described_at
    state["noise"] = trainer.noise.get_state()
    write_bytes(folder / STATE, save({name: value.clone().contiguous() for name, value in state.items()}))
    position = {
        "step": trainer.step,
        "minutes": trainer.minutes,
        "hyper_warmup_steps": trainer.hyper_warmup_steps,
        "sampler": trainer.sampler_rng.bit_generator.state,
    }
    write_bytes(folder / POSITION, json.dumps(position).encode())


def read_weights(folder: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """The configuration and averaged weights that a run left; raises `InputError` when they are missing or damaged."""
    try:
        config = ModelConfig.from_json(json.loads((folder / MODEL).read_text()))
        return config, load_file(folder / WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise InputError(f"no weights of a training run in {folder}: {error}") from error


def resume_checkpoint(trainer: Trainer, folder: Path) -> None:
    """Restores what `save_checkpoint` wrote; raises `InputError` when it is missing, damaged or of another model."""
    try:
        state = load_file(folder / STATE)
        position = json.loads((folder / POSITION).read_text())
        trainer.log = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
        trainer.copy_parameters({k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")})
        trainer.ema = {name: state[f"ema.{name}"] for name, _ in trainer.model.named_parameters()}
        for name, parameter in trainer.model.named_parameters():
            moments = {k.rpartition(".")[2]: v for k, v in state.items() if k.startswith(f"adam.{name}.")}
            if moments:
                trainer.optimiser.state[parameter] = moments
        trainer.noise.set_state(state["noise"])
        trainer.step, trainer.minutes = position["step"], position["minutes"]
        trainer.hyper_warmup_steps = position["hyper_warmup_steps"]
        trainer.sampler_rng.bit_generator.state = position["sampler"]
        described_by = {k.removeprefix("bank."): v for k, v in state.items() if k.startswith("bank.")}
        trainer.restore_bank(described_by, state["middle_step"])
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise InputError(f"cannot resume from {folder}: {error}; start the run anew without --resume") from error
