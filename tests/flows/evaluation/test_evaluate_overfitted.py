"""Overfitted streams in the flow evaluate-codec: a codec more in rows, summary and report, where one is asked for."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clc.errors import InputError
from clc.evaluation.measure import Row, rows_from_table
from clc.evaluation.overfitted import QUALITIES, OverfittedCoder
from flows.evaluate import evaluate_codec
from flows.runtime.stage import StageResult, resolve
from flows.runtime.workspace import Workspace
from storage.tables import read_table
from tests.flows.test_evaluate import PARTS, codec, ingest, make_picture
from tests.tiny_autoencoder import make_autoencoder

__all__ = ["codec"]  # a fixture of this module, too


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("clc.codec.overfitted.ITERATIONS", (10,) * 10)
    return make_autoencoder(tmp_path / "autoencoder")


def evaluated(workspace: Workspace, **parameters: Any) -> tuple[StageResult, list[Row]]:
    key = evaluate_codec.fn(**{"ingest": ingest(workspace, PARTS), "bundle": "shipped", **parameters})
    result = resolve(workspace, "evaluate-codec", key)
    return result, rows_from_table(read_table(result.directory / "rows.parquet"))


@pytest.mark.usefixtures("codec")
def test_overfitted_streams_are_measured_like_any_codec(workspace: Workspace, folder: Path) -> None:
    result, rows = evaluated(workspace, overfitted_autoencoder=str(folder))
    own = [row for row in rows if row.codec == "overfitted"]
    assert [(row.name, row.quality) for row in own] == [(f"picture {n}", q) for n in (2, 3, 5) for q in QUALITIES]
    assert {(row.status, row.references) for row in own} == {("ok", "-")}
    assert all(row.encode_s > row.decode_s > 0 for row in own)
    whole = OverfittedCoder.load(folder).encode(make_picture(2), QUALITIES[1])
    assert own[1].bytes == len(whole)
    table = [one for one in result.manifest.summary["table"] if one["codec"] == "overfitted"]
    assert [(one["row"], one["quality"]) for one in table] == [
        (row, q) for row in ("natural", "pair") for q in QUALITIES
    ]
    assert {one["anchor"] for one in result.manifest.summary["bd_rates"]} == {"jpeg", "webp", "overfitted"}
    page = (result.directory / "report.html").read_text()
    assert "a function fitted to each picture in the latents of autoencoder" in page
    assert f"<dd>{folder}</dd>" in page
    data = json.loads(page.partition('<script type="application/json" id="data">')[2].partition("</script>")[0])
    assert "overfitted" in {curve["codec"] for curve in data["sets"][0]["curves"]}
    assert all("overfitted" in step for picture in data["viewed"] for step in picture["steps"])
    assert f"overfitted_autoencoder={folder}" in page


def test_fits_are_kept_for_another_bundle_and_made_anew_for_another_encoder(
    workspace: Workspace, codec: list[Any], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.evaluate.report_page", lambda *given: "")
    kept = workspace.stages / "measure-overfitted"
    first, _ = evaluated(workspace, overfitted_autoencoder=str(folder))
    moved = Path(shutil.copytree(folder, tmp_path / "elsewhere"))
    evaluated(workspace, overfitted_autoencoder=str(moved), most_pictures=1)
    assert len(list(kept.iterdir())) == 3
    other = make_autoencoder(tmp_path / "other", seed=1)
    shutil.copy(other / "encoder.safetensors", moved)
    second, _ = evaluated(workspace, overfitted_autoencoder=str(moved))
    assert second.key != first.key
    assert len(list(kept.iterdir())) == 6


@pytest.mark.usefixtures("codec")
def test_without_an_autoencoder_none_is_measured(workspace: Workspace) -> None:
    result, rows = evaluated(workspace)
    assert "overfitted" not in {row.codec for row in rows}
    assert "overfitted" not in (result.directory / "report.html").read_text()


@pytest.mark.usefixtures("codec")
def test_an_autoencoder_that_does_not_work_is_told_before_anything_is_measured(
    workspace: Workspace, folder: Path, tmp_path: Path
) -> None:
    def refused(said: str, given: Path = folder) -> None:
        with pytest.raises(InputError, match=said):
            evaluated(workspace, overfitted_autoencoder=str(given))
        assert not [path for path in workspace.stages.iterdir() if path.name != "ingest-images"]

    refused(r"autoencoder\.json: No such file", tmp_path / "nowhere")
    encoder, decoder = folder / "encoder.safetensors", folder / "decoder.safetensors"
    whole = {path: path.read_bytes() for path in (encoder, decoder)}
    for path in (encoder, decoder):
        path.write_bytes(whole[path][:-50])
        refused(path.name)
        path.unlink()
        refused(path.name)
        path.write_bytes(whole[path])
    (folder / "autoencoder.json").write_text("{}")
    refused("lacks the field")


@pytest.mark.usefixtures("codec")
def test_a_picture_that_cannot_be_overfitted_is_a_row_with_the_reason(
    workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clc.overfitted.autoencoder.MAX_OVERFITTED_PIXELS", 176 * 168)
    larger = np.concatenate([make_picture(30), make_picture(31)])
    parts = [*PARTS[:4], (larger, "evaluation", "natural")]
    result, rows = evaluated(workspace, ingest=ingest(workspace, parts), overfitted_autoencoder=str(folder))
    failed = [row for row in rows if row.status == "failed"]
    assert {(row.codec, row.name) for row in failed} == {("overfitted", "picture 4")}
    assert "overfitting ends at" in failed[0].reason
    assert result.manifest.summary["pictures"] == {"natural": 2}
