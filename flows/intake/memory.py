"""What files were found to be when they were examined, by their SHA-256: a note, which may be removed at any time.

`flows.intake.examining` alone writes it and asks it. It is SQLite, for the reasons of `flows.intake.journal`. What says
as much of the machine as of the picture (no memory, too slow) is not kept, so that another run tries again.
"""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from clc.collection.examination import PASSING, Examined, Refused, pack, unpack
from storage.errors import StorageError, StorageFull

_BUSY_S = 60.0
_TABLE = """
CREATE TABLE IF NOT EXISTS examined (
    code TEXT NOT NULL, sha256 TEXT NOT NULL, outcome TEXT NOT NULL, PRIMARY KEY (code, sha256)
)
"""


class Memory:
    """The note of a workspace, at `path`; `code` is the digest of what decides the outcomes. A context manager."""

    def __init__(self, path: Path, code: str) -> None:
        self._path, self._code = path, code
        with self._told():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.execute(_TABLE)

    def __enter__(self) -> "Memory":
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def get(self, sha256: str) -> Examined | Refused | None:
        """Return what a file was found to be, None where it was not examined by this code."""
        with self._told():
            row = self._database.execute(
                "SELECT outcome FROM examined WHERE code = ? AND sha256 = ?", (self._code, sha256)
            ).fetchone()
            return None if row is None else unpack(row[0])

    def put_all(self, outcomes: Iterable[tuple[str, Examined | Refused]]) -> None:
        """Write down what files were found to be, all or none. Raises `StorageError`."""
        rows = [
            (self._code, sha256, pack(outcome).decode())
            for sha256, outcome in outcomes
            if sha256 and not (isinstance(outcome, Refused) and outcome.code in PASSING)
        ]
        with self._told(), self._database:
            self._database.execute("BEGIN")
            self._database.executemany("INSERT OR REPLACE INTO examined VALUES (?, ?, ?)", rows)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError, KeyError, TypeError) as error:
            kind = StorageFull if "full" in str(error) or "readonly" in str(error) else StorageError
            raise kind(f"{self._path}: {error}; check the disk, or remove the file: pictures are read anew") from error
