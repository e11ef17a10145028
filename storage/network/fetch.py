"""One URL: robots.txt, redirects, caps and the deadline, and every failure as one of the reasons.

`crawl` calls `Fetcher.fetch` with a file to write into. Every hop of a redirect is a request of its own: its host's
robots.txt is asked, its turn is waited for, and its address is checked by `transport` like any other.
"""

import asyncio
import contextlib
import io
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import BinaryIO, TypeVar

import httpcore
import httpx
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from storage.network import reasons
from storage.network.addresses import AddressRefused
from storage.network.body import check_type, read_body
from storage.network.reasons import FetchFailure
from storage.network.robots import MOST_BYTES, Robots, refusal
from storage.network.transport import NameServerFailed, NameUnknown
from storage.network.turns import Turns

T = TypeVar("T")

MOST_URL_CHARACTERS = 4096
_MOST_WAIT_S = 60.0  # longer is no pause but a refusal for this run
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True, kw_only=True)
class CrawlLimits:
    """The caps and manners of a crawl.

    `at_once` requests in all and `per_host` to one host, whose beginnings lie `gap_s` apart. A URL has `deadline_s` in
    all, waiting for its turn and between attempts not counted; a connection has `connect_s`. Of a body `most_bytes` are
    read, unpacked. A URL is tried `attempts` times for reasons that may pass, with random pauses up to `pause_s` first,
    then twice as long. A request over `slow_s` makes room for another, as long as `most_slow` have not. A host is given
    up after `patience` failures in a row that are its own.
    """

    at_once: int = 64
    per_host: int = 2
    gap_s: float = 0.5
    deadline_s: float = 60.0
    connect_s: float = 5.0
    most_bytes: int = 64 * 2**20
    attempts: int = 3
    pause_s: float = 1.0
    patience: int = 6
    redirects: int = 3
    slow_s: float = 1.0
    most_slow: int = 192


@dataclass(frozen=True)
class Fetched:
    """A picture that came: where from in the end, what the server calls it, and how many bytes it has."""

    final_url: str
    content_type: str
    size_bytes: int


@dataclass
class Progress:
    """What is known of a URL before it comes to an end: how often it was tried, and where it led."""

    left_s: float
    attempts: int = 0
    final_url: str = ""

    @contextlib.asynccontextmanager
    async def clock(self) -> AsyncIterator[None]:
        """Let the block take what is left of the time. Raises `FetchFailure` when that is over."""
        start = time.monotonic()
        try:
            async with asyncio.timeout(max(self.left_s, 0.0)):
                yield
        except TimeoutError as error:
            raise FetchFailure(reasons.DEADLINE, "the time for one URL was over before it was read") from error
        finally:
            self.left_s -= time.monotonic() - start


class Fetcher:
    """Fetches URLs, one after another or many at once, by one client and under one set of turns."""

    def __init__(self, client: httpx.AsyncClient, turns: Turns, limits: CrawlLimits) -> None:
        self._client = client
        self._turns = turns
        self._limits = limits
        self._robots = Robots(self._text, turns.slow_down)

    async def fetch(self, url: str, file: BinaryIO, progress: Progress) -> Fetched:
        """Write the picture at a URL into `file`, which is emptied for each attempt. Raises `FetchFailure`."""
        parsed = parse_url(url)
        async for attempt in self._attempts():
            with attempt:
                progress.attempts += 1
                file.seek(0)
                file.truncate()
                return await self._attempt(parsed, file, progress)
        raise AssertionError  # the last attempt returns or raises

    async def _attempt(self, url: httpx.URL, file: BinaryIO, progress: Progress) -> Fetched:
        async def read(answer: httpx.Response) -> Fetched:
            if word := refusal(answer.headers.get_list("x-robots-tag")):
                raise FetchFailure(reasons.NO_AI, f"the server says X-Robots-Tag: {word}")
            if answer.status_code != httpx.codes.OK:
                raise _of_status(answer)
            kind = check_type(answer)
            size_bytes = await read_body(answer, file, self._limits.most_bytes)
            if not size_bytes:
                raise FetchFailure(reasons.EMPTY, "the server sends no byte")
            return Fetched(progress.final_url, kind, size_bytes)

        return await self._follow(url, progress, read, self._robots.check)

    async def _text(self, url: httpx.URL) -> tuple[int, str]:
        """Return status and text of a robots.txt. Raises `FetchFailure`."""

        async def read(answer: httpx.Response) -> tuple[int, str]:
            status = answer.status_code
            if reasons.of_status(status) in reasons.TRANSIENT:
                raise _of_status(answer)
            return status, await _beginning(answer) if status == httpx.codes.OK else ""

        progress = Progress(self._limits.deadline_s)
        async for attempt in self._attempts():
            with attempt:
                return await self._follow(url, progress, read, _no_rules)
        raise AssertionError

    async def _follow(
        self,
        url: httpx.URL,
        progress: Progress,
        read: Callable[[httpx.Response], Awaitable[T]],
        check: Callable[[httpx.URL], Awaitable[None]],
    ) -> T:
        """Follow redirects, each host asked in its turn, and return what `read` makes of the answer that is none."""
        for _ in range(self._limits.redirects + 1):
            progress.final_url = str(url)
            await check(url)
            async with self._turns.turn(url.host), progress.clock(), self._answer(url) as answer:
                if answer.status_code not in _REDIRECTS or "location" not in answer.headers:
                    return await read(answer)
                url = _redirected(url, answer.headers["location"])
        raise FetchFailure(reasons.TOO_MANY_REDIRECTS, f"more than {self._limits.redirects} redirects")

    @contextlib.asynccontextmanager
    async def _answer(self, url: httpx.URL) -> AsyncIterator[httpx.Response]:
        """Send a request and yield its answer, closed at the end; errors of the network become reasons."""
        try:
            request = self._client.build_request("GET", url)
            answer = await self._client.send(request, stream=True)
            try:
                yield answer
            finally:
                await answer.aclose()
        except (FetchFailure, asyncio.CancelledError):
            raise
        except Exception as error:
            failure = _failure(error)
            if failure is None:
                raise
            raise failure from error

    def _attempts(self) -> AsyncRetrying:
        pause = wait_random_exponential(multiplier=self._limits.pause_s, max=_MOST_WAIT_S)

        def wait_s(state: RetryCallState) -> float:
            failure = None if state.outcome is None else state.outcome.exception()
            asked_s = failure.wait_s if isinstance(failure, FetchFailure) else 0.0
            return max(asked_s, pause(state))

        return AsyncRetrying(
            stop=stop_after_attempt(self._limits.attempts),
            wait=wait_s,
            retry=retry_if_exception(_may_pass),
            reraise=True,
        )


def parse_url(url: str) -> httpx.URL:
    """Return a URL as httpx reads it. Raises `FetchFailure` unless it is one of a web server."""
    if len(url) > MOST_URL_CHARACTERS:
        raise FetchFailure(
            reasons.BAD_URL, f"the URL has {len(url)} characters, at most {MOST_URL_CHARACTERS} are read"
        )
    try:
        parsed = httpx.URL(url)
        host = parsed.host
        str(parsed).encode("ascii")
    except (httpx.InvalidURL, UnicodeError, ValueError) as error:
        raise FetchFailure(reasons.BAD_URL, f"no URL ({error})") from error
    if parsed.scheme not in ("http", "https"):
        raise FetchFailure(reasons.BAD_URL, f"the URL begins with {parsed.scheme[:40]!r}; http or https is wanted")
    if not host:
        raise FetchFailure(reasons.BAD_URL, "the URL names no host")
    if parsed.userinfo:
        raise FetchFailure(reasons.BAD_URL, "the URL holds a user's name, which is not sent to anybody")
    return parsed.copy_with(fragment=None)


def _redirected(url: httpx.URL, location: str) -> httpx.URL:
    try:
        return parse_url(str(url.join(location)))
    except (httpx.InvalidURL, UnicodeError, ValueError) as error:
        raise FetchFailure(reasons.BAD_URL, f"redirected to no URL ({error})") from error
    except FetchFailure as failure:
        raise FetchFailure(failure.reason, f"redirected: {failure}") from failure


async def _no_rules(url: httpx.URL) -> None:
    """A robots.txt itself may always be asked for."""


async def _beginning(answer: httpx.Response) -> str:
    """Return the beginning of a text, as far as a robots.txt is read."""
    buffer = io.BytesIO()
    with contextlib.suppress(FetchFailure):
        await read_body(answer, buffer, MOST_BYTES)
    return buffer.getvalue()[:MOST_BYTES].decode("utf-8-sig", "replace")


def _of_status(answer: httpx.Response) -> FetchFailure:
    wait_s = _retry_after_s(answer.headers.get("retry-after", ""))
    reason = reasons.of_status(answer.status_code)
    return FetchFailure(reason, f"the server answers {answer.status_code}", wait_s, is_final=wait_s > _MOST_WAIT_S)


def _retry_after_s(text: str) -> float:
    """Return the seconds that a Retry-After asks for, as a number or as a date; 0 for what is neither."""
    if text.strip().isdecimal():
        return float(text.strip()[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, FetchFailure) and error.reason in reasons.WORTH_A_RETRY and not error.is_final


_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (AddressRefused, reasons.ADDRESS_REFUSED),
    (NameUnknown, reasons.NAME_UNKNOWN),
    (NameServerFailed, reasons.NAME_SERVER_FAILED),
    (httpcore.ConnectTimeout, reasons.CONNECT_TIMEOUT),
    (httpcore.TimeoutException, reasons.READ_TIMEOUT),
    (httpcore.ConnectError, reasons.CONNECT_FAILED),
    (httpcore.NetworkError, reasons.READ_FAILED),
    (httpcore.ProtocolError, reasons.READ_FAILED),
    (httpx.StreamError, reasons.READ_FAILED),
    (httpx.DecodingError, reasons.WRONG_ENCODING),
    (httpx.InvalidURL, reasons.BAD_URL),
)


def _failure(error: Exception) -> FetchFailure | None:
    """Return an error of the network, of a name server or of the guard as a failure of the URL; None for others."""
    text = str(error) or type(error).__name__
    cause: BaseException | None = error if isinstance(error, httpcore.ConnectError) else None
    while cause is not None:
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError | ssl.SSLSyscallError):
            return FetchFailure(reasons.TLS_FAILED, f"no secure connection ({cause.reason or cause})")
        cause = cause.__cause__ or cause.__context__
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return FetchFailure(reason, text)
    return None
