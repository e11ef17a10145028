"""The bundle that an archive carries: how it gets there, and whether it is still what was packed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from clc.archive.layout import Archive
from clc.errors import StorageError
from storage.atomic import write_bytes
from storage.digest import sha256_file
from storage.regular import read_regular


def copy_model(bundle: Path, goal: Path) -> None:
    """Copies the files of a bundle into a new folder. Raises `StorageError`."""
    for path in _files(bundle):
        try:
            data = read_regular(path)
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror}") from error
        write_bytes(goal / path.relative_to(bundle), data)


def model_digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of the files of a bundle by their paths below its folder. Raises `StorageError`."""
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in _files(folder)}


def model_faults(archive: Archive) -> Iterator[tuple[str, str]]:
    """The files of the archive's bundle that are missing or others than were packed, each with the reason."""
    inside, manifest = archive.manifest.model_folder, archive.manifest
    for name, digest in manifest.model_files.items() if inside else ():
        path = archive.folder / inside / name
        try:
            if sha256_file(path) != digest:
                yield f"{inside}/{name}", "is another file than was packed, or damaged; get it again"
        except StorageError as error:
            yield f"{inside}/{name}", f"{error}; get it again"


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
