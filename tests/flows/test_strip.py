"""The example of `make run`: the strip is packed once, measured beside other formats, and shown."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from clc.archive.layout import Archive
from clc.codec.codec import Codec
from flows import strip
from flows.runtime.workspace import Workspace


@pytest.fixture
def small_strip(tmp_path: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch, shipped: Codec) -> Path:
    """Three overlapping pictures in place of those that are shipped."""
    folder = tmp_path / "strip"
    folder.mkdir()
    for number in range(3):
        picture = np.ascontiguousarray(photo[40:232, 32 * number : 32 * number + 224])
        Image.fromarray(picture).save(folder / f"{number}.png")
    (folder / "ORIGIN.txt").write_text("of a test")
    monkeypatch.setattr(strip, "STRIP", folder)
    monkeypatch.setattr(Codec, "shipped", lambda: shipped)
    return folder


@pytest.mark.usefixtures("small_strip")
def test_strip_is_packed_measured_and_shown_once(workspace: Workspace) -> None:
    result = strip.pack_strip(workspace)
    summary = result.manifest.summary
    archive = Archive(result.directory / strip.ARCHIVE)
    assert summary["archive_bytes"] == archive.bytes_of_all
    assert [one.name for one in archive.manifest.pictures] == ["0.png", "1.png", "2.png"]
    sizes = summary["at_equal_psnr"]
    assert list(sizes) == ["JPEG", "AVIF", "each picture alone"]
    assert sizes["JPEG"] > sizes["AVIF"] > sizes["each picture alone"] > 0
    page = (result.directory / strip.PAGE).read_text()
    assert page.count('class="flip"') == 3
    assert f"{sizes['JPEG']:,}" in page
    assert strip.pack_strip(workspace).reused
    text = io.StringIO()
    strip.show_strip(Console(file=text, width=120), result)
    for said in (f"{sizes['AVIF']:,}", f"{summary['archive_bytes']:,}", "archive.html", "pack FOLDER ARCHIVE"):
        assert said in text.getvalue()


def test_what_is_not_measured_is_said(workspace: Workspace) -> None:
    summary = {
        "pictures": 3,
        "archive_bytes": 100,
        "psnr_db": 33.0,
        "at_equal_psnr": {"JPEG": None, "each picture alone": 200},
        "missing": {"avif": "this build of Pillow has no AVIF"},
    }
    manifest = type("Manifest", (), {"summary": summary})
    text = io.StringIO()
    result = strip.StageResult("pack-strip", "0" * 16, Path("folder"), manifest, reused=False)
    strip.show_strip(Console(file=text, width=120), result)
    assert "not measured" in text.getvalue()
    assert "-50.0 %" in text.getvalue()
    assert "avif is not measured: this build of Pillow has no AVIF" in text.getvalue()


def test_strip_that_ships_is_what_the_flow_packs() -> None:
    assert len(list(strip.STRIP.glob("*.webp"))) == 10
