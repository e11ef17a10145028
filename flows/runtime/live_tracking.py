"""MLflow follows a training while it runs, from a thread of its own: the training never waits for the server.

What the server did not take is kept and sent again with what comes later; a server that stays away costs warnings and
the record, never a step. Called by `flows.train`; what is sent, and how, is `flows.runtime.tracking`.
"""

import logging
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from clc.pictures.picture import Picture
from flows.runtime.tracking import TrainingRun

logger = logging.getLogger(__name__)

RETRY_S = 60.0
"""A server that refused is left alone for so long."""
CLOSE_S = 30.0
"""How long the end of a training waits for the server to take the rest."""


class Follower:
    """Takes lines and pictures at once and sends them when the server is there."""

    def __init__(self, run: TrainingRun, retry_s: float = RETRY_S) -> None:
        self._run, self._retry_s = run, retry_s
        self._queue: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._is_all_sent = False
        self._thread = threading.Thread(target=self._work, name="follower", daemon=True)
        self._thread.start()

    def report(self, line: dict[str, Any]) -> None:
        """Take a line of the training log."""
        self._queue.put(("line", line))

    def show(self, step: int, picture: Picture) -> None:
        """Take the reconstructions at a step, uint8 (H, W, 3)."""
        self._queue.put(("picture", (step, picture)))

    def close(self, status: str = "FINISHED", timeout_s: float = CLOSE_S) -> bool:
        """End the run; return whether the server has all of it. Waits for `timeout_s` at most."""
        self._queue.put(("status", status))
        self._thread.join(timeout_s)
        if not self._is_all_sent:
            logger.warning("tracking_incomplete reason='the server did not take all of the training run'")
        return self._is_all_sent

    def _work(self) -> None:
        lines: list[dict[str, Any]] = []
        pictures: list[tuple[int, Picture]] = []
        status: str | None = None
        refused_at = -self._retry_s
        while status is None:
            for kind, value in self._waiting():
                if kind == "line":
                    lines.append(value)
                elif kind == "picture":
                    pictures.append(value)
                else:
                    status = value
            if status is None and time.monotonic() - refused_at < self._retry_s:
                continue
            if self._run.send(lines, pictures, status=status):
                lines, pictures = [], []
                self._is_all_sent = status is not None
            else:
                refused_at = time.monotonic()

    def _waiting(self) -> Iterator[tuple[str, Any]]:
        """Yield what is in the queue, at least one thing."""
        yield self._queue.get()
        while not self._queue.empty():
            yield self._queue.get()


@contextmanager
def followed(run: TrainingRun) -> Iterator[Follower]:
    """Have a follower while a training runs; one that fails is recorded as failed."""
    follower = Follower(run)
    status = "FAILED"
    try:
        yield follower
        status = "FINISHED"
    finally:
        follower.close(status)
