"""The wall: pictures of others are decoded in a process with limits, so that one of them costs nothing but itself.

A decoder is native code over hostile bytes. It may crash, run for ever or take all memory, and none of that is an error
that a program can catch. So a `Wall` has a process of its own, which examines one picture after the other
(`clc.collection.examination`). Where that ends or exceeds its time it is replaced, and the picture has a reason.

On its standard input the process gets the lengths of a picture's name and file in 8 bytes each, the name and the file.
It answers with the length of a JSON text in 8 bytes, and the text; never with objects. Before the first it says in one
byte that it has begun.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import subprocess
import sys
import time
from importlib import import_module
from types import TracebackType
from typing import IO, Self

from clc.collection.examination import DECODER_DIED, TOO_SLOW, Examined, Refused, pack, unpack
from clc.errors import ClcError
from clc.limits import MAX_DECODER_BYTES, MAX_DECODER_S

EXAMINER = "clc.collection.examination:examine"
"""What the process calls for each picture, as MODULE:FUNCTION."""

_PROGRAM = "from clc.collection.wall import answer; answer()"
_LENGTH_BYTES = 8
_PIECE_BYTES = 2**16
_TRIES = 2  # a process that ended over one picture may have been ended by somebody else
_READY = b"\1"
_START_S = 300.0
_KEPT_BYTES = 64 * 2**20
_KEEPS_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(_KEPT_BYTES // 2), "MALLOC_TRIM_THRESHOLD_": str(_KEPT_BYTES)}
"""What lets glibc keep memory from one picture to the next: to be given it anew takes as long as half the decoding."""
_WAITED_FOR_A_SECOND = 5.0  # seconds that are waited for each that a picture may take of a processor


class Wall:
    """A process that examines pictures; it is started by the first one, and ends with the context.

    `most_s` are seconds of a processor for one picture, and five times as many are waited for; `most_bytes` is what the
    process may have of memory, as addresses.
    """

    def __init__(
        self, *, most_s: float = MAX_DECODER_S, most_bytes: int = MAX_DECODER_BYTES, examiner: str = ""
    ) -> None:
        self._settings = (examiner or EXAMINER, repr(most_s), str(most_bytes))
        self._most_s = most_s
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process, if there is one; the next picture starts another."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with what it started itself
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                _opened(pipe).close()

    def examine(self, data: bytes, name: str) -> Examined | Refused:
        """Return what `clc.collection.examination.examine` does, or why its process did not come to an end.

        Raises `ClcError` where no process can be started, which says nothing of the picture.
        """
        for _ in range(_TRIES):
            try:
                return unpack(self._asked(data, name.encode(errors="surrogatepass")))
            except TimeoutError:
                self.close()
                return self._too_slow()
            except (EOFError, OSError):
                status = self._ended()
            if status == -signal.SIGXCPU:
                return self._too_slow()
        return Refused(code=DECODER_DIED, reason=f"its decoder ended {_told(status)}; export or copy the picture again")

    def _too_slow(self) -> Refused:
        reason = f"its decoder did not come to an end within {self._most_s:g} s; export or scale the picture first"
        return Refused(code=TOO_SLOW, reason=reason)

    def _asked(self, data: bytes, name: bytes) -> bytes:
        process = self._process = self._process or self._started()
        lengths = (len(part).to_bytes(_LENGTH_BYTES, "big") for part in (name, data))
        _opened(process.stdin).write(b"".join((*lengths, name, data)))
        _opened(process.stdin).flush()
        deadline = time.monotonic() + self._most_s * _WAITED_FOR_A_SECOND
        answer = _received(_opened(process.stdout), _LENGTH_BYTES, deadline)
        return _received(_opened(process.stdout), int.from_bytes(answer, "big"), deadline)

    def _started(self) -> subprocess.Popen[bytes]:
        # No name from outside is here. -P keeps the current folder out, unless this process imports from it, too.
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-c", _PROGRAM, *self._settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**_KEEPS_MEMORY, **os.environ, "PYTHONPATH": os.pathsep.join(path or os.curdir for path in sys.path)},
            start_new_session=True,  # so that it is ended with the processes that it starts
        )
        self._process = process
        try:
            _received(_opened(process.stdout), len(_READY), time.monotonic() + _START_S)
        except (TimeoutError, EOFError) as error:
            told = _told(self._ended())
            raise ClcError(
                f"the process that decodes pictures ended {told} before it began; check the memory of this machine"
            ) from error
        return process

    def _ended(self) -> int:
        """Clear away a process that is gone or going, and return its exit status."""
        process = self._process
        if process is None:
            return 0
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1.0)
        status = process.poll()
        self.close()
        return -signal.SIGKILL if status is None else status


def answer() -> None:
    """Examine the pictures on standard input, in the process of a `Wall`, until there is none."""
    examiner, most_s, most_bytes = sys.argv[1:]
    module, function = examiner.split(":")
    examine = getattr(import_module(module), function)
    _limit(resource.RLIMIT_AS, int(most_bytes))
    _limit(resource.RLIMIT_CORE, 0)
    given, taken = sys.stdin.buffer, sys.stdout.buffer
    taken.write(_READY)
    taken.flush()
    while lengths := given.read(2 * _LENGTH_BYTES):
        name = given.read(int.from_bytes(lengths[:_LENGTH_BYTES], "big")).decode(errors="surrogatepass")
        data = given.read(int.from_bytes(lengths[_LENGTH_BYTES:], "big"))
        _limit(resource.RLIMIT_CPU, int(time.process_time() + float(most_s)) + 1)
        packed = pack(examine(data, name))
        taken.write(len(packed).to_bytes(_LENGTH_BYTES, "big") + packed)
        taken.flush()


def _limit(what: int, most: int) -> None:
    _, hard = resource.getrlimit(what)
    resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _received(pipe: IO[bytes], count: int, deadline: float) -> bytes:
    """Read so many bytes of a pipe. Raises `TimeoutError` at the deadline, `EOFError` where it ends."""
    parts: list[bytes] = []
    while count:
        ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError
        part = os.read(pipe.fileno(), min(count, _PIECE_BYTES))
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _opened(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise OSError("the process has no pipes")
    return pipe


def _told(status: int) -> str:
    """Return an exit status in words."""
    if status >= 0:
        return f"with status {status}"
    try:
        return f"by {signal.Signals(-status).name}"
    except ValueError:
        return f"by signal {-status}"
