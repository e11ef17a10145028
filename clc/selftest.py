"""Does this machine compute the exact path as the machine that exported the bundle? Replay, compare, name the layer.

A bundle carries `selftest.clc`, a stream of its own, and `selftest.json`, the sha256 of every intermediate result of
the exact path when that stream is decoded, in order. `write_vectors` makes them after an export; `replay` decodes the
stream here and names the first result that differs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from clc.codec import Codec
from clc.errors import BitstreamError, DecodeMismatch, StorageError
from clc.model import Picture
from storage.atomic import write_bytes
from storage.digest import sha256_bytes

STREAM_NAME, DIGESTS_NAME = "selftest.clc", "selftest.json"
FIXED_BITS = 20


class Replay(NamedTuple):
    """`steps` compared in all; `first_difference` names the first result that differs, or is None."""

    steps: int
    first_difference: str | None


def probe_picture(side_px: int = 192) -> Picture:
    """A picture of ramps, edges and noise, the same on every machine: uint8 (side, side, 3)."""
    rows, columns = np.mgrid[0:side_px, 0:side_px]
    noise = np.random.default_rng(7).integers(0, 48, (side_px, side_px, 3))
    ramps = np.stack([rows, columns, (rows + columns) // 2], axis=-1) * 200 // side_px
    discs = (((rows // 32) + (columns // 32)) % 2 * 60)[..., None]
    picture: Picture = np.clip(ramps + discs * (rows[..., None] > side_px // 2) + noise // 4, 0, 255).astype(np.uint8)
    return picture


def write_vectors(bundle: Path) -> None:
    """Adds stream and digests to a bundle folder, as computed here."""
    codec = Codec.load(bundle)
    references = codec.encode(probe_picture(), 50.0)
    write_bytes(bundle / STREAM_NAME, references)
    digests = [{"name": name, "sha256": sha} for name, sha in _digests(codec, references)]
    write_bytes(bundle / DIGESTS_NAME, json.dumps(digests, indent=1).encode())


def replay(codec: Codec) -> Replay:
    """Decodes the bundle's stream and compares every intermediate result; raises `StorageError` without vectors."""
    folder = codec.bundle.directory
    try:
        data = (folder / STREAM_NAME).read_bytes()
        expected = [(step["name"], step["sha256"]) for step in json.loads((folder / DIGESTS_NAME).read_text())]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"the bundle in {folder} has no self-test vectors ({error}); export it again") from error
    found = dict(_digests(codec, data))
    for name, sha in expected:
        if found.get(name) != sha:
            return Replay(len(expected), name)
    return Replay(len(expected), None)


def _digests(codec: Codec, data: bytes) -> list[tuple[str, str]]:
    steps: list[tuple[str, str]] = []

    def note(name: str, values: Tensor) -> None:
        integers = torch.round(values * (1 << FIXED_BITS)).to(torch.int64).cpu().numpy()
        steps.append((name, sha256_bytes(integers.astype("<i8").tobytes())))

    try:
        codec.trace(data, note)
    except (DecodeMismatch, BitstreamError):
        # Results up to the first wrong symbol are what the comparison is after.
        steps.append(("latents", "differ"))
    return steps
