"""A bundle of a small untrained model, and pictures that are nothing but smooth noise."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from clc.bundle.export import export_bundle
from clc.model.model import Model
from tests.conftest import SMALL


def smooth(seed: int, height: int = 256, width: int = 256) -> npt.NDArray[np.uint8]:
    """A picture, uint8 (height, width, 3)."""
    grain = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    return np.asarray(Image.fromarray(grain).resize((width, height), Image.Resampling.BICUBIC))


def make_bundle(folder: Path, entries: int = 3) -> Path:
    """Write the bundle into a new folder."""
    torch.manual_seed(1)
    config = replace(SMALL, references=2)
    patches = [smooth(seed) for seed in range(entries)]
    provenance = [{"name": str(seed)} for seed in range(entries)]
    export_bundle(folder, config, Model(config).state_dict(), patches, provenance)
    return folder
