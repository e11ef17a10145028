"""Writes that are either whole or not there: temporary name, fsync, rename, fsync of the folder.

Every other module of storage writes through this one. Its contract: under its final name a file or folder is complete
and on the disk; a writer that is killed leaves at most a hidden temporary beside it, which `remove_leftovers` clears
away. The name of a temporary is short, whatever that of the file, so that every legal name can be written.

What becomes of a file that is replaced: the new one takes its place under its name, with its mode, owner and group as
far as they can be kept (`storage.target`). Its other names, where it has hard links, keep the old content, as copies
that were made by links should. A file that is read-only is not replaced, by root neither.
"""

import contextlib
import errno
import hashlib
import itertools
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from storage.errors import AlreadyExists, StorageError, StorageFull
from storage.target import Target, find_target, keep_access, refuse_read_only

_SUFFIX = ".partial"
_RANDOM = 8  # characters that keep temporaries of one name apart
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL, errno.EXDEV)
_ADVICE = {
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room on the disk",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ELOOP: "name the file itself",
    errno.EISDIR: "name a file",
}


def write_bytes(path: Path, data: bytes, *, replace: bool = True) -> None:
    """Write `data` to `path` so that a reader sees the old content or the new, never a mixture.

    Missing parent folders are made. A link is followed and stays a link. A device, a pipe or /dev/stdout is written
    into as it is. With `replace` False a disk and a file that exists are left alone, also one that appears at the
    same moment.

    Raises `AlreadyExists` for that, `StorageFull` when the disk is full or read-only, and `StorageError` when the
    folder cannot be written, the file is read-only, or the path is a folder or a socket.
    """
    write_pieces(path, (data,), replace=replace)


def write_pieces(path: Path, pieces: Iterable[bytes], *, replace: bool = True) -> None:
    """Write what `pieces` are together to `path`, as `write_bytes` does, of which one at a time is kept in memory."""
    try:
        _make_folder(path.parent)
        target = find_target(path)
        if target.is_disk and not replace:
            raise AlreadyExists(f"{path} is a disk, which holds something already; write to another name")
        if target.is_stream:
            for piece in pieces:
                _pour(target, piece)
            return
        if target.status is not None and replace:
            refuse_read_only(target)
        elif target.status is not None:
            raise AlreadyExists(f"{path} exists already; remove it or write to another name")
        _write_file(path, target, pieces, replace)
    except OSError as error:
        raise failure(f"cannot write {path}", error) from error


@contextlib.contextmanager
def staging_directory(final: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `final`; on success sync it to disk and rename it to `final`.

    On an exception the folder is removed with its content, and the exception goes on. Raises `StorageError` when
    `final` already exists or the disk refuses.
    """
    temporary = temporary_beside(final)
    try:
        _make_folder(final.parent)
        temporary.mkdir()
    except OSError as error:
        raise failure(f"cannot make a folder beside {final}", error) from error
    try:
        yield temporary
        _publish(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def temporary_beside(final: Path) -> Path:
    """Return a new hidden name of 34 bytes in the folder of `final`; `remove_leftovers` knows it by `final`."""
    return final.parent / f"{_prefix(final)}{secrets.token_hex(_RANDOM // 2)}{_SUFFIX}"


def is_temporary(name: str) -> bool:
    """Whether a file or folder of this name is what a writer has not finished, or never will."""
    return name.startswith(".") and name.endswith(_SUFFIX)


def leftovers_of(*finals: Path) -> list[Path]:
    """Return the temporaries beside each of `finals`, in order: of writers that were killed, or are at work.

    Files and folders of others are never among them: a temporary has the name that only writers of a final give. Each
    folder is read once, however many of the finals lie in it.
    """
    found = []
    for folder, paths in itertools.groupby(sorted(finals), lambda final: final.parent):
        starts: dict[str, str] = {}
        for path in paths:
            # The second is how releases up to 0.16.0 named theirs.
            starts |= {_prefix(path): "[0-9a-f]{8}", f".{path.name}.": "[a-z0-9_]{8}"}
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            found += [folder / entry.name for entry in entries if _is_started(entry.name, starts)]
    return sorted(found)


def _is_started(name: str, starts: dict[str, str]) -> bool:
    """Whether a name is one of the starts, then what its pattern allows, then the suffix of temporaries."""
    length = len(name) - len(_SUFFIX) - _RANDOM
    pattern = starts.get(name[:length]) if length > 0 else None
    return pattern is not None and re.fullmatch(pattern + re.escape(_SUFFIX), name[length:]) is not None


def remove_leftovers(*finals: Path) -> None:
    """Remove what killed writers of each of `finals` left beside it. Nobody may be writing any of them meanwhile."""
    for leftover in leftovers_of(*finals):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, f"{folder} is no folder", str(folder)) from error


def _write_file(path: Path, target: Target, pieces: Iterable[bytes], replace: bool) -> None:
    """Write a regular file in one step; of two writers that may not replace, one gets `AlreadyExists`."""
    temporary = temporary_beside(target.path)
    # What replaces a private file is private from its first byte on; a new file's mode is the umask's.
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if target.status is None else 0o600)
    try:
        with open(handle, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
            file.writelines(pieces)
            file.flush()
            keep_access(file.fileno(), target)
            os.fsync(file.fileno())
        if replace:
            temporary.replace(target.path)
        else:
            _create(path, temporary, target.path)
        _sync_folder(target.path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _create(path: Path, temporary: Path, final: Path) -> None:
    """Give a finished temporary its final name, unless that is taken."""
    try:
        try:
            final.hardlink_to(temporary)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # Without hard links the name is taken by an empty file first, so that no other writer can have it.
            os.close(os.open(final, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            try:
                temporary.replace(final)
            except BaseException:
                if temporary.exists():  # else it has its name already, and a signal came just after
                    final.unlink(missing_ok=True)
                raise
    except FileExistsError as error:
        raise AlreadyExists(f"{path} exists already; remove it or write to another name") from error


def _pour(target: Target, data: bytes) -> None:
    """Write into a device, a pipe or an open descriptor."""
    is_open = target.descriptor is not None
    handle = os.dup(target.descriptor) if target.descriptor is not None else os.open(target.path, os.O_WRONLY)
    with open(handle, "wb", buffering=0, closefd=True) as file:  # noqa: PTH123 - a descriptor, not a path
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) or 0 :]
        if is_open:
            with contextlib.suppress(OSError):
                os.fsync(handle)


def _publish(temporary: Path, final: Path) -> None:
    """Sync every file and folder of `temporary` to disk, then rename it to `final`."""
    if os.path.lexists(final):
        raise AlreadyExists(f"{final} exists already; remove it or write to another name")
    try:
        for folder, _, names in os.walk(temporary):
            for name in names:
                _sync_file(Path(folder) / name)
            _sync_folder(Path(folder))
        temporary.rename(final)
        _sync_folder(final.parent)
    except OSError as error:
        raise failure(f"cannot finish {final}", error) from error


def _prefix(final: Path) -> str:
    return f".{hashlib.sha256(os.fsencode(final.name)).hexdigest()[:16]}."


def failure(what: str, error: OSError) -> StorageError:
    """Return the error of the right kind: what failed, why, and what to do."""
    kind = StorageFull if error.errno in _FULL else StorageError
    reason = error.strerror or type(error).__name__
    advice = _ADVICE.get(error.errno or 0, "check the folder and its permissions")
    return kind(f"{what}: {reason}" if ";" in reason else f"{what}: {reason}; {advice}")


def _sync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    """Bring the names of a folder onto the disk, where its file system and its permissions let one ask for that."""
    try:
        _sync_file(folder)
    except OSError as error:
        # What was written is there and whole; only a disk that fails is worth an error.
        if error.errno in (errno.EIO, *_FULL):
            raise
