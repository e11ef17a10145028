"""`retrain` promotes only what is better; its command fails in one line."""

import inspect
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NoReturn

import pytest
from rich.console import Console

from clc.bundle.identity import SHIPPED, id_of, read_manifest_bytes
from clc.bundle.serving import read_verdicts
from clc.errors import InputError
from clc.evaluation.measure import Row, rows_to_table
from flows import retrain as retraining
from flows.leakage import Leak
from flows.run_summary import pair_lines, read_outcome, show_outcome
from flows.runtime.command import run_command
from flows.runtime.prefect_server import prefect_environment
from flows.runtime.stage import STAGES, run_stage
from flows.runtime.workspace import Workspace
from flows.service.promotion import bundle_in_service
from storage.errors import StorageError
from storage.tables import write_table

ROOT = Path(__file__).parents[2]


def evaluated(workspace: Workspace, bundle: str, factor: float) -> str:
    """Finish an `evaluate-codec` whose rows show a codec that needs `factor` times the bytes of the one in service."""

    def body(folder: Path) -> dict[str, Any]:
        rows = [
            Row(
                codec, step, f"id{photo}", "name", "natural", "auto", 16, 16, 9, rate * step, 20.0 + step, 0.9, 0.1, 0.1
            )
            for photo in range(6)
            for codec, rate in (("clc", 0.1 * (factor + 0.001 * photo)), ("JPEG", 0.2), ("WebP", 0.15))
            for step in (1.0, 2.0, 3.0, 4.0, 5.0)
        ]
        write_table(folder / "rows.parquet", rows_to_table(rows))
        (folder / "report.html").write_text(f"<main><!-- verdict -->{bundle}</main>")
        return {"bd_rates": [{"anchor": "jpeg", "percent": -50.0}]}

    inputs = {"bundle": bundle}
    return run_stage(workspace, "evaluate-codec", inputs=inputs, config={}, modules=["storage.digest"], body=body).key


def staged(workspace: Workspace, stage: str, name: str) -> str:
    def body(folder: Path) -> dict[str, Any]:
        shutil.copytree(SHIPPED, folder / "bundle")
        manifest = json.loads((SHIPPED / "manifest.json").read_bytes())
        (folder / "bundle" / "manifest.json").write_text(json.dumps({**manifest, "parent": name}))
        return {}

    return run_stage(workspace, stage, inputs={"name": name}, config={}, modules=["storage.digest"], body=body).key


def run(monkeypatch: pytest.MonkeyPatch, workspace: Workspace, name: str, factors: dict[str, float]) -> str:
    """Run the body of the flow with stages that are made at once; `factors` are rates by bundle name."""

    def stages(recipe: object, serving: str) -> tuple[dict[str, str], str]:
        keys = {stage: staged(workspace, stage, name) for stage in STAGES[:4]}
        own = str(workspace.stages / "train-codec" / keys["train-codec"] / "bundle")
        keys["evaluate-codec"] = evaluated(workspace, own, factors[name])
        service_factor = factors[name] if serving == own else factors["service"]
        return keys, evaluated(workspace, serving, service_factor)

    monkeypatch.setattr(retraining, "_run_stages", stages)
    monkeypatch.setattr("flows.service.registry.mirror", lambda workspace: True)
    key = retraining.retrain.fn()
    return str(workspace.stages / "train-codec" / key / "bundle")


def test_better_candidate_is_promoted_and_then_serves(monkeypatch: pytest.MonkeyPatch, workspace: Workspace) -> None:
    assert bundle_in_service(workspace) == "shipped"
    bundle = run(monkeypatch, workspace, "new", {"new": 0.9, "service": 1.0})
    assert bundle_in_service(workspace) == bundle
    record = json.loads((workspace.service / "current.json").read_text())
    assert record["bd_rates_percent"] == {"jpeg": -50.0}
    assert [one["bundle_id"] for one in record["before"]] == [id_of(read_manifest_bytes(SHIPPED))]
    promoted = read_verdicts(workspace.root)
    run(monkeypatch, workspace, "new", {"new": 0.9, "service": 1.0})
    outcome = read_outcome(workspace)
    assert not outcome.verdict.is_promoted
    assert outcome.verdict.sentence == "Not promoted: it is the one that serves already."
    assert all(stage.is_reused for stage in outcome.stages)
    assert read_verdicts(workspace.root) == promoted


def test_device_and_processes_reach_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    called: dict[str, dict[str, Any]] = {}

    def noted(name: str) -> Callable[..., str]:
        return lambda **parameters: called.setdefault(name, parameters) and name

    names = {
        "ingest": "ingest_images",
        "features": "extract_features",
        "dictionary": "build_dictionary",
        "train": "train_codec",
        "evaluate": "evaluate_codec",
    }
    for module, name in names.items():
        monkeypatch.setattr(f"flows.{module}.{name}", noted(name))
    given = {one.name: None for one in fields(retraining.Recipe)}
    recipe = retraining.Recipe(**{**given, "device": "cuda", "processes": 4})  # type: ignore[arg-type]
    retraining._run_stages(recipe, "shipped")
    assert called["train_codec"]["device"] == "cuda"
    assert called["train_codec"]["processes"] == 4


@pytest.mark.parametrize("factor", [1.0, 1.1])
def test_candidate_that_is_not_better_is_not_promoted(
    monkeypatch: pytest.MonkeyPatch, workspace: Workspace, factor: float
) -> None:
    run(monkeypatch, workspace, "new", {"new": factor, "service": 1.0})
    assert bundle_in_service(workspace) == "shipped"
    assert not (workspace.service / "current.json").exists()
    (verdict,) = read_verdicts(workspace.root).values()
    assert not verdict.is_promoted


def test_end_of_a_run_names_results_places_and_next_commands(
    monkeypatch: pytest.MonkeyPatch, workspace: Workspace
) -> None:
    bundle = run(monkeypatch, workspace, "new", {"new": 0.9, "service": 1.0})
    text = io.StringIO()
    show_outcome(Console(file=text, width=100), workspace, read_outcome(workspace))
    for expected in (
        "clc",
        "JPEG",
        "WebP",
        "-54.9 %",
        "Promoted: ",
        "report.html",
        workspace.mlflow_uri,
        f"--bundle {bundle}",
    ):
        assert expected in text.getvalue()
    decided = (workspace.service / "report.html").read_text()
    assert "Promoted: " in decided
    assert f"In service now: {bundle}" in decided
    assert str(workspace.service / "report.html") in text.getvalue().replace("\n", "")


@pytest.mark.parametrize(("factor", "said"), [(0.2, "-20.0 % bytes"), (0.0, "not known what it saves")])
def test_line_of_the_pair_says_what_its_twin_gained(factor: float, said: str) -> None:
    rows = [
        Row(codec, step, "id", "name", "pair", "auto", 16, 16, 9, bpp * step, 20.0 + (step if factor else 0), 0.9)
        for codec, bpp in (("clc", 0.1 * (1 - factor)), ("clc, no references", 0.1))
        for step in (1.0, 2.0, 3.0, 4.0, 5.0)
    ]
    (line,) = pair_lines(rows)
    assert line.startswith(f"the pair beside its twin as a key picture: {said}")
    assert "own bytes are not counted" in line
    assert pair_lines([]) == pair_lines([row for row in rows if row.codec == "clc"]) == []


@pytest.mark.parametrize(("source", "is_packed"), [("builtin", True), ("folder", False)])
def test_the_strip_is_packed_at_the_end_where_the_photos_are_built_in(
    monkeypatch: pytest.MonkeyPatch, workspace: Workspace, source: str, is_packed: bool
) -> None:
    done: list[str] = []
    monkeypatch.setattr(retraining, "api_from_environment", lambda: "http://127.0.0.1:1/api")
    monkeypatch.setattr(retraining, "is_settled", lambda workspace: True)
    monkeypatch.setattr(retraining, "wait_until_healthy", lambda *_: None)
    monkeypatch.setattr(retraining, "log_to_terminal", lambda: None)
    monkeypatch.setattr(retraining, "read_outcome", lambda workspace: None)
    monkeypatch.setattr(retraining, "retrain", lambda **recipe: done.append("retrain"))
    monkeypatch.setattr(retraining, "show_outcome", lambda *_: done.append("results"))
    monkeypatch.setattr("flows.strip.pack_strip", lambda workspace: done.append("strip"))
    monkeypatch.setattr("flows.strip.show_strip", lambda *_: done.append("sizes"))
    assert retraining.command(source=source) == 0
    assert done == ["retrain", "results", *(["strip", "sizes"] if is_packed else [])]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"bundle": "../../etc"}', '{"bundle": "stages/gone"}'])
def test_damaged_service_record_says_how_to_return_to_the_shipped_bundle(workspace: Workspace, text: str) -> None:
    workspace.service.mkdir(parents=True)
    (workspace.service / "current.json").write_text(text)
    with pytest.raises(StorageError, match="return to the shipped bundle"):
        bundle_in_service(workspace)


def test_error_is_one_line_and_status_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(number: int = 1) -> None:
        raise InputError(f"no {number}\nof these")

    monkeypatch.setattr(sys, "argv", ["command", "--number", "3"])
    with pytest.raises(SystemExit) as stopped:
        run_command(fail)
    assert (stopped.value.code, capsys.readouterr().err) == (1, "error: no 3 of these\n")


@pytest.mark.parametrize(
    "arguments", [["--nonsense"], ["--entries", "many"], ["--entries", "0"], ["--candidates", "0"], ["stray"]]
)
def test_wrong_arguments_of_the_command_are_one_line_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["flows.retrain", *arguments])
    with pytest.raises(SystemExit) as stopped:
        run_command(retraining.command)
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert said.startswith("error: ")
    assert said.count("\n") == 1


def test_command_flow_and_recipe_have_the_same_parameters_with_the_same_defaults() -> None:
    """The command hands its parameters to the flow by name, and the flow makes a `Recipe` of them by name."""
    in_command, in_flow = (inspect.signature(one).parameters for one in (retraining.command, retraining.retrain.fn))
    assert list(in_command) == list(in_flow) == [field.name for field in fields(retraining.Recipe)]
    assert [one.default for one in in_command.values()] == [one.default for one in in_flow.values()]


def test_command_hands_every_option_to_the_stages(monkeypatch: pytest.MonkeyPatch, workspace: Workspace) -> None:
    options = {
        "source": "photos",
        "retry_failed": "timeout",
        "success_rate": 0.25,
        "patch_px": 64,
        "backbone": "resnet50",
        "entries": 3,
        "components": 5,
        "candidates": 8,
        "fold": True,
        "minutes": 0.5,
        "start": "scratch",
        "key_pictures": 7,
        "device": "cuda",
        "processes": 2,
        "dask_scheduler": "tcp://host:1",
    }
    recipes: list[object] = []

    def stages(recipe: object, serving: str) -> NoReturn:
        recipes.append(recipe)
        raise InputError("no stage is run in this test")

    for name, value in prefect_environment(workspace).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    monkeypatch.setattr(retraining, "log_to_terminal", lambda: None)
    monkeypatch.setattr(retraining, "wait_until_healthy", lambda *arguments: None)
    monkeypatch.setattr(retraining, "retrain", retraining.retrain.fn)
    monkeypatch.setattr(retraining, "_run_stages", stages)
    given = {f"--{name.replace('_', '-')}": value for name, value in options.items()}
    arguments = [text for name, value in given.items() for text in ([name] if value is True else [name, str(value)])]
    monkeypatch.setattr(sys, "argv", ["flows.retrain", *arguments])
    with pytest.raises(SystemExit):
        run_command(retraining.command)
    assert [asdict(recipe) for recipe in recipes] == [options]


def test_missing_source_ends_the_command_with_one_line_and_no_traceback(tmp_path: Path, workspace: Workspace) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flows.retrain", "--source", str(tmp_path / "none")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: no folder or list of pictures")
    assert done.stderr.count("\n") == 1
    assert not workspace.stages.exists()


def test_where_the_bundle_in_service_has_seen_the_evaluation_the_shipped_one_is_measured_and_the_reason_says_so(
    monkeypatch: pytest.MonkeyPatch, workspace: Workspace
) -> None:
    from flows import evaluate

    asked: list[str] = []

    def evaluates(ingest: str, bundle: str) -> str:
        asked.append(bundle)
        if bundle != "shipped":
            raise Leak("1 evaluation pictures were seen before: a resembles b")
        return f"of {ingest}"

    monkeypatch.setattr(evaluate, "evaluate_codec", evaluates)
    assert retraining._evaluate_service("ingest", "/folder/bundle") == "of ingest"
    assert asked == ["/folder/bundle", "shipped"]

    first = run(monkeypatch, workspace, "new", {"new": 0.9, "service": 1.0})

    def stages(recipe: object, serving: str) -> tuple[dict[str, str], str]:
        assert serving == first
        keys = {stage: staged(workspace, stage, "next") for stage in STAGES[:4]}
        keys["evaluate-codec"] = evaluated(workspace, "next", 0.8)
        return keys, evaluated(workspace, id_of(read_manifest_bytes(SHIPPED)), 1.0)

    monkeypatch.setattr(retraining, "_run_stages", stages)
    retraining.retrain.fn()
    verdict = read_outcome(workspace).verdict
    assert verdict.is_promoted
    assert f"fewer bytes than {retraining.IN_ITS_PLACE} at equal PSNR" in verdict.sentence
    assert bundle_in_service(workspace) != first
