"""Notices: kept, shown and told where `retrain` fails or is overdue; what of that fails costs nothing else."""

import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from flows import retrain as retraining
from flows.runtime.workspace import Workspace
from flows.service.notice import ARTIFACT, COMMAND, check_retrain, failed, notify, read_notices

Published = Callable[[str], tuple[list[dict[str, Any]], str]]


@pytest.fixture(autouse=True)
def without_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(COMMAND, raising=False)


def finish(workspace: Workspace, days_ago: float) -> None:
    """Leave what a finished retrain leaves, so many days ago."""
    workspace.service.mkdir(parents=True, exist_ok=True)
    path = workspace.service / "last-run.json"
    path.write_text("{}")
    then = (datetime.now(UTC) - timedelta(days=days_ago)).timestamp()
    os.utime(path, (then, then))


def test_a_notice_is_kept_and_told_to_the_command(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    told = workspace.root / "told.txt"
    program = f"import sys; open({str(told)!r}, 'a').write(sys.stdin.read())"
    monkeypatch.setenv(COMMAND, f'"{sys.executable}" -c "{program}"')
    notify(workspace, "failed", "retrain has failed: no pictures")
    notify(workspace, "overdue", "retrain is overdue")
    assert told.read_text() == "retrain has failed: no pictures\nretrain is overdue\n"
    assert [(one["what"], one["notice"]) for one in read_notices(workspace)] == [
        ("failed", "retrain has failed: no pictures"),
        ("overdue", "retrain is overdue"),
    ]


@pytest.mark.parametrize("command", ["no-such-program", "false", "'"])
def test_a_command_that_fails_is_a_warning_and_the_notice_is_kept(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, command: str
) -> None:
    monkeypatch.setenv(COMMAND, command)
    notify(workspace, "failed", "retrain has failed")
    assert len(read_notices(workspace)) == 1
    assert "notice_incomplete" in caplog.text


def test_a_line_that_is_no_notice_hides_no_other(workspace: Workspace) -> None:
    notify(workspace, "failed", "the first")
    with (workspace.service / "notices.jsonl").open("ab") as file:
        file.write(b"\xff{\n[]\n")
    notify(workspace, "failed", "the second")
    assert [one["notice"] for one in read_notices(workspace)] == ["the first", "the second"]


def test_retrain_is_overdue_after_so_many_days(workspace: Workspace) -> None:
    finish(workspace, 7.9)
    assert "not overdue: it finished last on" in check_retrain.fn(days=8.0)
    assert read_notices(workspace) == []
    finish(workspace, 8.1)
    sentence = check_retrain.fn(days=8.0)
    assert sentence.startswith("retrain is overdue: it finished last on")
    assert sentence.endswith("What served goes on serving: the shipped bundle.")
    assert [one["notice"] for one in read_notices(workspace)] == [sentence]


def test_retrain_that_never_finished_is_overdue_so_many_days_after_the_first_look(workspace: Workspace) -> None:
    assert "it never finished in this workspace" in check_retrain.fn(days=8.0)
    assert read_notices(workspace) == []
    then = datetime.now(UTC) - timedelta(days=9)
    (workspace.service / "watched-since.json").write_text(json.dumps({"utc": then.isoformat()}))
    assert check_retrain.fn(days=8.0).startswith("retrain is overdue: it never finished")


def test_a_failed_run_says_why_and_what_goes_on_serving(workspace: Workspace) -> None:
    state = SimpleNamespace(name="Crashed", message="Flow run encountered an exception: InputError: no\npictures.")
    failed(None, SimpleNamespace(id=None), state)
    (notice,) = read_notices(workspace)
    assert notice["what"] == "crashed"
    assert notice["notice"] == (
        "retrain has failed: InputError: no pictures. What served goes on serving: the shipped bundle."
    )


def test_the_flow_gives_notice_when_it_fails_and_its_page_shows_it(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, published: Published
) -> None:
    def fail(recipe: object, serving: str) -> None:
        raise ValueError("no stage is run in this test")

    monkeypatch.setattr(retraining, "_run_stages", fail)
    with pytest.raises(ValueError, match="no stage is run"):
        retraining.retrain()
    (notice,) = read_notices(workspace)
    assert notice["what"] == "failed"
    assert "no stage is run in this test" in notice["notice"]
    rows, _ = published(ARTIFACT)
    assert [row["notice"] for row in rows] == [notice["notice"]]
