"""What a command line says, and to whom: closed streams, full disks, names that cannot be shown, signals.

Every command of the project runs inside `steady` and speaks through `say` and `complain`. The contract: whatever
happens to stdout or stderr is one line at most and never a traceback; work that is done counts as done, whether or not
its summary could be shown; and a closed descriptor is never given to an output by mistake.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import BinaryIO, NoReturn, TextIO

from clc.errors import ClcError, InputError
from storage.names import escaped

DONE, FAILED, WRONG_ARGUMENTS, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses; the last is 128 and the number of the signal, as shells have it."""

DEBUG = "CLC_DEBUG"
"""The variable of the environment that shows where an error comes from, if it is 1."""

_NO_MEMORY = ("can't allocate memory", "not enough memory", "CUDA out of memory")  # how torch says it
_LINE_BREAKS = re.compile(r"\s*[\r\n]\s*")


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP asks the process to end; it ends as by Ctrl-C, so that what it started is cleared away."""

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__()
        self.status = 128 + number


@contextlib.contextmanager
def steady() -> Iterator[None]:
    """Make the standard streams safe to use, and let SIGTERM and SIGHUP end the block as Ctrl-C would.

    Closed streams become ones that swallow what they are told, and their descriptors are taken, so that no file that is
    opened later gets one of them and with it what libraries print. What an encoding cannot show is escaped.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # What is opened gets the lowest free descriptor, which in this order is the stream's own.
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - until the end
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        with _ending_by_signal():
            yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                _silence(stream)


def status_of(interrupt: KeyboardInterrupt) -> int:
    """Return the exit status after an interruption: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
    return interrupt.status if isinstance(interrupt, Terminated) else INTERRUPTED


def say(text: str) -> bool:
    """Print results on stdout; return whether they arrived, after a line on stderr if they did not."""
    reason = "it is closed" if _is_closed(sys.stdout) else _written(sys.stdout, f"{text}\n")
    if reason:
        first = text.partition("\n")[0]
        complain(f"warning: standard output: {reason}; it would have said: {first}")
    return not reason


def complain(line: str) -> None:
    """Print a line on stderr, if anybody listens there."""
    _written(sys.stderr, f"{line}\n")


def output_bytes(data: bytes) -> None:
    """Write to stdout what is not text. Raises `InputError` where it is a terminal, closed, full or broken."""
    check_output()
    try:
        sys.stdout.flush()
        rest = memoryview(data)
        while rest:  # without a buffer (PYTHONUNBUFFERED) a pipe may take less at once
            rest = rest[sys.stdout.buffer.write(rest) or 0 :]
        sys.stdout.buffer.flush()
    except OSError as error:
        _silence(sys.stdout)
        raise InputError(f"standard output: {error.strerror}; not all of the output was written") from error


def check_output() -> None:
    """Raise `InputError` where stdout is a terminal or closed, and no place for bytes."""
    if _is_closed(sys.stdout):
        raise InputError("standard output: is closed; redirect it, or name a file instead of -")
    if sys.stdout.isatty():
        raise InputError("standard output: is a terminal; redirect it, or name a file instead of -")


def input_bytes(limit: int) -> bytes:
    """Read stdin, at most `limit` bytes and one more. Raises `InputError` where it is a terminal or closed."""
    if _is_closed(sys.stdin):
        raise InputError("standard input: is closed; pipe a file into it, or name the file instead of -")
    if sys.stdin.isatty():
        raise InputError("standard input: is a terminal; pipe a file into it, or name the file instead of -")
    stream: BinaryIO = sys.stdin.buffer
    try:
        return stream.read(limit + 1)
    except OSError as error:
        raise InputError(f"standard input: {error.strerror}; pipe a file into it") from error


def shown(name: Path | str) -> str:
    """Return a name without what a terminal would obey: a newline becomes \\n, a byte that is no text \\xe9.

    Where names are stored, and have to be told apart, `storage.names` writes them.
    """
    return "".join(letter if letter.isprintable() else escaped(letter) for letter in str(name))


def progress_line(text: str) -> None:
    """Show how far work is on the last line of a terminal, in place of what stood there; say nothing elsewhere."""
    if sys.stderr is not None and sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")
        sys.stderr.flush()


def one_line(text: str, *names: Path | str) -> str:
    """Return a message as one line; `names` that stand in it are shown as `shown` shows them."""
    for name in names:
        text = text.replace(str(name), shown(name))
    return shown(_LINE_BREAKS.sub(" ", text.strip()))


def text_of(error: BaseException, *names: Path | str) -> str:
    """Return an error as one line that UTF-8 can hold, for tables and logs: what it says, or what the system says.

    The first of `names`, that of the file that the error is about, is left out where it stands in front; all of them
    are shown as `shown` shows them. What no one raised on purpose is named by its class: "KeyError: 'tag'".
    """
    if _is_of_memory(error):
        return "the memory does not suffice; give a smaller picture"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    line = one_line(text, *names)
    if names:
        line = line.removeprefix(f"{shown(names[0])}: ")
    kind = type(error).__name__
    return (line or kind) if _is_planned(error) else f"{kind}{': ' * bool(line)}{line}"


def reason_of(error: BaseException, *names: Path | str) -> str:
    """Return an error as a command says it: `text_of`, with the way to see where it comes from if no one planned it.

    That is shown on stderr if `DEBUG` is 1.
    """
    text = text_of(error, *names)
    if _is_planned(error) or _is_of_memory(error):
        return text
    if os.environ.get(DEBUG) == "1":
        complain("".join(traceback.format_exception(error)).rstrip())
    return f"unexpected {text} ({DEBUG}=1 shows where)"


def error_line(error: Exception) -> str:
    """Return what a command says of the error that ends it: what is wrong, and where if only the system knows that."""
    where = f"{shown(error.filename or 'a file')}: " if isinstance(error, OSError) else ""
    return f"error: {where}{reason_of(error)}"


def _is_planned(error: BaseException) -> bool:
    """Whether an error is raised on purpose, here or by the system."""
    return isinstance(error, ClcError | OSError)


def _is_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or any(mark in str(error) for mark in _NO_MEMORY)


def _is_closed(stream: TextIO | None) -> bool:
    """Whether a standard stream was closed from the beginning, and `steady` opened another in its place."""
    return stream is None or getattr(stream, "name", "") == os.devnull


def _written(stream: TextIO | None, text: str) -> str:
    """Write text and return why it could not be, "" where it was."""
    if stream is None:
        return "it is closed"
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError) as error:
        _silence(stream)
        return str(getattr(error, "strerror", None) or error)
    return ""


def _silence(stream: TextIO) -> None:
    """Lead a broken stream to the null device, or Python would complain once more when it ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        descriptor = stream.fileno()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, descriptor)
        os.close(null)


@contextlib.contextmanager
def _ending_by_signal() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    # What is ignored, as under nohup, stays ignored.
    changed = {number: handler for number, handler in former.items() if handler not in (signal.SIG_IGN, None)}
    for number in changed:
        signal.signal(number, _terminate)
    try:
        yield
    finally:
        for number, handler in changed.items():
            signal.signal(number, handler)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated(number)


class OneLineParser(argparse.ArgumentParser):
    """Reports a wrong argument as one line."""

    def error(self, message: str) -> NoReturn:
        """Says the line and exits with 2."""
        complain(f"error: {one_line(message)} (see {self.prog} --help)")
        sys.exit(WRONG_ARGUMENTS)

    def print_help(self, file: object = None) -> None:
        """Prints the help on stdout; exits with 1 where that cannot be written."""
        if not say(self.format_help().rstrip("\n")):
            sys.exit(FAILED)
