"""What hosts allow: robots.txt as RFC 9309 has it, and `X-Robots-Tag: noai` on an answer.

A robots.txt that is not there allows everything, one that cannot be asked for allows nothing. It is read once a crawl
for every scheme, host and port, as far as `MOST_BYTES`.
"""

import asyncio
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable

import httpx
from protego import Protego

from storage.network.reasons import HOSTS_OWN, ROBOTS_DISALLOWED, ROBOTS_UNREACHABLE, FetchFailure

TOKEN = "clc-codec"  # noqa: S105 - the name by which a robots.txt speaks to us
MOST_BYTES = 500 * 2**10
"""How much of a robots.txt is read: what the standard asks for."""

MOST_DELAY_S = 30.0
"""Longest `Crawl-delay` that is waited; a host that asks for more is not crawled."""

_REFUSALS = frozenset({"noai", "noimageai"})
_WITH_VALUES = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})
_KEPT = 512  # robots.txt that are remembered at once
_USER_AGENT = re.compile(r"(?im)^([ \t]*user[- ]?agent[ \t]*:?)[ \t]*([^\r\n#]*)")
_ALLOWED = ""
_UNAVAILABLE = range(400, 500)

Fetch = Callable[[httpx.URL], Awaitable[tuple[int, str]]]
"""Returns the status and the text at a URL. Raises `FetchFailure`."""


class Robots:
    """The robots.txt of all hosts of one crawl, each fetched when its host is met first."""

    def __init__(self, fetch: Fetch, slow_down: Callable[[str, float], None]) -> None:
        self._fetch = fetch
        self._slow_down = slow_down
        self._rules: OrderedDict[str, asyncio.Future[Protego]] = OrderedDict()

    async def check(self, url: httpx.URL) -> None:
        """Raise `FetchFailure` unless the host's robots.txt lets us have the URL."""
        rules = await self._of(url)
        if not rules.can_fetch(str(url), TOKEN):
            raise FetchFailure(ROBOTS_DISALLOWED, f"the robots.txt of {url.host} disallows it")
        delay_s = rules.crawl_delay(TOKEN) or 0.0
        if delay_s > MOST_DELAY_S:
            raise FetchFailure(ROBOTS_DISALLOWED, f"the robots.txt of {url.host} wants {delay_s:g} s between requests")
        if delay_s:
            self._slow_down(url.host, delay_s)

    async def _of(self, url: httpx.URL) -> Protego:
        place = url.copy_with(raw_path=b"/robots.txt", fragment=None)
        origin = str(place)
        if origin not in self._rules:
            # Whoever comes while it is fetched waits for the same answer.
            self._rules[origin] = asyncio.ensure_future(self._read(place))
            while len(self._rules) > _KEPT:
                self._rules.popitem(last=False)
        self._rules.move_to_end(origin)
        return await asyncio.shield(self._rules[origin])

    async def _read(self, place: httpx.URL) -> Protego:
        try:
            status, text = await self._fetch(place)
        except FetchFailure as failure:
            # A host that cannot be reached is told as that; it was tried as often as a picture would be.
            reason = failure.reason if failure.reason in HOSTS_OWN else ROBOTS_UNREACHABLE
            raise FetchFailure(reason, f"{failure} (asked for its robots.txt)", is_final=True) from failure
        if status in _UNAVAILABLE and status != httpx.codes.TOO_MANY_REQUESTS:
            return Protego.parse(_ALLOWED)
        if status != httpx.codes.OK:
            raise FetchFailure(ROBOTS_UNREACHABLE, f"the robots.txt of {place.host} has status {status}", is_final=True)
        # A long one takes a second to parse, in which others are not to wait.
        return await asyncio.to_thread(_parsed, text)


def refusal(tags: Iterable[str]) -> str | None:
    """Return the directive among the values of `X-Robots-Tag` by which a server keeps a picture from us, if any.

    What stands behind the name of another robot and a colon is for that one.
    """
    for tag in tags:
        is_for_us = True
        for part in tag.lower().split(","):
            name, colon, rest = part.partition(":")
            if colon and name.strip() not in _WITH_VALUES:
                is_for_us = name.strip() in (TOKEN, "*")
            word = (rest if colon else part).strip()
            if is_for_us and word in _REFUSALS:
                return word
    return None


def _parsed(text: str) -> Protego:
    return Protego.parse(_ours(text))


def _ours(text: str) -> str:
    """Return a robots.txt in which all robots that are not we have one name.

    A hostile one names ten thousand of them before ten thousand rules, and a parser would keep every pair.
    """
    lines = "\n".join(text.splitlines())
    return _USER_AGENT.sub(lambda line: f"{line[1]} {_agent(line[2])}", lines)


def _agent(name: str) -> str:
    word = name.strip().lower().partition("/")[0]
    return word if word == "*" or (word and TOKEN.startswith(word)) else "another"
