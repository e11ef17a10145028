"""Every kind of source gives its pictures with their names and licences, and tells what it does not give."""

import errno
import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clc.errors import InputError
from flows.intake.origin import Entry, Origin, Unavailable
from flows.sources import Source, read_source

MEMBERS = {"a.png": b"first", "deep/b.JPG": b"second", "notes.txt": b"text", ".hidden.png": b"x", "c.png": b"third"}
PICTURES = {"a.png": b"first", "deep/b.JPG": b"second", "c.png": b"third"}


def origin(source: str) -> Origin:
    found = read_source(source)
    assert not isinstance(found, Source)
    return found


def read(entry: Entry) -> bytes | str:
    """The bytes of an entry, or the reason why there are none."""
    if entry.read is None:
        return entry.reason
    into = io.BytesIO()
    try:
        entry.read(into)
    except Unavailable as unavailable:
        return unavailable.reason
    return into.getvalue()


def contents(source: str) -> dict[str, bytes | str]:
    return {entry.name: read(entry) for entry in origin(source).entries()}


def zipped(path: Path, members: dict[str, bytes] = MEMBERS) -> str:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return str(path)


def tarred(path: Path, members: list[tuple[str, bytes]]) -> str:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return str(path)


def test_a_zip_gives_its_pictures_and_counts_the_rest(tmp_path: Path) -> None:
    found = origin(zipped(tmp_path / "a.zip"))
    assert {entry.name: read(entry) for entry in found.entries()} == PICTURES
    assert found.passed_over == {".txt": 1, "hidden": 1}


def test_a_tar_gives_every_copy_of_a_name_and_names_an_archive_within(tmp_path: Path) -> None:
    source = tarred(
        tmp_path / "a.tar.gz", [("a.png", b"one"), ("a.png", b"two"), ("in.zip", b"PK"), ("up/../a.png", b"x")]
    )
    assert contents(source) == {
        "a.png": b"one",
        "a.png#2": b"two",
        "in.zip": "member_archive",
        "up/../a.png": "member_name",
    }


def test_a_cut_archive_gives_what_came_before_and_a_row_for_the_rest(tmp_path: Path) -> None:
    whole = tmp_path / "whole.tar"
    with tarfile.open(whole, "w") as archive:
        for name in ("a.png", "b.png"):
            info = tarfile.TarInfo(name)
            info.size = 2000
            archive.addfile(info, io.BytesIO(bytes(2000)))
    cut = tmp_path / "cut.tar"
    cut.write_bytes(whole.read_bytes()[:2560])
    assert contents(str(cut)) == {"a.png": bytes(2000), "cut.tar": "archive_damaged"}


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.xz", "a.parquet"])
def test_a_file_that_is_no_archive_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no archive" * 100)
    with pytest.raises(InputError, match=name):
        list(origin(str(tmp_path / name)).entries())


ROWS: list[dict[str, Any]] = [
    {"id": "a", "jpg": b"first", "license": "CC0-1.0"},
    {"id": "b", "jpg": None, "license": None},
]


def test_a_table_gives_its_column_of_bytes(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    entries = list(origin(str(tmp_path / "a.parquet")).entries())
    assert [(one.name, one.licence, read(one)) for one in entries] == [("a", "CC0-1.0", b"first"), ("b", "", "empty")]


def test_a_table_of_a_data_set_gives_bytes_and_path(tmp_path: Path) -> None:
    rows = [{"image": {"bytes": b"first", "path": "x/a.jpg"}}, {"image": {"bytes": b"second", "path": None}}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert contents(str(tmp_path / "a.parquet")) == {"x/a.jpg": b"first", "row-0000001": b"second"}


def test_a_table_with_flipped_bits_is_told_and_its_rows_are_never_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    rows = [{"name": f"{number}", "bytes": bytes([number]) * 5000} for number in range(40)]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=20, write_page_checksum=True, compression="none")
    data = bytearray(path.read_bytes())
    data[data.index(bytes([30]) * 100) + 50] ^= 4
    path.write_bytes(data)
    found = contents(str(path))
    assert found.pop("a.parquet") == "archive_damaged"
    assert found == {f"{number}": bytes([number]) * 5000 for number in range(len(found))}
    assert len(found) < 31


def test_a_table_without_bytes_and_urls_is_an_error_that_names_its_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"title": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="no column of bytes or of URLs"):
        read_source(str(tmp_path / "a.parquet"))


URLS = [("http://a.example/1.png", "CC0-1.0"), ("https://b.example/2.png", "")]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.txt", b"# pictures\nhttp://a.example/1.png\tCC0-1.0\n\nhttps://b.example/2.png\nhttp://a.example/1.png\n"),
        ("bom.txt", "\ufeffhttp://a.example/1.png\tCC0-1.0\r\nhttps://b.example/2.png".encode()),
        ("wide.txt", "http://a.example/1.png\tCC0-1.0\r\nhttps://b.example/2.png".encode("utf-16")),
        ("a.csv", b"id,URL,licence\n1,http://a.example/1.png,CC0-1.0\n2,https://b.example/2.png,\n"),
        ("semicolon.csv", b'id;image_url;license\n1;"http://a.example/1.png";CC0-1.0\n2;https://b.example/2.png;\n'),
        ("a.tsv", b"url\tlicense\nhttp://a.example/1.png\tCC0-1.0\nhttps://b.example/2.png\t\n"),
    ],
)
def test_a_list_of_urls_as_text(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    assert [(one.url, one.licence) for one in origin(str(tmp_path / name)).entries()] == URLS


def test_a_list_of_urls_as_a_table(tmp_path: Path) -> None:
    pq.write_table(pa.table({"url": [one[0] for one in URLS], "license": ["CC0-1.0", None]}), tmp_path / "a.parquet")
    assert [(one.url, one.licence) for one in origin(str(tmp_path / "a.parquet")).entries()] == URLS


def test_a_csv_without_a_head_is_read_from_its_first_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("http://a.example/1.png,x\nhttps://b.example/2.png,y\n")
    assert [one.url for one in origin(str(tmp_path / "a.csv")).entries()] == [one[0] for one in URLS]


def test_a_line_that_is_no_url_and_one_that_is_no_text_stay_entries(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"http://a.example/1.png\nphoto.png\nhttp://b.example/caf\xe9.png\n")
    found = [one.name for one in origin(str(tmp_path / "a.txt")).entries()]
    assert found == ["http://a.example/1.png", "photo.png", "http://b.example/caf\\xe9.png"]
    assert origin(str(tmp_path / "a.txt")).identity


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", b"title,size\na,1\n", "has no column url"),
        ("a.csv", b"url\n" + b"x" * 2**21, "no readable CSV at line"),
        ("a.csv", b"", "has no column url"),
        ("a.csv", b"\0\1\2", "holds other bytes than text"),
        ("a.csv", b"url\n", "names no URL"),
    ],
)
def test_a_wrong_list_of_urls_is_an_error(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message):
        list(origin(str(tmp_path / name)).entries())


def test_a_pattern_gives_files_by_their_names_below_its_folder(tmp_path: Path) -> None:
    for name in ("in/a.png", "in/deep/b.jpg", "in/c.txt", "in/.d.png", "out/e.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = read_source(str(tmp_path / "in" / "**" / "*"))
    assert isinstance(found, Source)
    assert [one.name for one in found.pictures] == ["a.png", "deep/b.jpg"]
    assert found.passed_over == {".txt": 1}
    with pytest.raises(InputError, match="no picture matches"):
        read_source(str(tmp_path / "in" / "*.webp"))


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "what?.txt").write_text("a.png\n")
    found = read_source(str(tmp_path / "what?.txt"))
    assert isinstance(found, Source)
    assert [one.name for one in found.pictures] == ["a.png"]


@pytest.fixture
def store() -> str:
    system = fsspec.filesystem("memory")
    system.store.clear()
    for name, data in MEMBERS.items():
        system.pipe(f"/bucket/photos/{name}", data)
    return "memory://bucket/photos"


def test_a_store_gives_what_lies_below_an_address(store: str) -> None:
    found = origin(store)
    assert {entry.name: read(entry) for entry in found.entries()} == PICTURES
    assert found.passed_over == {".txt": 1, "hidden": 1}
    assert contents(f"{store}/*.png") == {name: PICTURES[name] for name in ("a.png", "c.png")}
    assert contents(f"{store}/a.png") == {"a.png": b"first"}


def test_an_object_that_fails_costs_its_own_row(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    system = fsspec.filesystem("memory")
    real = type(system)._open

    def opens(self: Any, path: str, *arguments: Any, **options: Any) -> Any:
        if path.endswith("c.png"):
            raise PermissionError("denied")
        return real(self, path, *arguments, **options)

    monkeypatch.setattr(type(system), "_open", opens)
    assert contents(store) == {**PICTURES, "c.png": "store_failed"}


def test_a_full_disk_is_no_fault_of_the_object_that_was_read(store: str) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    entry = next(entry for entry in origin(store).entries() if entry.read is not None)
    assert entry.read is not None
    with pytest.raises(OSError, match="No space left on device"):
        entry.read(Full())


def test_an_archive_in_a_store_is_streamed(store: str, tmp_path: Path) -> None:
    zipped(tmp_path / "a.zip")
    fsspec.filesystem("memory").pipe("/bucket/a.zip", (tmp_path / "a.zip").read_bytes())
    assert contents("memory://bucket/a.zip") == PICTURES


def test_what_a_store_holds_decides_its_identity(store: str) -> None:
    before = origin(store).identity
    fsspec.filesystem("memory").pipe("/bucket/photos/a.png", b"other bytes")
    assert origin(store).identity != before


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("memory://bucket/none", "there is nothing at"),
        ("http://host.example/a.png", "is on the web"),
        ("ftp://host.example/a", "is no store that is read"),
        ("s3://bucket/x::memory://y", "is no store that is read"),
        ("file:///etc", "is no store that is read"),
        ("oci://bucket/x", "ocifs"),
    ],
)
def test_what_is_no_store_is_an_error(source: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_source(source)
