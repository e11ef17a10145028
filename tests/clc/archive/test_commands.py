"""`clc pack`, `unpack`, `list`, `verify` as a user types them."""

import json
from pathlib import Path

import pytest

from clc.archive.pack import Packed
from clc.codec.__main__ import main
from clc.pictures.images import read_image


def test_a_folder_goes_into_an_archive_and_back(
    tmp_path: Path, strip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive, back = str(tmp_path / "archive"), tmp_path / "back"
    assert main(["pack", str(strip), archive, "--quality", "40", "--keys", "1", "--effort", "1"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "4 pictures packed into" in said.out
    assert "each picture alone at quality 40 " in said.out
    assert "alone at the archive's PSNR about " in said.out
    assert "passed over: 1 .txt" in said.out
    assert main(["list", archive]) == 0
    assert "4 pictures, " in capsys.readouterr().out
    assert main(["verify", archive]) == 0
    assert capsys.readouterr().out == "4 pictures decode, every digest holds\n"
    assert main(["unpack", archive, str(back)]) == 0
    assert "4 of 4 pictures unpacked" in capsys.readouterr().out
    assert [read_image(path).shape for path in sorted(back.rglob("*.png"))] == [(192, 224, 3)] * 4


def test_pictures_are_unpacked_by_name_and_nothing_is_replaced(
    tmp_path: Path, packed: tuple[Path, Packed], capsys: pytest.CaptureFixture[str]
) -> None:
    archive, out = str(packed[0]), str(tmp_path)
    assert main(["unpack", archive, out, "strip/1.png"]) == 0
    (tmp_path / "strip" / "1.png").write_bytes(b"mine now")
    assert main(["unpack", archive, out]) == 1
    said = capsys.readouterr()
    assert "exists already" in said.err
    assert "3 of 4 pictures unpacked" in said.out
    assert (tmp_path / "strip" / "1.png").read_bytes() == b"mine now"
    assert main(["unpack", archive, out, "--skip-existing"]) == 0
    assert "0 of 4 pictures unpacked" in capsys.readouterr().out
    assert main(["unpack", archive, out, "strip/1.png", "--overwrite"]) == 0
    assert read_image(tmp_path / "strip" / "1.png").shape == (192, 224, 3)


def test_list_tells_what_stands_beside_what(packed: tuple[Path, Packed], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", str(packed[0]), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["name"] for row in rows] == [f"strip/{n}.png" for n in range(4)]
    key = next(row for row in rows if "pixels_sha256" in row)
    assert any(row.get("references") == [key["id"]] for row in rows)
    assert main(["list", str(packed[0])]) == 0
    said = capsys.readouterr().out
    assert f"beside {key['name']}" in said
    assert said.count("key picture") == 1


def test_verify_names_what_is_damaged(
    tmp_path: Path, packed: tuple[Path, Packed], capsys: pytest.CaptureFixture[str]
) -> None:
    for path in packed[0].rglob("*"):
        if path.is_file():
            goal = tmp_path / path.relative_to(packed[0])
            goal.parent.mkdir(exist_ok=True)
            goal.write_bytes(path.read_bytes())
    key = next(picture for picture in packed[1].manifest.pictures if picture.pixels_sha256)
    (tmp_path / key.stream).write_bytes(b"another file")
    (tmp_path / "own.txt").write_text("of a user")
    assert main(["verify", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert f"error: {key.name}: " in said.err
    assert "depend on it: strip/" in said.err
    assert "own.txt: archive.json does not name this file" in said.err
    assert "1 of 4 pictures are damaged" in said.out


def test_a_picture_that_cannot_be_read_is_named_once(
    tmp_path: Path, strip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "0.png").write_bytes((strip / "strip" / "0.png").read_bytes())
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n, cut short")
    archive = str(tmp_path / "archive")
    assert main(["pack", str(folder), archive, "--lossless"]) == 1
    assert capsys.readouterr().err.count("broken.png") == 1
    assert main(["add", archive, str(folder / "broken.png")]) == 1
    assert capsys.readouterr().err.count("broken.png") == 1
