"""Many URLs, each to an end with a reason: what `flows` calls to fetch a list.

Hosts are worked on side by side, each by as many workers as it may have requests; a second one begins once the host has
answered. The contract: every URL is told exactly once, as soon as it has come to an end; only what is wrong on our own
side (a full disk) ends a crawl.
"""

import asyncio
import logging
import tempfile
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import BinaryIO, cast

import httpcore
import httpx

from storage.errors import ClcError, StorageError
from storage.network import reasons
from storage.network.addresses import Guard
from storage.network.fetch import CrawlLimits, Fetched, Fetcher, Progress, parse_url
from storage.network.reasons import FetchFailure
from storage.network.robots import TOKEN
from storage.network.transport import GuardedBackend, GuardedTransport, Resolve, SystemResolver
from storage.network.turns import Turns

logger = logging.getLogger(__name__)

_HOSTS_OPEN = 512  # hosts that are worked on side by side
_IN_MEMORY_BYTES = 2**18  # of each body; the rest goes to a file
_READ_S = 20.0


@dataclass(frozen=True)
class Visit:
    """How one URL came to an end.

    `reason` is empty where a picture came, else a word of `storage.network.reasons`, and `detail` says it in a
    sentence. `stored` is what `store` returned for the picture, `size_bytes` its length unpacked; both times are UTC in
    ISO 8601.
    """

    url: str
    final_url: str
    host: str
    reason: str
    detail: str
    attempts: int
    size_bytes: int
    stored: str
    content_type: str
    started_utc: str
    finished_utc: str


@dataclass(frozen=True, kw_only=True)
class Network:
    """Who asks, under which rule for addresses, and by which means.

    `agent` is sent as User-Agent. Without `resolve` the system is asked for names, and without `connections`
    httpcore opens them.
    """

    agent: str
    guard: Guard = field(default_factory=Guard)
    resolve: Resolve | None = None
    connections: httpcore.AsyncNetworkBackend | None = None


def user_agent(version: str, contact: str = "") -> str:
    """Return the name by which a crawl calls itself: the program, what it does, and whom to ask about it."""
    return f"{TOKEN}/{version} (fetches pictures for training{'; ' + contact if contact else ''})"


async def crawl(
    urls: Iterable[str],
    store: Callable[[BinaryIO], str],
    tell: Callable[[Visit], None],
    *,
    network: Network,
    limits: CrawlLimits,
    folder: Path,
) -> None:
    """Fetch every URL, `store` what comes and `tell` how it ended.

    `store` gets an open file at its beginning, in a thread; `tell` is called in the loop. Bodies over 256 KiB wait in
    temporary files below `folder`. Raises what `store` and `tell` raise, and `StorageError` where `folder` is full.
    """
    turns = Turns(
        at_once=limits.at_once,
        per_host=limits.per_host,
        gap_s=limits.gap_s,
        patience=limits.patience,
        slow_s=limits.slow_s,
        most_slow=limits.most_slow,
    )
    system = SystemResolver()
    backend = GuardedBackend(network.guard, network.resolve or system, network.connections or httpcore.AnyIOBackend())
    try:
        async with _client(backend, network.agent, limits) as client:
            worker = _Worker(Fetcher(client, turns, limits), turns, limits, store, tell, folder)
            await worker.work(_by_host(urls))
    finally:
        system.close()


def _client(backend: GuardedBackend, agent: str, limits: CrawlLimits) -> httpx.AsyncClient:
    client = httpx.AsyncClient(
        transport=GuardedTransport(backend, limits.at_once + limits.most_slow),
        timeout=httpx.Timeout(_READ_S, connect=limits.connect_s, pool=None),
        headers={"User-Agent": agent, "Accept": "image/*,*/*;q=0.1", "Accept-Encoding": "gzip;q=0.1, identity"},
        follow_redirects=False,
        trust_env=False,
    )
    client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # nobody is to recognise us
    return client


def _by_host(urls: Iterable[str]) -> dict[str, deque[str]]:
    """Return the URLs by the host that they name, in their order; those that are none under no name."""
    found: dict[str, deque[str]] = {}
    for url in urls:
        try:
            host = parse_url(url).host
        except FetchFailure:
            host = ""
        found.setdefault(host, deque()).append(url)
    return found


class _Worker:
    """Works through the hosts of one crawl."""

    def __init__(
        self,
        fetcher: Fetcher,
        turns: Turns,
        limits: CrawlLimits,
        store: Callable[[BinaryIO], str],
        tell: Callable[[Visit], None],
        folder: Path,
    ) -> None:
        self._fetcher = fetcher
        self._turns = turns
        self._limits = limits
        self._store = store
        self._tell = tell
        self._folder = folder

    async def work(self, hosts: dict[str, deque[str]]) -> None:
        """Fetch the URLs of all hosts, so many hosts at a time."""
        window = asyncio.Semaphore(_HOSTS_OPEN)
        try:
            async with asyncio.TaskGroup() as group:
                for host, urls in hosts.items():
                    await window.acquire()
                    group.create_task(self._host(host, urls)).add_done_callback(lambda _: window.release())
        except BaseExceptionGroup as errors:
            raise _first(errors) from None

    async def _host(self, host: str, urls: deque[str]) -> None:
        await self._visit(urls.popleft(), host)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._limits.per_host, len(urls))):
                group.create_task(self._visits(urls, host))
        self._turns.forget(host)

    async def _visits(self, urls: deque[str], host: str) -> None:
        while urls:
            await self._visit(urls.popleft(), host)

    async def _visit(self, url: str, host: str) -> None:
        """Fetch one URL and tell how it ended; the one boundary that turns an error into a row."""
        started_utc, progress = _now(), Progress(self._limits.deadline_s)
        reason = detail = stored = ""
        fetched = Fetched("", "", 0)
        with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES, dir=str(self._folder)) as spool:
            file = cast(BinaryIO, spool)
            try:
                fetched = await self._fetcher.fetch(url, file, progress)
            except FetchFailure as failure:
                reason, detail = failure.reason, str(failure)
            except OSError as error:
                raise StorageError(f"cannot write below {self._folder}: {error.strerror}; make room") from error
            except ClcError:
                raise
            except Exception as error:  # what libraries raise over the answers of strangers cannot be listed
                logger.warning("fetch_unexpected url=%r error=%r", url[:200], error)
                reason, detail = reasons.UNEXPECTED, f"{type(error).__name__}: {error}"
            if not reason:
                file.seek(0)
                stored = await asyncio.to_thread(self._store, file)
        self._tell(
            Visit(
                url,
                progress.final_url,
                host,
                reason,
                detail,
                progress.attempts,
                fetched.size_bytes,
                stored,
                fetched.content_type,
                started_utc,
                _now(),
            )
        )


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error within groups of groups."""
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
