"""Every byte of an archive is watched over, the model's too, and nothing in its place leads out of the folder."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clc.archive.layout import Archive, write_manifest
from clc.archive.manifest import NAME, PARQUET_NAME, Manifest
from clc.archive.model import model_faults
from clc.archive.pack import Packed, PackOptions, pack
from clc.archive.table import COLUMNS, FORMAT, VERSION, read
from clc.archive.unpack import ArchiveReader, strangers, verify
from clc.codec.__main__ import main
from clc.codec.codec import Codec
from clc.errors import ClcError, InputError, StorageError
from clc.pictures.picture import Picture
from storage.digest import digest_json

FLIPS = 200


@pytest.fixture(scope="module")
def carrying(tmp_path_factory: pytest.TempPathFactory, strip: Path, shipped: Codec) -> Path:
    """An archive with its model, whose files are put back after each test."""
    out = tmp_path_factory.mktemp("carrying") / "archive"
    pack(strip, out, shipped, PackOptions(levels=1, effort=0, with_model=True))
    return out


@pytest.fixture
def copy(tmp_path: Path, packed: tuple[Path, Packed]) -> Path:
    return Path(shutil.copytree(packed[0], tmp_path / "copy"))


def flipped(data: bytes, place: int, bit: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]


def is_noticed(folder: Path, codec: Codec) -> bool:
    try:
        archive = Archive(folder)
    except ClcError:
        return True
    return bool(list(model_faults(archive)) or list(verify(archive, codec)))


def pictures_of(folder: Path, codec: Codec) -> Iterator[tuple[str, Picture]]:
    """What `unpack` would write: the pictures that decode."""
    try:
        archive = Archive(folder)
    except ClcError:
        return
    reader = ArchiveReader(archive, codec)
    for picture in archive.manifest.pictures:
        try:
            yield picture.name, reader.decode(picture).image_HW3
        except ClcError:
            continue


def test_a_flipped_bit_anywhere_is_noticed_and_gives_no_wrong_picture(packed: tuple[Path, Packed], copy: Path) -> None:
    codec = Codec.shipped()
    sound = dict(pictures_of(copy, codec))
    table = Archive(copy).manifest
    rng = np.random.default_rng(3)
    files = sorted(path for path in copy.rglob("*") if path.is_file())
    for number in range(FLIPS):
        path = files[number % len(files)]
        data = path.read_bytes()
        path.write_bytes(flipped(data, int(rng.integers(len(data))), int(rng.integers(8))))
        try:
            is_same_table = Archive(copy).manifest == table
        except ClcError:
            is_same_table = False
        if path.name == NAME and is_same_table:
            assert not is_noticed(copy, codec)  # a space became another one
        elif path.name == NAME:
            with pytest.raises(ClcError):
                Archive(copy)
        else:
            with pytest.raises(StorageError, match="is another file than was packed"):
                Archive(copy).stream(next(one for one in table.pictures if copy / one.stream == path))
        if number < 2 * len(files):  # decoding all takes its time
            assert is_noticed(copy, codec) or is_same_table
            assert all(np.array_equal(sound[name], picture) for name, picture in pictures_of(copy, codec))
        path.write_bytes(data)
    assert not is_noticed(copy, codec)


def test_a_flipped_bit_in_any_file_of_the_model_is_named(carrying: Path) -> None:
    rng = np.random.default_rng(4)
    files = sorted(path for path in (carrying / "model").rglob("*") if path.is_file())
    assert len(files) >= 9
    for path in [*files, *files]:
        data = path.read_bytes()
        path.write_bytes(flipped(data, int(rng.integers(len(data))), int(rng.integers(8))))
        name = path.relative_to(carrying).as_posix()
        assert [one for one, _ in model_faults(Archive(carrying))] == [name]
        path.write_bytes(data)
    assert list(model_faults(Archive(carrying))) == []


@pytest.mark.parametrize("name", ["manifest.json", "prior.safetensors", "selftest.json"])
def test_verify_names_the_damaged_file_of_a_model_and_reads_on_with_another_copy(
    name: str, carrying: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = carrying / "model" / name
    data = path.read_bytes()
    path.write_bytes(flipped(data, len(data) // 2, 1))
    try:
        assert main(["verify", str(carrying)]) == 1
        said = capsys.readouterr()
        assert f"error: model/{name}: is another file than was packed, or damaged; get it again" in said.err
        assert "4 pictures decode with another copy of the model; that in the archive is damaged" in said.out
        assert main(["unpack", str(carrying), str(tmp_path / "back")]) == 0
        path.unlink()
        assert main(["verify", str(carrying)]) == 1
        assert f"error: model/{name}: " in capsys.readouterr().err
    finally:
        path.write_bytes(data)
    assert main(["verify", str(carrying)]) == 0


def test_a_file_that_is_not_of_the_model_is_told(carrying: Path) -> None:
    (carrying / "model" / "more.txt").write_text("of a user")
    try:
        assert strangers(Archive(carrying)) == ["model/more.txt"]
    finally:
        (carrying / "model" / "more.txt").unlink()


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 2 << 30)


def _link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


@pytest.mark.parametrize(
    ("put", "message"),
    [
        (_link("/etc/passwd"), "has [0-9]+ bytes and may have|is another file than was packed"),
        (_link("/dev/zero"), "is a device, no file"),
        (_link("nowhere"), "is a link to nothing"),
        (os.mkfifo, "is a pipe, no file"),
        (os.mkdir, "is a folder, no file"),
    ],
    ids=["file", "device", "nothing", "pipe", "folder"],
)
def test_what_stands_in_a_streams_place_is_not_read(
    put: Callable[[Path], None], message: str, copy: Path, shipped: Codec
) -> None:
    picture = next(one for one in Archive(copy).manifest.pictures if not one.pixels_sha256)
    (copy / picture.stream).unlink()
    put(copy / picture.stream)
    (fault,) = verify(Archive(copy), shipped)
    assert fault.name == picture.name
    with pytest.raises(StorageError, match=message):
        Archive(copy).stream(picture)


@pytest.mark.parametrize(
    ("put", "message"),
    [
        (_link("/dev/zero"), "is a device, no file; get the archive again"),
        (os.mkfifo, "is a pipe, no file; get the archive again"),
        (_sparse, "has 2147483648 bytes and may have 1073741824"),
        (_link("nowhere"), "is no archive"),
    ],
    ids=["device", "pipe", "sparse", "nothing"],
)
def test_what_stands_in_the_tables_place_is_not_read(put: Callable[[Path], None], message: str, copy: Path) -> None:
    (copy / NAME).unlink()
    put(copy / NAME)
    with pytest.raises((StorageError, InputError), match=message):
        Archive(copy)


def test_a_model_that_is_a_link_elsewhere_is_passed_over_for_one_of_the_right_id(copy: Path, shipped: Codec) -> None:
    table = Archive(copy).manifest
    write_manifest(copy, replace(table, model_folder="model"))
    (copy / "model").symlink_to("/etc")
    assert Archive(copy).codec().bundle.bundle_id == shipped.bundle.bundle_id
    write_manifest(copy, Manifest("0" * 16, "model", table.pictures))
    with pytest.raises(InputError, match="no bundle there"):
        Archive(copy).codec()


@pytest.mark.parametrize("stream", [NAME, PARQUET_NAME, "model/a.clc", "model", ".packing/a.clc"])
def test_a_stream_in_the_place_of_table_or_model_is_refused(stream: str, packed: tuple[Path, Packed]) -> None:
    first, *others = packed[1].manifest.pictures
    with pytest.raises(StorageError, match="which has another meaning"):
        Manifest("0" * 16, "model", (replace(first, stream=stream), *others))


def _with_digest(**model: object) -> bytes:
    told = {"id": "0" * 16, "folder": "model", **model}
    content = {"version": VERSION, "model": {"id": "0" * 16, "folder": "model"}, "columns": COLUMNS, "pictures": []}
    head = {"format": FORMAT, "sha256": digest_json(content)}
    return json.dumps({**head, **content, "model": told}).encode()


@pytest.mark.parametrize(
    "model",
    [
        {"folder": "\ud800"},
        {"folder": "a/b"},
        {"folder": ["x"]},
        {"folder": ".."},
        {"folder": "x" * 5000 + "\\"},
        {"files": []},
        {"files": {"../x": "0" * 64}},
        {"files": {"\udce9": "0" * 64}},
        {"files": {"x": "0"}},
    ],
    ids=ascii,
)
def test_a_model_that_cannot_be_is_refused_in_a_short_sentence(model: dict[str, object]) -> None:
    assert read(_with_digest()).model_folder == "model"
    with pytest.raises(StorageError, match=r"^the table is damaged: ") as told:
        read(_with_digest(**model))
    assert len(str(told.value)) < 300
