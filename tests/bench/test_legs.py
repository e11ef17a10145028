"""bench/legs.py: the curve of all legs grows by a run's log, and each leg is compared with the one before."""

import json
import re
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "bench" / "legs.py"
CURVE = Path(__file__).parents[2] / "docs" / "legs.jsonl"
PSNR_DB = [24.0, 27.0, 30.0, 33.0, 36.0]


def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, BENCH, *arguments], capture_output=True, text=True, check=False)


def validation(factor: float, loss: float) -> dict[str, object]:
    bpp = [factor * rate for rate in (0.2, 0.4, 0.8, 1.3, 1.9)]
    return {"step": 5, "minutes": 2.0, "validation_loss": loss, "validation_bpp": bpp, "validation_psnr_db": PSNR_DB}


def log_of(path: Path, *lines: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_leg_counts_as_the_validation_that_its_run_kept(tmp_path: Path) -> None:
    curve = tmp_path / "legs.jsonl"
    first = log_of(tmp_path / "first.jsonl", {"step": 1, "loss": 2.0}, validation(1.0, 0.5))
    second = log_of(tmp_path / "second.jsonl", validation(0.9, 0.45), validation(0.95, 0.47), {"kept": "best"})
    assert call(curve, "--leg", "1", "--add", first).returncode == 0
    result = call(curve, "--leg", "2", "--add", second)
    assert result.returncode == 0, result.stderr
    assert re.findall(r"[+-]\d+\.\d+ %", result.stdout) == ["-10.00 %"]
    assert [json.loads(line)["leg"] for line in curve.read_text().splitlines()] == ["1", "2", "2"]
    assert call(curve).stdout == result.stdout


def test_what_cannot_be_added_leaves_the_file_alone(tmp_path: Path) -> None:
    curve = tmp_path / "legs.jsonl"
    log = log_of(tmp_path / "log.jsonl", validation(1.0, 0.5))
    assert call(curve, "--leg", "1", "--add", log).returncode == 0
    before = curve.read_bytes()
    again = call(curve, "--leg", "1", "--add", log)
    empty = call(curve, "--leg", "2", "--add", log_of(tmp_path / "none.jsonl", {"step": 1}))
    missing = call(curve, "--leg", "2", "--add", tmp_path / "nowhere.jsonl")
    assert [result.returncode for result in (again, empty, missing)] == [1, 1, 1]
    assert "in the curve already" in again.stderr
    assert "holds no validation" in empty.stderr
    assert "nowhere.jsonl" in missing.stderr
    assert curve.read_bytes() == before
    assert call(curve, "--leg", "2").returncode == 2
    assert call(tmp_path / "nothing.jsonl").returncode == 1
    assert "no curve of legs" in call(log).stderr


def test_each_leg_of_the_shipped_model_is_better_than_the_one_before() -> None:
    """Without references, and on average over the rows that its validation weighs: one alone may lose a little."""
    found = [re.findall(r"([+-]\d+\.\d+) %", line) for line in call(CURVE).stdout.splitlines()]
    legs = [[float(rate) for rate in rates] for rates in found if rates]
    assert len(legs) >= 5
    for rates in legs:
        assert len(rates) == 3
        assert rates[0] < 0.0
        assert sum(rates) < 0.0
        assert max(rates) < 0.25
