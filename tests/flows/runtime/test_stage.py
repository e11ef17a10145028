"""A stage runs once, is used again, and never looks finished when it is not."""

import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clc.errors import InputError
from flows.runtime.stage import StageResult, resolve, run_stage
from flows.runtime.workspace import Workspace
from storage.errors import StorageError
from storage.manifest import MANIFEST_NAME

STAGE = "ingest-images"


class Body:
    """A stage's body that counts how often it ran."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, folder: Path) -> dict[str, Any]:
        self.runs += 1
        (folder / "made").write_text(f"run {self.runs}")
        return {"runs": self.runs}


def crash(folder: Path) -> dict[str, Any]:
    (folder / "half").write_text("half")
    raise InputError("no such picture")


def run(
    workspace: Workspace,
    body: Callable[[Path], dict[str, Any]],
    inputs: dict[str, str] | None = None,
    config: dict[str, Any] | None = None,
    module: str = "storage.digest",
) -> StageResult:
    return run_stage(
        workspace, STAGE, inputs=inputs or {"pictures": "abc"}, config=config or {"px": 1}, modules=[module], body=body
    )


def test_stage_runs_once_and_is_used_again(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    body = Body()
    first = run(workspace, body)
    with caplog.at_level("INFO"):
        second = run(workspace, body)
    assert (body.runs, first.reused, second.reused) == (1, False, True)
    assert second.manifest == first.manifest
    assert (second.directory / "made").read_text() == "run 1"
    assert f"stage_reused stage={STAGE} key={first.key}" in caplog.text


def test_changed_config_and_changed_inputs_run_again(workspace: Workspace) -> None:
    body = Body()
    keys = {
        run(workspace, body).key,
        run(workspace, body, config={"px": 2}).key,
        run(workspace, body, inputs={"pictures": "other"}).key,
    }
    assert (body.runs, len(keys)) == (3, 3)


def test_changed_code_runs_again(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = Body()
    source = tmp_path / "code_of_a_stage.py"
    monkeypatch.syspath_prepend(str(tmp_path))
    source.write_text("VALUE = 1\n")
    first = run(workspace, body, module="code_of_a_stage")
    source.write_text("VALUE = 2\n")
    second = run(workspace, body, module="code_of_a_stage")
    assert body.runs == 2
    assert first.key != second.key


def test_unknown_module_is_refused(workspace: Workspace) -> None:
    with pytest.raises(InputError, match="no module 'not_there'"):
        run(workspace, Body(), module="not_there")


def test_crash_leaves_no_manifest_and_the_next_run_makes_the_stage(workspace: Workspace) -> None:
    with pytest.raises(InputError, match="no such picture"):
        run(workspace, crash)
    assert list(workspace.stages.rglob("*")) == [workspace.stages / STAGE]
    body = Body()
    assert not run(workspace, body).reused
    assert body.runs == 1


def test_folder_without_a_manifest_is_made_anew(workspace: Workspace) -> None:
    result = run(workspace, Body())
    (result.directory / MANIFEST_NAME).unlink()
    (result.directory / "left over").write_text("of a run that was killed before its manifest")
    again = run(workspace, Body())
    assert not again.reused
    assert not (again.directory / "left over").exists()


def test_altered_stage_is_refused(workspace: Workspace) -> None:
    result = run(workspace, Body())
    (result.directory / "made").write_text("run 9")
    with pytest.raises(StorageError, match="was altered"):
        run(workspace, Body())
    with pytest.raises(StorageError, match="was altered"):
        resolve(workspace, STAGE, result.key)


def test_latest_is_the_newest_finished_stage(workspace: Workspace) -> None:
    run(workspace, Body(), config={"px": 1})
    second = run(workspace, Body(), config={"px": 2})
    run(workspace, Body(), config={"px": 1})
    assert resolve(workspace, STAGE).key == second.key
    assert resolve(workspace, STAGE, second.key).manifest == second.manifest


def test_missing_stage_names_the_flow_to_run_first(workspace: Workspace) -> None:
    with pytest.raises(InputError, match="run the flow train-codec first"):
        resolve(workspace, "train-codec")
    with pytest.raises(InputError, match="no finished train-codec 0000000000000000"):
        resolve(workspace, "train-codec", "0" * 16)


@pytest.mark.parametrize("key", ["", "..", "../../etc", "LATEST", "0" * 15, "/tmp"])  # noqa: S108
def test_key_never_becomes_a_path(workspace: Workspace, key: str) -> None:
    with pytest.raises(InputError, match="16 hex digits"):
        resolve(workspace, STAGE, key)


COPY = """
    import os, signal, sys, time
    from pathlib import Path
    from flows.runtime.workspace import Workspace
    from flows.runtime.stage import run_stage

    def body(folder):
        with open(sys.argv[2], "ab") as log:
            log.write(b"ran\\n")
        (folder / "made").write_bytes(b"made")
        if sys.argv[3] == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.5)
        return {}

    result = run_stage(
        Workspace(Path(sys.argv[1])), "ingest-images", inputs={}, config={}, modules=["storage.digest"], body=body
    )
    print(result.key)
"""


def start_copy(workspace: Workspace, log: Path, fate: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", textwrap.dedent(COPY), str(workspace.root), str(log), fate]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_ten_copies_started_at_once_do_the_work_once(workspace: Workspace, tmp_path: Path) -> None:
    copies = [start_copy(workspace, tmp_path / "log", "lives") for _ in range(10)]
    keys = {copy.communicate(timeout=100)[0] for copy in copies}
    assert [copy.returncode for copy in copies] == [0] * 10
    assert len(keys) == 1
    assert (tmp_path / "log").read_text() == "ran\n"


def test_work_of_a_killed_process_is_taken_up_by_the_next(workspace: Workspace, tmp_path: Path) -> None:
    killed = start_copy(workspace, tmp_path / "log", "killed")
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert not list(workspace.stages.rglob(MANIFEST_NAME))
    next_one = start_copy(workspace, tmp_path / "log", "lives")
    next_one.communicate(timeout=60)
    assert next_one.returncode == 0
    assert (tmp_path / "log").read_text() == "ran\nran\n"
    assert len(list((workspace.stages / STAGE).iterdir())) == 1
