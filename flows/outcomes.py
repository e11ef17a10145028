"""What became of every picture of an ingest: its row in the ledger, the word for its reason, the table that is shown.

`flows.ingest` decodes pictures; what it knows of each is a `Decoded`, of which `ledger_row` makes a row.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import UnidentifiedImageError
from prefect import get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.runtime import flow_run

from clc.errors import InputError, LimitError
from clc.pictures.picture import UnknownRange
from flows.intake.ledger import FAILED, OK, LedgerRow, report
from flows.sources import SourcePicture

logger = logging.getLogger(__name__)

NOT_A_PICTURE = "not_a_picture"
BROKEN = "broken_picture"
OVER_LIMIT = "over_limit"
UNKNOWN_RANGE = "unknown_range"
NO_MEMORY = "no_memory"
UNREADABLE = "unreadable"
SAME = "same_picture"
NOT_SEARCHED = "not_searched"
ARTIFACT = "ingest-ledger"
"""The key under which Prefect keeps the tables of all ingests."""


@dataclass(frozen=True)
class Decoded:
    """A picture after reading: the digest of its pixels, its PNG's blob and what it lost, or why there is none.

    `code` is the reason as a word. `perceptual_hash`, `width` and `height` (px) are known of what was decoded.
    """

    picture: SourcePicture
    content: str = ""
    blob: str = ""
    reason: str = ""
    code: str = ""
    losses: tuple[str, ...] = ()
    perceptual_hash: str | None = None
    width: int | None = None
    height: int | None = None


def code_of(error: BaseException) -> str:
    """Return the word for what a decoder raised over a picture."""
    cause = error.__cause__
    if isinstance(error, MemoryError) or isinstance(cause, MemoryError):
        return NO_MEMORY
    if isinstance(error, LimitError):
        return OVER_LIMIT
    if isinstance(cause, UnidentifiedImageError):
        return NOT_A_PICTURE
    if isinstance(cause, UnknownRange):
        return UNKNOWN_RANGE
    if isinstance(error, InputError) and (cause is None or (isinstance(cause, OSError) and cause.errno is not None)):
        return UNREADABLE
    return BROKEN


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
        sha256=sha if sha not in ("", UNREADABLE) else None,
        perceptual_hash=one.perceptual_hash,
        width=one.width,
        height=one.height,
        started_utc="" if line is None else line.started_utc,
        finished_utc="" if line is None else line.finished_utc,
    )


def publish(label: str, rows: Sequence[LedgerRow]) -> None:
    """Show the table of reasons and hosts on Prefect's pages; without a server that answers there is a warning."""
    tables = ArtifactCreate(
        key=ARTIFACT,
        type="markdown",
        description="What became of every picture",
        data=report(label, rows),
        flow_run_id=flow_run.id,
    )
    try:
        # `create_markdown_artifact` would leave a connection open.
        with get_client(sync_client=True) as client:
            client.create_artifact(tables)
    except Exception as error:  # a page that cannot be shown must not cost an ingest
        logger.warning("artifact_failed error=%r", error)


def _size(picture: SourcePicture) -> int | None:
    try:
        return picture.path.stat().st_size
    except (OSError, ValueError):
        return None
