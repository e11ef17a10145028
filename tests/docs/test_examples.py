"""The examples of the documentation run as they stand, each in a fresh process, and what they claim is so."""

import os
import re
import subprocess
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[2]


def run_example(name: str, folder: Path) -> tuple[str, Path]:
    """Run an example with `folder` as its temporary folder; return what it printed and the folder that it made."""
    environment = os.environ | {
        "TMPDIR": str(folder),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",  # beside other work, threads that wait for one another take many times as long
    }
    path = ROOT / "docs" / "examples" / f"{name}.py"
    done = subprocess.run([sys.executable, str(path)], env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (made,) = folder.glob("clc-*")
    assert done.stdout.endswith(f"everything is in {made}\n")
    return done.stdout, made


def test_the_folder_comes_back_as_pictures_that_look_the_same_for_a_tenth_of_the_bytes(tmp_path: Path) -> None:
    printed, made = run_example("code_a_folder", tmp_path)
    names = {path.stem for path in (made / "photos").iterdir()}
    assert {path.stem for path in (made / "back").iterdir()} == names
    rows = re.findall(r"(\w+): (\d+) -> (\d+) bytes, ([\d.]+) dB", printed)
    assert {name for name, *_ in rows} == names
    for name, before, after, psnr_db in rows:
        assert int(after) == (made / "coded" / f"{name}.clc").stat().st_size
        assert int(after) < 0.1 * int(before)
        assert float(psnr_db) > 29


def test_the_strip_takes_less_than_half_of_the_bytes_beside_its_key_picture(tmp_path: Path) -> None:
    printed, made = run_example("overlapping_strip", tmp_path)
    (alone, alone_db), (beside, beside_db) = re.findall(r"pictures .*: (\d+) bytes, ([\d.]+) dB", printed)
    assert int(beside) < 0.5 * int(alone)
    assert float(beside_db) > float(alone_db)
    for name, claimed in (("alone", alone), ("beside", beside)):
        assert sum(path.stat().st_size for path in (made / name).iterdir()) == int(claimed)
    (key,) = (made / "bundle" / "pictures").iterdir()
    assert f"once: {key.stat().st_size} bytes" in printed


def test_the_python_example_gets_the_same_pixels_from_pillow_and_no_picture_from_damage(tmp_path: Path) -> None:
    printed, made = run_example("numpy_and_pillow", tmp_path)
    (low, low_db), (high, high_db) = re.findall(r"quality \d+: (\d+) bytes, ([\d.]+) dB", printed)
    assert int(low) < int(high) == (made / "picture.clc").stat().st_size
    assert 27 < float(low_db) < float(high_db)
    assert "its pixels are those of clc.decode: True" in printed
    assert "a damaged stream: " in printed
    with Image.open(made / "picture.png") as picture:
        assert picture.size == (192, 192)


def test_the_examples_are_short_and_all_of_them_are_run_here() -> None:
    examples = sorted((ROOT / "docs" / "examples").glob("*.py"))
    assert [path.stem for path in examples] == ["code_a_folder", "numpy_and_pillow", "overlapping_strip"]
    for path in examples:
        assert len(path.read_text().splitlines()) <= 60
        assert path.name in (path.parent / "README.md").read_text()
