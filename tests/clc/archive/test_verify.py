"""A damaged archive: `verify` names the damage and what depends on it, and no wrong picture comes out."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clc.archive.layout import Archive, read_manifest, write_manifest
from clc.archive.manifest import NAME, Manifest
from clc.archive.pack import Packed
from clc.archive.unpack import ArchiveReader, strangers, verify
from clc.codec.codec import Codec
from clc.errors import ClcError, InputError, StorageError


@pytest.fixture
def copy(tmp_path: Path, packed: tuple[Path, Packed]) -> Path:
    return Path(shutil.copytree(packed[0], tmp_path / "copy"))


def key_and_others(folder: Path) -> tuple[str, list[str]]:
    pictures = Archive(folder).manifest.pictures
    key = next(picture for picture in pictures if picture.pixels_sha256)
    return key.stream, [picture.name for picture in pictures if key.id in picture.references]


def test_a_sound_archive_has_no_faults(copy: Path, shipped: Codec) -> None:
    assert list(verify(Archive(copy), shipped)) == []
    assert strangers(Archive(copy)) == []


def test_a_damaged_key_picture_is_named_with_all_that_depend_on_it(copy: Path, shipped: Codec) -> None:
    stream, others = key_and_others(copy)
    data = bytearray((copy / stream).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / stream).write_bytes(data)
    (fault,) = verify(Archive(copy), shipped)
    assert fault.name == stream.replace(".clc", ".png")
    assert "another file than was packed, or damaged" in fault.reason
    assert list(fault.lost_with) == others != []


def test_a_missing_stream_is_named(copy: Path, shipped: Codec) -> None:
    (copy / "strip" / "3.clc").unlink()
    (fault,) = verify(Archive(copy), shipped)
    assert (fault.name, fault.lost_with) == ("strip/3.png", ())
    assert "No such file" in fault.reason


def test_flipped_bits_of_streams_and_table_never_go_unseen(copy: Path, shipped: Codec) -> None:
    rng = np.random.default_rng(5)
    reader = ArchiveReader(Archive(copy), shipped)
    sound = {one.name: reader.decode(one).image_HW3.copy() for one in Archive(copy).manifest.pictures}
    for number in range(60):
        path = copy / ("strip/1.clc" if number % 2 else NAME)
        data = path.read_bytes()
        place = int(rng.integers(len(data)))
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << int(rng.integers(8))]) + data[place + 1 :])
        try:
            archive = Archive(copy)
            picture = next(one for one in archive.manifest.pictures if one.stream == "strip/1.clc")
            decoded = ArchiveReader(archive, shipped).decode(picture).image_HW3
        except ClcError:
            pass
        else:
            assert path.name == NAME, "a flipped bit of a stream was not seen"
            assert json.loads(path.read_bytes()) == json.loads(data), "a changed table was taken"
            assert np.array_equal(decoded, sound[picture.name])
        path.write_bytes(data)


def test_another_archives_stream_under_the_same_name_is_refused(copy: Path, shipped: Codec) -> None:
    shutil.copyfile(copy / "strip" / "1.clc", copy / "strip" / "2.clc")
    (fault,) = verify(Archive(copy), shipped)
    assert fault.name == "strip/2.png"


def test_files_that_the_table_does_not_name_are_told(copy: Path) -> None:
    (copy / "strip" / "9.clc").write_bytes(b"of another archive")
    assert strangers(Archive(copy)) == ["strip/9.clc"]


def test_wrong_pixels_of_a_key_picture_are_noticed(copy: Path, shipped: Codec) -> None:
    told = read_manifest(copy)
    pictures = [replace(one, pixels_sha256="0" * 64) if one.pixels_sha256 else one for one in told.pictures]
    write_manifest(copy, Manifest(told.model_id, told.model_folder, tuple(pictures)))
    (fault,) = verify(Archive(copy), shipped)
    assert "does not decode to the pixels that the archive names" in fault.reason
    assert fault.lost_with


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is no archive \(there is no such folder\)"):
        Archive(tmp_path / "missing")
    with pytest.raises(InputError, match=r"is no archive \(it has no archive.json\)"):
        Archive(tmp_path)
    (tmp_path / ".packing").mkdir()
    with pytest.raises(InputError, match="run the same `clc pack` again"):
        Archive(tmp_path)
    (tmp_path / NAME).mkdir()
    with pytest.raises(StorageError):
        Archive(tmp_path)
