"""One shard of pictures on their way into a collection: what a worker process does, so it imports no pipeline.

It gets names, paths and digests, and gives back what each picture is. The files of pictures that can be used are in the
blob store, byte by byte as they were, when it returns. A picture that cannot be used costs its own outcome; anything
else, such as a full disk, fails the shard.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from clc.collection.examination import CHANGED, Examined, Refused, code_of
from clc.collection.wall import Wall
from clc.console import text_of
from clc.errors import ClcError, InputError
from clc.pictures.images import picture_bytes
from storage.blobs import BlobStore
from storage.digest import sha256_bytes

_BATCH_BYTES = 4 * 2**20  # of blobs that are written together: the last ones of a shard are waited for
_walls: dict[tuple[int, int], Wall] = {}
"""The walls of processes' threads, by the numbers of both: a process that was forked has none of its own yet."""


@dataclass(frozen=True, kw_only=True)
class FileToExamine:
    """A picture's file: its name for messages, its SHA-256 (empty where it could not be read), and its path.

    The path is None where the file is a blob already.
    """

    name: str
    sha256: str
    path: Path | None


@dataclass(frozen=True, kw_only=True)
class ShardOfFiles:
    """What a worker needs: files, and where the blobs are. `name` is what messages call the shard."""

    name: str
    files: tuple[FileToExamine, ...]
    blobs_root: Path


def examine_shard(shard: ShardOfFiles) -> list[Examined | Refused]:
    """Return what each file of a shard is, in order; those that can be used are blobs. Raises `StorageError`."""
    blobs = BlobStore(shard.blobs_root)
    wall = _wall()
    outcomes = []
    with ThreadPoolExecutor(1) as writer:  # the next pictures are decoded while the disk takes the last ones
        written = []
        waiting: dict[str, bytes] = {}
        for one, data in _read(shard.files, blobs):
            outcome = data if isinstance(data, Refused) else wall.examine(data, one.name)
            outcomes.append(outcome)
            if one.path is not None and isinstance(data, bytes) and isinstance(outcome, Examined):
                waiting[one.sha256] = data
            if sum(map(len, waiting.values())) >= _BATCH_BYTES:
                written.append(writer.submit(blobs.put_named, waiting))
                waiting = {}
        written.append(writer.submit(blobs.put_named, waiting))
        for batch in written:
            batch.result()
    return outcomes


def close_walls() -> None:
    """End the processes behind the walls of this one, none of which is asked; shards that come later start others."""
    for owner in [owner for owner in _walls if owner[0] == os.getpid()]:
        _walls.pop(owner).close()


def _read(files: Sequence[FileToExamine], blobs: BlobStore) -> Iterator[tuple[FileToExamine, bytes | Refused]]:
    for one in files:
        if one.path is None:
            yield one, blobs.get(one.sha256)
            continue
        try:
            data = picture_bytes(one.path)
        except ClcError as error:
            if one.sha256:
                _refuse_blindness(one.path)
            yield one, Refused(code=code_of(error), reason=text_of(error, one.path))
            continue
        if sha256_bytes(data) == one.sha256:
            yield one, data
        else:
            yield one, Refused(code=CHANGED, reason="the file changed while it was read; run again")


def _refuse_blindness(path: Path) -> None:
    """Raise `InputError` where it is this machine that lacks a picture, which another one has just read."""
    if not path.parent.is_dir():
        raise InputError(
            f"this worker does not see the folder {path.parent}; give every worker the pictures' own paths"
        )


def _wall() -> Wall:
    """The wall of this thread, which it keeps for all its shards: a process takes longer to start than to decode."""
    return _walls.setdefault((os.getpid(), threading.get_ident()), Wall())
