"""The command bench/kodak.py on two small pictures: figures, files, and one line for what cannot be measured."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from bench.results.tables import graphics, kodak
from clc.pictures.images import png_bytes

PROGRAM = Path(__file__).parents[2] / "bench" / "kodak.py"
FAST = ["--baselines", "jpeg,webp", "--qualities", "10,40,70,95"]


@pytest.fixture
def pictures(tmp_path, photo):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(2):
        (folder / f"picture {index}.png").write_bytes(png_bytes(photo[:176, 90 * index : 90 * index + 192]))
    return folder


@pytest.fixture
def run():
    """Return a function that runs the program in this process."""
    spec = importlib.util.spec_from_file_location("kodak", PROGRAM)
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    app = typer.Typer()
    app.command()(program.command)
    return lambda *arguments: CliRunner().invoke(app, [str(one) for one in arguments])


def test_a_folder_is_measured_and_held_against_published_curves(run, pictures, tmp_path, monkeypatch) -> None:
    curve = {"psnr": {"bpp": [0.1, 0.4, 1.0, 3.0], "value": [25.0, 30.0, 36.0, 43.0]}}
    anchors = tmp_path / "points.json"
    anchors.write_text(json.dumps({"kodak": {"vtm-9.1": curve}}))
    out = tmp_path / "out"
    result = run("--pictures", pictures, "--anchors", anchors, "--out", out, *FAST)
    assert result.exit_code == 0, result.output
    assert "means over 2 pictures" in result.output
    summary = json.loads((out / "results.json").read_text())
    assert summary["failed_rows"] == 0
    monkeypatch.setattr(kodak, "ROWS", {"jpeg": "", "webp": "", "vtm-9.1": ""})
    kept = kodak.values_of(summary)
    assert kept["pictures"] == 2
    assert [point["quality"] for point in kept["points"]] == [10, 40, 70, 95]
    assert kept["bd_rates"]["jpeg"]["percent"] == summary["bd_rate_vs_jpeg_percent"]
    assert set(kept["measures"]) == {"psnr_db", "psnr_ycbcr_db", "ms_ssim", "ssim"}
    assert kept["measures"]["psnr_db"]["webp"] == kept["bd_rates"]["webp"]["percent"]
    assert kept["bd_rates"]["vtm-9.1"]["low"] < kept["bd_rates"]["vtm-9.1"]["high"]
    assert {rate["test"] for rate in summary["published_bd_rates"]} == {"clc", "jpeg", "webp"}
    assert {rate["anchor"] for rate in summary["published_bd_rates"]} == {"vtm-9.1, published"}
    assert (out / "rd.png").read_bytes().startswith(b"\x89PNG")
    assert "picture 0.png" in (out / "report.html").read_text()


def test_results_that_exist_are_left_alone(run, pictures, tmp_path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/rd.png").write_bytes(b"old")
    result = run("--pictures", pictures, "--out", tmp_path / "out", *FAST)
    assert result.exit_code == 1
    assert "rd.png exists already; remove it, or give another name or --overwrite" in result.output
    assert [path.read_bytes() for path in (tmp_path / "out").iterdir()] == [b"old"]


def test_two_processes_measure_what_one_does(pictures, tmp_path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, str(PROGRAM), "--pictures", str(pictures), "--processes", "2", "--out", str(out)]
    subprocess.run([*command, "--baselines", "jpeg", "--qualities", "50"], check=True, capture_output=True)
    summary = json.loads((out / "results.json").read_text())
    assert summary["pictures"] == {"natural": 2}
    assert graphics.values_of(summary)["pictures"] == 2
    assert summary["failed_rows"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pictures", "no/such"], "no folder"),
        (["--pictures", "."], "holds no lossless picture"),
        (["--qualities", "much"], "qualities are numbers"),
        (["--bundle", "no/such"], "no bundle in"),
        (["--baselines", "gif"], "unknown baseline"),
    ],
)
def test_what_cannot_be_measured_is_one_line(run, arguments, message, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 1
    assert message in result.output
    assert len(result.output.strip().splitlines()) == 1
