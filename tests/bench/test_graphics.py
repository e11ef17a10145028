"""bench/graphics.py: graphics that a seed gives again, and those to measure on are apart from those to train on."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib")

BENCH = Path(__file__).parents[2] / "bench"


def _draw(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, BENCH / "graphics.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _pictures(folder: Path) -> dict[str, Image.Image]:
    found = {}
    for path in sorted(folder.iterdir()):
        with Image.open(path) as image:
            image.load()
            found[path.name] = image
    return found


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    out = tmp_path_factory.mktemp("graphics")
    assert _draw("--out", out / "training", "--count", 10).returncode == 0
    assert _draw("--out", out / "held-out", "--count", 8, "--held-out").returncode == 0
    return out / "training", out / "held-out"


def test_each_kind_is_drawn_once_and_no_kind_is_on_both_sides(folders: tuple[Path, Path]) -> None:
    training, held_out = (_pictures(folder) for folder in folders)
    kinds = [{name.split("-", 1)[1] for name in side} for side in (training, held_out)]
    assert [len(side) for side in kinds] == [10, 8]
    assert not kinds[0] & kinds[1]


def test_every_picture_is_rgb_of_a_usual_size_and_shows_something(folders: tuple[Path, Path]) -> None:
    for name, image in (_pictures(folders[0]) | _pictures(folders[1])).items():
        assert image.mode == "RGB", name
        assert 96 <= min(image.size) <= max(image.size) <= 1200, name
        assert np.asarray(image).std() > 5, name


def test_a_number_gives_the_same_picture_however_many_are_drawn(folders: tuple[Path, Path], tmp_path: Path) -> None:
    assert _draw("--out", tmp_path / "fewer", "--count", 6).returncode == 0
    for path in (tmp_path / "fewer").iterdir():
        assert path.read_bytes() == (folders[0] / path.name).read_bytes(), path.name


def test_fonts_of_the_held_out_kinds_are_not_trained_on() -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from rendered import drawing as d; "
        "print(bool(set(d.TRAINING_FONTS) & set(d.HELD_OUT_FONTS)), d.MONO[False] in d.TRAINING_FONTS)"
    )
    done = subprocess.run([sys.executable, "-c", script, BENCH], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_folder_that_holds_files_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    refused = _draw("--out", tmp_path)
    assert refused.returncode == 1
    assert refused.stderr == f"error: {tmp_path} is there already; name a new folder\n"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
