"""What an interrupted stage has got so far is no garbage while a run can go on from it, and then it is."""

import json
from pathlib import Path
from typing import Any

import pytest

from flows.runtime.resumable import RECORD, begin, can_go_on
from flows.runtime.stage import resolve, run_stage, stage_key
from flows.runtime.torchrun import _Story
from flows.runtime.workspace import Workspace
from flows.upkeep.cleaning import clean

STAGE = "train-codec"
IDENTITY: dict[str, Any] = {"inputs": {"ingest": "abc"}, "config": {"minutes": 1.0}, "modules": ["storage.digest"]}
HOLDS = "run/state.json"


def interrupted(workspace: Workspace, key: str = "") -> Path:
    """Leave what a killed run of the stage leaves: its record, a checkpoint, and half of a file."""
    folder = workspace.resumable / STAGE / (key or stage_key(STAGE, **IDENTITY))
    begin(folder, IDENTITY["modules"], HOLDS)
    (folder / "run").mkdir()
    (folder / HOLDS).write_text('{"step": 3}')
    (folder / "run" / ".0123456789abcdef.01234567.partial").write_bytes(b"half")
    return folder


def test_a_state_is_kept_but_for_what_a_killed_writer_left(workspace: Workspace) -> None:
    folder = interrupted(workspace)
    assert clean(workspace).paths == (folder / "run" / ".0123456789abcdef.01234567.partial",)
    assert clean(workspace).paths == ()
    assert (folder / HOLDS).is_file()


@pytest.mark.parametrize("change", ["no checkpoint", "other code", "module gone", "damaged record", "no record"])
def test_a_state_from_which_nobody_can_go_on_is_garbage(workspace: Workspace, change: str) -> None:
    folder = interrupted(workspace)
    assert can_go_on(folder)
    record = json.loads((folder / RECORD).read_text())
    if change == "no checkpoint":
        (folder / HOLDS).unlink()
    elif change == "other code":
        (folder / RECORD).write_text(json.dumps({**record, "code": {"storage.digest": "0" * 64}}))
    elif change == "module gone":
        (folder / RECORD).write_text(json.dumps({**record, "code": {"storage.gone.away": "0" * 64}}))
    elif change == "damaged record":
        (folder / RECORD).write_text("[")
    else:
        (folder / RECORD).unlink()
    assert not can_go_on(folder)
    assert clean(workspace).paths == (folder,)
    assert not folder.exists()


def test_what_somebody_put_beside_the_states_stays(workspace: Workspace) -> None:
    mine = workspace.resumable / STAGE / "mine"
    mine.mkdir(parents=True)
    (mine / "notes.txt").write_text("mine")
    assert clean(workspace).paths == ()


def test_a_finished_stage_removes_its_state_and_what_is_left_of_it_is_garbage(workspace: Workspace) -> None:
    folder, other = interrupted(workspace), interrupted(workspace, "0123456789abcdef")

    def body(staged: Path) -> dict[str, Any]:
        assert (folder / HOLDS).is_file()
        return {}

    key = run_stage(workspace, STAGE, **IDENTITY, body=body).key
    assert resolve(workspace, STAGE, key).key == folder.name
    assert not folder.exists()
    assert (other / HOLDS).is_file()
    interrupted(workspace)  # as where a run was killed between the manifest and the removal
    assert folder in clean(workspace).paths


class Quiet:
    """Hears nothing."""

    show = None

    def report(self, line: dict[str, Any]) -> None:
        """Hear a line of the log."""


def why(state: Path, *said: tuple[int, str, Any], status: int = 1) -> str:
    story = _Story(state, Quiet())  # type: ignore[arg-type]
    story.follow([f"clc.training {json.dumps(one)}\n".encode() for one in said] + [b"a library's words\n", b"\xff\n"])
    return story.why(2, status)


BOTH = ((0, "begun", 11), (1, "begun", 12))


def test_the_sentence_names_the_cause_and_not_what_came_of_it(tmp_path: Path) -> None:
    lost = (0, "failure", [False, "RuntimeError: connection closed by peer"])
    assert "process 1 of 2 was killed" in why(tmp_path, *BOTH, lost)
    assert "processes 0 and 1 of 2 were killed" in why(tmp_path, *BOTH)
    assert "process 0 of 2 failed: RuntimeError: conn" in why(tmp_path, *BOTH, lost, (1, "stopped", None))
    refused = (1, "failure", [True, "training stopped at step 7: three non-finite gradients"])
    assert why(tmp_path, *BOTH, lost, refused) == "training stopped at step 7: three non-finite gradients"
    assert "torchrun ended with status 3; run the same again to start over (details: " in why(tmp_path, status=3)


def test_the_sentence_says_where_the_next_run_goes_on(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / HOLDS).write_text('{"step": 3}')
    assert "run the same again to go on from step 3" in why(tmp_path, *BOTH)
