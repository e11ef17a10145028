"""What hosts allow is asked first, and honoured."""

import asyncio
import time
from pathlib import Path

import pytest

from storage.network.robots import refusal
from tests.storage.network.world import World, crawled, said

RULES = """
User-agent: *
Disallow: /private
User-agent: other-robot
Disallow: /
User-agent: clc-codec
Disallow: /no-training/
Allow: /no-training/but-this
"""


def text(rules: str, **headers: str) -> bytes:
    return said(rules.encode(), content_type="text/plain", **headers)


def reasons(world: World, urls: list[str], folder: Path) -> list[str]:
    ended = crawled(world, urls, folder)
    return [ended[url].reason for url in urls]


def test_rules_for_us_are_kept_and_those_for_others_are_not_ours(tmp_path: Path) -> None:
    world = World()
    host = world.host("good.example", any=said(b"picture"))
    world.page(host, "/robots.txt", text(RULES))
    paths = ["no-training/a.png", "no-training/but-this.png", "private/a.png", "a.png"]
    found = reasons(world, [f"http://{host}/{path}" for path in paths], tmp_path)
    assert found == ["robots_disallowed", "", "", ""]
    assert [path for _, path in world.requests].count("/robots.txt") == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (said(b"", "404 Not Found"), ""),
        (said(b"", "403 Forbidden"), ""),
        (said(b"", "500 Broken"), "robots_unreachable"),
        (said(b"", "429 Later"), "robots_unreachable"),
        (said(b"", "302 Found", location="/robots.txt"), "robots_unreachable"),
        (said(b"", "302 Found", location="http://127.0.0.1/robots.txt"), "address_refused"),
        (text(""), ""),
        (text("User-agent: *\nDisallow:"), ""),
        (text("\ufeffUser-agent: *\nDisallow: /"), "robots_disallowed"),
        (text("User-agent: CLC-Codec/9\nDisallow: /"), "robots_disallowed"),
        (text("User-agent: *\nCrawl-delay: 86400"), "robots_disallowed"),
        (text("User-agent: *\nDisallow: /*.png$"), "robots_disallowed"),
        (said(b"\xff\xfe\x00binary", content_type="image/png"), ""),
    ],
)
def test_an_answer_for_robots_txt(tmp_path: Path, answer: bytes, reason: str) -> None:
    world = World()
    host = world.host("good.example", any=said(b"picture"))
    world.page(host, "/robots.txt", answer)
    assert reasons(world, [f"http://{host}/a.png"], tmp_path) == [reason]
    pictures = [path for _, path in world.requests if path != "/robots.txt"]
    assert len(pictures) == (0 if reason else 1)


def test_a_redirect_asks_the_other_host_too(tmp_path: Path) -> None:
    world = World()
    strict = world.host("strict.example", any=said(b"picture"))
    world.page(strict, "/robots.txt", text("User-agent: *\nDisallow: /"))
    host = world.host("good.example", any=said(b"", "302 Found", location=f"http://{strict}/a.png"))
    assert reasons(world, [f"http://{host}/a.png"], tmp_path) == ["robots_disallowed"]
    assert (strict, "/a.png") not in world.requests


def test_a_crawl_delay_is_waited(tmp_path: Path) -> None:
    world, moments = World(), []

    async def page(path: str, writer: asyncio.StreamWriter) -> None:
        moments.append(time.monotonic())
        writer.write(said(b"picture"))

    host = world.host("good.example", any=page)
    world.page(host, "/robots.txt", text("User-agent: *\nCrawl-delay: 0.2"))
    assert reasons(world, [f"http://{host}/{number}.png" for number in range(3)], tmp_path) == [""] * 3
    assert moments[2] - moments[0] > 0.35


@pytest.mark.parametrize(
    "hostile",
    [
        "".join(f"User-agent: robot{number}\n" for number in range(12_000)) + "Disallow: /x\n" * 12_000,
        "".join(f"User-agent: robot{number}\u2028" for number in range(12_000)) + "Disallow: /x\n" * 12_000,
        "User-agent: *\n" + "Disallow: /" + "*a" * 200_000 + "\n",
        "User-agent: *\n" + "".join(f"Disallow: /*{number}*a$\n" for number in range(15_000)),
        "Disallow: /" * 100_000,
        "\n" * 600_000,
    ],
    ids=["agents", "agents-in-a-line", "stars", "patterns", "no-agent", "lines"],
)
def test_a_hostile_robots_txt_costs_no_time(tmp_path: Path, hostile: str) -> None:
    world = World()
    host = world.host("odd.example", any=said(b"picture"))
    world.page(host, "/robots.txt", text(hostile))
    start = time.process_time()
    reasons(world, [f"http://{host}/{'a' * 2000}.png"], tmp_path)
    assert time.process_time() - start < 4.0


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        (["noai"], "noai"),
        (["NoAI, noimageai"], "noai"),
        (["noindex", "noimageai"], "noimageai"),
        (["noindex, nofollow"], None),
        (["googlebot: noai"], None),
        (["googlebot: noindex, noai"], None),
        (["clc-codec: noai"], "noai"),
        (["*: noai"], "noai"),
        (["max-image-preview: large, noai"], "noai"),
        (["unavailable_after: 25 Jun 2010 15:00:00 PST"], None),
        ([], None),
    ],
)
def test_x_robots_tag(tags: list[str], found: str | None) -> None:
    assert refusal(tags) == found
