"""The table as a file: it round-trips in either form, is small, and nothing that it says is believed."""

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clc.archive import table
from clc.archive.layout import Archive, read_manifest, write_manifest
from clc.archive.manifest import NAME, ArchivedPicture, Manifest, is_inside, stream_named
from clc.bitstream.container import parse, stream_id
from clc.errors import StorageError
from storage.digest import digest_json, sha256_bytes
from tests.clc.archive.test_manifest import MODEL, TABLE, picture

GOLDEN = Path(__file__).parents[2] / "golden"
FULL = Manifest(
    MODEL,
    "model",
    (
        replace(picture("flight/1.jpg", 5, (2, 3)), check="ab" * 8, alone_bytes=77, quality=12.015625),
        replace(picture("flight/2.jpg", 2), pixels_sha256=sha256_bytes(b"pixels"), alone_bytes=102),
        replace(picture("flight/3.jpg", 3, (2,)), stream="elsewhere.clc"),
        replace(picture("strip/4.png", 4), stream="strip/4.clc", alone_bytes=104),
    ),
    {"manifest.json": "12" * 32, "größe.bin": "34" * 32},
)
NAMES = st.text(st.characters(exclude_characters="\0\\", exclude_categories=["Cs"]), min_size=1).filter(is_inside)
DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)
IDS = st.binary(min_size=8, max_size=8).map(bytes.hex)


@st.composite
def tables(draw: st.DrawFn) -> Manifest:
    """Tables in which later pictures refer to earlier ones, and some ids and streams are of a kind of their own."""
    rows: list[ArchivedPicture] = []
    for name in draw(st.lists(NAMES, unique=True, max_size=6)):
        id_ = draw(IDS)
        known = sorted({row.id for row in rows})
        row = ArchivedPicture(
            name=name,
            stream=draw(st.sampled_from([f"{len(rows)}/s.clc", stream_named(name)])),
            id=id_,
            bytes=draw(st.integers(0, 1 << 40)),
            check=draw(st.one_of(st.just(id_), IDS)),
            width=draw(st.integers(1, 65535)),
            height=draw(st.integers(1, 65535)),
            quality=draw(st.integers(0, 6400)) / 64,
            references=tuple(draw(st.lists(st.sampled_from(known), unique=True, max_size=3))) if known else (),
            source_bytes=draw(st.integers(0, 1 << 40)),
            source_sha256=draw(DIGESTS),
            alone_bytes=draw(st.integers(0, 1 << 40)),
            pixels_sha256=draw(st.one_of(st.just(""), DIGESTS)),
        )
        try:
            Manifest(MODEL, "model", (*rows, row))
        except StorageError:
            continue  # a drawn name stands where another thing does
        rows.append(row)
    return Manifest(MODEL, "model", tuple(rows))


@given(tables())
def test_a_table_round_trips(manifest: Manifest) -> None:
    assert table.read(table.written(manifest)) == manifest


def test_every_kind_of_row_round_trips() -> None:
    assert table.read(table.written(FULL)) == FULL
    assert table.read(table.written(TABLE)) == TABLE


def test_a_name_that_is_no_utf_8_round_trips() -> None:
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    manifest = Manifest(MODEL, "", (picture(name, 1),))
    assert b"caf\xe9.png" in table.written(manifest)
    assert table.read(table.written(manifest)) == manifest


def test_every_picture_stands_on_a_line_without_what_says_nothing() -> None:
    first, second, third, fourth = (
        json.loads(line.rstrip(",")) for line in table.written(FULL).decode().splitlines() if line.startswith('["')
    )
    assert [len(row) for row in (first, second, third, fourth)] == [11, 12, 13, 8]
    assert first[9:] == [[1, 2], "ab" * 8]
    assert (fourth[0], fourth[5]) == ("strip/4.png", 50)
    assert third[9:] == [[1], "", "", "elsewhere.clc"]
    assert base64.b64decode(second[11] + "=") == bytes.fromhex(sha256_bytes(b"pixels"))


def usual(number: int, *references: int) -> ArchivedPicture:
    """A picture of a survey: a name of 12 letters, 12 megapixels."""
    id_ = sha256_bytes(bytes([number]))[:16]
    return ArchivedPicture(
        name=f"IMG_{number:04}.jpg",
        stream=f"IMG_{number:04}.jpg.clc",
        id=id_,
        bytes=2311,
        check=sha256_bytes(b"sections")[:16] if references else id_,
        width=4000,
        height=3000,
        quality=50.0,
        references=tuple(sha256_bytes(bytes([one]))[:16] for one in references),
        source_bytes=7_340_112,
        source_sha256=sha256_bytes(bytes([number, 1])),
        alone_bytes=2944 if references else 2311,
    )


def test_a_row_takes_little() -> None:
    lines = [
        line for line in table.written(Manifest(MODEL, "", (usual(0), usual(1, 0)))).splitlines() if b"IMG" in line
    ]
    assert len(lines[0]) + 1 <= 112
    assert len(lines[1]) + 1 <= 150


def test_numbers_of_rows_mean_the_rows_of_the_file_whatever_their_order() -> None:
    told = json.loads(table.written(TABLE))
    told["pictures"].reverse()  # c/d refers to the rows of b and a, which now are 2 and 3
    for row in told["pictures"]:
        if len(row) > 9:
            row[9] = [3 - number for number in row[9]]
    assert table.read(signed(told)) == TABLE


def signed(told: dict[str, Any]) -> bytes:
    """A changed table with the digest that its content has."""
    content = {key: told[key] for key in ("model", "columns", "pictures", "version")}
    return json.dumps({**told, "sha256": digest_json(content)}).encode()


def test_the_digest_is_of_all_the_rest_as_canonical_json() -> None:
    told = json.loads(table.written(FULL))
    assert told["sha256"] == digest_json({key: told[key] for key in ("model", "columns", "pictures", "version")})


def changed(column: str, value: object, *, row: int = 0) -> bytes:
    told = json.loads(table.written(TABLE))
    place, cells = table.COLUMNS.index(column), table.whole(told["pictures"][row])
    cells[place] = value
    told["pictures"][row] = cells
    return json.dumps(told).encode()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(
            ("name", one)
            for one in ("../a", "/etc/passwd", "a/../../b", "a//b", "./a", "C:\\a", "C:/a", "", 7, "\ud800")
        ),
        *(("stream", one) for one in ("../../.bashrc", "a\0b", "archive.json", "\ud800", 7, None)),
        *(("id", one) for one in ("xyz", None, "", "AB" * 8)),
        *(("bytes", one) for one in (10**4000, -1, True, 1e9, None)),
        *(("width", one) for one in (70_000, "640")),
        *(("quality", one) for one in (101, "50", float("nan"), True)),
        *(("references", one) for one in ("0", [-1], [4], [1 << 80], [True], ["0"], {"a": 1}, [0, 1, 2, 3], [0])),
        *(("check", one) for one in ("ab", 7, None)),
        *(
            ("source_sha256", one)
            for one in ("", "cd" * 32, "A" * 42, "A" * 42 + "B", "A" * 42 + "é", "-" * 43, 5, None)
        ),
        *(("pixels_sha256", one) for one in (5, "A" * 44)),
    ],
    ids=str,
)
def test_values_that_cannot_be_are_refused_in_a_short_sentence(column: str, value: object) -> None:
    with pytest.raises(StorageError, match=r"^the table is damaged: ") as told:
        table.read(changed(column, value))
    assert "digest" not in str(told.value) or column in ("source_sha256", "pixels_sha256")
    assert len(str(told.value)) < 300


@pytest.mark.parametrize("row", [[], {}, 7, ["a"] * 7, ["a"] * 14, "abcdefgh"], ids=str)
def test_what_is_no_row_is_refused(row: object) -> None:
    told = json.loads(table.written(TABLE))
    told["pictures"][1] = row
    with pytest.raises(StorageError, match="a picture is no list of 8 to 13 cells"):
        table.read(json.dumps(told).encode())


def test_a_changed_value_does_not_match_the_digest() -> None:
    with pytest.raises(StorageError, match="does not match its digest"):
        table.read(changed("width", 641))
    told = json.loads(table.written(TABLE))
    for model in ({"id": "0" * 16, "folder": ""}, {"id": MODEL, "folder": "model"}):
        with pytest.raises(StorageError, match="does not match its digest"):
            table.read(json.dumps({**told, "model": model}).encode())


HEAD = '{"format": "clc-archive", "version": 2'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", '"format"'),
        ('{"format": "clc-archive", "version": 3}', "of version 3, and this release reads version 1 and 2"),
        ('{"format": "clc-archive", "version": true}', "of version True"),
        (HEAD + "}", "it has no pictures"),
        (HEAD + ', "pictures": []}', "its columns are not those of its version"),
        (HEAD + ', "pictures": [], "columns": ["name"]}', "its columns are not those of its version"),
        (HEAD + f', "pictures": [], "columns": {json.dumps(table.COLUMNS)}}}', "it has no model"),
        ('{"format": "clc-archive", "version": 1, "model": {"id": "x"}, "pictures": []}', "the model's id"),
        ('{"format": "clc-archive", "version": 1, "model": {}, "pictures": [7]}', "the model's id"),
        ('{"format": "clc-archive", "version": 1, "pictures": []}', "it has no model"),
    ],
)
def test_other_files_are_refused(text: str, message: str) -> None:
    with pytest.raises(StorageError, match=message):
        table.read(text.encode())


# Version 1, which no release writes any more.


def first_version(manifest: Manifest, sha256: dict[str, str]) -> bytes:
    """A table as the release before wrote it; `sha256` are the digests of the streams, by names."""
    pictures = [
        {key: value for key, value in {**one.to_json(), "sha256": sha256[one.name]}.items() if key != "check"}
        for one in manifest.pictures
    ]
    model: dict[str, Any] = {"id": manifest.model_id, "folder": manifest.model_folder}
    if manifest.model_files:
        model["files"] = dict(manifest.model_files)
    named = [
        {**one, **{key: one[key].encode("utf-8", "surrogateescape").decode("latin-1") for key in ("name", "stream")}}
        for one in pictures
    ]
    content = digest_json({"version": 1, "model": model, "pictures": named})
    told = {"format": "clc-archive", "version": 1, "sha256": content, "model": model, "pictures": pictures}
    return json.dumps(told, ensure_ascii=False).encode("utf-8", "surrogateescape")


def test_a_table_of_version_1_that_a_release_wrote_is_read() -> None:
    folder = GOLDEN / "archive_v1"
    archive = Archive(folder)
    first, key, last = archive.manifest.pictures
    assert [row.name for row in (first, key, last)] == ["strip/0.png", "strip/1.webp", "strip/2.png"]
    assert (archive.manifest.model_id, archive.manifest.model_folder) == ("de3449ba54d8c6e8", "model")
    assert len(archive.manifest.model_files) == 9
    assert first.references == last.references == (key.id,) == ("9ff2e87d2a63292e",)
    assert key.pixels_sha256 == "b86a21f3550bec56538977bd027e98af148f40c0b53dea9855c940c4bb1ac932"
    for row in (first, key, last):
        data = archive.stream(row)
        assert (row.bytes, row.id) == (len(data), stream_id(data).hex())
        assert (row.check == row.id) == (row is first) == (not parse(data).sections)


def test_what_version_1_said_is_said_by_version_2(tmp_path: Path) -> None:
    manifest = read_manifest(GOLDEN / "archive_v1")
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest
    assert (tmp_path / NAME).read_bytes() == (GOLDEN / "archive_v2.json").read_bytes()


def test_a_table_of_version_2_keeps_its_bytes() -> None:
    stored = (GOLDEN / "archive_v2.json").read_bytes()
    assert table.written(table.read(stored)) == stored


def test_the_digest_of_version_1_is_checked_of_names_of_any_bytes_too() -> None:
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    manifest = Manifest(MODEL, "", (*TABLE.pictures, picture(name, 9)))
    digests = {one.name: one.check * 4 for one in manifest.pictures}
    data = first_version(manifest, digests)
    assert table.read(data) == manifest
    for old, new in (
        (b'"width": 640', b'"width": 641'),
        (manifest.pictures[0].check.encode() * 4, manifest.pictures[0].check.encode() * 3 + b"f" * 16),
        (MODEL.encode(), b"0" * 16),
    ):
        with pytest.raises(StorageError, match="does not match its digest"):
            table.read(data.replace(old, new, 1))


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "../a"},
        {"name": 7},
        {"stream": "archive.json"},
        {"bytes": -1},
        {"id": None},
        {"quality": 101},
        {"references": [1]},
        {"references": "0"},
        {"sha256": "ab"},
        {"source_sha256": "A" * 43},
        {"pixels_sha256": 5},
    ],
    ids=str,
)
def test_values_of_version_1_that_cannot_be_are_refused(fields: dict[str, Any]) -> None:
    told = json.loads(first_version(TABLE, {one.name: one.check * 4 for one in TABLE.pictures}))
    told["pictures"][0].update(fields)
    with pytest.raises(StorageError, match=r"^the table is damaged: (?!its content)"):
        table.read(json.dumps(told).encode())
