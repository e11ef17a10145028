"""What trainings are worth on any pictures, before a bundle is made of one: BD-rates of their estimated curves.

    python bench/estimates.py --pictures FOLDER [--pictures FOLDER] clc/assets/shipped runs/a runs/b

The models are folders of trainings (their moving averages, `weights.safetensors`) or of bundles; the first is what the
others are held against. Each picture, cropped to a multiple of 64 px, is coded without references at seven qualities;
rates are estimates of the prior, and no file is made. For each folder of pictures and each model it prints the mean
loss, rate and PSNR, the mean BD-rate over the pictures, and for how many of them it is below zero.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file
from self_prior import Measured, measure

from clc.bundle.bundle import Bundle
from clc.bundle.identity import MANIFEST
from clc.console import complain
from clc.errors import ClcError, InputError
from clc.evaluation.bd_rate import bd_rate
from clc.machine import flush_denormals, keep_freed_memory
from clc.model.model import Model
from clc.training.data import read_folders
from clc.training.run_folder import WEIGHTS, read_model


def opened(folder: Path) -> Model:
    """Return the model of a bundle's folder, or the moving average of a training's. Raises ClcError."""
    if (folder / MANIFEST).is_file():
        bundle = Bundle.load(folder)
        model, state = Model(bundle.config), bundle.state()
    elif (folder / WEIGHTS).is_file():
        model, state = Model(read_model(folder)), load_file(folder / WEIGHTS)
    else:
        raise InputError(f"{folder} is neither a bundle nor the folder of a training")
    model.load_state_dict(state)
    return model.eval()


def row_of(anchor: Measured, one: Measured) -> list[str]:
    """Return the figures of a model on some pictures, against those of the first model."""
    count = one.bpp.shape[1]
    rates = [bd_rate(anchor.curve(i, count), one.curve(i, count)).percent for i in range(len(one.bpp))]
    known = [rate for rate in rates if rate is not None]
    gain = f"{np.mean(known):+.2f} %" if known else "no common range"
    means = [f"{table.mean():.4f}" for table in (one.loss, one.bpp)]
    return [*means, f"{one.psnr_db.mean():.2f}", gain, f"{sum(rate < 0 for rate in known)} of {len(rates)}"]


def main() -> int:
    """Measure all models on all folders; exit status 1 after an error, which is one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path, nargs="+", help="folders of bundles or trainings, the anchor first")
    parser.add_argument("--pictures", type=Path, action="append", required=True, help="a folder of pictures")
    parser.add_argument("--count", type=int, default=12, help="pictures of each folder at most, evenly apart")
    options = parser.parse_args()
    flush_denormals()
    keep_freed_memory()
    try:
        models = [opened(folder) for folder in options.models]
        for folder in options.pictures:
            pictures = read_folders([folder]).pictures
            chosen = pictures[:: -(-len(pictures) // options.count)]
            table = Table("model", "loss", "bpp", "PSNR, dB", "BD-rate", "better", title=f"{len(chosen)} of {folder}")
            anchor = None
            for name, model in zip(options.models, models, strict=True):
                found = measure(model, chosen)
                anchor = anchor or found
                table.add_row(str(name), *row_of(anchor, found))
            Console(width=120).print(table)
    except ClcError as error:
        complain(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
