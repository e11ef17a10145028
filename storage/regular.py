"""Regular files, opened and read whole: what else may stand in a file's place is refused at once.

A pipe would be waited for and a device may do anything, so neither is opened; a folder or a link to nothing is told as
such. A file is refused by its size before it is read, so that a sparse one takes no memory. Whoever reads files of
others (bundles, manifests, arrays, blobs) opens them here, and gives the `OSError` a sentence of its own.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_KINDS = (
    (stat.S_ISDIR, errno.EISDIR, "is a folder, no file"),
    (stat.S_ISFIFO, errno.EINVAL, "is a pipe, no file"),
    (stat.S_ISSOCK, errno.EINVAL, "is a socket, no file"),
    (stat.S_ISCHR, errno.EINVAL, "is a device, no file"),
    (stat.S_ISBLK, errno.EINVAL, "is a device, no file"),
)


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; links are followed, and nothing is waited for.

    Raises `OSError`, whose `strerror` says what is there instead: a folder, a pipe, a socket, a device, a link to
    nothing, or what the system says.
    """
    try:
        _refuse_others(path, path.stat())
        # Between the look and the opening another may take the file's place: a pipe is not waited for even then.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError as error:
        if path.is_symlink():
            raise FileNotFoundError(errno.ENOENT, "is a link to nothing", str(path)) from error
        raise
    except ValueError as error:  # a NUL in the name
        raise OSError(errno.EINVAL, str(error), str(path)) from error
    file = open(handle, "rb")  # noqa: PTH123, SIM115 - a descriptor, which the caller closes
    try:
        _refuse_others(path, os.fstat(handle))
    except OSError:
        file.close()
        raise
    return file


def read_regular(path: Path, most_bytes: int | None = None) -> bytes:
    """Return the bytes of a regular file, at most `most_bytes` of them where a number is given.

    Raises `OSError` as `open_regular` does, and for a file that is larger, before it is read.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if most_bytes is not None and size > most_bytes:
            raise _too_large(path, f"has {size} bytes", most_bytes)
        if most_bytes is None:
            return file.read()
        data = file.read(min(size, most_bytes) + 1)
        if len(data) > size:  # it grew meanwhile, or is one whose size the system does not know
            data += file.read(most_bytes + 1 - len(data))
        if len(data) > most_bytes:
            raise _too_large(path, "has more", most_bytes)
        return data


def _refuse_others(path: Path, status: os.stat_result) -> None:
    for is_kind, number, what in _KINDS:
        if is_kind(status.st_mode):
            raise OSError(number, what, str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "is no regular file", str(path))


def _too_large(path: Path, found: str, most_bytes: int) -> OSError:
    return OSError(errno.EFBIG, f"{found} and may have {most_bytes}", str(path))
