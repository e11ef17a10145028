"""Leases: one holder at a time, across processes and machines that share a folder.

`flows.runtime.stage` holds one while it makes a stage, so that copies started at once do the work once. A lease is a
small JSON file that its holder rewrites every quarter of `ttl_s`. Another process takes it over when the holder's
process is gone (same machine), or when nothing was rewritten for `ttl_s` by its own clock, so clocks need not agree.
Every read and every write happens under a kernel lock on a guard file beside it; the kernel releases that lock when a
process dies.
"""

import contextlib
import fcntl
import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from storage.atomic import temporary_beside
from storage.errors import LeaseHeld, StorageError

logger = logging.getLogger(__name__)

_POLL_S = 0.1  # longest time between two looks at a lease that another process holds
_MOST_GUARDS = 1000  # guard files that are tried before something is taken to be wrong


class Lease:
    """A context manager that waits for the lease at `path` and holds it until the block ends.

    `ttl_s` is the time without a rewrite after which others take over, `timeout_s` how long to wait (None: for ever).
    With `clears` nothing is left of it at the end: its files are removed, and its folder where nothing else lies there.
    Entering raises `StorageError` when the wait is over or the folder cannot be written.
    """

    def __init__(
        self, path: Path, ttl_s: float = 60.0, timeout_s: float | None = None, *, clears: bool = False
    ) -> None:
        self.path = path
        self.clears = clears
        self.ttl_s = ttl_s
        self.timeout_s = timeout_s
        self._token = secrets.token_hex(16)
        self._beat = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        deadline = None if self.timeout_s is None else time.monotonic() + self.timeout_s
        seen: tuple[Any, Any] | None = None
        seen_at = time.monotonic()
        while True:
            with self._guard():
                record = self._read()
                mark = None if record is None else (record.get("token"), record.get("beat"))
                if mark != seen:
                    seen, seen_at = mark, time.monotonic()
                if record is None or is_gone(record) or time.monotonic() - seen_at > self.ttl_s:
                    self._take(record)
                    return self
            if deadline is not None and time.monotonic() > deadline:
                raise LeaseHeld(f"waited {self.timeout_s:g} s for {self.path}; another process holds it")
            time.sleep(min(_POLL_S, self.ttl_s / 4))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with self._guard():
            if self._is_mine():
                self.path.unlink(missing_ok=True)
                if self.clears:
                    self._guard_path.unlink(missing_ok=True)
                    with contextlib.suppress(OSError):
                        self.path.parent.rmdir()

    def confirm(self) -> None:
        """Raise `StorageError` unless this object holds the lease; call it before what only the holder may do."""
        with self._guard():
            if not self._is_mine():
                raise StorageError(f"{self.path} was taken over while this process was stopped; run again")

    def _take(self, former: dict[str, Any] | None) -> None:
        if former is not None:
            logger.warning("lease_taken_over path=%s former_pid=%s", self.path, former.get("pid"))
        self._write()
        self._stop.clear()
        self._thread = threading.Thread(target=self._keep_alive, name=f"lease {self.path.name}", daemon=True)
        self._thread.start()

    def _keep_alive(self) -> None:
        while not self._stop.wait(self.ttl_s / 4):
            with self._guard():
                if not self._is_mine():
                    return
                self._beat += 1
                self._write()

    def _is_mine(self) -> bool:
        record = self._read()
        return record is not None and record.get("token") == self._token

    def _read(self) -> dict[str, Any] | None:
        try:
            record = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            return {}
        return record if isinstance(record, dict) else {}

    def _write(self) -> None:
        record = {"token": self._token, "beat": self._beat, **this_process()}
        temporary = temporary_beside(self.path)
        try:
            temporary.write_text(json.dumps(record))
            temporary.replace(self.path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise StorageError(f"cannot write the lease {self.path}: {error.strerror}") from error

    @property
    def _guard_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.guard")

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        handle = self._locked()
        try:
            yield
        finally:
            os.close(handle)

    def _locked(self) -> int:
        """Open and lock the guard file; one that a holder cleared away meanwhile guards nothing, so the new one."""
        for _ in range(_MOST_GUARDS):
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                handle = os.open(self._guard_path, os.O_RDWR | os.O_CREAT, 0o666)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StorageError(f"cannot write the lease {self.path}: {error.strerror}") from error
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                if os.path.samestat(os.fstat(handle), self._guard_path.stat()):
                    return handle
            except FileNotFoundError:
                pass
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)
        raise StorageError(f"cannot write the lease {self.path}: its folder is removed again and again")


def _machine() -> str:
    """Return host, boot and process namespace in one string; a process id is comparable only where all agree.

    Empty where the kernel does not tell.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
    return f"{socket.gethostname()} {boot} {space}"


def this_process() -> dict[str, Any]:
    """Return what tells this process from others on this machine and on others, for `is_gone`."""
    return {"pid": os.getpid(), "machine": _machine()}


def is_gone(record: Mapping[str, Any]) -> bool:
    """Whether a record with the fields of `this_process` is of a process of this machine that has ended."""
    pid = record.get("pid")
    if not isinstance(pid, int) or not record.get("machine") or record["machine"] != _machine():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


@contextlib.contextmanager
def in_use(path: Path, *, alone: bool = False) -> Iterator[None]:
    """Say for the length of a block that a place is in use: by any number of processes, or by one `alone`.

    Who wants it alone raises `LeaseHeld` at once where others use it; others wait for the one. The kernel keeps it, on
    the file at `path`, and releases it when a process dies. Raises `StorageError` where the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise StorageError(f"cannot write the lock {path}: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)
        yield
    except BlockingIOError as error:
        raise LeaseHeld(f"{path} is held by a run that is at work; wait for its end") from error
    finally:
        os.close(handle)
