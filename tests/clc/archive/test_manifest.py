"""The table of an archive: it round-trips, and nothing that it says is believed."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clc.archive.manifest import ArchivedPicture, Manifest
from clc.errors import StorageError

MODEL = "00112233445566ff"


def picture(name: str, number: int, references: tuple[int, ...] = ()) -> ArchivedPicture:
    return ArchivedPicture(
        name=name,
        stream=f"{name}.clc",
        id=f"{number:016x}",
        bytes=100 + number,
        sha256="ab" * 32,
        width=640,
        height=480,
        quality=50.0,
        references=tuple(f"{one:016x}" for one in references),
        source_bytes=1000,
        source_sha256="cd" * 32,
    )


TABLE = Manifest(MODEL, "", (picture("b", 1), picture("a", 2, (1,)), picture("c/d", 3, (1, 2)), picture("e", 4)))
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\\\0:"), min_size=1).filter(
    lambda name: name not in (".", "..")
)


@given(st.lists(NAMES, unique=True, max_size=5))
def test_a_table_round_trips(names: list[str]) -> None:
    table = Manifest(MODEL, "model", tuple(picture(name, number) for number, name in enumerate(names)))
    assert Manifest.from_bytes(table.to_bytes()) == table


def test_a_name_that_is_no_utf_8_round_trips() -> None:
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    table = Manifest(MODEL, "", (picture(name, 1),))
    assert b"caf\xe9.png" in table.to_bytes()
    assert Manifest.from_bytes(table.to_bytes()) == table


def test_each_picture_comes_after_those_that_it_refers_to() -> None:
    assert [one.name for one in TABLE.in_order()] == ["b", "e", "a", "c/d"]
    assert TABLE.depths() == {f"{1:016x}": 0, f"{2:016x}": 1, f"{3:016x}": 2, f"{4:016x}": 0}
    assert [one.name for one in TABLE.dependents([f"{1:016x}"])] == ["a", "c/d"]
    assert sorted(one.name for one in TABLE.needed_for(TABLE.pictures[2])) == ["a", "b"]
    assert TABLE.needed_for(TABLE.pictures[3]) == []


def test_every_picture_stands_on_a_line() -> None:
    lines = TABLE.to_bytes().decode().splitlines()
    assert [json.loads(line.rstrip(","))["name"] for line in lines if '"name"' in line] == ["a", "b", "c/d", "e"]


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        ((picture("a", 1), picture("a", 2)), "the same name"),
        ((picture("a", 1), replace(picture("b", 2), stream="a.clc")), "the same stream"),
        ((picture("a", 1, (7,)),), "which the archive does not hold"),
        ((picture("a", 1, (2,)), picture("b", 2, (1,))), "depends on itself"),
        ((picture("a", 1, (1,)),), "depends on itself"),
    ],
)
def test_pictures_that_contradict_one_another_are_refused(pictures: tuple[ArchivedPicture, ...], message: str) -> None:
    with pytest.raises(StorageError, match=message):
        Manifest(MODEL, "", pictures)


def changed(**fields: Any) -> bytes:
    told = json.loads(TABLE.to_bytes())
    told["pictures"][0].update(fields)
    return json.dumps(told).encode()


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "../a"},
        {"name": "/etc/passwd"},
        {"name": "a/../../b"},
        {"name": "a//b"},
        {"name": "./a"},
        {"name": "C:\\a"},
        {"name": "C:/a"},
        {"name": ""},
        {"name": 7},
        {"stream": "../../.bashrc"},
        {"stream": "a\0b"},
        {"stream": "archive.json"},
        {"stream": "\ud800"},
        {"name": "\ud800"},
        {"bytes": 10**4000},
        {"id": "xyz"},
        {"id": None},
        {"bytes": -1},
        {"bytes": True},
        {"bytes": 1e9},
        {"width": 70_000},
        {"quality": 101},
        {"quality": "50"},
        {"quality": float("nan")},
        {"references": "0000000000000001"},
        {"references": [1]},
        {"sha256": "ab"},
        {"pixels_sha256": 5},
    ],
    ids=str,
)
def test_values_that_cannot_be_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(StorageError, match=r"archive.json is damaged: "):
        Manifest.from_bytes(changed(**fields))


def test_a_changed_value_does_not_match_the_digest() -> None:
    with pytest.raises(StorageError, match="does not match its digest"):
        Manifest.from_bytes(changed(width=641))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", '"format"'),
        (b'{"format": "clc-archive", "version": 2}', "version 2"),
        (b'{"format": "clc-archive", "version": 1}', "no model or no pictures"),
        (b'{"format": "clc-archive", "version": 1, "model": {"id": "x"}, "pictures": []}', "the model's id"),
        (b'{"format": "clc-archive", "version": 1, "model": {}, "pictures": [7]}', "the model's id"),
    ],
)
def test_other_files_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(StorageError, match=message):
        Manifest.from_bytes(data)


def test_a_chain_of_ten_thousand_streams_is_ordered_without_recursion() -> None:
    chain = tuple(picture(f"{n:05}", n + 1, (n,) if n else ()) for n in range(10_000))
    assert max(Manifest(MODEL, "", chain).depths().values()) == 9_999
