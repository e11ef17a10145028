"""Nothing but the public internet is reached, however an address is written and whoever says it."""

import asyncio
from pathlib import Path

import pytest

from storage.errors import StorageError
from storage.network.addresses import AddressRefused, Guard, networks
from tests.storage.network.world import PUBLIC, World, crawled, said, visit

LOCAL = [
    "http://127.0.0.1:{}/a.png",
    "http://localhost:{}/a.png",
    "http://LOCALHOST.:{}/a.png",
    "http://127.1:{}/a.png",
    "http://127.255.255.254:{}/a.png",
    "http://2130706433:{}/a.png",
    "http://0x7f000001:{}/a.png",
    "http://0x7f.0.0.1:{}/a.png",
    "http://017700000001:{}/a.png",
    "http://0177.0.0.1:{}/a.png",
    "http://[::1]:{}/a.png",
    "http://[0:0:0:0:0:0:0:1]:{}/a.png",
    "http://[::ffff:127.0.0.1]:{}/a.png",
    "http://[::ffff:7f00:1]:{}/a.png",
    "http://[::127.0.0.1]:{}/a.png",
    "http://[64:ff9b::7f00:1]:{}/a.png",
    "http://[2002:7f00:1::]:{}/a.png",
    "http://0.0.0.0:{}/a.png",
    "http://0:{}/a.png",
    "http://[::]:{}/a.png",
    "http://①②⑦.⓪.⓪.①:{}/a.png",
    "http://user@127.0.0.1:{}/a.png",
    "http://127.0.0.1:{}#@picture.example/a.png",
    "http://169.254.169.254/latest/meta-data/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://100.100.100.200/latest/meta-data/",
    "http://168.63.129.16/metadata",
    "http://10.0.0.1/a.png",
    "http://172.16.0.1/a.png",
    "http://192.168.1.1/a.png",
    "http://[fe80::1]/a.png",
    "http://[fec0::1]/a.png",
    "http://224.0.0.1/a.png",
    "http://255.255.255.255/a.png",
    "file:///etc/passwd",
    "file://localhost/etc/passwd",
    "gopher://127.0.0.1:{}/_GET",
    "ftp://127.0.0.1:{}/a.png",
    "//127.0.0.1:{}/a.png",
    "HTTP://127.0.0.1:{}/a.png",
    "inside.example",
]


def test_no_spelling_of_an_address_within_reaches_the_trap(tmp_path: Path) -> None:
    world = World()
    good = world.host("picture.example", any=said(b"picture"))

    async def whole() -> None:
        async with world.running():
            urls = [url.format(world.trap_port) for url in LOCAL]
            ended = await visit(world, [*urls, f"http://{good}/a.png"], tmp_path)
            reasons = {url: ended[url].reason for url in urls}
            assert set(reasons.values()) <= {"address_refused", "bad_url", "name_unknown"}, reasons
            assert not ended[f"http://{good}/a.png"].reason

    asyncio.run(whole())
    assert world.trapped == []
    assert set(world.dialled) == set(world.names[good])


def test_names_and_redirects_that_lead_within_reach_nothing(tmp_path: Path) -> None:
    world = World()
    good = world.host("picture.example", any=said(b"picture"))

    async def whole() -> None:
        async with world.running():
            trap = f"127.0.0.1:{world.trap_port}"
            world.names["inside.example"] = ["127.0.0.1"]
            world.names["both.example"] = [PUBLIC.format(9), "127.0.0.1"]
            world.names["zone.example"] = ["fe80::1%eth0"]
            world.names["odd.example"] = ["127.0.0.1 "]
            targets = {
                "plain": f"http://{trap}/a.png",
                "relative": f"//{trap}/a.png",
                "name": f"http://inside.example:{world.trap_port}/a.png",
                "file": "file:///etc/passwd",
                "gopher": f"gopher://{trap}/_",
                "metadata": "http://169.254.169.254/latest/meta-data/",
                "shell": f"http://{good}:22/a.png",
            }
            for path, target in targets.items():
                world.page(good, f"/{path}", said(b"", "302 Found", location=target))
            names = [f"http://{name}:{world.trap_port}/a.png" for name in world.names if name != good]
            redirected = [f"http://{good}/{path}" for path in targets]
            ended = await visit(world, [*names, *redirected], tmp_path)
            assert {ended[url].reason for url in names} == {"address_refused"}
            assert {ended[url].reason for url in redirected} == {"address_refused", "bad_url"}
            assert {url: ended[url].attempts for url in names} == dict.fromkeys(names, 1)

    asyncio.run(whole())
    assert world.trapped == []
    assert set(world.dialled) == set(world.names[good])


def test_a_name_that_leads_elsewhere_a_moment_later_is_refused_then(tmp_path: Path) -> None:
    world = World()
    answers = iter([[PUBLIC.format(7)], [PUBLIC.format(7)]])
    world.names["turning.example"] = lambda: next(answers, ["127.0.0.1"])
    world.page("turning.example", "*", said(b"picture"))  # closes each connection, so that the next asks again

    async def whole() -> list[str]:
        async with world.running():
            urls = [f"http://turning.example:{world.trap_port}/{number}.png" for number in range(4)]
            world.pages |= {
                (f"turning.example:{world.trap_port}", path): page for (_, path), page in list(world.pages.items())
            }
            ended = await visit(world, urls, tmp_path)
            return [ended[url].reason for url in urls]

    assert asyncio.run(whole()) == ["", *["address_refused"] * 3]
    assert world.trapped == []
    assert set(world.dialled) == {PUBLIC.format(7)}


def test_the_guard_of_these_tests_can_fail(tmp_path: Path) -> None:
    world = World()

    async def whole() -> None:
        async with world.running():
            everything = Guard(networks("127.0.0.0/8"))
            await visit(world, [f"http://127.0.0.1:{world.trap_port}/a.png"], tmp_path, guard=everything)

    asyncio.run(whole())
    assert world.trapped


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"]
)
def test_public_addresses_are_reached(address: str) -> None:
    Guard().check("picture.example", address, 443)


@pytest.mark.parametrize(
    "address", ["192.0.2.1", "198.18.0.1", "203.0.113.9", "2001:db8::1", "2001::1", "240.0.0.1", "", "x"]
)
def test_addresses_of_no_machine_are_refused(address: str) -> None:
    with pytest.raises(AddressRefused):
        Guard().check("picture.example", address, 443)


@pytest.mark.parametrize(("port", "is_free"), [(80, True), (443, True), (8080, True), (22, False), (25, False)])
def test_ports_of_other_services_are_refused(port: int, is_free: bool) -> None:
    if is_free:
        Guard().check("picture.example", "8.8.8.8", port)
    else:
        with pytest.raises(AddressRefused, match=f"port {port}"):
            Guard().check("picture.example", "8.8.8.8", port)


def test_networks_of_the_operator_are_reached_and_others_not() -> None:
    guard = Guard(networks("10.1.0.0/16, fd00::/8"))
    guard.check("intranet", "10.1.2.3", 80)
    guard.check("intranet", "fd00::1", 80)
    guard.check("intranet", "::ffff:10.1.2.3", 80)
    with pytest.raises(AddressRefused):
        guard.check("intranet", "10.2.0.1", 80)


def test_what_is_no_network_is_named() -> None:
    with pytest.raises(StorageError, match=r"'10\.1\.0\.1/16' is no network"):
        networks("10.1.0.1/16")


def test_a_crawl_tells_a_refused_address_by_name(tmp_path: Path) -> None:
    ended = crawled(World(), ["http://10.0.0.1/a.png"], tmp_path)
    assert ended["http://10.0.0.1/a.png"].detail.startswith("10.0.0.1 leads to 10.0.0.1, which is no public address")
