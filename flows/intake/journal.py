"""What the workspace has brought in so far: one line an entry, committed as soon as the entry came to an end.

`flows.intake.gather` alone writes it, and asks it what is still to be brought. It is SQLite, so that a process that is
killed loses nothing that was told, and leaves no half of a line. Pictures themselves are blobs.
"""

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from storage.errors import StorageError, StorageFull

_BUSY_S = 60.0
_TABLES = """
CREATE TABLE IF NOT EXISTS entries (
    origin TEXT NOT NULL, name TEXT NOT NULL, number INTEGER NOT NULL, licence TEXT NOT NULL, final_url TEXT NOT NULL,
    host TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL, attempts INTEGER NOT NULL, bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL, started_utc TEXT NOT NULL, finished_utc TEXT NOT NULL, PRIMARY KEY (origin, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS origins (
    origin TEXT PRIMARY KEY, label TEXT NOT NULL, passed_over TEXT NOT NULL
) WITHOUT ROWID;
"""


@dataclass(frozen=True, kw_only=True)
class JournalLine:
    """How one entry came to an end; `reason` is empty where it came, and `sha256` names its blob then.

    `number` is its place in an origin that is read in order. Times are UTC in ISO 8601.
    """

    name: str
    number: int = 0
    licence: str = ""
    final_url: str = ""
    host: str = ""
    reason: str = ""
    detail: str = ""
    attempts: int = 1
    bytes: int = 0
    sha256: str = ""
    started_utc: str = ""
    finished_utc: str = ""


_COLUMNS = tuple(one.name for one in fields(JournalLine))


class Journal:
    """The journal of a workspace, at `path`; a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._told():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
            # A line is in the hands of the system when it is committed: a killed process loses none.
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.executescript(_TABLES)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def put(self, origin: str, line: JournalLine) -> None:
        """Write a line, in place of a former one of the same entry. Raises `StorageError`."""
        marks = ", ".join("?" * (len(_COLUMNS) + 1))
        with self._told():
            self._database.execute(
                f"INSERT OR REPLACE INTO entries (origin, {', '.join(_COLUMNS)}) VALUES ({marks})",  # noqa: S608
                (origin, *astuple(line)),
            )

    def line(self, origin: str, name: str) -> JournalLine | None:
        """Return the line of an entry, if there is one."""
        found = self._select("AND name = ?", (origin, name))
        return next(found, None)

    def lines(self, origin: str) -> list[JournalLine]:
        """Return all lines of an origin, in its order."""
        return list(self._select("ORDER BY number, name", (origin,)))

    def blobs(self) -> set[str]:
        """Return the SHA-256 of all that came, of whichever origin."""
        with self._told():
            rows = self._database.execute("SELECT DISTINCT sha256 FROM entries WHERE sha256 != ''").fetchall()
            return {row[0] for row in rows}

    def passed_over(self, origin: str) -> dict[str, int] | None:
        """Return what of an origin that was read to its end is no picture; None if it never was."""
        with self._told():
            row = self._database.execute("SELECT passed_over FROM origins WHERE origin = ?", (origin,)).fetchone()
            return None if row is None else dict(json.loads(row[0]))

    def finish(self, origin: str, label: str, passed_over: Mapping[str, int]) -> None:
        """Say that an origin was read to its end."""
        with self._told():
            self._database.execute(
                "INSERT OR REPLACE INTO origins VALUES (?, ?, ?)", (origin, label, json.dumps(dict(passed_over)))
            )

    def _select(self, clause: str, values: tuple[str, ...]) -> Iterator[JournalLine]:
        with self._told():
            query = f"SELECT {', '.join(_COLUMNS)} FROM entries WHERE origin = ? {clause}"  # noqa: S608 - our own words
            rows = self._database.execute(query, values).fetchall()
        for row in rows:
            yield JournalLine(**dict(zip(_COLUMNS, row, strict=True)))

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError) as error:
            kind = StorageFull if "full" in str(error) or "readonly" in str(error) else StorageError
            raise kind(f"{self._path}: {error}; check the disk, or remove the file to bring everything anew") from error
