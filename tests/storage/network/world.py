"""A small internet on loopback: names, addresses and servers that behave as badly as a test wants.

The guard and the transport are the real ones. Only the last step is bent: a connection to one of the public addresses
that a test uses goes to a server of the test; one to any other address is made for real if it is loopback, where the
trap listens, and is an error of the test otherwise.
"""

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import httpcore

from storage.blobs import BlobStore
from storage.network.crawl import Network, Visit, crawl, user_agent
from storage.network.fetch import CrawlLimits
from storage.network.transport import SystemResolver

PUBLIC = "93.184.216.{}"
Answer = Callable[[str, asyncio.StreamWriter], Awaitable[None]]

QUICK = CrawlLimits(gap_s=0.0, deadline_s=30.0, connect_s=10.0, pause_s=0.01, most_bytes=2**20, slow_s=0.1)
"""The manners of a crawl whose servers are the test's own."""


def said(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    """Return an answer of HTTP/1.1; underscores in the names of headers stand for hyphens."""
    lines = {"content_type": "image/png", "content_length": str(len(body)), "connection": "close", **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items() if value)
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


def fixed(answer: bytes) -> Answer:
    """Return a page that always says the same."""

    async def page(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    return page


@dataclass
class World(httpcore.AsyncNetworkBackend):
    """Names, pages by host and path, and what was asked for.

    `names` leads from a host to its addresses, or to a function that gives others each time. A page of the path "*"
    answers for all paths of its host. `requests` are host and path in order, `dialled` the addresses of connections.
    """

    names: dict[str, list[str] | Callable[[], list[str]]] = field(default_factory=dict)
    pages: dict[tuple[str, str], Answer] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    dialled: list[str] = field(default_factory=list)
    trapped: list[str] = field(default_factory=list)
    open_now: dict[str, int] = field(default_factory=dict)
    most_open: dict[str, int] = field(default_factory=dict)
    most_open_in_all: int = 0
    port: int = 0
    trap_port: int = 0

    def host(self, name: str, **pages: Answer | bytes) -> str:
        """Add a host with an address of its own; "any" is a page for all paths. Return its name."""
        self.names[name] = [PUBLIC.format(len(self.names) % 200 + 1)]
        for path, page in pages.items():
            self.page(name, "*" if path == "any" else f"/{path}", page)
        return name

    def page(self, host: str, path: str, page: Answer | bytes) -> None:
        """Add a page to a host."""
        self.pages[host, path] = fixed(page) if isinstance(page, bytes) else page

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Have the servers up."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        trap = await asyncio.start_server(self._trap, "127.0.0.1", 0)
        self.port, self.trap_port = (one.sockets[0].getsockname()[1] for one in (server, trap))
        try:
            yield
        finally:
            server.close()
            trap.close()

    async def resolve(self, host: str, port: int) -> list[str]:
        """Answer for names; what no test named is left to the system, which knows spellings of numbers."""
        known = self.names.get(host)
        if known is None:
            system = SystemResolver()
            try:
                return await system(host, port)
            finally:
                system.close()
        return known() if callable(known) else known

    async def connect_tcp(self, host: str, port: int, *rest: Any, **more: Any) -> httpcore.AsyncNetworkStream:
        """Connect to what was dialled, or to the server that stands for it."""
        self.dialled.append(host)
        inner = httpcore.AnyIOBackend()
        if host.startswith(PUBLIC.format("")):
            return await inner.connect_tcp("127.0.0.1", self.port, *rest, **more)
        assert ipaddress.ip_address(host).is_loopback, f"a connection to {host}"
        return await inner.connect_tcp(host, port, *rest, **more)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host = ""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            path = head.split(" ")[1]
            host = next(line for line in head.splitlines() if line.lower().startswith("host:"))[5:].strip()
            self.heads.append(head)
            self.requests.append((host, path))
            self.open_now[host] = self.open_now.get(host, 0) + 1
            self.most_open[host] = max(self.most_open.get(host, 0), self.open_now[host])
            self.most_open_in_all = max(self.most_open_in_all, sum(self.open_now.values()))
            nothing = fixed(said(b"", "404 Not Found"))
            page = self.pages.get((host, path)) or (
                nothing if path == "/robots.txt" else self.pages.get((host, "*"), nothing)
            )
            await page(path, writer)
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError, asyncio.CancelledError):
            pass
        finally:
            if host:
                self.open_now[host] -= 1
            writer.close()

    async def _trap(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.trapped.append("connected")
        writer.close()


async def visit(
    world: World, urls: list[str], folder: Path, limits: CrawlLimits = QUICK, **network: Any
) -> dict[str, Visit]:
    """Crawl URLs of the world, whose servers are up, and return how each ended."""
    ended: dict[str, Visit] = {}

    def tell(one: Visit) -> None:
        assert one.url not in ended, "told twice"
        ended[one.url] = one

    means = Network(
        agent=user_agent("1.0", "+https://example.org"), resolve=world.resolve, connections=world, **network
    )
    store: Callable[[BinaryIO], str] = BlobStore(folder / "blobs").put_file
    await crawl(urls, store, tell, network=means, limits=limits, folder=folder)
    assert set(ended) == set(urls), "every URL is told"
    return ended


def crawled(
    world: World, urls: list[str], folder: Path, limits: CrawlLimits = QUICK, **network: Any
) -> dict[str, Visit]:
    """Have the servers up, crawl URLs of the world and return how each ended."""

    async def whole() -> dict[str, Visit]:
        async with world.running():
            return await visit(world, urls, folder, limits, **network)

    return asyncio.run(whole())
