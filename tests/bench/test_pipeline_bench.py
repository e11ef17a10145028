"""The bench of the pipeline makes pictures that are no copies of one another, and counts what it measures."""

from contextlib import nullcontext
from pathlib import Path

import pytest
from PIL import Image

from bench import pipeline
from bench.pipeline import Spent
from bench.results.tables.disk import ingest_values
from clc.collection.examination import Examined, examine
from clc.collection.scenes import Shot, find_copies, find_scenes
from flows.runtime.stage import finished_keys
from flows.runtime.workspace import Workspace


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
    bare = iter((Spent(1.0, 2.0), Spent(3.0, 4.0)))
    ingests = iter((Spent(9.0, 12.0), Spent(4.0, 1.0)))
    seen = []

    def ingest(folder: Path, workspace: Workspace, workers: int) -> Spent:
        workspace.root.mkdir(exist_ok=True)
        seen.append(len(list(folder.iterdir())))
        return next(ingests)

    monkeypatch.setattr(pipeline, "bare", lambda *_: next(bare))
    monkeypatch.setattr(pipeline, "ingest", ingest)
    pipeline.make_pictures(tmp_path / "a", range(2))
    size = sum(path.stat().st_size for path in (tmp_path / "a").iterdir())
    figures = pipeline.measure(tmp_path / "a", tmp_path, 2, 3.0, has_prefect=False, has_features=False)
    assert (figures["ratio"], figures["ratio_beyond_start"], figures["cpu_ratio"]) == (4.5, 3.0, 4.0)
    assert (figures["again_seconds"], figures["bare_seconds_each"]) == (4.0, [1.0, 3.0])
    assert (figures["source_bytes"], figures["workspace_bytes"]) == (size, 0)
    assert ingest_values({"sizes": [figures]}) == {"pictures": 2, "source_bytes": size, "workspace_bytes": 0}
    assert seen == [2, 3]
    assert len(list((tmp_path / "a").iterdir())) == 2


def test_what_a_flow_spends_outside_its_function_or_in_telling_is_prefects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = {"seconds": 10.0, "cpu_seconds": 9.0, "inner_seconds": 9.5, "told_seconds": 0.25}
    asked = []
    monkeypatch.setattr(pipeline, "prefect_server", lambda _: nullcontext("http://127.0.0.1:1/api"))
    monkeypatch.setattr(pipeline, "run_flow", lambda *given, **_: asked.append(given[2]) or measured)
    found = pipeline.ingest_as_flow(tmp_path, Workspace(tmp_path), 2)
    assert found == (Spent(10.0, 9.0), {"prefect_seconds": 0.75, "prefect_percent": 7.5})
    assert asked == ["http://127.0.0.1:1/api"]


def test_an_ingest_is_measured_by_the_clock_and_by_the_processor(tmp_path: Path) -> None:
    paths = pipeline.make_pictures(tmp_path / "a", range(9))
    spent = pipeline.ingest(tmp_path / "a", Workspace(tmp_path / "workspace"), 1)
    assert spent.seconds > 0
    assert spent.cpu_seconds > pipeline.decode(list(map(str, paths))) > 0
    assert finished_keys(Workspace(tmp_path / "workspace"), "ingest-images")


def test_the_plot_shows_every_size_of_both(tmp_path: Path) -> None:
    keys = ("ingest_seconds", "bare_seconds", "ingest_cpu_seconds", "bare_cpu_seconds")
    sizes = [{"pictures": count, **dict.fromkeys(keys, count / 100)} for count in (1000, 5000)]
    first = pipeline.draw(sizes)
    assert first == pipeline.draw(sizes)
    for text in (b">ingest, of the clock<", b">bare decoding, of a processor<", b">seconds<"):
        assert text in first
