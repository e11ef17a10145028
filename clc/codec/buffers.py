"""Streams and files in whatever form callers have them, as bytes.

Called by the command line and by the Python interface, so that both take the same files and refuse the same ones. The
contract: nothing is read without a bound, and what can be read but once, a pipe, is read once.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clc.errors import InputError, LimitError
from clc.limits import MAX_STREAM_BYTES

if TYPE_CHECKING:
    from typing_extensions import Buffer


def stream_bytes(data: Buffer) -> bytes:
    """Return the bytes of a stream that lies in bytes, a bytearray, a memoryview, an mmap or any other buffer of bytes.

    Raises `InputError` for anything else, and `LimitError` for more than a stream may have, before they are copied.
    """
    if isinstance(data, bytes):
        return data
    try:
        view = memoryview(data)
    except TypeError:
        raise InputError(
            f"a stream is bytes or another buffer of bytes, not {kind_of(data)}; give what `encode` returned, or "
            "the content of a .clc file"
        ) from None
    except ValueError as error:  # a closed mmap, a released memoryview
        raise InputError(f"the stream's {type(data).__name__} cannot be read ({error}); keep it open") from error
    if view.itemsize != 1:
        raise InputError(f"a stream is a buffer of bytes, not of items of {view.itemsize} bytes; give its bytes")
    if view.nbytes > MAX_STREAM_BYTES:
        raise LimitError(f"the stream has {view.nbytes} bytes, at most {MAX_STREAM_BYTES} are allowed")
    return view.tobytes()


def read_stream(path: Path) -> bytes:
    """Return the bytes of a .clc file or pipe. Raises `InputError` as `read_path` does."""
    return read_path(path, MAX_STREAM_BYTES, "give the path of a .clc file")


def read_path(path: Path, most_bytes: int, advice: str) -> bytes:
    """Return what a file holds, or what a pipe (`mkfifo`, `<(...)` of a shell) gives until its writers close it.

    Raises `InputError` where there is nothing to read, or a folder or device instead, and `LimitError` for more than
    `most_bytes`; `advice` says what to give instead.
    """
    try:
        status = path.stat()
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISFIFO(status.st_mode)):
            what = "a folder" if stat.S_ISDIR(status.st_mode) else "neither a file nor a pipe"
            raise InputError(f"{path}: is {what}; {advice}")
        if status.st_size <= most_bytes:
            with path.open("rb", buffering=0) as file:
                data = read_file(file, str(path), most_bytes + 1)
            if len(data) <= most_bytes:
                return data
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; {advice}") from error
    except ValueError as error:  # a NUL in the name
        raise InputError(f"{path}: {error}; {advice}") from error
    raise LimitError(f"{path}: has more than the {most_bytes} bytes that are allowed; {advice}")


def is_pipe(path: Path) -> bool:
    """Whether a path leads to a pipe, which can be read once only."""
    try:
        return path.is_fifo()
    except (OSError, ValueError):
        return False


def read_file(file: Any, name: str, most_bytes: int) -> bytes:
    """Return what an open file holds from where it stands on, at most so many bytes; `name` is for messages.

    A file that gives fewer bytes than are asked for, as a pipe does, is asked again until it ends. Raises `InputError`
    where it gives text, is closed, or cannot be read.
    """
    parts: list[bytes] = []
    left = most_bytes
    while left > 0:
        try:
            part = file.read(left)
        except (OSError, ValueError) as error:  # ValueError: it is closed
            raise InputError(f"{name}: the file cannot be read ({error}); open it again") from error
        if not isinstance(part, bytes):
            raise InputError(f"{name}: the file gives {kind_of(part)}, not bytes; open it in binary mode")
        if not part:
            break
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def kind_of(value: object) -> str:
    """Return what messages call a value that is of the wrong type."""
    return "None" if value is None else f"a value of type {type(value).__name__}"
