"""Does this machine compute the exact path as the machine that exported the bundle? Replay, compare, name the layer.

A bundle carries two streams of its own, `selftest.clc` and, with an aligned reference, `selftest-aligned.clc`, and
`selftest.json`: the sha256 of every intermediate result of the exact path when they are decoded, in order.
`write_vectors` makes them after an export; `replay` decodes them here and names the first result that differs.
"""

from __future__ import annotations

import json
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from clc.bitstream.alignment import Alignment, mesh_shape
from clc.bundle.identity import MAX_MANIFEST_BYTES, SELFTEST_STREAMS
from clc.codec.codec import Codec
from clc.codec.search.contest import Choice
from clc.errors import BitstreamError, DecodeMismatch, StorageError
from clc.limits import MAX_STREAM_BYTES
from clc.pictures.picture import Picture
from clc.quality import from_q6
from clc.references.key_pictures import write_key_picture
from storage.atomic import write_bytes
from storage.digest import sha256_bytes
from storage.regular import read_regular

STREAM_NAME, ALIGNED_NAME = SELFTEST_STREAMS
DIGESTS_NAME = "selftest.json"
FIXED_BITS = 20
QUALITY_Q6 = 3200
SIDE_PX = 192
_FORMER = re.compile(r"slice \d+ phase [01] (mean|scale)")
"""Results that bundles of 0.4.0 and before list, of positions too that are not coded in the phase: not computed now."""


class Replay(NamedTuple):
    """`steps` compared in all; `first_difference` names the first result that differs, or is None."""

    steps: int
    first_difference: str | None


def probe_picture(side_px: int = SIDE_PX) -> Picture:
    """A picture of ramps, edges and noise, the same on every machine: uint8 (side, side, 3)."""
    rows, columns = np.mgrid[0:side_px, 0:side_px]
    noise = np.random.default_rng(7).integers(0, 48, (side_px, side_px, 3))
    ramps = np.stack([rows, columns, (rows + columns) // 2], axis=-1) * 200 // side_px
    discs = (((rows // 32) + (columns // 32)) % 2 * 60)[..., None]
    picture: Picture = np.clip(ramps + discs * (rows[..., None] > side_px // 2) + noise // 4, 0, 255).astype(np.uint8)
    return picture


def write_vectors(bundle: Path) -> None:
    """Adds streams and digests to a bundle folder, as computed here."""
    codec = Codec.load(bundle)
    digests = []
    with tempfile.TemporaryDirectory(prefix="clc-selftest-") as folder:
        beside_probe = _beside_probe(codec, Path(folder))
        streams = {
            STREAM_NAME: codec.encode(probe_picture(), from_q6(QUALITY_Q6)),
            ALIGNED_NAME: beside_probe.encoding(probe_picture()).code(QUALITY_Q6, _choice()).data,
        }
        for name, data in streams.items():
            write_bytes(bundle / name, data)
            for step, sha in _digests(beside_probe if name == ALIGNED_NAME else codec, data):
                digests.append({"stream": name, "name": step, "sha256": sha})
    write_bytes(bundle / DIGESTS_NAME, json.dumps(digests, indent=1).encode())


def replay(codec: Codec) -> Replay:
    """Decodes the bundle's streams and compares every intermediate result; raises `StorageError` without vectors."""
    folder = codec.bundle.directory
    try:
        streams = {name: read_regular(folder / name, MAX_STREAM_BYTES) for name in (STREAM_NAME, ALIGNED_NAME)}
        listed = json.loads(read_regular(folder / DIGESTS_NAME, MAX_MANIFEST_BYTES))
        steps = [(s["stream"], s["name"], s["sha256"]) for s in listed]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise StorageError(f"the bundle in {folder} has no self-test vectors ({error}); export it again") from error
    with tempfile.TemporaryDirectory(prefix="clc-selftest-") as scratch:
        codecs = {STREAM_NAME: codec, ALIGNED_NAME: _beside_probe(codec, Path(scratch))}
        found = {name: dict(_digests(codecs[name], data)) for name, data in streams.items()}
    compared = [step for step in steps if not _FORMER.fullmatch(step[1])]
    for stream, name, sha in compared:
        if found[stream].get(name) != sha:
            return Replay(len(compared), f"{stream}: {name}")
    return Replay(len(compared), None)


def _beside_probe(codec: Codec, scratch: Path) -> Codec:
    """The codec with a key picture at entry 0 that shows the probe and more around it."""
    pictures = {0: write_key_picture(scratch, 0, probe_picture(SIDE_PX + 64))}
    return Codec(replace(codec.bundle, entries=replace(codec.bundle.entries, pictures=pictures)), str(codec.device))


def _choice() -> Choice:
    """A slanted view of entry 0 with brightness and a mesh, so that each step of the warp is replayed."""
    low, high = 20 * 16, (20 + SIDE_PX) * 16
    corners = (low, low, high + 70, low - 90, low - 40, high, high + 33, high + 110)
    rows, columns = mesh_shape(SIDE_PX, SIDE_PX)
    mesh = (np.arange(rows * columns * 2).reshape(rows, columns, 2) * 7 % 13 - 6).astype(np.int8)
    return Choice((0,), (Alignment(corners, (66, 64, 61), (-3, 0, 5), mesh),))


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
