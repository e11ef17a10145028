"""A tiny random autoencoder of the taesd layout, made in a test's folder: what it decodes is always the same noise."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

WIDTH, CHANNELS = 4, 3
DESCRIPTION = {"architecture": "taesd", "stride": 8, "channels": CHANNELS, "scale": 4.0, "shift": [0.0, 0.1, -0.1]}


def make_autoencoder(folder: Path, seed: int = 0) -> Path:
    """Writes the three files of an autoencoder into a new folder, and returns it."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(seed)
    save_file(_encoder(generator), folder / "encoder.safetensors")
    save_file(_decoder(generator), folder / "decoder.safetensors")
    (folder / "autoencoder.json").write_text(json.dumps(DESCRIPTION))
    return folder


def _encoder(generator: torch.Generator) -> dict[str, Tensor]:
    weights = _conv("0", 3, WIDTH, generator) | _block(1, generator)
    for stage in range(3):
        first = 2 + 4 * stage
        weights |= _conv(str(first), WIDTH, WIDTH, generator, has_bias=False)
        for index in range(first + 1, first + 4):
            weights |= _block(index, generator, has_pool=stage == 2)
    return weights | _conv("14", WIDTH, CHANNELS, generator)


def _decoder(generator: torch.Generator) -> dict[str, Tensor]:
    weights = _conv("1", CHANNELS, WIDTH, generator)
    for stage in range(3):
        first = 3 + 5 * stage
        for index in range(first, first + 3):
            weights |= _block(index, generator, has_pool=stage == 0)
        weights |= _conv(str(first + 4), WIDTH, WIDTH, generator, has_bias=False)
    return weights | _block(18, generator) | _conv("19", WIDTH, 3, generator)


def _block(index: int, generator: torch.Generator, *, has_pool: bool = False) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}
    for layer in (0, 2, 4):
        weights |= _conv(f"{index}.conv.{layer}", WIDTH, WIDTH, generator)
    if has_pool:
        inner = 4 * WIDTH
        weights[f"{index}.pool.0.weight"] = 0.1 * torch.randn(inner, WIDTH, 1, 1, generator=generator)
        weights[f"{index}.pool.1.weight"], weights[f"{index}.pool.1.bias"] = torch.ones(inner), torch.zeros(inner)
        weights[f"{index}.pool.3.weight"] = 0.1 * torch.randn(WIDTH, inner, 1, 1, generator=generator)
    return weights


def _conv(
    name: str, inputs: int, outputs: int, generator: torch.Generator, *, has_bias: bool = True
) -> dict[str, Tensor]:
    spread = (9 * inputs) ** -0.5
    weights = {f"{name}.weight": spread * torch.randn(outputs, inputs, 3, 3, generator=generator)}
    if has_bias:
        weights[f"{name}.bias"] = 0.1 * torch.randn(outputs, generator=generator)
    return weights
