"""A folder into an archive and back: what comes out, what is counted, and what an interruption leaves."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clc.archive import pack as packing
from clc.archive.coding import FLOOR_DB, ArchiveCoder
from clc.archive.layout import WORK_FOLDER, Archive
from clc.archive.manifest import NAME
from clc.archive.pack import Packed, PackOptions, pack
from clc.archive.pictures import ReferredPictures, nothing_stored
from clc.archive.unpack import ArchiveReader, named, verify
from clc.bitstream.container import parse
from clc.codec.codec import Codec
from clc.codec.exact_pixels import MARGIN, ExactPicture
from clc.codec.info import stream_info
from clc.errors import InputError, MissingReference
from clc.pictures.images import read_picture
from storage import locks
from storage.atomic import temporary_beside
from storage.digest import sha256_bytes
from tests.clc.archive.conftest import EXIF_ARTIST, OPTIONS
from tests.conftest import Picture


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def psnr_db(a: Picture, b: Picture) -> float:
    return float(10 * np.log10(255**2 / np.square(a.astype(float) - b).mean()))


def test_every_picture_comes_back_near_its_source(strip: Path, packed: tuple[Path, Packed], shipped: Codec) -> None:
    archive = Archive(packed[0])
    reader = ArchiveReader(archive, archive.codec())
    assert [picture.name for picture in archive.manifest.pictures] == [f"strip/{n}.png" for n in range(4)]
    for picture in archive.manifest.pictures:
        source, decoded = read_picture(strip / picture.name), reader.decode(picture)
        alone = shipped.decode(shipped.encode(source.image_HW3, OPTIONS.quality, "none", effort=OPTIONS.effort))
        assert psnr_db(decoded.image_HW3, source.image_HW3) > psnr_db(alone, source.image_HW3) - FLOOR_DB
        assert (decoded.alpha_HW is None) == (source.alpha_HW is None)
        if source.alpha_HW is not None:
            assert np.array_equal(decoded.alpha_HW, source.alpha_HW)
        exif = Image.Exif()
        exif.load(decoded.metadata.exif or b"")
        assert exif.get(EXIF_ARTIST) == ("Somebody" if picture.name == "strip/3.png" else None)


def test_pictures_that_overlap_cost_less_than_alone(packed: tuple[Path, Packed]) -> None:
    out, told = packed
    pictures = told.manifest.pictures
    key = next(picture for picture in pictures if picture.pixels_sha256)
    others = [picture for picture in pictures if picture is not key]
    ((name, offset),) = told.keys
    assert name == key.name
    # Its pixels were safe from rounding at once or a few 1/64 of quality further on.
    assert 0 <= key.quality - OPTIONS.quality - offset < 0.1
    assert any(picture.references == (key.id,) for picture in others)
    assert sum(picture.bytes for picture in others) < 0.8 * sum(picture.alone_bytes for picture in others)
    assert told.archive_bytes == sum(len(data) for data in contents(out).values())
    # A finer key picture and what is coded beside it have more dB, which alone would cost bytes.
    assert told.psnr_db > told.alone_psnr_db
    assert told.alone_bytes_at_psnr > sum(picture.alone_bytes for picture in pictures)


def test_the_table_says_what_lies_there(strip: Path, packed: tuple[Path, Packed]) -> None:
    out, told = packed
    assert set(contents(out)) == {NAME, *(f"strip/{n}.clc" for n in range(4))}
    for picture in told.manifest.pictures:
        data, source = (out / picture.stream).read_bytes(), (strip / picture.name).read_bytes()
        assert (picture.bytes, picture.check) == (len(data), sha256_bytes(data)[:16])
        assert (picture.source_bytes, picture.source_sha256) == (len(source), sha256_bytes(source))
        assert tuple(one.hex() for one in parse(data).streams) == picture.references
    assert told.passed_over == {".txt": 1}


def test_pictures_without_anything_in_common_cost_what_they_cost_alone(
    tmp_path: Path, photo: Picture, shipped: Codec
) -> None:
    (tmp_path / "in").mkdir()
    for name, left in (("a", 0), ("b", 300)):
        Image.fromarray(np.ascontiguousarray(photo[:128, left : left + 128])).save(tmp_path / "in" / f"{name}.png")
    told = pack(tmp_path / "in", tmp_path / "out", shipped, replace(OPTIONS, keys=None))
    assert told.keys == ()
    assert all(picture.bytes == picture.alone_bytes for picture in told.manifest.pictures)


def test_levels_1_refers_to_nothing(tmp_path: Path, strip: Path, shipped: Codec) -> None:
    told = pack(strip, tmp_path / "out", shipped, replace(OPTIONS, levels=1))
    assert not any(picture.references or picture.pixels_sha256 for picture in told.manifest.pictures)


class Stopped(Exception):
    pass


def stop_after(count: int) -> Callable[[object], None]:
    left = [count]

    def watch(progress: object) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Stopped

    return watch


@pytest.mark.parametrize("count", [1, 4, 5, 9, 11, 13, 15])
def test_an_interrupted_run_goes_on_and_ends_with_the_same_archive(
    count: int,
    tmp_path: Path,
    strip: Path,
    packed: tuple[Path, Packed],
    shipped: Codec,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packing, "TABLE_EVERY_S", 0.0)
    out = tmp_path / "archive"
    try:
        pack(strip, out, shipped, OPTIONS, stop_after(count))
    except Stopped:
        if (out / NAME).exists():
            archive = Archive(out)
            assert list(verify(archive, archive.codec())) == []
        pack(strip, out, shipped, OPTIONS)
    assert contents(out) == contents(packed[0])


def test_a_run_goes_on_only_with_its_own_pictures_and_options(tmp_path: Path, strip: Path, shipped: Codec) -> None:
    with pytest.raises(Stopped):
        pack(strip, tmp_path / "out", shipped, OPTIONS, stop_after(2))
    with pytest.raises(InputError, match="with other pictures or options than now"):
        pack(strip, tmp_path / "out", shipped, replace(OPTIONS, quality=41.0))


def test_nothing_of_a_user_is_replaced(
    tmp_path: Path, strip: Path, packed: tuple[Path, Packed], shipped: Codec
) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="is not empty; name a new folder"):
        pack(strip, tmp_path / "own", shipped, OPTIONS)
    with pytest.raises(InputError, match="is an archive already; name a new folder"):
        pack(strip, packed[0], shipped, OPTIONS)
    assert contents(tmp_path / "own") == {"thesis.txt": b"years of work"}


def test_a_lease_that_a_kill_left_in_a_finished_archive_is_cleared(
    tmp_path: Path, strip: Path, packed: tuple[Path, Packed], shipped: Codec
) -> None:
    out = shutil.copytree(packed[0], tmp_path / "out")
    lease = out / WORK_FOLDER / "lease"
    lease.parent.mkdir()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    lease.write_text(json.dumps({"token": "", "beat": 0, "pid": ended.pid, "machine": locks._machine()}))
    temporary_beside(lease).write_text("half")
    with pytest.raises(InputError, match="is an archive already; name a new folder"):
        pack(strip, out, shipped, OPTIONS)
    assert contents(out) == contents(packed[0])
    assert not lease.parent.exists()


def test_a_folder_of_a_users_with_the_work_folders_name_is_left_alone(
    tmp_path: Path, strip: Path, shipped: Codec
) -> None:
    own = tmp_path / "out" / WORK_FOLDER
    own.mkdir(parents=True)
    (own / "boxes.txt").write_text("packing for the move")
    with pytest.raises(InputError, match="is in the way, and not from packing"):
        pack(strip, tmp_path / "out", shipped, OPTIONS)
    assert contents(tmp_path) == {f"out/{WORK_FOLDER}/boxes.txt": b"packing for the move"}


def test_two_processes_do_not_pack_into_one_folder(tmp_path: Path, strip: Path, shipped: Codec) -> None:
    told = []

    def meanwhile(progress: object) -> None:
        if not told:
            with pytest.raises(InputError, match="another process packs into it"):
                pack(strip, tmp_path / "out", shipped, OPTIONS)
            told.append(progress)

    assert len(pack(strip, tmp_path / "out", shipped, replace(OPTIONS, levels=1), meanwhile).manifest.pictures) == 4
    assert told


def test_a_broken_picture_costs_no_other_its_turn(tmp_path: Path, strip: Path, shipped: Codec) -> None:
    folder = tmp_path / "in"
    shutil.copytree(strip, folder)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n, cut short")
    told = pack(folder, tmp_path / "out", shipped, replace(OPTIONS, levels=1, effort=0))
    assert [name for name, _ in told.failed] == ["broken.png"]
    assert len(told.manifest.pictures) == 4


def test_the_model_travels_where_it_is_asked_for(tmp_path: Path, strip: Path, shipped: Codec) -> None:
    out = tmp_path / "out"
    told = pack(strip, out, shipped, replace(OPTIONS, levels=1, effort=0, with_model=True))
    assert told.archive_bytes == sum(len(data) for data in contents(out).values()) > 10_000_000
    archive = Archive(out)
    assert archive.codec().bundle.directory == out / "model"
    assert list(verify(archive, archive.codec())) == []


def test_pictures_are_named_by_names_folders_and_patterns(packed: tuple[Path, Packed]) -> None:
    archive = Archive(packed[0])

    def names(*given: str) -> list[str]:
        return sorted(picture.name for picture in named(archive, given))

    assert names() == names("strip") == names("strip/") == names("*.png") == names("strip/*.clc")
    assert names("strip/1.png", "strip/2.clc") == ["strip/1.png", "strip/2.png"]
    with pytest.raises(InputError, match="no picture of this name"):
        names("strip/1.png", "strip/9.png")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quality": 101.0}, "quality"),
        ({"levels": 4}, "levels must be 1, 2 or 3"),
        ({"target_bytes": 0}, "target size cannot be 0"),
        ({"target_psnr_db": -1.0}, "between 0 and 100 dB"),
        ({"target_bytes": 5, "target_psnr_db": 30.0}, "not both"),
        ({"keys": -1}, "cannot be -1"),
        ({"effort": 10}, "effort"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PackOptions(**options)  # type: ignore[arg-type]


def test_the_work_folder_is_gone_at_the_end(packed: tuple[Path, Packed]) -> None:
    assert not (packed[0] / WORK_FOLDER).exists()
    assert json.loads((packed[0] / NAME).read_bytes())["format"] == "clc-archive"


def test_a_stream_outside_of_its_archive_says_what_it_lacks(packed: tuple[Path, Packed], shipped: Codec) -> None:
    picture = next(one for one in packed[1].manifest.pictures if one.references)
    data = (packed[0] / picture.stream).read_bytes()
    with pytest.raises(MissingReference, match=f"refers to stream {picture.references[0]} of its archive"):
        shipped.decode(data)
    info = stream_info(data)
    assert (info.version, info.streams, info.aligned) == (4, picture.references, ())
    assert info.to_json()["streams"] == list(picture.references)


def test_pixels_of_a_key_picture_stay_clear_of_rounding_edges(packed: tuple[Path, Packed], shipped: Codec) -> None:
    archive = Archive(packed[0])
    key = next(picture for picture in archive.manifest.pictures if picture.pixels_sha256)
    exact = archive.referred(shipped).exactly(archive.stream(key))
    assert MARGIN <= exact.clearance < 0.5
    assert sha256_bytes(exact.image_HW3.tobytes()) == key.pixels_sha256
    # Float32 is what a stream decodes to by itself: near, and not the same everywhere.
    difference = np.abs(shipped.decode(archive.stream(key)).astype(int) - exact.image_HW3)
    assert difference.max() <= 1
    assert difference.mean() < 1e-3


def test_a_picture_that_comes_too_near_to_an_edge_is_coded_again(
    photo: Picture, shipped: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    referred = ReferredPictures(shipped.decoder, nothing_stored, lambda reference: "")
    coder = ArchiveCoder(shipped, referred, 0)
    encoding = coder.begin(np.ascontiguousarray(photo[:64, :64]))
    found = [coder.alone(encoding, quality_q6) for quality_q6 in (3200, 3201, 3202)]
    exactly, seen = referred.exactly, []

    def unsafe_at_first(data: bytes) -> ExactPicture:
        seen.append(data)
        return exactly(data)._replace(clearance=MARGIN / 2 if len(seen) < 3 else MARGIN)

    monkeypatch.setattr(referred, "exactly", unsafe_at_first)
    coded = coder.for_others(lambda quality_q6: found[quality_q6 - 3200], 3200)
    assert (coded.quality_q6, coded.data) == (3202, found[2].data)
    assert len(coded.pixels_sha256) == 64


def test_a_file_that_appears_where_a_stream_belongs_is_left_alone(tmp_path: Path, strip: Path, shipped: Codec) -> None:
    own = tmp_path / "out" / "strip" / "2.clc"

    def meanwhile(progress: object) -> None:
        if not own.exists():
            own.parent.mkdir(exist_ok=True)
            own.write_bytes(b"of a user")

    options = replace(OPTIONS, levels=1, effort=0)
    with pytest.raises(InputError, match="is in the way, and not from packing"):
        pack(strip, tmp_path / "out", shipped, options, meanwhile)
    assert own.read_bytes() == b"of a user"
    own.rename(tmp_path / "moved.clc")
    assert len(pack(strip, tmp_path / "out", shipped, options).manifest.pictures) == 4
