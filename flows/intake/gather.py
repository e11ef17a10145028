"""Brings the pictures of an origin into the workspace, each once, and says what became of every entry.

`flows.ingest` calls `gather` before its stage begins, because what comes decides the stage's key. The contract: an
entry that came is never brought again while its blob is there; one that failed is tried again only where that is asked
for, or where its shard fell below the success rate and the reason may have passed; and a run that is killed goes on
where it was. One run at a time gathers in a workspace, so that no host is asked by two.
"""

import logging
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import BinaryIO, cast

from clc.errors import InputError
from flows.intake import web
from flows.intake.journal import Journal, JournalLine
from flows.intake.origin import Entry, Origin, Unavailable
from flows.intake.stores import UNREADABLE
from flows.intake.url_lists import UrlList
from flows.runtime.progress import counted
from flows.runtime.stage import STAGES, Stale, is_dry_run
from flows.runtime.workspace import Workspace
from storage.blobs import BlobStore
from storage.digest import sha256_bytes
from storage.errors import StorageError
from storage.locks import Lease, in_use

logger = logging.getLogger(__name__)

EVERYTHING = "all"
"""What `retry_failed` is to be for entries that failed for any reason."""

SHARD_ENTRIES = 1000
_WEB = "web"  # URLs are known under one origin, whichever list names them
_IN_MEMORY_BYTES = 8 * 2**20
_REASONS_SHOWN = 4


@dataclass(frozen=True)
class Gathered:
    """What an origin gave: a line an entry in the origin's order, and what it holds beside pictures."""

    lines: Sequence[JournalLine]
    passed_over: Mapping[str, int] = field(default_factory=dict)


def gather(
    workspace: Workspace, origin: Origin, *, retry_failed: str | None = None, success_rate: float = 0.5
) -> Gathered:
    """Bring what is missing of an origin into the workspace's blobs, and return how every entry came to an end.

    `retry_failed` is a reason, several with commas between, or "all": entries that failed so are tried again. A shard
    of 1,000 entries of which less than `success_rate` came is not done: its entries are tried again if their reason may
    have passed, now and on the next run, and `InputError` says so at the end.
    """
    if not 0.0 <= success_rate <= 1.0:
        raise InputError(f"success_rate is {success_rate:g}; a share from 0 to 1 is wanted")
    reasons = _checked_reasons(retry_failed)
    with (
        in_use(workspace.in_use),
        Lease(workspace.locks / "gather"),
        Journal(workspace.intake / "journal.db") as journal,
    ):
        work = _Work(workspace, journal, reasons, success_rate)
        gathered = work.fetch(origin) if isinstance(origin, UrlList) else work.read(origin)
    _check_rate(origin.label, gathered.lines, success_rate)
    return gathered


@dataclass(frozen=True)
class _Work:
    """One run of `gather`, which holds the lease."""

    workspace: Workspace
    journal: Journal
    reasons: frozenset[str]
    success_rate: float

    @property
    def blobs(self) -> BlobStore:
        return self.workspace.blobs

    def fetch(self, origin: UrlList) -> Gathered:
        """Fetch the URLs of a list that are not there yet."""
        entries = list(origin.entries())
        known = [self.journal.line(_WEB, entry.name) for entry in entries]
        missing = [entries[place] for place in self._missing(known)]
        logger.info("gather_started source=%s urls=%d missing=%d", origin.label, len(entries), len(missing))
        _refuse_dry_run(origin, f"{len(missing)} of {len(entries)} URLs are to be fetched" if missing else "")
        if missing:
            web.fetch(missing, self.blobs, lambda line: self.journal.put(_WEB, line), self.workspace.intake)
        lines = [
            _with_place(line, number, entry.licence)
            for number, entry in enumerate(entries)
            if (line := self.journal.line(_WEB, entry.name)) is not None
        ]
        return Gathered(lines)

    def read(self, origin: Origin) -> Gathered:
        """Read the entries of an archive, a table or a store that are not there yet."""
        key = sha256_bytes(origin.identity.encode("utf-8", "surrogateescape"))[:16]
        known = self.journal.lines(key)
        passed_over = self.journal.passed_over(key)
        missing = {known[place].name for place in self._missing(known)}
        if passed_over is None or missing:
            _refuse_dry_run(origin, f"{len(missing)} members are to be read again" if missing else "it was never read")
            have = {line.name for line in known} - missing
            logger.info("gather_started source=%s have=%d", origin.label, len(have))
            with counted("reading pictures", len(known)) as one_more:
                for line in self._read_entries(origin, have):
                    self.journal.put(key, line)
                    one_more()
            self.journal.finish(key, origin.label, origin.passed_over)
        return Gathered(self.journal.lines(key), self.journal.passed_over(key) or {})

    def _read_entries(self, origin: Origin, have: set[str]) -> Iterator[JournalLine]:
        for number, entry in enumerate(origin.entries()):
            if entry.name not in have:
                yield self._read_entry(number, entry)

    def _read_entry(self, number: int, entry: Entry) -> JournalLine:
        started_utc = _now()
        reason, detail, sha, size = entry.reason, entry.detail, "", 0
        if entry.read is not None:
            self.workspace.intake.mkdir(parents=True, exist_ok=True)
            with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES, dir=self.workspace.intake) as spool:
                file = cast(BinaryIO, spool)
                try:
                    size = entry.read(file)
                    sha = self.blobs.put_file(file)
                except Unavailable as unavailable:
                    reason, detail, size = unavailable.reason, str(unavailable), 0
                except OSError as error:
                    raise StorageError(f"{entry.name}: {error.strerror or error}; check the disks") from error
        return JournalLine(
            name=entry.name,
            number=number,
            licence=entry.licence,
            reason=reason,
            detail=detail,
            bytes=size,
            sha256=sha,
            started_utc=started_utc,
            finished_utc=_now(),
        )

    def _missing(self, known: Sequence[JournalLine | None]) -> list[int]:
        """Return the places of the entries that are to be brought: new ones, and those that are to be tried again."""
        found = []
        for start in range(0, len(known), SHARD_ENTRIES):
            shard = known[start : start + SHARD_ENTRIES]
            is_done = _rate(shard) >= self.success_rate
            found += [start + place for place, line in enumerate(shard) if self._is_missing(line, is_done)]
        return found

    def _is_missing(self, line: JournalLine | None, is_done: bool) -> bool:
        if line is None:
            return True
        if not line.reason:
            return not self.blobs.has(line.sha256)
        if line.reason in self.reasons or EVERYTHING in self.reasons:
            return True
        return not is_done and _may_have_passed(line)


def _refuse_dry_run(origin: Origin, pending: str) -> None:
    if pending and is_dry_run():
        raise Stale(STAGES[0], f"{origin.label}: {pending}", inputs={}, config={})


def _may_have_passed(line: JournalLine) -> bool:
    return line.reason == UNREADABLE or (bool(line.host) and web.is_transient(line.reason))


def _rate(shard: Sequence[JournalLine | None]) -> float:
    """Return the share of the entries of a shard that came, of those that were tried; 1 where none was."""
    tried = [line for line in shard if line is not None]
    return sum(not line.reason for line in tried) / len(tried) if tried else 1.0


def _check_rate(label: str, lines: Sequence[JournalLine], success_rate: float) -> None:
    shards = [lines[start : start + SHARD_ENTRIES] for start in range(0, len(lines), SHARD_ENTRIES)]
    low = [shard for shard in shards if _rate(shard) < success_rate]
    if not low:
        return
    counts = Counter(line.reason for line in lines if line.reason).most_common(_REASONS_SHOWN)
    told = ", ".join(f"{reason} {count}" for reason, count in counts)
    raise InputError(
        f"{len(low)} of {len(shards)} shards of {label} gave fewer pictures than success_rate {success_rate:g} wants "
        f"({told}); what came is kept: run again for what may have passed, or lower success_rate"
    )


def _checked_reasons(retry_failed: str | None) -> frozenset[str]:
    reasons = frozenset(filter(None, (one.strip() for one in (retry_failed or "").split(","))))
    for reason in reasons:
        if not reason.replace("_", "").isalnum():
            raise InputError(f'retry_failed is {reason!r}; a reason such as http_503, or "{EVERYTHING}", is wanted')
    return reasons


def _with_place(line: JournalLine, number: int, licence: str) -> JournalLine:
    return JournalLine(**{**vars(line), "number": number, "licence": licence})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
