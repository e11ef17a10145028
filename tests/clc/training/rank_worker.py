"""What each process of `test_ranks` runs under torchrun: a few steps of a small model, its parameters into a file."""

import os
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from clc.training.config import TrainingConfig
from clc.training.data import PictureSet, random_patches
from clc.training.distributed import joined
from clc.training.train import train
from clc.training.trainer import Trainer
from tests.conftest import SMALL

CONFIG = TrainingConfig(
    steps=4, minutes=60.0, crops=((0.0, 64),), batch_px=2 * 64 * 64, warmup_steps=2, aligned_share=0.5, model=SMALL
)


def pictures() -> PictureSet:
    """Return smooth random pictures, the same in each process."""
    rng = np.random.default_rng(0)
    made = [np.kron(rng.integers(0, 256, (9, 9, 3)), np.ones((32, 32, 1))).astype(np.uint8) for _ in range(4)]
    return PictureSet(made, list("abcd"))


def work(out: Path) -> None:
    """Train beside the other processes; leave what this one ended with."""
    torch.set_num_threads(1)
    data = pictures()
    entries = random_patches(data, 3, 256, seed=0)
    with joined(os.environ, "cpu") as (ranks, _):
        first = Trainer(CONFIG, data, entries, out / "first", ranks=ranks).source.draw(0, 64)
        lines = []
        result = train(CONFIG, data, entries, out / "run", ranks=ranks)
        lines += result.log
        save_file({**result.weights, "first crops": first.crops.x.contiguous()}, out / f"rank{ranks.rank}.safetensors")
        (out / f"lines{ranks.rank}").write_text(str(len(lines)))


if __name__ == "__main__":
    work(Path(sys.argv[1]))
