"""MLflow's registry of models says what serves: versions that point at bundles, and aliases that move with it."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from clc.bundle.identity import SHIPPED, id_of, read_manifest_bytes
from clc.bundle.serving import Verdict, put_in_service, roll_back, write_verdict
from flows import serve as serving
from flows.runtime.mlflow_session import Server
from flows.runtime.tracking import BUNDLE, TrainingRun
from flows.runtime.workspace import Workspace
from flows.service.registry import MODEL, mirror

# MLflow and what it brings warn about themselves when they are imported.
pytestmark = pytest.mark.filterwarnings("ignore")


def made(workspace: Workspace, name: str) -> tuple[Path, str]:
    """A bundle of a finished training: the shipped one, with another manifest."""
    folder = workspace.stages / "train-codec" / (name * 16) / "bundle"
    folder.mkdir(parents=True)
    for path in SHIPPED.iterdir():
        if path.name != "manifest.json":
            (folder / path.name).symlink_to(path)
    manifest = json.loads((SHIPPED / "manifest.json").read_bytes())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "parent": name * 16}))
    return folder, id_of(read_manifest_bytes(folder))


def judged(workspace: Workspace, bundle_id: str, is_promoted: bool, day: int) -> None:
    sentence = "Promoted: it is better." if is_promoted else "Not promoted: that may be chance."
    write_verdict(
        workspace.root,
        Verdict(
            bundle_id,
            "f" * 16,
            is_promoted,
            sentence,
            -1.25,
            -2.0,
            None,
            5,
            {"jpeg": -40.0, "clc, no references": -0.5},
            "e" * 16,
            f"2026-01-0{day}T00:00:00+00:00",
        ),
    )


def aliases(client: Any) -> dict[str, str]:
    """The bundles that the aliases point at."""
    found = client.get_registered_model(MODEL).aliases
    return {alias: client.get_model_version(MODEL, version).tags[BUNDLE] for alias, version in found.items()}


def test_aliases_follow_what_serves_and_versions_carry_the_verdict(workspace: Workspace) -> None:
    from mlflow import MlflowClient

    workspace.root.mkdir()
    server, shipped = Server.of(workspace), id_of(read_manifest_bytes(SHIPPED))
    client = MlflowClient(tracking_uri=server.uri, registry_uri=server.uri)
    assert mirror(workspace)
    assert aliases(client) == {"champion": shipped}

    (better, better_id), (_, worse_id) = made(workspace, "a"), made(workspace, "b")
    run = TrainingRun(server, "survey from shipped", {})
    assert run.send([], status="FINISHED")
    assert run.made(better_id)
    judged(workspace, better_id, True, 1)
    put_in_service(workspace.root, better, "Promoted: it is better.")
    assert mirror(workspace)
    assert aliases(client) == {"champion": better_id, "previous": shipped}

    judged(workspace, worse_id, False, 2)
    assert mirror(workspace)
    assert aliases(client) == {"champion": better_id, "previous": shipped, "challenger": worse_id}
    version = client.get_model_version_by_alias(MODEL, "champion")
    assert version.source == better.as_uri()
    assert version.description == "Promoted: it is better."
    assert client.get_run(version.run_id).info.run_name == "survey from shipped"
    refused = client.get_model_version_by_alias(MODEL, "challenger").tags
    assert (refused["verdict"], refused["bd_rate_percent"], refused["photos"]) == ("not promoted", "-1.25", "5")
    assert refused["bd_rate_percent_vs jpeg"] == "-40.00"
    assert "bd_rate_percent_high" not in refused
    assert len(client.search_model_versions(f"name = '{MODEL}'")) == 3  # each bundle once, however often it is told

    roll_back(workspace.root)
    assert mirror(workspace)
    assert aliases(client) == {"champion": shipped, "challenger": worse_id}


def test_a_registry_that_is_gone_is_a_warning(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    workspace.root.mkdir()
    (workspace.root / "mlflow.db").write_text("no database")
    with caplog.at_level(logging.WARNING, "flows.runtime.mlflow_session"):
        assert not mirror(workspace)
    assert "tracking_lost" in caplog.text


def test_a_service_tells_the_registry_again_only_when_something_has_changed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []
    ended: list[int | None] = [0]

    class Process:
        def __init__(self, command: list[str], **options: object) -> None:
            started.append(command)

        def poll(self) -> int | None:
            return ended[0]

    workspace.prefect_home.mkdir(parents=True)
    monkeypatch.setattr(serving.subprocess, "Popen", Process)
    mirrored = serving._Mirrored(workspace, {})
    mirrored.refresh()
    mirrored.refresh()
    assert [command[1:] for command in started] == [["-m", "flows.service.registry"]]
    put_in_service(workspace.root, made(workspace, "a")[0], "chosen")
    ended[0] = None  # the process before is still at it
    mirrored.refresh()
    assert len(started) == 1
    ended[0] = 0
    mirrored.refresh()
    mirrored.refresh()
    assert len(started) == 2
