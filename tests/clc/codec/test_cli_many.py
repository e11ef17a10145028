"""The command line over many files, pipes, targets and options, with a stand-in for the model."""

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clc.bitstream.container import parse, with_sections
from clc.bitstream.sections import Section
from clc.codec.cli.main import main
from clc.pictures import losses
from clc.pictures.images import png_bytes, read_image
from tests.clc.conftest import OneCodec
from tests.conftest import Picture


@pytest.fixture
def codec(container_codec: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("clc.codec.cli.encode_decode.load_codecs", lambda _: OneCodec(container_codec))
    return container_codec


@pytest.fixture
def folder(tmp_path: Path, photo: Picture) -> Path:
    """Three pictures, one broken, one text, below a folder."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for i, name in enumerate(("a.png", "b.png", "sub/c.png")):
        (folder / name).write_bytes(png_bytes(np.ascontiguousarray(photo[40 * i : 40 * i + 40, :50])))
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:200])
    (folder / "notes.txt").write_text("notes")
    return folder


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    try:
        status = main(arguments)
    except SystemExit as stop:
        status = int(stop.code or 0)
    captured = capsys.readouterr()
    assert status in (1, 2)
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert captured.err.startswith("error: ")
    return captured.err


def pipe_in(data: bytes, monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool = False) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: is_terminal))


def test_a_folder_is_encoded_and_decoded_and_what_fails_is_named(
    codec: Any, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    coded, back = tmp_path / "coded", tmp_path / "back"
    assert main(["encode", str(folder), "--out", str(coded), "--quality", "70"]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {folder}/broken.png: ")
    assert len(captured.err.splitlines()) == 1
    lines = captured.out.splitlines()
    assert lines[0].startswith(f"encoded 3 of 4 files into {coded} in ")
    sizes = [(path, path.stat().st_size) for path in sorted(coded.rglob("*.*"))]
    assert [path.relative_to(coded).as_posix() for path, _ in sizes] == ["a.clc", "b.clc", "sub/c.clc"]
    before = sum((folder / name).stat().st_size for name in ("a.png", "b.png", "sub/c.png"))
    after = sum(size for _, size in sizes)
    assert lines[1] == f"{before} -> {after} bytes, ratio {before / after:.2f}, {8 * after / 6000:.4f} bpp"
    assert lines[2] == "passed over: 1 .txt"
    assert {quality for quality, _ in codec.asked_for} == {70.0}
    assert main(["decode", str(coded), "--out", str(back)]) == 0
    assert capsys.readouterr().out.startswith(f"decoded 3 of 3 files into {back} in ")
    assert np.array_equal(read_image(back / "sub/c.png"), codec.decode((coded / "sub/c.clc").read_bytes()))


def test_a_second_run_leaves_what_is_there_unless_told(
    codec: Any, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["encode", str(folder / "a.png"), "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    assert main(arguments) == 1
    assert "a.clc exists already; remove it, or give --overwrite" in capsys.readouterr().err
    assert main([*arguments, "--overwrite"]) == 0
    capsys.readouterr()
    assert main([*arguments, "--skip-existing"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.splitlines()[1] == "1 skipped, because their outputs exist already"


def test_decoding_beside_the_originals_never_replaces_them(
    codec: Any, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    original = (folder / "a.png").read_bytes()
    assert main(["encode", str(folder / "a.png"), "--out", str(folder)]) == 0
    assert main(["decode", str(folder / "a.clc"), "--out", str(folder)]) == 1
    assert (folder / "a.png").read_bytes() == original


def test_a_missing_file_among_others_costs_only_itself(
    codec: Any, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["encode", str(folder / "no.png"), str(folder / "a.png"), "--out", str(tmp_path / "out")]) == 1
    captured = capsys.readouterr()
    assert "no.png: does not exist" in captured.err
    assert captured.out.startswith("encoded 1 of 2 files")
    (tmp_path / "out/x.clc").write_bytes(b"junk")
    assert main(["decode", str(tmp_path / "out"), "--out", str(tmp_path / "back")]) == 1
    assert "x.clc: not a .clc stream" in capsys.readouterr().err


def test_pipes_carry_the_stream_and_nothing_else(
    codec: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    picture = (folder / "a.png").read_bytes()
    pipe_in(picture, monkeypatch)
    assert main(["encode", "-", "-", "--quality", "90"]) == 0
    stream = capfdbinary.readouterr().out
    assert stream == codec.encode(read_image(picture), 90)
    pipe_in(stream, monkeypatch)
    assert main(["decode", "-", "-"]) == 0
    assert np.array_equal(read_image(capfdbinary.readouterr().out), codec.decode(stream))
    pipe_in(stream, monkeypatch)
    assert main(["info", "-", "--json"]) == 0
    assert json.loads(capfdbinary.readouterr().out)["quality"] == 90


def test_what_is_wrong_with_a_pipe_names_it(
    codec: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out.clc")
    pipe_in(b"not a picture", monkeypatch)
    assert "standard input: not a readable picture" in refused(["encode", "-", out], capsys)
    pipe_in(b"not a stream", monkeypatch)
    assert "standard input: not a .clc stream" in refused(["decode", "-", str(tmp_path / "a.png")], capsys)
    pipe_in(b"not a stream", monkeypatch)
    assert "standard input: not a .clc stream" in refused(["info", "-"], capsys)
    pipe_in(b"", monkeypatch, is_terminal=True)
    assert "is a terminal; pipe a file into it" in refused(["encode", "-", out], capsys)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert "is a terminal; redirect it" in refused(["encode", str(folder / "a.png"), "-"], capsys)


def test_a_target_is_met_and_the_quality_said(
    codec: Any, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.clc"
    goal = len(codec.encode(read_image(folder / "a.png"), 80))
    assert main(["encode", str(folder / "a.png"), str(out), "--target-bytes", str(goal)]) == 0
    assert out.stat().st_size == pytest.approx(goal, rel=0.02)
    assert f"quality {parse(out.read_bytes()).quality_q6 / 64:.4g}, " in capsys.readouterr().out
    assert main(["encode", str(folder / "a.png"), str(out), "--target-bpp", str(8 * goal / 2000), "--overwrite"]) == 0
    assert out.stat().st_size == pytest.approx(goal, rel=0.02)
    assert "a.png: 7500 bytes lie above what quality 100 gives" in refused(
        ["encode", str(folder / "a.png"), str(out), "--target-bpp", "30", "--overwrite"], capsys
    )


@pytest.mark.parametrize(("given", "passed"), [("auto", "auto"), ("tokens", "tokens"), ("2", 2), ("0", "none")])
def test_references_reach_the_encoder(codec: Any, folder: Path, tmp_path: Path, given: str, passed: object) -> None:
    assert main(["encode", str(folder / "a.png"), str(tmp_path / "a.clc"), "--references", given]) == 0
    assert codec.asked_for == [(50.0, passed)]


def test_options_may_stand_between_the_paths(codec: Any, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.clc"
    assert main(["encode", str(folder / "a.png"), "--quality", "30", str(out)]) == 0
    assert codec.asked_for == [(30.0, "auto")]
    assert out.exists()


def test_what_is_lost_is_warned_of_once_and_counted(
    codec: Any, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = [Image.new("RGB", (20, 20), (level, 9, 9)) for level in (9, 99)]
    for name in ("a.png", "b.png"):
        frames[0].save(folder / name, save_all=True, append_images=frames[1:])
    assert main(["encode", str(folder / "a.png"), str(tmp_path / "a.clc")]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    loss = line.removeprefix(f"warning: {folder}/a.png: ")
    assert "frame" in loss
    names = [str(folder / name) for name in ("a.png", "b.png", "sub/c.png")]
    assert main(["encode", *names, "--out", str(tmp_path / "out")]) == 0
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [f"warning: {names[0]}: {loss}", f"warning: {names[0]}, {names[1]}: {loss}"]
    assert captured.out.splitlines()[2] == f"2 pictures lost something: 2 of them: {loss}"
    assert main(["encode", *names, "--out", str(tmp_path / "out"), "--overwrite", "--verbose"]) == 0
    assert capsys.readouterr().err.splitlines() == [f"warning: {name}: {loss}" for name in names[:2]]


def test_a_loss_is_told_before_its_output_is_there(
    codec: Any, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is killed, or continued by --skip-existing, has no other time to tell it."""
    told = []
    monkeypatch.setattr(
        "clc.codec.cli.encode_decode.write_bytes", lambda *_, **__: told.append(capsys.readouterr().err)
    )
    Image.new("CMYK", (20, 20)).save(folder / "a.jpg")
    assert main(["encode", str(folder / "a.jpg"), "--out", str(tmp_path / "out")]) == 0
    assert told == [f"warning: {folder}/a.jpg: {losses.CMYK}\n"]


def test_transparency_and_metadata_go_through_unless_told_otherwise(
    codec: Any, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    Image.new("RGBA", (20, 20), (9, 9, 9, 128)).save(folder / "a.png", exif=exif)
    stream, back = tmp_path / "a.clc", tmp_path / "a.png"
    assert main(["encode", str(folder / "a.png"), str(stream)]) == 0
    assert main(["decode", str(stream), str(back)]) == 0
    with Image.open(back) as picture:
        assert picture.mode == "RGBA"
        assert picture.getchannel("A").getextrema() == (128, 128)
        assert picture.getexif()[0x010F] == "Maker"
    capsys.readouterr()
    assert main(["info", str(stream)]) == 0
    (line,) = [line.split() for line in capsys.readouterr().out.splitlines() if "sections" in line]
    assert line[1::3] == ["EXIF", "alpha"]
    assert main(["encode", str(folder / "a.png"), str(stream), "--strip", "--background", "white", "--overwrite"]) == 0
    assert parse(stream.read_bytes()).sections == ()
    assert main(["decode", str(stream), str(back), "--overwrite"]) == 0
    with Image.open(back) as picture:
        assert picture.mode == "RGB"
        assert abs(picture.getpixel((5, 5))[0] - 132) <= 3


def test_what_a_stream_holds_and_cannot_be_given_back_is_told(
    codec: Any, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = with_sections(codec.encode(read_image(folder / "a.png")), (Section.of(77, b"depth"),))
    (folder / "a.clc").write_bytes(stream)
    told = f"warning: {tmp_path}/in/a.clc: a section of kind 77, which this release does not know, was left out"
    assert main(["decode", str(tmp_path / "in/a.clc"), str(tmp_path / "a.png")]) == 0
    assert capsys.readouterr().err.splitlines() == [told]
    assert main(["decode", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().err.splitlines() == [told]


def test_info_of_many_is_one_object_a_line_and_bad_ones_are_named(
    codec: Any, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["encode", str(folder), "--out", str(tmp_path / "out")])
    (tmp_path / "out/bad.clc").write_bytes(b"\x89CLC")
    capsys.readouterr()
    assert main(["info", "--json", str(tmp_path / "out")]) == 1
    captured = capsys.readouterr()
    rows = [json.loads(line) for line in captured.out.splitlines()]
    assert [Path(row["file"]).name for row in rows] == ["a.clc", "b.clc", "c.clc"]
    assert all(row["width"] == 50 for row in rows)
    assert captured.err.splitlines() == [
        f"error: {tmp_path}/out/bad.clc: the stream has only 4 bytes: get the whole file again"
    ]
    assert main(["info", str(tmp_path / "out/a.clc"), str(tmp_path / "out/b.clc")]) == 0
    assert f"{tmp_path}/out/a.clc:" in capsys.readouterr().out.splitlines()
    assert f"{folder}: no file to read there; looked for .clc; passed over: 4 .png, 1 .txt" in refused(
        ["info", str(folder)], capsys
    )


def test_wrong_arguments_are_one_line_that_says_what_to_do(
    codec: Any, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b, out = str(folder / "a.png"), str(folder / "b.png"), str(tmp_path / "out.clc")
    for arguments, message in (
        (["encode", a], "no output after"),
        (["encode", a, b, out], "3 paths without --out: give INPUT OUTPUT, or any number of inputs and --out FOLDER"),
        (["encode", "-", "--out", out], "- (standard input) does not go with --out"),
        (["encode", a, out, "--overwrite", "--skip-existing"], "not allowed with argument"),
        (["encode", a, b], "b.png: a stream is written to *.clc; name the output so, or - for a pipe"),
        (["encode", a, b, "--overwrite"], "b.png: a stream is written to *.clc; name the output so, or - for a pipe"),
        (["decode", a, b], "b.png exists already; remove it, or give another name or --overwrite"),
        (["encode", a, out, "--background", "whitish"], "'whitish' is no colour: give a name (white) or #RRGGBB"),
        (["encode", a, out, "--references", "7"], "'7' is not auto, none, tokens, aligned or a number from 0 to 5"),
        (["encode", a, out, "--references", "some"], "'some' is not auto"),
        (["encode", a, out, "--target-bpp", "0"], "'0' is no number above 0"),
        (["encode", a, out, "--target-bytes", "many"], "'many' is no number above 0"),
        (["encode", a, out, "--target-bpp", "1", "--quality", "5"], "not allowed with argument"),
        (["encode", a, out, "--device", "gpu"], "'gpu' is not cpu, cuda or cuda:N"),
        (["decode", a, out, "--quality", "5"], "unrecognized arguments: --quality"),
        (["encode", str(folder), out], "is a folder; give --out FOLDER"),
        (["encode", a, str(folder)], "is a folder; name a file to write, or give --out"),
        (["decode", a, a], "is the input itself; name another output"),
        (["encode", str(folder / "sub"), "--out", a], "is a file; name a folder after --out"),
        (["decode", str(folder), "--out", out], "no file to read there; looked for .clc"),
        (["encode", a, "--out", out, "--quality", "nan"], "the quality must lie within 0 and 100, not nan"),
        (["selftest", a], "unrecognized arguments"),
    ):
        assert message in refused(arguments, capsys), arguments
    assert not Path(out).exists()


def test_a_device_that_is_not_there_is_one_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["encode", str(folder / "a.png"), str(tmp_path / "a.clc"), "--device", "cuda:1"]
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "--device cuda:1: torch finds no CUDA device on this machine; leave" in refused(arguments, capsys)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert "--device cuda:1: this machine has cuda:0 only; name it" in refused(arguments, capsys)
