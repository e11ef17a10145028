"""The table of a large archive: the same rows as Parquet, chosen by their number, and believed no more than JSON is."""

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given

from clc.archive import layout, parquet, table
from clc.archive.change import AddOptions, add, remove
from clc.archive.layout import Archive, read_manifest, write_manifest
from clc.archive.manifest import NAME, PARQUET_NAME, Manifest
from clc.archive.pack import Packed
from clc.archive.unpack import strangers, verify
from clc.codec.__main__ import main
from clc.codec.codec import Codec
from clc.errors import InputError, MissingExtra, StorageError
from tests.clc.archive.test_manifest import MODEL, TABLE, picture
from tests.clc.archive.test_table import FULL, tables


@pytest.fixture
def large(tmp_path: Path, packed: tuple[Path, Packed], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the packed strip whose table is Parquet, as if it were large."""
    folder = Path(shutil.copytree(packed[0], tmp_path / "large"))
    with monkeypatch.context() as patch:
        patch.setattr(layout, "LARGE", 3)
        write_manifest(folder, packed[1].manifest)
    return folder


@given(tables())
def test_a_table_round_trips(manifest: Manifest) -> None:
    assert parquet.read(parquet.written(manifest)) == manifest


def test_every_kind_of_row_round_trips(monkeypatch: pytest.MonkeyPatch) -> None:
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    for manifest in (FULL, TABLE, Manifest(MODEL, "", ()), Manifest(MODEL, "", (picture(name, 1),))):
        assert parquet.read(parquet.written(manifest)) == manifest
    monkeypatch.setattr(parquet, "_ROWS_AT_ONCE", 2)
    monkeypatch.setattr(parquet, "_ROWS_OF_A_GROUP", 3)
    assert parquet.read(parquet.written(FULL)) == FULL


def test_both_forms_have_the_same_digest() -> None:
    told = json.loads(pq.ParquetFile(pa.BufferReader(parquet.written(FULL))).metadata.metadata[b"clc-archive"])
    assert told["sha256"] == json.loads(table.written(FULL))["sha256"]


def test_an_archive_has_one_form_or_the_other_by_its_number_of_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "LARGE", 3)
    small = replace(TABLE, pictures=tuple(one for one in TABLE.pictures if one.name != "e"))
    for manifest, name in ((small, NAME), (TABLE, PARQUET_NAME), (small, PARQUET_NAME)):
        write_manifest(tmp_path, manifest)
        assert [path.name for path in tmp_path.iterdir()] == [name]
        assert Archive(tmp_path).table_name == name
        assert read_manifest(tmp_path) == manifest


def test_where_a_writer_was_killed_between_the_forms_parquet_is_the_newer_one(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(table.written(Manifest(MODEL, "", (picture("b", 1),))))
    (tmp_path / PARQUET_NAME).write_bytes(parquet.written(TABLE))
    assert read_manifest(tmp_path) == TABLE
    assert strangers(Archive(tmp_path)) == [NAME]
    write_manifest(tmp_path, TABLE)
    assert [path.name for path in tmp_path.iterdir()] == [PARQUET_NAME]


@pytest.mark.parametrize("data", [b"of a user", table.written(Manifest("0" * 16, "", ()))])
def test_a_file_of_somebody_in_the_place_of_the_other_form_is_left(data: bytes, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(data)
    (tmp_path / PARQUET_NAME).write_bytes(parquet.written(TABLE))
    write_manifest(tmp_path, TABLE)
    assert (tmp_path / NAME).read_bytes() == data


def test_without_pyarrow_a_large_table_is_json_and_parquet_is_told_what_it_needs(
    tmp_path: Path, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(data: bytes) -> Manifest:
        raise MissingExtra("this needs pyarrow")

    monkeypatch.setattr(layout, "LARGE", 3)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(parquet, "read", refuse)
    (tmp_path / "new").mkdir()
    write_manifest(tmp_path / "new", TABLE)
    assert [path.name for path in (tmp_path / "new").iterdir()] == [NAME]
    with pytest.raises(MissingExtra):
        Archive(large)


def test_a_large_archive_is_listed_verified_added_to_and_removed_from(
    large: Path, packed: tuple[Path, Packed], strip: Path, shipped: Codec, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Archive(large).manifest == packed[1].manifest
    assert Archive(large).bytes_of_all == sum(path.stat().st_size for path in large.rglob("*") if path.is_file())
    told = []
    for folder in (large, packed[0]):
        assert main(["list", str(folder), "--json"]) == 0
        told.append(capsys.readouterr().out)
    assert told[0] == told[1]
    shutil.copyfile(strip / "strip" / "0.png", large.parent / "again.png")
    added = add(large, [large.parent / "again.png"], shipped, AddOptions(effort=0))
    assert added.added == ("again.png",)
    remove(large, ["again.png"])
    assert Archive(large).table_name == PARQUET_NAME
    assert not (large / NAME).exists()
    assert not strangers(Archive(large))
    assert not list(verify(Archive(large), shipped))


def test_a_flipped_bit_gives_no_other_table() -> None:
    data = parquet.written(FULL)
    rng, noticed = np.random.default_rng(6), 0
    for place in rng.choice(len(data), 400, replace=False):
        wrong = data[:place] + bytes([data[place] ^ 1 << int(rng.integers(8))]) + data[place + 1 :]
        try:
            assert parquet.read(wrong) == FULL
        except StorageError:
            noticed += 1
    assert noticed > 200


@pytest.mark.parametrize("data", [b"", b"of a user", b"PAR1" * 9, parquet.written(FULL)[:-9], table.written(FULL)])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(StorageError, match=r"^the table is damaged: it is no intact Parquet file"):
        parquet.read(data)


@pytest.mark.parametrize(
    ("put", "message"),
    [
        (lambda path: path.symlink_to("/dev/zero"), "is a device, no file; get the archive again"),
        (lambda path: path.symlink_to("nowhere"), "archive.parquet is a link to nothing"),
        (lambda path: path.write_bytes(b"x"), "archive.parquet: the table is damaged"),
        (Path.mkdir, "is a folder, no file; get the archive again"),
    ],
    ids=["device", "nothing", "text", "folder"],
)
def test_what_stands_in_its_place_is_not_read(put: Callable[[Path], None], message: str, large: Path) -> None:
    (large / PARQUET_NAME).unlink()
    put(large / PARQUET_NAME)
    with pytest.raises((StorageError, InputError), match=message):
        Archive(large)


def forged(change: Callable[[pa.Table], pa.Table], **options: Any) -> bytes:
    """The table in Parquet with its columns changed, and the head that fitted before."""
    file = pq.ParquetFile(pa.BufferReader(parquet.written(TABLE)))
    sink = io.BytesIO()
    pq.write_table(change(file.read()).replace_schema_metadata(file.metadata.metadata), sink, **options)
    return sink.getvalue()


def with_column(name: str, values: list[object], kind: pa.DataType | None = None) -> Callable[[pa.Table], pa.Table]:
    def change(found: pa.Table) -> pa.Table:
        place = found.column_names.index(name)
        field = found.schema.field(name).with_nullable(True)
        field = field.with_type(kind) if kind else field
        return found.set_column(place, field, pa.array(values, field.type))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found.drop_columns(["stream"]), "its columns are not"),
        (lambda found: found.append_column("more", pa.array([1] * 4)), "its columns are not"),
        (lambda found: found.select(found.column_names[::-1]), "its columns are not"),
        (with_column("width", [1] * 4, pa.int64()), "its columns are not"),
        (with_column("name", ["a", "b", "c", "d"], pa.string()), "its columns are not"),
        (with_column("name", [b"a", b"b", b"c", None]), "a picture has no name"),
        (with_column("name", [b"a", b"b", b"c", b"a"]), "two pictures have the same name"),
        (with_column("name", [b"a", b"b", b"c", b"../a"]), "a picture's name cannot be '../a'"),
        (with_column("stream", [b"x.clc", b"x.clc", None, None]), "two pictures have the same stream"),
        (with_column("width", [640, 640, 640, -1]), "its width cannot be -1"),
        (with_column("quality", [50.0, 50.0, 50.0, float("nan")]), "no quality is nan"),
        (with_column("reference_1", [None, None, None, 99]), "refers to row 99, and there are 4"),
        (with_column("reference_1", [None, None, None, -1]), "a reference cannot be -1"),
        (with_column("bytes", [1, 2, 3, 4]), "does not match its digest"),
        (lambda found: found.slice(1), "c/d depends on itself"),
    ],
)
def test_values_that_cannot_be_are_refused(change: Callable[[pa.Table], pa.Table], message: str) -> None:
    with pytest.raises(StorageError, match=message):
        parquet.read(forged(change))


@pytest.mark.parametrize("head", [None, b"{", b"7", b"[" * 9999, b'{"format": "clc-archive", "version": 3}', b"\xff"])
def test_a_head_that_cannot_be_is_refused(head: bytes | None) -> None:
    found = pq.read_table(pa.BufferReader(parquet.written(TABLE)))
    sink = io.BytesIO()
    pq.write_table(found.replace_schema_metadata({b"clc-archive": head} if head else None), sink)
    with pytest.raises(StorageError, match=r"^the table is (damaged: |of version 3, and this release reads version 2)"):
        parquet.read(sink.getvalue())


def unfolding(column: str, values: list[bytes], rows: int) -> bytes:
    """A table of many rows in which a few values of a column stand again and again, each once in the file."""
    found = pq.read_table(pa.BufferReader(parquet.written(Manifest(MODEL, "", (picture("a", 1),)))))
    many = pa.concat_tables([found] * rows).combine_chunks()
    many = many.set_column(0, many.schema.field("name"), pa.array([b"%d" % n for n in range(rows)], pa.binary()))
    indices = pa.array([n % len(values) for n in range(rows)], pa.int32())
    wide, place = (
        pa.DictionaryArray.from_arrays(indices, pa.array(values, pa.binary())),
        found.column_names.index(column),
    )
    many = many.set_column(place, pa.field(column, wide.type, nullable=column == "stream"), wide)
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, many.schema, compression="zstd", store_schema=False) as writer:
        writer.write_table(many)
        writer.add_key_value_metadata({"clc-archive": found.schema.metadata[b"clc-archive"].decode()})
    assert pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema_arrow.types == parquet._SCHEMA.types
    return sink.getvalue()


@pytest.mark.parametrize("column", ["name", "stream"])
def test_a_few_bytes_do_not_become_gigabytes(column: str) -> None:
    """A path of 4 MB in each of 20,000 rows would be 80 GB; the file has some kilobytes of it."""
    data = unfolding(column, [b"a" * (4 << 20)], 20_000)
    assert len(data) < 1 << 20
    before = pa.default_memory_pool().max_memory()
    with pytest.raises(StorageError, match=f"two pictures have the same {column}"):
        parquet.read(data)
    assert pa.default_memory_pool().max_memory() < before + (256 << 20)


def test_names_that_stand_once_in_each_batch_do_not_either(monkeypatch: pytest.MonkeyPatch) -> None:
    data = unfolding("stream", [b"a" * 10_000, b"b" * 10_000], 200)
    monkeypatch.setattr(parquet, "_ROWS_AT_ONCE", 2)
    monkeypatch.setattr(parquet, "MAX_BYTES", 100_000)
    with pytest.raises(StorageError, match="its names take more than 100000 bytes"):
        parquet.read(data)


def test_more_than_a_reader_takes_is_neither_read_nor_written(monkeypatch: pytest.MonkeyPatch) -> None:
    data = parquet.written(FULL)
    for name, most, message in (
        ("MAX_PICTURES", 3, "it has 4 pictures, and may have 3"),
        ("MAX_BYTES", 100, "it unfolds to [0-9]+ bytes, and may to 100"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(parquet, name, most)
            with pytest.raises(StorageError, match=f"^the table is damaged: {message}"):
                parquet.read(data)
            with pytest.raises(InputError, match=f"^the archive's table grows too large: {message}"):
                parquet.written(FULL)
    monkeypatch.setattr(table, "MAX_BYTES", 100)
    with pytest.raises(InputError, match=r"grows too large: it has [0-9]+ bytes, and may have 100"):
        table.written(FULL)
