"""Pictures of an archive that do not suit the transform, or whose samples are promised: the ways that `encode` has."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from clc.archive.change import AddOptions, add, remove
from clc.archive.commands import summary
from clc.archive.layout import Archive
from clc.archive.pack import Packed, PackOptions, pack
from clc.archive.report import make_report
from clc.archive.unpack import ArchiveReader, verify
from clc.bitstream.container import parse
from clc.codec.__main__ import main
from clc.codec.codec import Codec
from clc.codec.info import stream_info
from clc.codec.ways.goal import LEARNED, Goal
from clc.codec.ways.suitability import squared_error_of
from clc.errors import InputError
from clc.pictures.images import read_picture
from storage.digest import sha256_bytes
from tests.clc.archive.conftest import write_strip
from tests.compound_pages import page_with
from tests.conftest import Picture

OPTIONS = PackOptions(quality=80.0, keys=0, effort=0)
LOSSLESS = PackOptions(keys=0, effort=0, max_error=0)


def screen(number: int, size: tuple[int, int] = (208, 160)) -> Picture:
    """A window with a bar, text, a shaded button and a list, of which a line is chosen."""
    image = Image.new("RGB", size, (245, 245, 248))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, size[0], 20), (40, 70, 120))
    draw.text((6, 4), "Archive of 2026", (255, 255, 255))
    for line in range(7):
        top = 30 + 16 * line
        if line == number:
            draw.rectangle((4, top - 2, 150, top + 11), (180, 210, 250))
        draw.text((8, top), f"line {line}: {37 * line} of 400", (20, 20, 30))
    for at in range(40):
        draw.line((160 + at, 40, 160 + at, 70), (250 - 3 * at, 120 + 2 * at, 90))
    return np.asarray(image)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, photo: Picture) -> Path:
    """Two screens, the second transparent, beside two crops of a photograph."""
    folder = tmp_path_factory.mktemp("mixed")
    write_strip(folder, photo, 2)
    Image.fromarray(screen(1)).save(folder / "a.png")
    clear = Image.fromarray(screen(2))
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    clear.save(folder / "b.png")
    return folder


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory, mixed: Path, shipped: Codec) -> tuple[Path, Packed]:
    out = tmp_path_factory.mktemp("packed") / "archive"
    return out, pack(mixed, out, shipped, OPTIONS)


def decoded(archive: Path) -> dict[str, Picture]:
    opened = Archive(archive)
    reader = ArchiveReader(opened, opened.codec())
    return {picture.name: reader.decode(picture).image_HW3 for picture in opened.manifest.pictures}


def test_each_picture_goes_the_way_that_encode_takes(packed: tuple[Path, Packed], mixed: Path, shipped: Codec) -> None:
    archive = Archive(packed[0])
    ways = {picture.name: archive.way_of(picture) for picture in archive.manifest.pictures}
    assert (ways["strip/0.png"], ways["strip/1.png"]) == ("learned", "learned")
    assert {ways["a.png"], ways["b.png"]} <= {"avif", "lossless"}
    picture = read_picture(mixed / "a.png")
    expected = shipped.encode_to(Goal(quality=OPTIONS.quality), picture.image_HW3, "none", effort=OPTIONS.effort)
    assert archive.stream(archive.manifest.by_name["a.png"]) == expected


def test_photographs_are_packed_as_by_the_model_alone(
    tmp_path: Path, strip: Path, packed: tuple[Path, Packed], mixed: Path, shipped: Codec
) -> None:
    out = tmp_path / "learned"
    pack(mixed, out, shipped, replace(OPTIONS, mode=LEARNED))
    for name in ("strip/0.clc", "strip/1.clc"):
        assert (out / name).read_bytes() == (packed[0] / name).read_bytes()
    for name in ("a.clc", "b.clc"):
        assert parse((out / name).read_bytes()).embedding is None
        assert len((out / name).read_bytes()) > len((packed[0] / name).read_bytes())
    both = [replace(OPTIONS, keys=1, effort=1), replace(OPTIONS, keys=1, effort=1, mode=LEARNED)]
    for number, options in enumerate(both):
        pack(strip, tmp_path / str(number), shipped, options)
    assert all(
        path.read_bytes() == (tmp_path / "1" / path.relative_to(tmp_path / "0")).read_bytes()
        for path in (tmp_path / "0").rglob("*")
        if path.is_file()
    )


def test_what_is_told_of_such_an_archive_is_what_a_reader_finds(
    packed: tuple[Path, Packed], mixed: Path, shipped: Codec, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, told = packed
    assert not list(verify(Archive(folder), shipped))
    for name, image_HW3 in decoded(folder).items():
        source = read_picture(mixed / name).image_HW3.astype(float)
        error = max(float(np.square(source - image_HW3).mean()), 1e-9)
        assert told.psnr_db_of[name] == pytest.approx(10 * np.log10(255**2 / error), abs=0.02)
    assert main(["list", str(folder), "a.png", "strip/0.png"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("a.png: 208x160, quality 80, ")
    assert lines[0].endswith((", avif", ", lossless"))
    assert lines[1].endswith(" bytes")
    assert main(["list", "--json", str(folder)]) == 0
    ways = [json.loads(line)["way"] for line in capsys.readouterr().out.splitlines()]
    assert ways[2:] == ["learned", "learned"]
    report = make_report(Archive(folder), shipped, mixed)
    assert (report.shown, report.faults) == (4, ())
    transparent = ArchiveReader(Archive(folder), shipped).decode(Archive(folder).manifest.by_name["b.png"]).alpha_HW
    expected = read_picture(mixed / "b.png").alpha_HW
    assert transparent is not None
    assert expected is not None
    assert np.array_equal(transparent, expected)


def test_a_screen_that_others_refer_to_has_the_same_pixels_everywhere(tmp_path: Path, shipped: Codec) -> None:
    for number in range(3):
        Image.fromarray(screen(number)).save(tmp_path / f"{number}.png")
    out = tmp_path / "out"
    pack(tmp_path, out, shipped, replace(OPTIONS, quality=30.0, keys=1, effort=1))
    archive = Archive(out)
    keys = [picture for picture in archive.manifest.pictures if picture.pixels_sha256]
    assert len(keys) == 1
    assert archive.way_of(keys[0]) in ("avif", "lossless")
    assert not list(verify(archive, shipped))
    image_HW3 = archive.referred(shipped).read(bytes.fromhex(keys[0].id))
    assert sha256_bytes(image_HW3.tobytes()) == keys[0].pixels_sha256


def test_samples_are_kept_where_that_is_asked_for(tmp_path: Path, mixed: Path, shipped: Codec) -> None:
    told = pack(mixed, tmp_path / "all", shipped, LOSSLESS)
    assert told.max_error == 0
    archive = Archive(tmp_path / "all")
    reader = ArchiveReader(archive, shipped)
    for row in archive.manifest.pictures:
        source, back = read_picture(mixed / row.name), reader.decode(row)
        assert np.array_equal(source.image_HW3, back.image_HW3)
        assert archive.way_of(row) == "lossless"
        assert (source.alpha_HW is None) == (back.alpha_HW is None)
    near = pack(mixed, tmp_path / "near", shipped, replace(LOSSLESS, max_error=3))
    assert near.archive_bytes < 0.8 * told.archive_bytes
    for name, image_HW3 in decoded(tmp_path / "near").items():
        error = np.abs(image_HW3.astype(int) - read_picture(mixed / name).image_HW3).max()
        assert error <= 3


def test_without_loss_screens_share_what_is_equal_beside_photographs_that_share_nothing(
    tmp_path: Path, photo: Picture, shipped: Codec
) -> None:
    folder = tmp_path / "all"
    write_strip(folder, photo, 4)
    for number in (1, 2):
        Image.fromarray(screen(number)).save(folder / f"{number}.png")
    told = pack(folder, tmp_path / "out", shipped, replace(LOSSLESS, keys=None, effort=1))
    [(key, _)] = told.keys
    assert key in ("1.png", "2.png")
    rows = Archive(tmp_path / "out").manifest.by_name
    assert rows["2.png" if key == "1.png" else "1.png"].bytes < 0.5 * rows[key].bytes


def test_pictures_are_added_the_way_that_suits_them(
    tmp_path: Path, packed: tuple[Path, Packed], mixed: Path, shipped: Codec
) -> None:
    out = tmp_path / "out"
    pack(mixed, out, shipped, OPTIONS)
    for name, number in (("c.png", 3), ("d.png", 4)):
        Image.fromarray(screen(number)).save(tmp_path / name)
    assert add(out, [tmp_path / "c.png"], shipped, AddOptions(effort=0)).added == ("c.png",)
    assert add(out, [tmp_path / "d.png"], shipped, AddOptions(effort=1, max_error=0)).added == ("d.png",)
    archive = Archive(out)
    assert archive.way_of(archive.manifest.by_name["c.png"]) in ("avif", "lossless")
    assert archive.way_of(archive.manifest.by_name["d.png"]) == "lossless"
    assert np.array_equal(decoded(out)["d.png"], screen(4))
    assert not list(verify(archive, shipped))
    remove(out, ["a.png", "c.png"])
    assert not list(verify(Archive(out), shipped))


def test_a_target_is_met_with_graphics_too(tmp_path: Path, mixed: Path, shipped: Codec) -> None:
    at_least = pack(mixed, tmp_path / "db", shipped, PackOptions(target_psnr_db=34.0, keys=0, effort=0))
    assert at_least.psnr_db >= 34.0
    most = round(0.9 * at_least.archive_bytes)
    assert pack(mixed, tmp_path / "b", shipped, PackOptions(target_bytes=most, keys=0, effort=0)).archive_bytes <= most


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mode": "best"}, "in mode auto or learned, not 'best'"),
        ({"max_error": 200}, "from 0 to 127"),
        ({"max_error": 0, "mode": "learned"}, "mode learned promises no error of a sample"),
        ({"max_error": 0, "target_bytes": 900}, "give no target beside that"),
    ],
)
def test_wishes_that_do_not_go_together_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PackOptions(**wrong)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def screens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three screens of one application; the last is transparent."""
    folder = tmp_path_factory.mktemp("screens")
    for number in range(3):
        image = Image.fromarray(screen(number))
        if number == 2:
            image.putalpha(Image.linear_gradient("L").resize(image.size))
        image.save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize("max_error", [0, 2])
def test_screens_without_loss_copy_what_they_share(
    tmp_path: Path, screens: Path, shipped: Codec, max_error: int, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    options = PackOptions(effort=1, max_error=max_error)
    told = pack(screens, out, shipped, options)
    archive = Archive(out)
    beside = [row for row in archive.manifest.pictures if row.references]
    assert len(told.keys) == 1
    assert len(beside) == 2
    for row in beside:
        assert archive.stream(row)[4] == 6
        assert row.bytes < 0.7 * row.alone_bytes
    assert not list(verify(archive, shipped))
    reader = ArchiveReader(archive, shipped)
    for row in archive.manifest.pictures:
        source, back = read_picture(screens / row.name), reader.decode(row)
        assert np.abs(back.image_HW3.astype(int) - source.image_HW3).max() <= max_error
        assert (source.alpha_HW is None) == (back.alpha_HW is None)
    with pytest.raises(InputError, match="other pictures are coded beside it"):
        remove(out, [told.keys[0][0]])
    assert main(["list", str(out), beside[0].name]) == 0
    assert f", beside {told.keys[0][0]}" in capsys.readouterr().out
    info = stream_info(archive.stream(beside[0]))
    assert (info.version, info.streams) == (6, beside[0].references)
    assert info.payload.endswith("what is copied from 1 other stream")
    # Of a key picture that is lost, what copies from it is lost too, and that is told.
    key = archive.manifest.by_name[told.keys[0][0]]
    (out / key.stream).write_bytes(b"lost")
    faults = list(verify(Archive(out), shipped))
    assert [fault.name for fault in faults] == [key.name]
    assert set(faults[0].lost_with) == {row.name for row in beside}


def test_a_screen_that_is_added_copies_from_those_that_are_there(tmp_path: Path, screens: Path, shipped: Codec) -> None:
    out = tmp_path / "out"
    pack(screens, out, shipped, replace(LOSSLESS, effort=1))
    Image.fromarray(screen(5)).save(tmp_path / "c.png")
    assert add(out, [tmp_path / "c.png"], shipped, AddOptions(effort=1)).added == ("c.png",)
    archive = Archive(out)
    row = archive.manifest.by_name["c.png"]
    assert row.references
    assert row.bytes < 0.7 * row.alone_bytes
    assert not list(verify(archive, shipped))
    assert np.array_equal(decoded(out)["c.png"], screen(5))  # as all of it is without loss
    Image.fromarray(screen(6)).save(tmp_path / "d.png")
    add(out, [tmp_path / "d.png"], shipped, AddOptions(effort=0, quality=40.0))
    assert not np.array_equal(decoded(out)["d.png"], screen(6))
    assert Archive(out).promised_error() is None


@pytest.mark.parametrize(("max_error", "said"), [(0, "lossless"), (1, "within 1 level"), (2, "within 2 levels")])
def test_what_was_promised_is_told_in_the_place_of_a_quality(
    tmp_path: Path, screens: Path, shipped: Codec, max_error: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    told = pack(screens, out, shipped, PackOptions(effort=1, max_error=max_error))
    archive = Archive(out)
    assert {row.quality for row in archive.manifest.pictures} == {100.0}
    assert [archive.promised_error_of(row) for row in archive.manifest.pictures] == [max_error] * 3
    words = "\n".join(summary(told, out))
    assert "quality" not in words
    assert "PSNR" not in words
    assert f"each picture alone {said} " in words
    assert "\n  1 key picture" in words
    assert main(["list", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()[:3]
    assert all(f", {said}, " in line and "quality" not in line for line in lines)
    assert sum(line.count("lossless") for line in lines) <= 3
    assert main(["list", "--json", str(out)]) == 0
    for line in capsys.readouterr().out.splitlines():
        row = json.loads(line)
        assert (row["quality"], row["max_error"]) == (None, max_error)
        assert row["way"] == "near-lossless" or not (max_error and row.get("references"))
    page = make_report(archive, shipped, screens).html
    assert f", {said}, alone " in page
    assert "quality" not in page.split("<main", 1)[-1].replace("WebP at quality 95", "")


def test_copies_within_an_error_are_not_called_lossless(tmp_path: Path, screens: Path, shipped: Codec) -> None:
    pack(screens, tmp_path / "out", shipped, PackOptions(effort=1, max_error=2))
    archive = Archive(tmp_path / "out")
    for row in archive.manifest.pictures:
        info = stream_info(archive.stream(row))
        assert info.mode == archive.way_of(row)
        assert info.mode == "near-lossless" or not row.references


def test_pages_with_photographs_in_them_are_compounds_in_an_archive_too(
    shipped: Codec, photo: Picture, tmp_path: Path
) -> None:
    place = (101, 43, 160, 131)
    (tmp_path / "pages").mkdir()
    pages = [page_with(photo, [place]), page_with(photo, [place])]
    pages[1][30:40, 270:340] = (200, 30, 30)
    for name, picture in zip("ab", pages, strict=True):
        Image.fromarray(picture).save(tmp_path / "pages" / f"{name}.png")
    pack(tmp_path / "pages", tmp_path / "archive", shipped, PackOptions(quality=40.0, keys=0, effort=0))
    archive = Archive(tmp_path / "archive")
    rows = archive.manifest.pictures
    assert [archive.way_of(row) for row in rows] == ["compound", "compound"]
    reader = ArchiveReader(archive, archive.codec())
    for row, picture in zip(rows, pages, strict=True):
        assert squared_error_of(reader.decode(row).image_HW3, picture) < 90
    assert not list(verify(archive, shipped))
