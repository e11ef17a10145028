"""bench/range.py and its hundred small PNG files: what is written is what decoders read, and ours is never larger."""

import importlib
import importlib.util
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

import clc
from bench.results.tables.whole_range import summary_of
from clc.codec.ways.photographs import photographs_in
from clc.pictures import losses
from clc.pictures.images import png_bytes, read_picture
from tests.conftest import Picture

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture(scope="module")
def small() -> ModuleType:
    spec = importlib.util.spec_from_file_location("small_pngs", BENCH / "rendered" / "small_pngs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_hundred_files_of_every_kind_come_back_bit_by_bit_in_no_more_bytes_than_webp(small: ModuleType) -> None:
    files = small.make()
    assert len(files) == 100
    ours = theirs = 0
    for name, data in files.items():
        picture = read_picture(data, name)
        assert (losses.DEPTH in picture.losses) == ("-16" in name)
        assert (picture.alpha_HW is not None) >= ("t-" in name)
        coded = clc.encode(picture.image_HW3, lossless=True, alpha_HW=picture.alpha_HW)
        decoded = clc.decode_picture(coded)
        assert (decoded.image_HW3 == picture.image_HW3).all(), name
        assert np.array_equal(decoded.alpha_HW, picture.alpha_HW), name  # type: ignore[arg-type]  # None equals None
        samples = picture.image_HW3 if picture.alpha_HW is None else np.dstack((picture.image_HW3, picture.alpha_HW))
        webp = io.BytesIO()
        Image.fromarray(samples).save(webp, "WEBP", lossless=True, method=6, exact=True)
        assert len(coded) <= len(webp.getvalue()), name
        ours, theirs = ours + len(coded), theirs + len(webp.getvalue())
    assert ours < 0.75 * theirs


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_photographs_lie_in_a_drawn_page_as_they_are_and_are_found_there(
    seed: int, photo: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(str(BENCH))
    pen = importlib.import_module("rendered.drawing").Pen(np.random.default_rng(seed), is_training=False)
    page = importlib.import_module("rendered.pages").page(pen, [Image.fromarray(photo)] * 3)
    drawn = np.asarray(page.image)
    assert 2 <= len(page.places) <= 3
    for left, top, right, bottom in page.places:
        x, y = (photo.shape[1] - (right - left)) // 2, (photo.shape[0] - (bottom - top)) // 2
        assert (drawn[top:bottom, left:right] == photo[y : y + bottom - top, x : x + right - left]).all()
    found = {(one.left, one.top, one.right, one.bottom) for one in photographs_in(drawn)}
    assert found == set(page.places)


def test_interlacing_changes_no_sample(small: ModuleType) -> None:
    files = small.make()
    for name, data in files.items():
        if "i-" in name:
            plain = read_picture(files[name.replace("i-", "-")])
            assert (read_picture(data).image_HW3 == plain.image_HW3).all(), name
    grey = read_picture(files["0-08-32x32.png"]).image_HW3
    assert grey[3, 7].tolist() == [10 * 255 // 78] * 3


@pytest.fixture(scope="module")
def measuring() -> Iterator[ModuleType]:
    sys.path.insert(0, str(BENCH))
    try:
        import range as module  # the script's own name

        yield module
    finally:
        sys.path.remove(str(BENCH))
        for name in ("range", "graphics", "rendered"):
            sys.modules.pop(name, None)


def test_a_range_is_compared_by_the_mean_logarithm_and_the_lossless_file_ends_a_curve(measuring: ModuleType) -> None:
    def row(coder: str, setting: str, n_bytes: int, psnr: float | None) -> Any:
        return measuring.Row("a", coder, setting, n_bytes, psnr, "", 0.0)

    rows = [
        *(row("clc", f"quality {psnr}", n_bytes, psnr) for psnr, n_bytes in ((36, 500), (46, 2000))),
        row("clc", "lossless", 1500, None),
        *(row("AVIF", f"quality {psnr}", n_bytes, psnr) for psnr, n_bytes in ((30, 500), (36, 1000), (46, 4000))),
        row("WebP lossless", "method 6", 3000, None),
        row("JPEG XL lossless", "effort 7", 1000, None),
    ]
    assert measuring.reaching(rows, "clc", 35.0) is None
    assert measuring.reaching(rows, "clc", 36.0) == pytest.approx(500)
    assert measuring.reaching(rows, "clc", 45.9) == 1500
    assert measuring.reaching(rows, "clc", 60.0) == 1500
    found = measuring.over_range({"a": rows}, 34.0, 40.0)
    assert found["over AVIF, %"] == found["over the better, %"] == pytest.approx(-50.0)
    assert found["pictures"] == 1
    assert measuring.over_range({"a": rows}, 50.0, 60.0)["over the better, %"] == pytest.approx(-50.0)
    assert measuring.over_range({"a": rows}, 50.0, 60.0)["over AVIF, %"] is None
    assert measuring.over_range({"a": rows}, 50.0, 60.0)["over JPEG XL, %"] == pytest.approx(50.0)
    assert measuring.over_range({"a": rows}, 10.0, 20.0)["pictures"] == 0


def test_one_picture_is_a_set_and_is_coded_within_an_error(
    measuring: ModuleType, tmp_path: Path, photo: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "AVIF_QUALITIES", (50, 90))
    (tmp_path / "a.png").write_bytes(png_bytes(photo[:48, :64]))
    given = ["--set", f"one={tmp_path / 'a.png'}", "--qualities", "--psnr", "--max-error", "2", "--effort", "0"]
    assert measuring.main([*given, "--json", str(tmp_path / "out.json")]) == 0
    kept = summary_of(json.loads((tmp_path / "out.json").read_text()))
    assert kept["pictures"] == 1
    assert kept["max error 2"]["mean bytes"] < kept["lossless bytes"]
    assert kept["max error 2"]["lowest dB"] > 42.1  # of two levels everywhere


def test_the_command_measures_and_writes_its_figures(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCH / "range.py"), "--small", "--lossless-only", "--limit", "3"]
    done = subprocess.run([*command, "--json", str(tmp_path / "a.json")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "3 of 3 bit-exact" in done.stdout
    figures = json.loads((tmp_path / "a.json").read_text())
    summary = figures["small"]["summary"]
    assert summary["lossless bytes"] <= summary["WebP lossless bytes"]
    kept = summary_of(figures)
    assert sum(kept["lossless ways"].values()) == kept["pictures"] == 3
    assert kept["WebP lossless bpp"] > 0
    wrong = subprocess.run([*command, "--range", "46-38"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "46-38 is no range of dB; say 38-46" in wrong.stderr
    nothing = subprocess.run(command[:2], capture_output=True, text=True, check=False)
    assert nothing.returncode == 1
    assert nothing.stderr.startswith("error: nothing to measure")
    alone = subprocess.run([*command[:2], "--pages", "2"], capture_output=True, text=True, check=False)
    assert alone.returncode == 1
    assert alone.stderr.startswith("error: --pages N and --photographs FOLDER go together")
