"""`collect`: a bundle for overlapping pictures, and what it says over wrong input."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from clc.bundle.bundle import Bundle
from clc.codec import Codec
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


@pytest.mark.parametrize("keys", ["0", "-1", "two"])
def test_a_wrong_number_of_keys_is_one_line(tmp_path: Path, keys: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["collect", str(tmp_path), "--out", str(tmp_path / "b"), f"--keys={keys}"])
    assert exit_.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
