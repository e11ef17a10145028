"""A training by several processes of this machine: `torchrun` starts them, and this follows what they say.

Called by `flows.train`, which has prepared the folder that they train from; what they are is `clc.training.worker`. The
contract: none of them outlives the flow, and what ends them is one sentence.
"""

import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from clc.errors import ClcError
from clc.pictures.images import read_image
from clc.training.checkpoint import step_reached
from clc.training.loop import Observer, TrainingResult
from clc.training.prepared import read_result
from clc.training.worker import (
    BEGUN,
    ENDED,
    FAILURE,
    LINE,
    NOTE,
    PICTURE,
    RUN,
    STOPPED,
    Said,
    parse,
    shown_picture,
)
from flows.runtime.prefect_server import end
from storage.errors import StorageError

logger = logging.getLogger(__name__)

LOG = "torchrun.log"
"""Below the training's folder: what `torchrun` and libraries say, and tracebacks."""
_THREADS = "OMP_NUM_THREADS"


class TrainingStopped(ClcError):
    """A training by several processes ended before its time."""


def train_in_processes(state: Path, count: int, observer: Observer) -> TrainingResult:
    """Train by so many processes on what `state` holds (`clc.training.worker`); `observer` hears what the first tells.

    Raises `TrainingStopped`, in one sentence, where a process fails or is killed: what `state` holds is whole then, and
    the same call goes on from its last checkpoint. Raises `StorageError` where it cannot be written.
    """
    with _log(state) as log, _started(state, count, log) as process:
        story = _Story(state, observer)
        story.follow(process.stdout or ())
        status = process.wait()
    if status:
        raise TrainingStopped(story.why(count, status))
    return read_result(state / RUN)


def _log(state: Path) -> IO[bytes]:
    try:
        state.mkdir(parents=True, exist_ok=True)
        return (state / LOG).open("wb")
    except OSError as error:
        raise StorageError(f"cannot write {state / LOG}: {error.strerror}; check the folder") from error


@contextlib.contextmanager
def _started(state: Path, count: int, log: IO[bytes]) -> Iterator["subprocess.Popen[bytes]"]:
    """Have the processes until the block ends. Their stdin is a pipe: where its other end is closed, they end."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
    environment = {_THREADS: str(max(1, len(os.sched_getaffinity(0)) // count)), **os.environ}
    process = subprocess.Popen(  # noqa: S603
        [*command, "-m", "clc.training.worker", str(state)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
    )
    try:
        yield process
    finally:
        with process:  # closes the pipes
            if process.stdin is not None:
                process.stdin.close()
            if process.poll() is None:
                end(process)


@dataclass
class _Story:
    """What the processes have said so far."""

    state: Path
    observer: Observer
    begun: set[int] = field(default_factory=set)
    over: set[int] = field(default_factory=set)
    failures: list[tuple[bool, int, str]] = field(default_factory=list)

    def follow(self, lines: Iterable[bytes]) -> None:
        """Take in what is said until nobody can say any more."""
        for line in lines:
            said = parse(line.decode(errors="replace"))
            if said is not None:
                self._take(said)

    def _take(self, said: Said) -> None:
        rank, what, value = said
        if what == LINE:
            self.observer.report(value)
        elif what == PICTURE and self.observer.show is not None:
            path = shown_picture(self.state, value)
            self.observer.show(value, read_image(path))
            path.unlink(missing_ok=True)
        elif what == NOTE:
            logger.log(*value)
        elif what == BEGUN:
            self.begun.add(rank)
            logger.info("training_process_begun rank=%d pid=%d", rank, value)
        elif what in (ENDED, STOPPED):
            self.over.add(rank)
        elif what == FAILURE:
            self.over.add(rank)
            self.failures.append((value[0], rank, value[1]))

    def why(self, count: int, status: int) -> str:
        """Return in one sentence why the training ended before its time.

        An error that was raised on purpose tells most. Where a process was killed, the others fail too, for they no
        longer reach it; else the first failure is the cause of the others.
        """
        planned = [text for is_planned, _, text in self.failures if is_planned]
        killed = sorted(self.begun - self.over)
        if planned:
            return planned[0]
        if killed:
            which = " and ".join(str(rank) for rank in killed)
            one = f"process {which} of {count} was" if len(killed) == 1 else f"processes {which} of {count} were"
            what = f"{one} killed, perhaps for want of memory"
        elif self.failures:
            _, rank, text = self.failures[0]
            what = f"process {rank} of {count} failed: {text}"
        else:
            what = f"torchrun ended with status {status}"
        return f"the training stopped: {what}; {self._what_is_left()} (details: {self.state / LOG})"

    def _what_is_left(self) -> str:
        step = step_reached(self.state / RUN)
        return "run the same again to start over" if step is None else f"run the same again to go on from step {step}"
