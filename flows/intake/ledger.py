"""The ledger of an ingest: one row a picture, URL or member that was named, and what became of it.

`flows.ingest` writes `ledger.parquet` beside `items.parquet`. Nothing that a source names is missing from it; reasons
are words that can be counted and given to `--retry-failed`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from storage.tables import read_table, table_of, write_table

FILE = "ledger.parquet"
OK = "ok"
FAILED = "failed"

LEDGER = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("final_url", pa.string(), nullable=False),
        pa.field("host", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("attempts", pa.int32(), nullable=False),
        pa.field("bytes", pa.int64()),
        pa.field("sha256", pa.string()),
        pa.field("perceptual_hash", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("licence", pa.string(), nullable=False),
        pa.field("started_utc", pa.string(), nullable=False),
        pa.field("finished_utc", pa.string(), nullable=False),
    ]
)
"""The columns of `ledger.parquet`; null is what is not known of what failed."""

_HOSTS_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class LedgerRow:
    """A row: what was named, where it led, and what became of it.

    `reason` is a word and `detail` a sentence, both empty where `status` is "ok". `sha256` is that of the file's own
    bytes, `perceptual_hash` 16 hex digits of a difference hash. Times are UTC in ISO 8601, empty where unknown.
    """

    name: str
    source: str
    licence: str
    status: str = OK
    reason: str = ""
    detail: str = ""
    final_url: str = ""
    host: str = ""
    attempts: int = 1
    bytes: int | None = None
    sha256: str | None = None
    perceptual_hash: str | None = None
    width: int | None = None
    height: int | None = None
    started_utc: str = ""
    finished_utc: str = ""


def write_ledger(folder: Path, rows: Sequence[LedgerRow]) -> None:
    """Write `ledger.parquet` into a folder; `StorageError` when it cannot."""
    write_table(folder / FILE, table_of(map(vars, rows), LEDGER))


def read_ledger(folder: Path) -> list[LedgerRow]:
    """Return the rows of a finished ingest; `StorageError` when the table is missing or damaged."""
    return [LedgerRow(**row) for row in read_table(folder / FILE, LEDGER.names).to_pylist()]


def reasons(rows: Sequence[LedgerRow]) -> dict[str, int]:
    """Return how often each reason stands in the rows, the most frequent first."""
    return dict(Counter(row.reason for row in rows if row.reason).most_common())


def hosts(rows: Sequence[LedgerRow]) -> dict[str, dict[str, int]]:
    """Return how many pictures came from each host and how many did not, those with most failures first."""
    found: dict[str, dict[str, int]] = {}
    for row in rows:
        if row.host:
            found.setdefault(row.host, {OK: 0, FAILED: 0})[row.status] += 1
    return dict(sorted(found.items(), key=lambda one: (-one[1][FAILED], -one[1][OK], one[0])))


def in_short(label: str, rows: Sequence[LedgerRow]) -> str:
    """Return in one line of Markdown how many pictures of a source can be used."""
    return f"{sum(row.status == OK for row in rows)} of {len(rows)} pictures of {_cell(label)} can be used"


def report(label: str, rows: Sequence[LedgerRow]) -> str:
    """Return how many can be used, and reasons and hosts as tables in Markdown, where there are any."""
    lines = [f"**{in_short(label, rows)}**"]
    by_reason = reasons(rows)
    if by_reason:
        lines += ["", "| reason | pictures |", "|---|---:|"]
        lines += [f"| {_cell(reason)} | {count} |" for reason, count in by_reason.items()]
    by_host = hosts(rows)
    if by_host:
        lines += ["", "| host | came | failed |", "|---|---:|---:|"]
        shown = list(by_host.items())[:_HOSTS_SHOWN]
        lines += [f"| {_cell(host)} | {counts[OK]} | {counts[FAILED]} |" for host, counts in shown]
    if len(by_host) > _HOSTS_SHOWN:
        rest = list(by_host.values())[_HOSTS_SHOWN:]
        came, failed = sum(one[OK] for one in rest), sum(one[FAILED] for one in rest)
        lines.append(f"| {len(rest)} others | {came} | {failed} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Return a text from outside as it can stand in a table of Markdown."""
    return "".join("\\" + letter if letter in "\\|`*_[]<>#" else letter for letter in text)
