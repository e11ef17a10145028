"""What became of every picture of an ingest: its row in the ledger, and the table that is shown.

`flows.ingest` has pictures examined; what it knows of each is a `Decoded`, of which `ledger_row` makes a row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clc.collection.examination import Examined
from flows.intake.ledger import FAILED, OK, LedgerRow, in_short, report
from flows.runtime.artifacts import publish_text
from flows.sources import SourcePicture

SAME = "same_picture"
NOT_SEARCHED = "not_searched"
ARTIFACT = "ingest-ledger"
"""The key under which Prefect keeps the tables of all ingests."""


@dataclass(frozen=True)
class Decoded:
    """A picture after reading: what was found and the blob that is its file, or why it cannot be used.

    `code` is the reason as a word. `found` stays known of a picture that is refused for the sake of others.
    """

    picture: SourcePicture
    found: Examined | None = None
    blob: str = ""
    reason: str = ""
    code: str = ""

    @property
    def content(self) -> str:
        """The SHA-256 of the pixels, empty where there are none."""
        return "" if self.found is None else self.found.content

    @property
    def losses(self) -> tuple[str, ...]:
        """What the file holds that the pipeline does not use."""
        return () if self.found is None else self.found.losses


def ledger_row(one: Decoded, files: Mapping[str, str]) -> LedgerRow:
    """Return the row of a picture; `files` has the SHA-256 of every file that could be read, by the picture's name."""
    picture, line = one.picture, one.picture.journal
    sha = files.get(picture.name, "")
    return LedgerRow(
        name=picture.name,
        source=picture.source,
        licence=picture.licence,
        status=FAILED if one.reason else OK,
        reason=one.code,
        detail=one.reason,
        final_url="" if line is None else line.final_url,
        host="" if line is None else line.host,
        attempts=1 if line is None else line.attempts,
        bytes=_size(picture) if line is None else line.bytes or None,
        sha256=sha or None,
        perceptual_hash=None if one.found is None else one.found.perceptual_hash,
        width=None if one.found is None else one.found.width,
        height=None if one.found is None else one.found.height,
        started_utc="" if line is None else line.started_utc,
        finished_utc="" if line is None else line.finished_utc,
    )


def publish(label: str, rows: Sequence[LedgerRow]) -> None:
    """Show the table of reasons and hosts on Prefect's pages; without a server that answers there is a warning."""
    publish_text(ARTIFACT, report(label, rows), in_short(label, rows))


def _size(picture: SourcePicture) -> int | None:
    try:
        return picture.path.stat().st_size
    except (OSError, ValueError):
        return None
