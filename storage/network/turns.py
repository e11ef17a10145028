"""Whose turn it is: so many requests at once in all, few to one host with a gap between, and no end of patience.

`fetch` takes a turn for every request, also for each hop of a redirect, whose host has turns of its own. A request that
takes long gives its place to another while it goes on, so that any number of dead and slow hosts leaves room for the
living; only so many do that at once.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from storage.network.reasons import HOST_GIVEN_UP, TROUBLE, FetchFailure


@dataclass
class Host:
    """What is known of one host: its free places, when it may be asked next, how it has done, who waits for it."""

    places: asyncio.Semaphore
    gap_s: float
    next_at: float = 0.0
    failures: int = 0
    users: int = 0


class Turns:
    """The turns of one crawl: `at_once` in all, `per_host` to a host, `gap_s` between two beginnings at one host.

    A request that takes longer than `slow_s` is not counted among them any more, as long as there are not more than
    `most_slow` such. After `patience` failures in a row that are a host's own, it is given up.
    """

    def __init__(
        self, *, at_once: int, per_host: int, gap_s: float, patience: int, slow_s: float, most_slow: int
    ) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._per_host = per_host
        self._gap_s = gap_s
        self._patience = patience
        self._slow_s = slow_s
        self._slow_places = most_slow
        self._hosts: dict[str, Host] = {}

    def host(self, name: str) -> Host:
        """Return what is known of a host."""
        if name not in self._hosts:
            self._hosts[name] = Host(asyncio.Semaphore(self._per_host), self._gap_s)
        return self._hosts[name]

    def slow_down(self, name: str, gap_s: float) -> None:
        """Leave at least `gap_s` between two requests to a host, as its robots.txt asks."""
        self.host(name).gap_s = max(self.host(name).gap_s, gap_s)

    def forget(self, name: str) -> None:
        """Drop what is known of a host, unless redirects of others wait for a turn there."""
        if name in self._hosts and not self._hosts[name].users:
            del self._hosts[name]

    @contextlib.asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """Wait for a turn at a host and hold it for the block. Raises `FetchFailure` for a host that was given up."""
        host = self.host(name)
        self._check(name, host)
        host.users += 1
        try:
            async with host.places:
                self._check(name, host)
                await self._gap(host)
                async with self._place():
                    yield
                self._note(host, "")
        except FetchFailure as failure:
            self._note(host, failure.reason)
            raise
        finally:
            host.users -= 1

    def _check(self, name: str, host: Host) -> None:
        if host.failures >= self._patience:
            raise FetchFailure(HOST_GIVEN_UP, f"{name} failed {host.failures} times in a row and is not asked again")

    @staticmethod
    async def _gap(host: Host) -> None:
        now = asyncio.get_running_loop().time()
        start = max(now, host.next_at)
        host.next_at = start + host.gap_s
        await asyncio.sleep(start - now)

    @contextlib.asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """Hold one of the places for the block, or as long as it is not slow."""
        is_slow = False

        def make_room() -> None:
            nonlocal is_slow
            if self._slow_places > 0:
                is_slow = True
                self._slow_places -= 1
                self._places.release()

        await self._places.acquire()
        timer = asyncio.get_running_loop().call_later(self._slow_s, make_room)
        try:
            yield
        finally:
            timer.cancel()
            if is_slow:
                self._slow_places += 1
            else:
                self._places.release()

    @staticmethod
    def _note(host: Host, reason: str) -> None:
        if reason != HOST_GIVEN_UP:
            host.failures = host.failures + 1 if reason in TROUBLE else 0
