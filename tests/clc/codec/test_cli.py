"""The command line: what it writes, and one line for whatever goes wrong."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clc.codec.cli.main import main
from clc.pictures.images import png_bytes, read_image
from tests.conftest import Picture


@pytest.fixture
def picture(tmp_path: Path, photo: Picture) -> Path:
    path = tmp_path / "in.png"
    path.write_bytes(png_bytes(np.ascontiguousarray(photo[:100, :90])))
    return path


def test_a_picture_goes_through_files_and_back(
    tmp_path: Path, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stream, back = tmp_path / "a.clc", tmp_path / "back.png"
    assert main(["encode", str(picture), str(stream), "--quality", "70"]) == 0
    assert "90x100 px" in capsys.readouterr().out
    assert main(["decode", str(stream), str(back)]) == 0
    assert read_image(back).shape == (100, 90, 3)
    capsys.readouterr()
    assert main(["info", str(stream), "--json"]) == 0
    fields = json.loads(capsys.readouterr().out)
    assert fields["quality"] == 70
    assert fields["total_bytes"] == stream.stat().st_size
    assert fields["overhead_bytes"] <= 40


def test_the_self_test_passes_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selftest"]) == 0
    said = capsys.readouterr().out
    assert "all equal" in said
    assert "payloads of PNG, WebP lossless, AVIF decode as they should" in said


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    try:
        status = main(arguments)
    except SystemExit as stop:
        status = int(stop.code or 0)
    lines = capsys.readouterr().err.splitlines()
    assert status != 0
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]


def test_wrong_input_is_one_line_and_no_output(
    tmp_path: Path, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.clc"
    broken = tmp_path / "broken.png"
    broken.write_bytes(picture.read_bytes()[:500])
    assert "no.png" in refused(["encode", str(tmp_path / "no.png"), str(out)], capsys)
    assert "broken.png" in refused(["encode", str(broken), str(out)], capsys)
    assert "quality" in refused(["encode", str(picture), str(out), "--quality", "101"], capsys)
    assert "--qualty" in refused(["encode", str(picture), str(out), "--qualty", "5"], capsys)
    assert "no bundle" in refused(["encode", str(picture), str(out), "--bundle", str(tmp_path)], capsys)
    assert "make it first" in refused(["encode", str(picture), str(tmp_path / "no" / "out.clc")], capsys)
    assert "folder" in refused(["encode", str(picture), str(tmp_path)], capsys)
    assert "invalid choice" in refused(["transmogrify"], capsys)
    assert not out.exists()


def test_a_damaged_stream_is_one_line_and_no_picture(
    tmp_path: Path, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stream, back = tmp_path / "a.clc", tmp_path / "back.png"
    assert main(["encode", str(picture), str(stream)]) == 0
    data = stream.read_bytes()
    stream.write_bytes(data[:-3])
    assert "bytes are missing" in refused(["decode", str(stream), str(back)], capsys)
    stream.write_bytes(data[:60] + bytes([data[60] ^ 1]) + data[61:])
    assert "checksum" in refused(["decode", str(stream), str(back)], capsys)
    assert "PNG picture" in refused(["decode", str(picture), str(back)], capsys)
    assert "*.png" in refused(["decode", str(stream), str(tmp_path / "back.jpg")], capsys)
    assert not back.exists()
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


@pytest.mark.parametrize("arguments", [["--help"], ["info", "STREAM"]])
def test_help_and_info_load_no_torch(tmp_path: Path, arguments: list[str]) -> None:
    golden = Path(__file__).parents[2] / "golden" / "stream_v1.hex"
    (tmp_path / "a.clc").write_bytes(bytes.fromhex(golden.read_text()))
    given = [str(tmp_path / "a.clc") if one == "STREAM" else one for one in arguments]
    program = (
        "import atexit, sys; from clc.codec.cli.main import main;"
        "atexit.register(lambda: print('loaded:', *(m for m in ('torch', 'cv2', 'rich') if m in sys.modules)));"
        f"sys.exit(main({given!r}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].strip() == "loaded:"


def test_a_target_that_metadata_alone_fill_names_strip(
    tmp_path: Path, photo: Picture, capsys: pytest.CaptureFixture[str]
) -> None:
    tags = Image.Exif()
    tags[0x010E] = np.random.default_rng(0).bytes(3000).hex()
    picture = tmp_path / "tagged.png"
    Image.fromarray(photo[60:188, 100:260]).save(picture, exif=tags)
    options = ["--target-bytes", "1024", "--effort", "0"]
    assert main(["encode", str(picture), str(tmp_path / "a.clc"), *options]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "of them EXIF and XMP: leave these out with --strip" in line
    assert main(["encode", str(picture), str(tmp_path / "a.clc"), *options, "--strip"]) == 0
