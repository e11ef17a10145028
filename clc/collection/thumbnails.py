"""Thumbnails of a collection out of memory: in a temporary file without a name, of which a killed process leaves none.

A thumbnail has 4,096 bytes, so those of a million pictures would take 4 GB. `flows.ingest` opens the file, into which
`flows.intake.examining` writes what the pictures look like; `clc.collection.scenes` asks for a few at a time.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from storage.atomic import failure
from storage.errors import StorageError


@dataclass(frozen=True, slots=True)
class KeptThumbnail:
    """A thumbnail that lies in a file, from byte `at` on; `bytes` of it reads the levels, as they were given.

    Raises `StorageError` where they cannot be read, and `ValueError` once the file is closed.
    """

    file: BinaryIO
    at: int
    length: int

    def __bytes__(self) -> bytes:
        try:
            levels = os.pread(self.file.fileno(), self.length, self.at)
        except OSError as error:
            raise failure("cannot read the temporary file of thumbnails", error) from error
        if len(levels) != self.length:
            raise StorageError("the temporary file of thumbnails was cut; run the same again")
        return levels


class Thumbnails:
    """Takes thumbnails one after the other into a temporary file in `folder`, which ends with the context."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Unbuffered, so that what was taken can be read at once.
            self._file: BinaryIO = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        except OSError as error:
            raise failure(f"cannot make a temporary file in {folder}", error) from error
        self._end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def keep(self, levels: bytes) -> KeptThumbnail:
        """Take a thumbnail, and return what it is read by. Raises `StorageFull` or `StorageError`."""
        kept = KeptThumbnail(self._file, self._end, len(levels))
        rest = memoryview(levels)
        try:
            while rest:
                rest = rest[os.pwrite(self._file.fileno(), rest, self._end) :]
                self._end = kept.at + kept.length - len(rest)
        except OSError as error:
            raise failure("cannot write the temporary file of thumbnails", error) from error
        return kept
