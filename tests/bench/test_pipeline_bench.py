"""The bench of the pipeline makes pictures that are no copies of one another, and counts what it measures."""

from pathlib import Path

import pytest
from PIL import Image

from bench import pipeline
from clc.collection.examination import Examined, examine
from clc.collection.scenes import Shot, find_copies, find_scenes


def test_its_pictures_are_different_photographs_of_one_size(tmp_path: Path) -> None:
    pipeline.make_pictures(tmp_path / "a", range(12))
    pipeline.make_pictures(tmp_path / "b", range(3))
    files = sorted((tmp_path / "a").iterdir())
    assert {path.name for path in (tmp_path / "b").iterdir()} < {path.name for path in files}
    found = [examine(path.read_bytes(), path.name) for path in files]
    shots = [
        Shot(path.name, one.thumbnail) for path, one in zip(files, found, strict=True) if isinstance(one, Examined)
    ]
    assert len(shots) == 12
    assert find_scenes(shots, find_copies(shots)) == list(range(12))
    with Image.open(files[0]) as image:
        assert (image.format, image.size) == ("JPEG", (512, 512))


def test_figures_come_of_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter((3.0, 9.0, 4.0))
    monkeypatch.setattr(pipeline, "bare_seconds", lambda *_: 2.0)
    monkeypatch.setattr(pipeline, "ingest_seconds", lambda *_: next(seconds))
    monkeypatch.setattr(pipeline, "HANDFUL", 1)
    pipeline.make_pictures(tmp_path / "a", range(2))
    size = sum(path.stat().st_size for path in (tmp_path / "a").iterdir())
    figures = pipeline.measure(tmp_path / "a", tmp_path, 2, 2, has_prefect=False)
    assert (figures["ratio"], figures["ratio_beyond_start"], figures["again_seconds"]) == (4.5, 3.0, 4.0)
    assert (figures["source_bytes"], figures["workspace_bytes"]) == (size, 0)
    assert len(list((tmp_path / "a").iterdir())) == 3
