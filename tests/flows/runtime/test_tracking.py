"""MLflow: the curve is there to be drawn, files lie in the workspace, and a lost server costs nothing but a warning."""

import contextlib
import json
import logging
import re
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from clc.evaluation.curves import compare
from clc.evaluation.measure import Row
from flows.runtime.live_tracking import Follower, followed
from flows.runtime.mlflow_session import PAGES, PROCESS, Data, Server, Session, tolerant
from flows.runtime.tracking import (
    BUNDLE,
    EVALUATION_RUN,
    RD_CURVE,
    STAGE_KEY,
    TRAINING_RUN,
    Evaluation,
    TrainingRun,
    log_evaluation,
    log_totals,
)
from flows.runtime.workspace import Workspace

# MLflow and what it brings warn about themselves when they are imported.
pytestmark = pytest.mark.filterwarnings("ignore")

POINTS = [(10.0, 0.125, 28.0), (30.0, 0.25, 31.0), (60.0, 0.5, 34.0), (90.0, 1.0, 38.0)]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Return a database of its own; to create one takes seconds, so the module shares it."""
    return Server.of(Workspace(tmp_path_factory.mktemp("mlflow")))


@pytest.fixture(scope="module")
def client(server):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=server.uri)


@pytest.fixture
def evaluation(tmp_path):
    report = tmp_path / "report.html"
    report.write_text("<p>a report</p>")
    rows = [
        Row(codec, q, "x", "x", "natural", "-", 256, 256, 1000, bpp * factor, psnr, float("nan"), 0.1, 0.2)
        for codec, factor in (("clc", 0.5), ("jpeg", 1.0), ("clc, no references", 0.75))
        for q, bpp, psnr in POINTS
    ]
    data = Data("photos", "d" * 32, "/where/photos", 1)
    return Evaluation("0011223344556677", "e" * 16, data, "clc", compare(rows), {"ingest": "f" * 16}, [report])


def runs_of(client, experiment):
    found = client.get_experiment_by_name(experiment)
    return client.search_runs([found.experiment_id])


def test_an_evaluation_is_one_run_named_by_bundle_and_data_set(server, client, evaluation) -> None:
    assert log_evaluation(server, evaluation)
    (run,) = runs_of(client, "evaluate-codec")
    assert (run.info.run_name, run.info.status) == ("0011223344556677 on photos", "FINISHED")
    assert run.data.params["bundle"] == "0011223344556677"
    assert run.data.params["ingest"] == "f" * 16
    assert run.data.tags[BUNDLE] == "0011223344556677"
    assert run.data.metrics["bd_rate_percent/vs jpeg"] == pytest.approx(-50.0)
    assert run.data.metrics["bd_rate_percent/vs clc no references"] == pytest.approx(-100 / 3)
    assert not [name for name in run.data.metrics if name.startswith("ms_ssim")]  # too small a picture: nan
    curve = client.get_metric_history(run.info.run_id, f"{RD_CURVE}/jpeg")
    assert [(one.step, one.value) for one in curve] == [(125, 28.0), (250, 31.0), (500, 34.0), (1000, 38.0)]
    times = client.get_metric_history(run.info.run_id, "encode_s/clc")
    assert [(one.step, one.value) for one in times] == [(10, 0.1), (30, 0.1), (60, 0.1), (90, 0.1)]
    ((used,),) = [run.inputs.dataset_inputs]
    assert (used.dataset.name, used.dataset.digest, used.tags[0].value) == ("photos", "d" * 32, "evaluation")
    assert json.loads(used.dataset.source) == {"uri": "/where/photos"}
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["report.html"]
    assert list(server.artifacts.rglob("report.html"))


def test_what_was_logged_before_is_not_logged_again_and_what_was_cut_short_is(server, client, evaluation) -> None:
    told = replace(evaluation, stage_key="c" * 16)

    def logged() -> list[str]:
        return [run.info.status for run in runs_of(client, "evaluate-codec") if run.data.tags[STAGE_KEY] == "c" * 16]

    with tolerant(server, "evaluate-codec") as session:
        session.open()
        session.start("cut short", {"dataset": ""}, {STAGE_KEY: "c" * 16, BUNDLE: ""})
        raise OSError
    for _ in range(2):
        assert log_evaluation(server, told)
        assert sorted(logged()) == ["FAILED", "FINISHED"]
    assert log_evaluation(server, replace(told, data=replace(told.data, name="it's another")))
    assert sorted(logged()) == ["FAILED", "FINISHED", "FINISHED"]
    for _ in range(2):
        assert log_totals(server, "totals", "an archive", {"effort": 1}, {"pictures": 2.0}, "a run")
        assert [run.data.params for run in runs_of(client, "totals")] == [{"effort": "1"}]


def test_a_bundle_is_told_of_a_run_that_a_former_process_sent(server, client, evaluation) -> None:
    tags = {STAGE_KEY: "d" * 16}
    assert not TrainingRun(server, "none was sent", {}, tags=tags).made("cd" * 8)
    assert TrainingRun(server, "sent", {}, tags=tags).send([], status="FINISHED")
    assert TrainingRun(server, "sent", {}, tags=tags).made("cd" * 8)
    assert [run.data.tags[BUNDLE] for run in runs_of(client, "train-codec") if run.info.run_name == "sent"] == [
        "cd" * 8
    ]


def test_pictures_of_an_evaluation_are_series_by_name_and_step(server, client, evaluation) -> None:
    picture = np.full((8, 8, 3), 7, np.uint8)
    shown = [("a.png/clc", 10, picture), ("a.png/clc", 50, picture), ("b, no.png/original", 0, picture)]
    assert log_evaluation(server, replace(evaluation, bundle_id="ef" * 8, stage_key="b" * 16, pictures=lambda: shown))
    (run,) = [one for one in runs_of(client, "evaluate-codec") if one.data.tags[BUNDLE] == "ef" * 8]
    stored = [file.path for file in client.list_artifacts(run.info.run_id, "images") if file.path.endswith(".png")]
    assert sorted(re.sub(r"\+timestamp.*|\+\d{10,}.*", "", path) for path in stored) == [
        "images/a.png~clc+step+10",
        "images/a.png~clc+step+50",
        "images/b no.png~original+step+0",
    ]


def test_a_training_and_the_evaluation_of_its_bundle_link_to_one_another(server, client, evaluation) -> None:
    run = TrainingRun(server, "survey from shipped", {}, data=evaluation.data)
    assert run.send([{"loss": 1.0}], status="FINISHED")
    assert run.made("ab" * 8)
    assert log_evaluation(server, replace(evaluation, bundle_id="ab" * 8, note="what it came to"))
    (measured,) = [one for one in runs_of(client, "evaluate-codec") if one.data.tags[BUNDLE] == "ab" * 8]
    (trained,) = [one for one in runs_of(client, "train-codec") if one.data.tags.get(BUNDLE) == "ab" * 8]
    assert measured.data.tags[TRAINING_RUN] == trained.info.run_id
    assert trained.data.tags[EVALUATION_RUN] == measured.info.run_id
    assert f"/runs/{trained.info.run_id}?{PAGES})" in measured.data.tags["mlflow.note.content"]
    assert measured.data.tags["mlflow.note.content"].endswith("what it came to")
    assert trained.inputs.dataset_inputs[0].tags[0].value == "training"


@pytest.mark.parametrize("error", [OSError("full"), KeyError("ours"), KeyboardInterrupt()])
def test_no_run_stays_running_where_its_session_fails(server, client, error) -> None:
    name = f"fails with {type(error).__name__}"
    expected = contextlib.nullcontext() if isinstance(error, OSError) else pytest.raises(type(error))
    with expected, tolerant(server, "failing") as session:
        session.open()
        session.start(name, {})
        raise error
    assert {run.info.run_name: run.info.status for run in runs_of(client, "failing")}[name] == "FAILED"


def test_the_run_of_a_process_that_was_killed_is_ended_by_the_next_session(server, client) -> None:
    run = TrainingRun(server, "killed", {})
    assert run.send([])
    assert TrainingRun(server, "another", {}).send([], status="FINISHED")
    statuses = {one.info.run_name: one.info.status for one in runs_of(client, "train-codec")}
    assert statuses["killed"] == "RUNNING"  # its process lives
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (running,) = [one for one in runs_of(client, "train-codec") if one.info.run_name == "killed"]
    mark = json.loads(running.data.tags[PROCESS])
    client.set_tag(running.info.run_id, PROCESS, json.dumps({**mark, "pid": gone.pid}))
    Session(server, "another experiment").open()
    statuses = {one.info.run_name: one.info.status for one in runs_of(client, "train-codec")}
    assert statuses["killed"] == "KILLED"


@pytest.mark.parametrize("uri", ["http://localhost:port", "nonsense://here", ""])
def test_variable_of_mlflow_that_is_no_address_changes_nothing(server, client, evaluation, monkeypatch, uri) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", uri)
    dataset = f"photos of {uri or 'nothing'}"
    assert log_evaluation(server, replace(evaluation, data=replace(evaluation.data, name=dataset)))
    assert dataset in {run.data.params["dataset"] for run in runs_of(client, "evaluate-codec")}


def test_a_training_log_becomes_series_of_metrics(server, client) -> None:
    series = [
        {"step": 10, "minutes": 0.5, "loss": 2.0, "validation_bpp": [0.5, 1.0], "note": "text", "is_average": True},
        {"step": 20, "minutes": 1.0, "loss": float("nan")},
        {"step": 30, "minutes": 1.5, "loss": 1.0},
    ]
    with followed(TrainingRun(server, "a key", {"minutes": 2.0, "seed": 0})) as follower:
        for line in series:
            follower.report(line)
        follower.show(20, np.zeros((8, 16, 3), np.uint8))
    (run,) = [one for one in runs_of(client, "train-codec") if one.info.run_name == "a key"]
    assert run.info.status == "FINISHED"
    shown = client.list_artifacts(run.info.run_id, "images")
    assert any(re.match(r"images/reconstructions\+step\+20\+.*\.png", file.path) for file in shown)
    assert run.data.params == {"minutes": "2.0", "seed": "0"}
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(one.step, one.value) for one in history] == [(10, 2.0), (30, 1.0)]
    assert run.data.metrics["validation_bpp/1"] == 1.0
    assert set(run.data.metrics) == {"minutes", "loss", "validation_bpp/0", "validation_bpp/1"}


@pytest.mark.parametrize("uri", ["sqlite:///{file}/mlflow.db", "http://127.0.0.1:9", "nonsense://x"])
def test_a_lost_server_is_a_warning_and_never_an_error(server, evaluation, uri, caplog, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    uri = uri.format(file=evaluation.files[0])
    with caplog.at_level(logging.WARNING, "flows.runtime.mlflow_session"):
        assert not log_evaluation(replace(server, uri=uri), evaluation)
        assert not TrainingRun(replace(server, uri=uri), "a key", {}).send([])
    assert caplog.text.count("tracking_lost") == 2


def test_a_refusing_server_never_holds_a_training_up(server, caplog, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    began = time.monotonic()
    with followed(TrainingRun(replace(server, uri="http://127.0.0.1:9"), "a key", {})) as follower:
        for step in range(1000):
            follower.report({"step": step, "loss": 1.0})
        assert time.monotonic() - began < 1.0
    assert "tracking_incomplete" in caplog.text
    assert caplog.text.count("tracking_lost") <= 3


class Waking(TrainingRun):
    """A run whose server refuses twice."""

    def __init__(self) -> None:
        self.taken, self.asked, self.ended = [], 0, None

    def send(self, series, pictures=(), *, status=None) -> bool:
        self.asked += 1
        if self.asked <= 2:
            return False
        self.taken += series
        self.ended = status
        return True


def test_what_a_server_refused_is_sent_when_it_is_back() -> None:
    run = Waking()
    follower = Follower(run, retry_s=0.0)
    for step in range(5):
        follower.report({"step": step})
        while run.asked <= min(step, 2):
            time.sleep(0.001)
    assert follower.close("FAILED")
    assert [line["step"] for line in run.taken] == list(range(5))
    assert run.ended == "FAILED"


def test_a_mistake_of_ours_is_not_taken_for_a_lost_server(server) -> None:
    with pytest.raises(AttributeError):
        TrainingRun(server, "a key", None).send([])
