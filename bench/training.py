"""Time of a training step, with its data and on one batch that never changes, in the same process.

    python bench/training.py --data FOLDER --steps 40

The two take turns, so that a machine that grows slower meanwhile slows both. What is printed: milliseconds a step of
both, pictures per second, and what the data costs in per cent, which should stay below 5.
"""

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from clc.machine import flush_denormals, keep_freed_memory
from clc.pictures.patches import ENTRY_PX
from clc.training.batches import TrainingBatch
from clc.training.config import TrainingConfig, read_config
from clc.training.data import random_patches, read_folders
from clc.training.trainer import Trainer

_ENTRIES = 64


def measure(trainer: Trainer, steps: int, crop_px: int) -> dict[str, float]:
    """Return means over pairs of steps: one draws its batch, the other has the same batch already.

    The first batch with references and the first without warm up what comes after them.
    """
    fresh, fixed, shares, pictures = [], [], [], 0
    warm: set[bool] = set()
    for turn in range(steps):
        started = time.perf_counter()
        batch = trainer.source.take(turn, lambda ahead: crop_px)
        trainer.learn(batch)
        middle = time.perf_counter()
        trainer.learn(batch)
        ended = time.perf_counter()
        kind = batch.crops.aligned is not None
        if kind in warm:
            fresh.append(middle - started)
            fixed.append(ended - middle)
            shares.append(_drawing_s(trainer, batch, turn, crop_px) / fixed[-1])
            pictures += len(batch.crops.photos)
        warm.add(kind)
    return {
        "step_with_data_ms": 1000 * float(np.mean(fresh)),
        "step_on_a_fixed_batch_ms": 1000 * float(np.mean(fixed)),
        "data_percent": 100 * (float(np.mean(fresh)) / float(np.mean(fixed)) - 1),
        "drawing_percent": 100 * float(np.mean(shares)),
        "pictures_per_s": pictures / float(np.sum(fresh)),
    }


def _drawing_s(trainer: Trainer, batch: TrainingBatch, turn: int, crop_px: int) -> float:
    """Return how long it takes to draw a batch again, with nothing else going on."""
    started = time.perf_counter()
    again = trainer.source.draw(turn, crop_px)
    spent = time.perf_counter() - started
    if not torch.equal(again.crops.x, batch.crops.x):
        raise RuntimeError("a batch drawn again is another one")
    return spent


def main() -> None:
    """Train for a few steps and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--config", type=Path, help="JSON of a TrainingConfig")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--crop", type=int, default=128, help="side of the crops in px")
    parser.add_argument("--threads", type=int)
    for name in ("compile", "bf16"):
        parser.add_argument(f"--{name}", action="store_true")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    flush_denormals()
    keep_freed_memory()
    config = read_config(options.config) if options.config else TrainingConfig()
    config = replace(config, minutes=1e6, steps=None, compile=options.compile, bf16=options.bf16, refresh_steps=10**9)
    data = read_folders(options.data)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, data, random_patches(data, _ENTRIES, ENTRY_PX, 0), Path(folder))
        trainer.start_fresh()
        figures = measure(trainer, options.steps, options.crop)
        trainer.source.close()
    print(json.dumps({name: round(value, 2) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
