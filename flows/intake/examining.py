"""Has the pictures of a source examined, each file once: by the workers of a Dask cluster where there are many.

`flows.ingest` calls `examined` in its stage. What a worker finds out is written down as soon as its shard is done
(`flows.intake.memory`), so that a run that is killed goes on where it was, and a file that was examined before, under
whatever name, is not decoded again while its blob is there.
"""

import contextlib
import importlib.metadata
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from clc.collection.examination import Examined, Refused
from clc.collection.shards import FileToExamine, ShardOfFiles, close_walls, examine_shard
from clc.collection.thumbnails import Thumbnails
from flows.intake.memory import Memory
from flows.runtime.dask_cluster import dask_client, in_order
from flows.runtime.progress import counted
from flows.runtime.stage import source_digest
from flows.runtime.workspace import Workspace
from flows.sources import SourcePicture
from storage.digest import digest_json

logger = logging.getLogger(__name__)

SHARD_FILES = 128
"""Files in a shard, the unit of work and of retry."""

_DECIDING = ("clc.collection.examination", "clc.limits", "clc.pictures")
_DECODERS = ("Pillow", "pi-heif", "pylibjxl")


def examined(
    workspace: Workspace,
    pictures: Sequence[SourcePicture],
    files: Mapping[str, str],
    thumbnails: Thumbnails,
    *,
    workers: int = 2,
    scheduler: str | None = None,
) -> list[Examined | Refused]:
    """Return what each picture is, in order; the files of those that can be used are blobs then.

    `files` has the SHA-256 of every picture's file by the picture's name, or none where it could not be read. `workers`
    are threads of this process with a process each that decodes, unless a Dask `scheduler` is named; a single shard is
    examined right here. What is returned has its thumbnails in `thumbnails`.
    """
    by_file = _by_file(pictures, files)
    with _memory(workspace) as memory:
        known = _known(workspace, by_file, memory)
        outcomes = {sha: _without_thumbnail(outcome, thumbnails) for sha, outcome in known}
        unknown = [one for sha, one in by_file.items() if sha not in outcomes]
        logger.info("examining files=%d known=%d", len(unknown), len(outcomes))
        for shard, found in _worked_on(_shards(unknown, workspace.blobs.root), workers, scheduler):
            memory.put_all(zip((one.sha256 for one in shard.files), found, strict=True))
            lighter = (_without_thumbnail(outcome, thumbnails) for outcome in found)
            outcomes |= zip((one.sha256 or one.name for one in shard.files), lighter, strict=True)
    return [outcomes[files.get(one.name, "") or one.name] for one in pictures]


def count_unknown(workspace: Workspace, pictures: Sequence[SourcePicture], files: Mapping[str, str]) -> int:
    """Return how many files `examined` would have decoded."""
    by_file = _by_file(pictures, files)
    if not _memory_file(workspace).is_file():
        return len(by_file)
    with _memory(workspace) as memory:
        return len(by_file) - sum(1 for _ in _known(workspace, by_file, memory))


def _by_file(pictures: Sequence[SourcePicture], files: Mapping[str, str]) -> dict[str, FileToExamine]:
    """Return each different file once, by its SHA-256, or by the picture's name where it could not be read."""
    by_file: dict[str, FileToExamine] = {}
    for one in pictures:
        sha = files.get(one.name, "")
        by_file.setdefault(sha or one.name, FileToExamine(name=one.name, sha256=sha, path=_own_path(one)))
    return by_file


def _memory_file(workspace: Workspace) -> Path:
    return workspace.intake / "examined.db"


def _memory(workspace: Workspace) -> Memory:
    return Memory(_memory_file(workspace), _code_digest())


def _known(
    workspace: Workspace, by_file: Mapping[str, FileToExamine], memory: Memory
) -> Iterator[tuple[str, Examined | Refused]]:
    """Yield what is known of files already; a picture that can be used counts only where its blob is."""
    for sha, one in by_file.items():
        known = memory.get(one.sha256) if one.sha256 else None
        if isinstance(known, Refused) or (known is not None and workspace.blobs.has(one.sha256)):
            yield sha, known


def _without_thumbnail(outcome: Examined | Refused, thumbnails: Thumbnails) -> Examined | Refused:
    """Return an outcome whose thumbnail lies in a file."""
    if isinstance(outcome, Refused):
        return outcome
    return replace(outcome, thumbnail=thumbnails.keep(bytes(outcome.thumbnail)))


def _own_path(picture: SourcePicture) -> Path | None:
    return picture.path if picture.journal is None else None


def _shards(files: Sequence[FileToExamine], blobs_root: Path) -> list[ShardOfFiles]:
    return [
        ShardOfFiles(
            name=f"shard {number} (from {files[start].name})",
            files=tuple(files[start : start + SHARD_FILES]),
            blobs_root=blobs_root,
        )
        for number, start in enumerate(range(0, len(files), SHARD_FILES))
    ]


def _worked_on(
    shards: Sequence[ShardOfFiles], workers: int, scheduler: str | None
) -> Iterator[tuple[ShardOfFiles, list[Examined | Refused]]]:
    with counted("reading pictures", len(shards)) as one_more, contextlib.ExitStack() as stack:
        stack.callback(close_walls)
        found: Iterable[list[Examined | Refused]] = map(examine_shard, shards)
        if scheduler is not None or len(shards) > 1:
            # What decodes is a process behind a wall; a thread does to wait for it, and needs no second to start.
            client = stack.enter_context(dask_client(min(workers, len(shards)), scheduler, are_threads=True))
            found = in_order(client, examine_shard, shards, lambda shard: shard.name)
        for shard, outcomes in zip(shards, found, strict=True):
            yield shard, outcomes
            one_more()


def _code_digest() -> str:
    """Return the digest of all that decides what a file is found to be: our own sources, and the decoders' releases."""
    releases = {name: _release(name) for name in _DECODERS}
    return digest_json([{name: source_digest(name) for name in _DECIDING}, releases])


def _release(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""
