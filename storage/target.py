"""What the path of an output leads to, and who may read it: links, devices, pipes, modes.

`storage.atomic` asks it before it writes. The contract: a link stays a link and the file behind it is meant; what is no
regular file is never replaced by one; who may read a file that is replaced may read the new one, and nobody else.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import sys
from pathlib import Path
from typing import NamedTuple

_MOST_LINKS = 40
_OWN_DESCRIPTOR = re.compile(r"(?:/proc/(?:self|thread-self|{pid})|/dev)/fd/(\d+)")
_ACL = "system.posix_acl_access"


class Target(NamedTuple):
    """Where a path leads: `path` behind all links, and the state of what is there, None where nothing is.

    `descriptor` is that of this process where the path names one, as /dev/stdout does.
    """

    path: Path
    status: os.stat_result | None
    descriptor: int | None = None

    @property
    def is_stream(self) -> bool:
        """Whether it is written into as it is: a device, a pipe, or an open descriptor."""
        kind = 0 if self.status is None else stat.S_IFMT(self.status.st_mode)
        return self.descriptor is not None or kind in (stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO)

    @property
    def is_disk(self) -> bool:
        """Whether it is a block device, which holds what would be written over, as a file does."""
        return self.descriptor is None and self.status is not None and stat.S_ISBLK(self.status.st_mode)


def find_target(path: Path) -> Target:
    """Follow the links that a path is, also to a file that is not there yet.

    Raises `OSError` for links in a circle, for what refuses to be looked at, and for folders and sockets, which nothing
    can be written into.
    """
    for _ in range(_MOST_LINKS):
        descriptor = _own_descriptor(path)
        if descriptor is not None:
            return Target(path, os.fstat(descriptor), descriptor)
        try:
            link = path.readlink()
        except FileNotFoundError:
            return Target(path, None)
        except OSError as error:
            if error.errno != errno.EINVAL:  # EINVAL: it is no link
                raise
            return _end(path)
        path = path.parent / link
    raise OSError(errno.ELOOP, "links that lead in a circle", str(path))


def refuse_read_only(target: Target) -> None:
    """Raise `PermissionError` for a file that is marked as read-only, for root too, as a user expects of the mark."""
    if target.status is None:
        return
    if not stat.S_IMODE(target.status.st_mode) & 0o222 or not os.access(target.path, os.W_OK):
        raise PermissionError(errno.EACCES, "is read-only; make it writable or remove it first", str(target.path))


def keep_access(handle: int, former: Target) -> None:
    """Give an open file the owner, group, mode and access list of the file that it will replace, as far as one may.

    Where the group cannot be kept, the new file's group may do no more than everybody could.
    """
    status = former.status
    if status is None:
        return
    mode = stat.S_IMODE(status.st_mode)
    own = os.fstat(handle)
    if (own.st_uid, own.st_gid) != (status.st_uid, status.st_gid):
        for owner in (status.st_uid, -1):
            with contextlib.suppress(OSError):
                os.fchown(handle, owner, status.st_gid)
        own = os.fstat(handle)
        if own.st_gid != status.st_gid:
            mode = mode & ~0o070 | (mode & 0o007) << 3
        if own.st_uid != status.st_uid or own.st_gid != status.st_gid:
            mode &= 0o777
    os.fchmod(handle, mode)
    if sys.platform == "linux" and own.st_gid == status.st_gid:
        with contextlib.suppress(OSError):
            os.setxattr(handle, _ACL, os.getxattr(former.path, _ACL))


def _end(path: Path) -> Target:
    """Return what stands at the end of all links."""
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder", str(path))
    if stat.S_ISSOCK(status.st_mode):
        raise OSError(errno.ENOTSUP, "is a socket, which nothing can be written into by its name", str(path))
    return Target(path, status)


def _own_descriptor(path: Path) -> int | None:
    pattern = _OWN_DESCRIPTOR.pattern.replace("{pid}", str(os.getpid()))
    found = re.fullmatch(pattern, os.path.normpath(path))
    return int(found[1]) if found else None
