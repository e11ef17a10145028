"""The commands of `flows`: typer reads the arguments, and an error is one line on stderr, never a traceback.

Exit codes: 0 done, 1 a `ClcError`, 2 a wrong argument, 130 interrupted. A termination signal ends a command as Ctrl-C
does, so that it stops what it started.
"""

import functools
import logging
import signal
import sys
from collections.abc import Callable
from types import FrameType

import typer

from clc.errors import ClcError

INTERRUPTED = 130


def run_command(function: Callable[..., object]) -> None:
    """Run a typed function as the command line of this process and exit."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(_saying_when_interrupted(function))
    former = signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        status = _status(app)
    finally:
        signal.signal(signal.SIGTERM, former)
    sys.exit(status)


def log_to_terminal() -> None:
    """Send the project's own log lines, from INFO up, to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    for name in ("clc", "flows", "storage"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)


def _status(app: typer.Typer) -> int:
    try:
        return int(app(standalone_mode=False) or 0)
    except typer.TyperException as error:
        print(f"error: {_one_line(error)} (see --help)", file=sys.stderr)
        return 2
    except ClcError as error:
        print(f"error: {_one_line(error)}", file=sys.stderr)
        return 1


def _saying_when_interrupted(function: Callable[..., object]) -> Callable[..., object]:
    """Wrap a command, because typer turns an interrupt into an exit code without a word."""

    @functools.wraps(function)
    def wrapped(*args: object, **kwargs: object) -> object:
        try:
            return function(*args, **kwargs)
        except KeyboardInterrupt:
            print("interrupted; finished stages are kept, run the same command to go on", file=sys.stderr)
            return INTERRUPTED

    return wrapped


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _one_line(error: Exception) -> str:
    formatted = error.format_message() if hasattr(error, "format_message") else str(error)
    return " ".join(str(formatted).split())
