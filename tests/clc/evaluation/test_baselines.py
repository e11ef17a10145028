"""Every baseline is one coder like all others; one that this machine lacks says why."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clc.errors import InputError, MissingExtra
from clc.evaluation.baselines import commands
from clc.evaluation.baselines.commands import CommandCoder, av1, hevc, jpeg_xl_by_command
from clc.evaluation.baselines.libraries import jpeg_2000_psnr_db, jxl_distance
from clc.evaluation.baselines.unavailable import Unavailable
from clc.evaluation.coders import BASELINES, OF_PILLOW, QUICK, find_baselines
from clc.evaluation.measure import PictureUnderTest, evaluate
from clc.evaluation.metrics import psnr_db
from clc.evaluation.report.viewer import match_bytes

FOUND = find_baselines([name for name in BASELINES if name not in OF_PILLOW])


@pytest.fixture(params=FOUND.available, ids=lambda one: one.name)
def baseline(request):
    return request.param


def test_every_baseline_is_there_or_says_why() -> None:
    assert {one.name for one in FOUND.available} | set(FOUND.missing) | set(OF_PILLOW) == set(BASELINES)
    assert all(FOUND.missing.values())
    assert "jpeg-2000" in {one.name for one in FOUND.available}  # of the extra `baselines`
    assert set(QUICK) <= set(BASELINES)


def test_rate_and_quality_rise_along_the_ladder(baseline, scene_HW3) -> None:
    assert len(baseline.qualities) == 7
    ends = (baseline.qualities[0], baseline.qualities[3], baseline.qualities[-1])
    files = [baseline.encode(scene_HW3, quality) for quality in ends]
    assert len(files[0]) < len(files[1]) < len(files[2])
    reached = [psnr_db(scene_HW3, baseline.decode(data)) for data in files]
    assert reached[0] < reached[1] < reached[2]
    assert reached[2] > 30


def test_odd_sizes_come_back_as_they_were(baseline, make_scene_HW3) -> None:
    for height, width in ((1, 1), (7, 5), (33, 2)):
        back_HW3 = baseline.decode(baseline.encode(make_scene_HW3(1, height, width), 50))
        assert (back_HW3.shape, back_HW3.dtype) == ((height, width, 3), np.uint8)


def test_the_same_picture_gives_the_same_bytes(baseline, scene_HW3) -> None:
    assert baseline.encode(scene_HW3, 40) == baseline.encode(scene_HW3, 40)


@pytest.mark.parametrize("quality", [-1, 101, float("nan")])
def test_a_quality_out_of_range_is_refused(baseline, scene_HW3, quality) -> None:
    with pytest.raises(InputError, match=r"quality must lie in 0\.\.100"):
        baseline.encode(scene_HW3, quality)


def test_settings_name_the_library_and_its_version(baseline) -> None:
    assert any(character.isdigit() for character in baseline.settings)


def test_a_file_of_equal_size_is_found_by_quality(scene_HW3) -> None:
    (coder,) = find_baselines(["jpeg-2000"]).available
    target = len(coder.encode(scene_HW3, 41))
    assert abs(len(match_bytes(coder, scene_HW3, target, {})[1]) - target) <= 0.1 * target


def test_qualities_mean_what_the_settings_say(scene_HW3) -> None:
    (coder,) = find_baselines(["jpeg-2000"]).available
    for quality in (40, 60):
        reached = psnr_db(scene_HW3, coder.decode(coder.encode(scene_HW3, quality)))
        assert reached == pytest.approx(jpeg_2000_psnr_db(quality), abs=1.5)
    distances = [jxl_distance(quality) for quality in range(101)]
    assert distances == sorted(distances, reverse=True)
    assert (distances[0], distances[90], distances[100]) == pytest.approx((25.0, 1.0, 0.1))


@pytest.mark.parametrize(
    ("build", "said"),
    [(hevc, "apt install libheif-examples"), (av1, "heif-enc is not installed"), (jpeg_xl_by_command, "libjxl-tools")],
)
def test_a_program_that_is_not_installed_names_its_package(monkeypatch, build, said) -> None:
    monkeypatch.setattr(commands.shutil, "which", lambda name: None)
    with pytest.raises(Unavailable, match=said):
        build()


def test_a_program_without_the_encoder_says_which_one(monkeypatch) -> None:
    monkeypatch.setattr(commands.shutil, "which", lambda name: sys.executable)
    monkeypatch.setattr(commands, "_said", lambda words: "HEIC encoders:\nAVIF encoders:\n- aom = AOMedia v3.6.0\n")
    with pytest.raises(Unavailable, match="heif-enc has no x265 for HEVC"):
        hevc()
    assert av1().settings == "aom 3.6.0 by heif-enc, 4:4:4"


def test_without_imagecodecs_jpeg_xl_is_taken_from_its_program_and_jpeg_2000_says_what_is_missing(monkeypatch) -> None:
    def missing(extra: str, *packages: str) -> None:
        raise MissingExtra(f"this needs {packages[0]}, which the extra {extra} brings")

    monkeypatch.setattr("clc.evaluation.baselines.libraries.need", missing)
    found = find_baselines(["jpeg-xl", "jpeg-2000"])
    assert found.missing["jpeg-2000"] == "this needs imagecodecs, which the extra baselines brings"
    if shutil.which("cjxl"):
        assert [one.name for one in found.available] == ["jpeg-xl"]
    else:
        assert found.missing["jpeg-xl"].endswith("cjxl is not installed (Debian: apt install libjxl-tools)")


def programs(encode: str, decode: str = "raise SystemExit(0)") -> CommandCoder:
    """A coder of programs that are these lines of Python; `a` and `b` are the files."""
    start = "import shutil, sys; a, b = sys.argv[1:3]; "
    return CommandCoder(
        "fake",
        "fake 1.0",
        (50.0,),
        ".fake",
        lambda source, coded, quality: [sys.executable, "-c", start + encode, str(source), str(coded)],
        lambda coded, back: [sys.executable, "-c", start + decode, str(coded), str(back)],
    )


def test_a_program_codes_and_decodes_in_a_folder_that_is_gone_afterwards(scene_HW3, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(commands.tempfile, "tempdir", str(tmp_path))
    coder = programs("shutil.copy(a, b)", "shutil.copy(a, b)")
    assert (coder.decode(coder.encode(scene_HW3, 50)) == scene_HW3).all()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("encode", "said"),
    [
        ("sys.exit('no such\\npreset')", "failed with status 1: no such preset"),
        ("pass", "failed with status 0"),
        ("import time; time.sleep(60)", "was at it for more than 0.5 s"),
    ],
)
def test_a_program_that_fails_is_a_row_with_what_it_said(scene_HW3, monkeypatch, encode, said) -> None:
    monkeypatch.setattr(commands, "_TIMEOUT_S", 0.5 if "sleep" in encode else 60.0)
    coder = programs(encode)
    (row,) = evaluate([coder], [PictureUnderTest("a", "a.png", lambda: scene_HW3)])
    assert row.status == "failed"
    assert said in row.reason


def test_a_file_that_is_no_picture_is_an_error_and_no_picture(scene_HW3) -> None:
    coder = programs("open(b, 'w').write('x')", "shutil.copy(a, b)")
    with pytest.raises(InputError, match="not a readable picture"):
        coder.decode(coder.encode(scene_HW3, 50))


@pytest.mark.skipif(not Path("/usr/bin/djxl").exists(), reason="libjxl-tools is not installed")
def test_the_program_reads_what_the_library_writes(scene_HW3, tmp_path) -> None:
    (library,) = [one for one in FOUND.available if one.name == "jpeg-xl"]
    (tmp_path / "a.jxl").write_bytes(library.encode(scene_HW3, 90))
    subprocess.run(["/usr/bin/djxl", str(tmp_path / "a.jxl"), str(tmp_path / "a.png")], check=True, capture_output=True)
    assert (tmp_path / "a.png").stat().st_size > 1000
