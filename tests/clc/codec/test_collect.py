"""`collect`: a bundle for overlapping pictures, and what it says over wrong input."""

import json
import shutil
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clc.bundle.bundle import Bundle
from clc.bundle.identity import VERSION_WITH_PNG
from clc.codec import Codec
from clc.codec.cli.collect import names_within, read_collection
from clc.codec.cli.main import main
from clc.codec.info import stream_info
from clc.codec.selftest import replay
from clc.pictures.images import png_bytes, read_image


@pytest.fixture(scope="module")
def strip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    scene = read_image((files("skimage") / "data" / "astronaut.png").read_bytes())
    folder = tmp_path_factory.mktemp("strip")
    for index, left in enumerate((0, 60, 120)):
        (folder / f"{index}.png").write_bytes(png_bytes(np.ascontiguousarray(scene[40:296, left : left + 320])))
    return folder


def test_the_middle_of_a_strip_becomes_its_key_picture(
    strip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bundle"
    assert main(["collect", str(strip), "--out", str(out), "--keys", "1", "--format", "webp-90"]) == 0
    said = capsys.readouterr().out
    assert "entry 512: " in said
    assert "1.png" in said
    assert "1 key pictures of 3" in said
    codec = Codec.load(out)
    assert replay(codec).first_difference is None
    assert [entry["name"] for entry in Bundle.load(out).entries.provenance[512:]] == ["1.png"]
    stream = codec.encode(read_image(strip / "2.png"), 30)
    assert stream_info(stream).aligned == (512,)


def test_more_keys_than_pictures_are_refused(strip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collect", str(strip), "--out", str(tmp_path / "b"), "--keys", "4"]) == 1
    assert "error: 4 key pictures asked for, from 3 pictures" in capsys.readouterr().err


def test_a_folder_without_pictures_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["collect", str(tmp_path / "empty"), "--out", str(tmp_path / "b")]) == 1
    assert "no picture there" in capsys.readouterr().err


def test_a_link_in_a_circle_is_named_like_any_file_that_cannot_be_read(tmp_path: Path) -> None:
    circle = tmp_path / "circle.png"
    circle.symlink_to(circle)
    collection = read_collection([circle])
    assert [path for path, _ in collection.failed] == [circle]
    assert not collection.pictures


@pytest.mark.parametrize("keys", ["0", "-1", "two"])
def test_a_wrong_number_of_keys_is_one_line(tmp_path: Path, keys: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["collect", str(tmp_path), "--out", str(tmp_path / "b"), f"--keys={keys}"])
    assert exit_.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_what_cannot_be_read_is_named_the_rest_is_done_and_the_status_is_1(
    strip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    shutil.copytree(strip, folder)
    (folder / "broken.png").write_bytes(b"\x89PNG no more")
    (folder / "notes.txt").write_text("-")
    (folder / "gone").symlink_to("nowhere")
    out = tmp_path / "bundle"
    arguments = [str(folder), str(folder / "0.png"), str(tmp_path / "missing.png"), "--out", str(out), "--keys", "1"]
    assert main(["collect", *arguments, "--format", "webp-50"]) == 1
    said = capsys.readouterr()
    errors = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert [line.split(":")[1].split("/")[-1] for line in errors] == ["gone", "broken.png", "missing.png"]
    assert "1 key pictures of 3" in said.out
    assert "passed over: 1 .txt" in said.out
    assert len(Bundle.load(out).entries) == 513


def test_what_is_in_the_folder_of_the_bundle_stays_as_it_is(
    strip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bundle"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    assert main(["collect", str(strip), "--out", str(out)]) == 1
    assert "is not empty" in capsys.readouterr().err
    assert main(["collect", str(strip), "--out", str(out / "mine.txt")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert [(path.name, path.read_text()) for path in out.iterdir()] == [("mine.txt", "mine")]


def test_a_bundle_that_fails_leaves_nothing(strip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collect", str(strip), "--out", str(tmp_path / "b"), "--keys", "1", "--format", "gif"]) == 1
    assert "no format 'gif'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_panorama_beyond_webp_becomes_a_key_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (1, 60, 3), dtype=np.uint8)
    row = np.asarray(Image.fromarray(colours).resize((16_500, 1), Image.Resampling.BICUBIC))
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(png_bytes(np.tile(row, (24, 1, 1))))
    out = tmp_path / "bundle"
    assert main(["collect", str(tmp_path), "--out", str(out), "--keys", "1"]) == 0
    assert "kept as PNG, for WebP ends at 16383 px a side" in capsys.readouterr().out
    made = Bundle.load(out)
    assert json.loads((out / "manifest.json").read_text())["version"] == VERSION_WITH_PNG
    np.testing.assert_array_equal(made.entries.pictures[512].read(), np.tile(row, (24, 1, 1)))
    assert replay(Codec.load(out)).first_difference is None


def test_names_of_key_pictures_tell_files_of_one_name_apart_and_no_more(tmp_path: Path) -> None:
    def names(*files: tuple[str, str]) -> list[str]:
        return names_within([(tmp_path / root / file, tmp_path / root) for root, file in files])

    assert names(("in", "scene1/image.png"), ("in", "scene2/image.png")) == ["scene1/image.png", "scene2/image.png"]
    assert names(("a", "1.png"), ("b", "1.png"), ("b", "2.png")) == ["a/1.png", "b/1.png", "2.png"]
    assert names(("a/c", "1.png"), ("b/c", "1.png")) == ["a/c/1.png", "b/c/1.png"]
    assert names(("in", "caf\udce9\n.png")) == [r"caf\xe9\n.png"]
