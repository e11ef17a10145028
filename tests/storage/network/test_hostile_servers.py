"""Servers that send too much, too slowly, or something else: each costs its own URL, and the good ones go on."""

import asyncio
import gzip
import itertools
import time
import tracemalloc
import zlib
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest

from storage.blobs import BlobStore
from storage.errors import StorageError
from storage.network.addresses import Guard, networks
from storage.network.crawl import Network, Visit, crawl
from tests.storage.network.world import PUBLIC, QUICK, Answer, World, crawled, said

MIB = 2**20
MOST_BYTES = MIB // 8


def endless(chunk: bytes, head: bytes, pause_s: float = 0.0) -> Answer:
    async def page(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(chunk)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return page


async def silent(path: str, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


async def hung_up(path: str, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


def bomb(members: int = 1) -> bytes:
    packed = zlib.compressobj(9, wbits=31)
    one = b"".join([*(packed.compress(bytes(MIB)) for _ in range(32)), packed.flush()])
    return one * members


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"

BAD: dict[str, tuple[Answer | bytes, str]] = {
    "endless": (endless(bytes(65536), HEAD + b"\r\n"), "too_many_bytes"),
    "endless-chunks": (endless(b"8000\r\n" + bytes(0x8000) + b"\r\n", CHUNKED), "too_many_bytes"),
    "announced": (HEAD + b"content-length: 999999999999\r\n\r\n", "too_many_bytes"),
    "bomb": (said(bomb(), content_encoding="gzip"), "too_many_bytes"),
    "bomb-of-bombs": (said(gzip.compress(bomb()), content_encoding="gzip, gzip"), "wrong_encoding"),
    "brotli": (said(b"x" * 100, content_encoding="br"), "wrong_encoding"),
    "no-gzip": (said(b"\x1f\x8bxxxxxxxxxxxxxxxxxxx", content_encoding="gzip"), "wrong_encoding"),
    "cut-gzip": (said(gzip.compress(b"picture" * 99)[:-20], content_encoding="gzip"), "read_failed"),
    "one-byte": (endless(b"x", HEAD + b"content-length: 1000\r\n\r\n", 0.1), "deadline"),
    "slow-head": (endless(b"x", b"HTTP/1.1 200 OK\r\nx-", 0.1), "deadline"),
    "endless-head": (endless(b"x-y: z\r\n" * 999, b"HTTP/1.1 200 OK\r\n"), "read_failed"),
    "silent": (silent, "deadline"),
    "hung-up": (hung_up, "read_failed"),
    "cut": (HEAD + b"content-length: 100\r\n\r\nonly this", "read_failed"),
    "no-http": (b"SSH-2.0-OpenSSH_9.2\r\n", "read_failed"),
    "html": (said(b"<html>", content_type="text/html; charset=utf-8"), "wrong_content_type"),
    "json": (said(b"{}", content_type="application/json"), "wrong_content_type"),
    "empty": (said(b""), "empty"),
    "gone": (said(b"", "410 Gone"), "http_410"),
    "secret": (said(b"", "403 Forbidden"), "http_403"),
    "partial": (said(b"x", "206 Partial Content"), "http_206"),
    "busy": (said(b"", "503 Busy"), "http_503"),
    "later": (said(b"", "429 Later", retry_after="3600"), "http_429"),
    "circle": (said(b"", "302 Found", location="/circle"), "too_many_redirects"),
    "nowhere": (said(b"", "301 Moved", location="mailto:someone@example.org"), "bad_url"),
    "noai": (said(b"picture", x_robots_tag="noindex, noai"), "noai"),
    "noimageai": (said(b"picture", x_robots_tag="clc-codec: noimageai"), "noai"),
}

SLOW = {name for name, (_, reason) in BAD.items() if reason == "deadline"}
TRIED_AGAIN = {"read_failed", "http_503"}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Visit]:
    """Every bad page on a host of its own, beside a good host; what became of each."""
    folder = tmp_path_factory.mktemp("crawl")
    tracemalloc.start()
    found = _pages(BAD.keys() - SLOW, folder, 30.0) | _pages(SLOW, folder, 0.5)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 24 * MIB, f"{peak_bytes / MIB:.0f} MiB"
    return found


def _pages(names: Collection[str], folder: Path, deadline_s: float) -> dict[str, Visit]:
    world = World()
    good = world.host("good.example", any=said(b"good picture"))
    urls = [f"http://{good}/{number}.png" for number in range(20)]
    for name in sorted(names):
        host = world.host(f"{name}.example")
        world.page(host, f"/{name}", BAD[name][0])
        urls.insert(0, f"http://{host}/{name}")
    limits = replace(QUICK, most_bytes=MOST_BYTES, deadline_s=deadline_s)
    found = crawled(world, urls, folder, limits)
    return {url: one for url, one in found.items() if deadline_s > 1.0 or "good" not in url}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_server_costs_its_own_url_with_the_right_reason(ended: dict[str, Visit], name: str) -> None:
    one = ended[f"http://{name}.example/{name}"]
    assert one.reason == BAD[name][1], one.detail
    assert one.detail
    assert not one.stored
    assert one.attempts == (3 if one.reason in TRIED_AGAIN else 1)


def test_the_good_host_beside_them_gives_all_its_pictures(ended: dict[str, Visit]) -> None:
    good = [one for url, one in ended.items() if "good.example" in url]
    assert len(good) == 20
    assert {(one.reason, one.size_bytes, one.host) for one in good} == {("", 12, "good.example")}


def test_what_comes_is_stored_as_it_came(tmp_path: Path) -> None:
    world = World()
    host = world.host("good.example", **{"plain": said(b"picture"), "large": said(bytes(range(256)) * 4096)})
    world.page(host, "/packed", said(gzip.compress(b"packed picture"), content_encoding="gzip"))
    world.page(host, "/bare", said(zlib.compress(b"bare")[2:-4], content_encoding="deflate"))
    world.page(host, "/binary", said(b"binary", content_type="application/octet-stream"))
    world.page(host, "/untyped", said(b"untyped", content_type=""))
    world.page(host, "/moved", said(b"", "301 Moved", location="/plain"))
    wanted = {
        "plain": b"picture",
        "large": bytes(range(256)) * 4096,
        "packed": b"packed picture",
        "bare": b"bare",
        "binary": b"binary",
        "untyped": b"untyped",
        "moved": b"picture",
    }
    ended = crawled(world, [f"http://{host}/{name}" for name in wanted], tmp_path)
    blobs = BlobStore(tmp_path / "blobs")
    for name, data in wanted.items():
        one = ended[f"http://{host}/{name}"]
        assert one.reason == "", one.detail
        assert blobs.get(one.stored) == data
        assert one.size_bytes == len(data)
    assert ended[f"http://{host}/moved"].final_url == f"http://{host}/plain"
    assert [path.name for path in tmp_path.iterdir()] == ["blobs"], "no temporary file is left"


def test_a_reason_that_passes_costs_a_second_attempt_and_no_more(tmp_path: Path) -> None:
    world = World()
    answers = iter([said(b"", "503 Busy"), said(b"", "429 Later", retry_after="0")])

    async def page(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(next(answers, said(b"picture")))

    host = world.host("busy.example", any=page)
    one = crawled(world, [f"http://{host}/a.png"], tmp_path)[f"http://{host}/a.png"]
    assert (one.reason, one.attempts) == ("", 3)


def test_bad_hosts_do_not_hold_up_the_good_ones(tmp_path: Path) -> None:
    """More hosts than places, in front of the list, of which none ends before the good ones were asked for all."""
    world, asked, enough = World(), [], asyncio.Event()

    async def stalled(path: str, writer: asyncio.StreamWriter) -> None:
        await enough.wait()
        writer.transport.abort()

    async def one_byte(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"content-length: 1000\r\n\r\n")
        while not enough.is_set():
            writer.write(b"x")
            await asyncio.sleep(0.1)
        writer.transport.abort()

    async def page(path: str, writer: asyncio.StreamWriter) -> None:
        asked.append(path)
        writer.write(said(b"picture"))
        if len(asked) == len(wanted):
            enough.set()

    bad = [world.host(f"bad{number}.example", any=[stalled, one_byte][number % 2]) for number in range(90)]
    for host in bad[::3]:
        world.page(host, "/robots.txt", stalled)
    good = [world.host(f"good{number}.example", any=page) for number in range(5)]
    wanted = [f"http://{host}/{number}.png" for host in good for number in range(20)]
    ended = crawled(world, [f"http://{host}/a.png" for host in bad] + wanted, tmp_path)
    assert not any(ended[url].reason for url in wanted)
    assert {ended[f"http://{host}/a.png"].reason for host in bad} == {"read_failed"}, "good hosts waited for bad ones"


def test_a_dead_host_is_given_up_after_some_failures(tmp_path: Path) -> None:
    world = World()
    host = world.host("dead.example", any=hung_up)
    urls = [f"http://{host}/{number}.png" for number in range(50)]
    ended = crawled(world, urls, tmp_path)
    assert {one.reason for one in ended.values()} == {"read_failed", "host_given_up"}
    pictures = [path for _, path in world.requests if path != "/robots.txt"]
    assert len(pictures) <= QUICK.patience + QUICK.per_host


def test_a_name_that_has_no_address_is_told(tmp_path: Path) -> None:
    world = World(names={"odd.example": []})
    one = crawled(world, ["http://odd.example/a.png"], tmp_path)["http://odd.example/a.png"]
    assert (one.reason, one.detail) == ("name_unknown", "odd.example has no address (asked for its robots.txt)")


def test_nobody_listens(tmp_path: Path) -> None:
    world = World(names={"closed.example": ["127.0.0.1"]})
    url = "http://closed.example:9/a.png"
    one = crawled(world, [url], tmp_path, guard=Guard(networks("127.0.0.0/8")))[url]
    assert one.reason == "connect_failed"


def test_a_full_disk_ends_the_crawl_and_is_no_fault_of_a_url(tmp_path: Path) -> None:
    world = World()
    host = world.host("good.example", any=said(b"picture"))

    async def whole() -> None:
        async with world.running():

            def full(_: object) -> str:
                raise StorageError("the disk is full")

            means = Network(agent="test", resolve=world.resolve, connections=world)
            urls = [f"http://{host}/{number}" for number in range(9)]
            await crawl(urls, full, lambda _: None, network=means, limits=QUICK, folder=tmp_path)

    with pytest.raises(StorageError, match="full"):
        asyncio.run(whole())


def test_turns_are_kept(tmp_path: Path) -> None:
    async def slow(path: str, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.02)
        writer.write(said(b"picture"))
        await writer.drain()

    world = World()
    hosts = [world.host(f"slow{number}.example", any=slow) for number in range(8)]
    urls = [f"http://{host}/{number}" for host in hosts for number in range(6)]
    ended = crawled(world, urls, tmp_path, replace(QUICK, at_once=5, slow_s=1000.0))
    assert not any(one.reason for one in ended.values())
    assert max(world.most_open.values()) == 2
    assert world.most_open_in_all == 5


def test_requests_to_a_host_have_a_gap_between(tmp_path: Path) -> None:
    world, moments = World(), []

    async def page(path: str, writer: asyncio.StreamWriter) -> None:
        moments.append(time.monotonic())
        writer.write(said(b"picture"))

    host = world.host("good.example", any=page)
    crawled(world, [f"http://{host}/{number}" for number in range(6)], tmp_path, replace(QUICK, gap_s=0.05))
    gaps_s = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert min(gaps_s) > 0.03


def test_we_say_who_we_are_and_carry_nothing(tmp_path: Path) -> None:
    world = World()
    host = world.host("good.example", any=said(b"picture", set_cookie="id=1"))
    crawled(world, [f"http://{host}/{number}" for number in range(3)], tmp_path)
    agent = "user-agent: clc-codec/1.0 (fetches pictures for training; +https://example.org)"
    assert all(agent in head.lower() for head in world.heads)
    assert not any("cookie" in head.lower() or "authorization" in head.lower() for head in world.heads)
    assert PUBLIC.format(1) in world.dialled
