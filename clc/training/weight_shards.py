"""Weights in files of a few MiB each, for places that take no large files, such as a source repository.

    weights-0000.safetensors ...   some of the tensors each
    weights.json                   the shards in order, with their bytes and SHA-256

Written for the option `--shards` of `clc.training`, read by `clc.training.run_folder`. The contract: a shard that is
missing, altered or too many is an error, never a model with other weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from safetensors.torch import load, save
from torch import Tensor

from clc.errors import InputError
from storage.atomic import write_bytes
from storage.regular import read_regular

INDEX = "weights.json"
MIB = 1 << 20
MAX_SHARD_MIB = 15.0
HEADER_BYTES = 256
"""What the name, type and place of one tensor take in the header of a safetensors file, at most."""


def write_shards(folder: Path, weights: dict[str, Tensor], limit_mib: float = MAX_SHARD_MIB) -> list[Path]:
    """Writes the weights as shards of at most `limit_mib` MiB, then their index; returns the paths of the shards.

    Shards of an earlier call in the same folder are removed. Raises `InputError` for a limit above 15 MiB or below the
    largest tensor.
    """
    check_limit(weights, limit_mib)
    paths, described = [], []
    for number, part in enumerate(_parts(weights, int(limit_mib * MIB))):
        data = save(part)
        paths.append(folder / f"weights-{number:04d}.safetensors")
        write_bytes(paths[-1], data)
        described.append({"name": paths[-1].name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
    write_bytes(folder / INDEX, json.dumps({"shards": described, "tensors": len(weights)}, indent=1).encode())
    for stale in set(folder.glob("weights-[0-9][0-9][0-9][0-9].safetensors")) - set(paths):
        stale.unlink()
    return paths


def check_limit(weights: dict[str, Tensor], limit_mib: float) -> None:
    """Raises the `InputError` of `write_shards`, so that it comes before a long training instead of behind it."""
    if not 0.0 < limit_mib <= MAX_SHARD_MIB:
        raise InputError(f"shards of {limit_mib} MiB: say above 0, and at most {MAX_SHARD_MIB}")
    for name, value in weights.items():
        needed = _bytes(name, value)
        if needed + HEADER_BYTES > int(limit_mib * MIB):
            raise InputError(f"{name} takes {needed} bytes, more than a shard of {limit_mib} MiB; allow larger ones")


def _bytes(name: str, value: Tensor) -> int:
    return value.numel() * value.element_size() + len(name) + HEADER_BYTES


def _parts(weights: dict[str, Tensor], limit_bytes: int) -> Iterator[dict[str, Tensor]]:
    """The tensors in their order, as many at a time as fit."""
    part: dict[str, Tensor] = {}
    used = HEADER_BYTES
    for name, value in weights.items():
        needed = _bytes(name, value)
        if part and used + needed > limit_bytes:
            yield part
            part, used = {}, HEADER_BYTES
        part[name] = value.detach().cpu().clone().contiguous()
        used += needed
    if part:
        yield part


def read_shards(folder: Path) -> dict[str, Tensor]:
    """The inverse of `write_shards`. Raises `InputError` when the index or a shard is missing or altered."""
    weights: dict[str, Tensor] = {}
    try:
        index = json.loads(read_regular(folder / INDEX))
        for shard in index["shards"]:
            path = folder / Path(shard["name"]).name
            data = read_regular(path)
            if hashlib.sha256(data).hexdigest() != shard["sha256"]:
                raise InputError(f"{path} is not the shard that {INDEX} describes; fetch it again")
            weights |= load(data)
        if len(weights) != index["tensors"]:
            raise InputError(f"{folder}: the shards hold {len(weights)} tensors, not {index['tensors']}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"no weights in shards in {folder}: {error}") from error
    return weights
