"""A folder of decoded pictures, for whoever reads the same references of an archive again and again.

Reading a picture beside others decodes these first, in float64, which takes seconds. What is kept here is checked
against the SHA-256 of its pixels whenever it is read: a file that was changed is decoded anew, never believed.
"""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import numpy as np

from clc.pictures.picture import Picture
from storage.atomic import write_bytes
from storage.digest import sha256_bytes
from storage.errors import StorageError
from storage.regular import read_regular

MOST_BYTES = 4 << 30
"""Of the pictures in a folder; those written longest ago go first."""

_SUFFIX = ".pixels"
_SIZE = struct.Struct("<II")
"""Height and width, before the pixels row by row."""


class PixelCache:
    """Pictures, uint8 (H, W, 3), by the ids of their streams, in `folder`, which is made when the first is kept.

    Several processes may share it. It holds nothing that could not be made again, so whatever goes wrong with a file
    costs time alone.
    """

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self._folder, self._most_bytes = folder, most_bytes

    def read(self, reference: bytes, pixels_sha256: str) -> Picture | None:
        """The picture of a stream whose pixels have this SHA-256; None where it is not here."""
        try:
            data = read_regular(self._path(reference), self._most_bytes)
        except OSError:
            return None
        if len(data) < _SIZE.size or sha256_bytes(data[_SIZE.size :]) != pixels_sha256:
            return None
        height, width = _SIZE.unpack_from(data)
        pixels = np.frombuffer(data, np.uint8, offset=_SIZE.size)
        return pixels.reshape(height, width, 3) if pixels.size == 3 * height * width else None

    def keep(self, reference: bytes, image_HW3: Picture) -> None:
        """Keeps a picture; one that finds no room is not kept."""
        data = _SIZE.pack(*image_HW3.shape[:2]) + image_HW3.tobytes()
        if len(data) > self._most_bytes:
            return
        with contextlib.suppress(OSError, StorageError):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._make_room(len(data))
            write_bytes(self._path(reference), data)

    def _path(self, reference: bytes) -> Path:
        return self._folder / f"{reference.hex()}{_SUFFIX}"

    def _make_room(self, needed: int) -> None:
        kept = sorted((path.stat().st_mtime, path.stat().st_size, path) for path in self._folder.glob(f"*{_SUFFIX}"))
        total = sum(size for _, size, _ in kept)
        for _, size, path in kept:
            if total + needed <= self._most_bytes:
                return
            path.unlink(missing_ok=True)
            total -= size
