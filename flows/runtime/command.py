"""The commands of `flows`: typer reads the arguments, and an error is one line on stderr, never a traceback.

Exit codes: 0 done, 1 an error, 2 a wrong argument, 130 interrupted by Ctrl-C, 143 by a termination signal, which ends a
command as Ctrl-C does, so that it stops what it started. `CLC_DEBUG=1` shows where an unexpected error comes from.
"""

import functools
import logging
import sys
from collections.abc import Callable

import typer

from clc.console import WRONG_ARGUMENTS, complain, error_line, one_line, status_of, steady


def run_command(*functions: Callable[..., object]) -> None:
    """Run a typed function as the command line of this process and exit; of several, the one that is named first."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    for function in functions:
        app.command()(_saying_when_interrupted(function))
    with steady():
        status = _status(app)
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
        complain(f"error: {one_line(error.format_message())} (see --help)")
        return WRONG_ARGUMENTS
    # The boundary of the program: whatever is raised is a line.
    except Exception as error:
        complain(error_line(error))
    return 1


def _saying_when_interrupted(function: Callable[..., object]) -> Callable[..., object]:
    """Wrap a command, because typer turns an interrupt into an exit code without a word."""

    @functools.wraps(function)
    def wrapped(*args: object, **kwargs: object) -> object:
        try:
            return function(*args, **kwargs)
        except KeyboardInterrupt as error:
            complain("interrupted; finished stages are kept, run the same command to go on")
            return status_of(error)

    return wrapped
