"""The crawl as the pipeline runs it: who we say we are, what an operator permits, and the journal of its visits.

The environment belongs to whoever runs the worker, while parameters come from whoever submits a run: so only the
environment can permit addresses that are not public.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from clc.errors import InputError
from clc.version import version
from flows.intake.journal import JournalLine
from flows.intake.origin import Entry
from flows.runtime.progress import counted
from storage.blobs import BlobStore
from storage.errors import StorageError

ALLOWED = "CLC_CRAWL_ALLOW"
"""The variable with the networks beyond the public internet that a crawl may reach, such as `10.1.0.0/16`."""

CONTACT = "CLC_CRAWL_CONTACT"
"""The variable with an address under which the owners of servers reach whoever runs the crawl."""


def fetch(entries: Sequence[Entry], blobs: BlobStore, tell: Callable[[JournalLine], None], folder: Path) -> None:
    """Fetch all entries, which have URLs, into the blob store and `tell` how each came to an end, as soon as it has.

    Raises `InputError` for a wrong setting of the environment, `StorageError` when the disk is full, and `MissingExtra`
    without the extra `crawl`.
    """
    from storage.network.addresses import Guard, networks
    from storage.network.crawl import Network, Visit, crawl, user_agent
    from storage.network.fetch import CrawlLimits

    try:
        guard = Guard(networks(os.environ.get(ALLOWED, "")))
    except StorageError as error:
        raise InputError(f"{ALLOWED}: {error}") from error
    by_url = {entry.url: entry for entry in entries}
    network = Network(agent=user_agent(version(), _contact()), guard=guard)
    folder.mkdir(parents=True, exist_ok=True)
    with counted("fetching pictures", len(by_url)) as one_more:

        def note(visit: Visit) -> None:
            tell(
                JournalLine(
                    name=by_url[visit.url].name,
                    final_url=visit.final_url,
                    host=visit.host,
                    reason=visit.reason,
                    detail=visit.detail,
                    attempts=visit.attempts,
                    bytes=visit.size_bytes,
                    sha256=visit.stored,
                    started_utc=visit.started_utc,
                    finished_utc=visit.finished_utc,
                )
            )
            one_more()

        asyncio.run(crawl(by_url, blobs.put_file, note, network=network, limits=CrawlLimits(), folder=folder))


def is_transient(reason: str) -> bool:
    """Whether a reason may have passed by the next run."""
    from storage.network.reasons import TRANSIENT

    return reason in TRANSIENT


def _contact() -> str:
    contact = os.environ.get(CONTACT, "").strip()
    if not contact.isascii() or not contact.isprintable() or len(contact) > 200:
        raise InputError(
            f"{CONTACT} is {contact[:80]!r}; plain characters are wanted, such as +https://example.org/crawl"
        )
    return contact
