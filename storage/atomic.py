"""Writes that are either whole or not there: temporary name, fsync, rename, fsync of the folder.

Every other module of storage writes through this one. Its contract: under its final name a file or folder is complete
and on the disk; a writer that is killed leaves at most a hidden temporary beside it, which `remove_leftovers` clears
away.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from storage.errors import StorageError

_SUFFIX = ".partial"


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a reader sees the old content or the new, never a mixture.

    Missing parent folders are made. Raises `StorageError` when the folder cannot be written or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=_prefix(path), suffix=_SUFFIX, dir=path.parent)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}; check the folder and its permissions") from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}; is the disk full?") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def staging_directory(final: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `final`; on success sync it to disk and rename it to `final`.

    On an exception the folder is removed with its content, and the exception goes on. Raises `StorageError` when
    `final` already exists or the disk refuses.
    """
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=_prefix(final), suffix=_SUFFIX, dir=final.parent))
    except OSError as error:
        raise StorageError(f"cannot make a folder beside {final}: {error.strerror}") from error
    try:
        yield temporary
        _publish(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(final: Path) -> None:
    """Remove the temporaries that killed writers of `final` left beside it. Nobody may be writing `final` meanwhile."""
    for leftover in final.parent.glob(f"{_prefix(final)}*{_SUFFIX}"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _publish(temporary: Path, final: Path) -> None:
    """Sync every file and folder of `temporary` to disk, then rename it to `final`."""
    if final.exists():
        raise StorageError(f"{final} exists already; remove it or write to another name")
    try:
        for folder, _, names in os.walk(temporary):
            for name in names:
                _sync_file(Path(folder) / name)
            _sync_folder(Path(folder))
        temporary.chmod(0o777 & ~_umask())
        temporary.rename(final)
        _sync_folder(final.parent)
    except OSError as error:
        raise StorageError(f"cannot finish {final}: {error.strerror}") from error


def _prefix(final: Path) -> str:
    return f".{final.name}."


def _sync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    """Return the process's umask, so that files get the mode of an ordinary `open` and not mkstemp's private one."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
