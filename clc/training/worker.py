"""One of several processes that train one model, from a folder that a flow prepared.

    torchrun --standalone --nproc_per_node 2 -m clc.training.worker STATE

    STATE/prepared/   what to train on (`clc.training.prepared`)
    STATE/run/        the files of the run, which goes on from them (`clc.training.checkpoint`)
    STATE/shown/      reconstructions, a PNG a validation, until somebody takes them

What a process has to say stands on stdout, in lines that `parse` reads; anything else there is a library's. The
contract: a process says that it has begun, and then that it ended, failed or was stopped, so that one which says
nothing more was killed; and it ends with whoever started it: at the end of its stdin, nobody is there any more.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from clc.console import DONE, FAILED, reason_of, say, status_of, steady
from clc.errors import ClcError
from clc.machine import flush_denormals, keep_freed_memory
from clc.pictures.images import png_bytes
from clc.training.distributed import joined
from clc.training.loop import SILENT, Observer
from clc.training.prepared import PreparedTraining, train_prepared
from storage.atomic import write_bytes
from storage.locks import Lease

PREPARED, RUN, SHOWN = "prepared", "run", "shown"
"""Folders below STATE."""
BEGUN, LINE, PICTURE, NOTE, ENDED, FAILURE, STOPPED = "begun", "line", "picture", "note", "ended", "failure", "stopped"
"""What can be said: with a process id; a line of the training log; a step; a level and a text of `logging`; nothing;
whether the error is planned and its text; nothing."""
_MARK = "clc.training "
_LEASE, _LEASE_TIMEOUT_S = "worker", 300.0
_LOGGED = ("clc", "storage")


class Said(NamedTuple):
    """What a process says, one of the words above, with its value, a JSON value; and the process's rank."""

    rank: int
    what: str
    value: Any


def parse(line: str) -> Said | None:
    """What a line on stdout says; None where no process of ours wrote it."""
    if not line.startswith(_MARK):
        return None
    try:
        return Said(*json.loads(line.removeprefix(_MARK)))
    except (ValueError, TypeError):
        return None


def main(arguments: list[str] | None = None) -> int:
    """Trains beside the other processes; returns the exit status."""
    (state,) = sys.argv[1:] if arguments is None else arguments
    rank = int(os.environ.get("RANK", "0"))
    with steady():
        threading.Thread(target=_end_with_the_other_side, name="stdin", daemon=True).start()
        _tell(rank, BEGUN, os.getpid())
        try:
            return _outcome(Path(state), rank)
        # Also while a failure is told: where one process dies, the others fail, and are asked to end a moment later.
        except KeyboardInterrupt as error:
            _tell(rank, STOPPED)
            return status_of(error)


def _outcome(state: Path, rank: int) -> int:
    """Trains, and says how it ended; returns the exit status."""
    try:
        _work(state, rank)
    # The boundary of the program: whatever is raised is said; what nobody planned leaves its traceback on stderr.
    except Exception as error:
        is_planned = isinstance(error, ClcError)
        _tell(rank, FAILURE, [is_planned, reason_of(error)])
        if not is_planned:
            traceback.print_exc()
        return FAILED
    _tell(rank, ENDED)
    return DONE


def _work(state: Path, rank: int) -> None:
    flush_denormals()
    keep_freed_memory()
    prepared = PreparedTraining.read(state / PREPARED)
    with _alone(state, rank), joined(os.environ, prepared.config.device) as (ranks, device):
        prepared = replace(prepared, config=replace(prepared.config, device=device))
        observer = _observer(state) if ranks.is_first else SILENT
        train_prepared(prepared, state / RUN, observer=observer, ranks=ranks)


@contextlib.contextmanager
def _alone(state: Path, rank: int) -> Iterator[None]:
    """Let the first process alone log, and write into the folder: of another training there, it waits for the end."""
    if rank:
        yield
        return
    for name in _LOGGED:
        logging.getLogger(name).addHandler(_Teller())
        logging.getLogger(name).setLevel(logging.INFO)
    with Lease(state / _LEASE, timeout_s=_LEASE_TIMEOUT_S):
        yield


class _Teller(logging.Handler):
    """Says what is logged."""

    def emit(self, record: logging.LogRecord) -> None:
        """Says the level and the text of a record."""
        _tell(0, NOTE, [record.levelno, record.getMessage()])


def _observer(state: Path) -> Observer:
    def show(step: int, picture: npt.NDArray[np.uint8]) -> None:
        write_bytes(shown_picture(state, step), png_bytes(picture))
        _tell(0, PICTURE, step)

    return Observer(lambda line: _tell(0, LINE, line), show)


def shown_picture(state: Path, step: int) -> Path:
    """The file with the reconstructions of a step."""
    return state / SHOWN / f"{step}.png"


def _tell(rank: int, what: str, value: Any = None) -> None:
    say(f"{_MARK}{json.dumps(Said(rank, what, value))}")


def _end_with_the_other_side() -> None:
    """Wait for the end of stdin, on which nothing is ever written, and end the process there and then.

    `torchrun` gives its own stdin on to the processes that it starts, in sessions of their own, in which no signal
    reaches them when it is killed.
    """
    with contextlib.suppress(OSError):
        while os.read(0, 1):
            pass
    os._exit(FAILED)


if __name__ == "__main__":
    sys.exit(main())
