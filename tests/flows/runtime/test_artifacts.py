"""What a run shows on Prefect's pages stands under keys, in each run again, and never costs a result."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from clc.evaluation.measure import Row, rows_to_table
from flows.evaluation_page import FAILURES, LINKS, PLOT, RESULTS, show_evaluation
from flows.runtime import artifacts
from flows.runtime.artifacts import ProgressOnPage, publish_table, publish_text
from flows.runtime.progress import counted
from flows.runtime.stage import StageResult, run_stage
from flows.runtime.workspace import Workspace
from storage.tables import write_table

Published = Callable[[str], tuple[list[dict[str, Any]], str]]


def of_key(key: str) -> list[Any]:
    """All artifacts under a key, oldest first."""
    wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
    with get_client(sync_client=True) as client:
        return sorted(client.read_artifacts(artifact_filter=wanted), key=lambda one: one.created)


def evaluated(workspace: Workspace) -> StageResult:
    def body(folder: Path) -> dict[str, Any]:
        rows = [Row("clc", 1.0, "a", "a.png", "natural", "-"), Row("clc", 1.0, "b", "b.png", "natural", "-")]
        broken = Row("webp", 5.0, "b", "b.png", "natural", "-", status="failed", reason="too wide")
        write_table(folder / "rows.parquet", rows_to_table([*rows, broken]))
        (folder / "rd.png").write_bytes(b"png")
        (folder / "report.html").write_text("<p>")
        return {
            "bundle_id": "0011223344556677",
            "dataset": "photos",
            "failed_rows": 1,
            "table": [{"codec": "clc", "quality": 1.0, "bpp": 0.123456, "references": "-"}],
            "bd_rates": [{"anchor": "jpeg", "percent": -40.0}, {"anchor": "webp", "percent": None, "reason": "few"}],
            "missing_baselines": {"jxl": "imagecodecs is not installed"},
        }

    return run_stage(workspace, "evaluate-codec", inputs={}, config={}, modules=[], body=body)


def test_every_stage_and_evaluation_shows_what_it_came_to_in_each_run(
    workspace: Workspace, published: Published
) -> None:
    @flow
    def shows() -> None:
        show_evaluation(workspace, evaluated(workspace))

    shows()
    shows()
    stages = of_key("evaluate-codec")
    assert ["by this run" in one.data for one in stages] == [True, False]
    assert all(list(row) == ["what", "value"] for one in stages for row in json.loads(one.data))
    rows, description = published(RESULTS)
    assert rows == [{"codec": "clc", "quality": 1.0, "bpp": 0.1235}]
    assert "| BD-rate against | at equal PSNR of RGB |" in description
    assert "| jpeg | -40.0 % |" in description
    assert "| webp | none |" in description
    assert "None against webp at equal PSNR of RGB: few." in description
    failures, _ = published(FAILURES)
    assert [(one["codec"], one["reason"]) for one in failures] == [
        ("jxl", "imagecodecs is not installed"),
        ("webp", "too wide"),
    ]
    assert of_key(PLOT)[0].data == "![evaluation-plot](data:image/png;base64,cG5n)"
    assert "report.html" in of_key(LINKS)[0].data
    assert len({one.flow_run_id for one in of_key(LINKS)}) == 2


@pytest.mark.usefixtures("prefect_api")
def test_progress_is_one_artifact_that_moves() -> None:
    @flow
    def works() -> None:
        with counted("counting stars", 4) as one_more:
            for _ in range(4):
                one_more()

    works()
    (progress,) = of_key("progress-counting-stars")
    assert (progress.type, float(progress.data)) == ("progress", 100.0)


def test_a_page_hears_of_progress_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []
    monkeypatch.setattr(artifacts, "_publish", lambda key, kind, data, description: told.append(data) or "id")
    monkeypatch.setattr(artifacts, "_update", lambda artifact_id, data: told.append(data) or True)
    now = [0.0]
    page = ProgressOnPage(clock=lambda: now[0])
    for done in range(101):
        now[0] = done * 0.5
        page.tell("work", done, 100)
    page.tell("nothing to do", 0, 0)
    assert told == [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0]


def test_outside_of_a_run_nothing_is_shown() -> None:
    assert not publish_table("a-table", [], "")
    assert not publish_text("a-text", "", "")


@pytest.mark.usefixtures("prefect_api")
def test_a_server_that_refuses_costs_no_result(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    @flow
    def works() -> int:
        monkeypatch.setattr(artifacts, "get_client", lambda **_: (_ for _ in ()).throw(OSError("gone")))
        with counted("losing", 2) as one_more:
            one_more()
            one_more()
        publish_text("a-text", "", "")
        return 7

    assert works() == 7
    assert caplog.text.count("artifact_lost") == 2
