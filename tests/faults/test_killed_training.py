"""A training that is killed goes on from its last checkpoint; one of whose processes is killed says so and goes on."""

import json
import logging
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from clc.bundle.bundle import Bundle
from clc.errors import InputError
from clc.training.checkpoint import step_reached
from clc.training.trainer import Trainer
from flows.runtime.stage import StageResult, Stale, dry_run, resolve
from flows.runtime.torchrun import TrainingStopped
from flows.runtime.workspace import Workspace
from flows.upkeep.cleaning import clean
from tests.faults.killing import LONGEST_S, ROOT, stages
from tests.flows.tiny_training import TINY, fill, small_start, trained


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("CLC_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = Workspace.from_environment()
    fill(found)
    return found


def reached(workspace: Workspace) -> int:
    """Return the step of the checkpoint of the training that was interrupted, 0 where there is none yet."""
    return max((step_reached(run) or 0 for run in workspace.resumable.glob("train-codec/*/run")), default=0)


def wait_for(condition: Callable[[], bool]) -> None:
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < LONGEST_S
        time.sleep(0.02)


def finished(workspace: Workspace, key: str, steps: int) -> StageResult:
    """Return the finished stage, after a look at whether it is whole and nothing of the interruption is left."""
    stage = resolve(workspace, "train-codec", key)
    assert stage.manifest.summary["steps"] == steps
    assert Bundle.load(stage.directory / "bundle").config == TINY
    lines = [json.loads(line) for line in (stage.directory / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "bpp" in line] == list(range(1, steps + 1))
    assert not list(workspace.resumable.glob("*/*"))
    assert clean(workspace, is_dry=True).paths == ()
    return stage


def test_killed_training_goes_on_from_its_checkpoint(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    start = small_start(tmp_path / "start")
    with stages(tmp_path, "tests.flows.tiny_training") as killer:
        begun = killer.run(
            "train-codec", workspace.root, until=lambda: reached(workspace) >= 1, start=start, steps=10**9
        )
    assert begun.was_killed
    step = reached(workspace)
    assert step >= 1
    assert not clean(workspace).paths or reached(workspace) == step, "what can be gone on from is no garbage"

    with dry_run(), pytest.raises(Stale) as stale:
        trained(start, step + 2)
    assert stale.value.pending == f"goes on from step {step}"

    steps: list[int] = []
    real = Trainer.train_step

    def noted(trainer: Trainer) -> dict[str, float]:
        steps.append(trainer.step)
        return real(trainer)

    monkeypatch.setattr(Trainer, "train_step", noted)
    key = trained(start, step + 2)
    assert steps == [step, step + 1]
    assert f"training_goes_on step={step}" in caplog.text
    finished(workspace, key, step + 2)


def test_processes_are_in_the_key_and_a_device_is_not(workspace: Workspace, tmp_path: Path) -> None:
    start = small_start(tmp_path / "start")

    def planned(**parameters: Any) -> dict[str, Any]:
        with dry_run(), pytest.raises(Stale) as stale:
            trained(start, 1, **parameters)
        return stale.value.config

    assert planned(device="cuda") == planned()
    assert planned(processes=2) == {**planned(), "processes": 2}
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no device 'cuda' to train on here: say cpu"):
            trained(start, 1, device="cuda")
    assert not workspace.resumable.exists()


def test_one_of_two_processes_is_killed_and_the_training_goes_on(
    workspace: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    start = small_start(tmp_path / "start")

    def kill_one() -> None:
        wait_for(lambda: reached(workspace) >= 1)
        found = re.search(r"training_process_begun rank=1 pid=(\d+)", caplog.text)
        assert found
        os.kill(int(found[1]), signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    with pytest.raises(TrainingStopped) as stopped:
        trained(start, 10**9, processes=2)
    killer.join()
    step = reached(workspace)
    assert str(stopped.value).startswith("the training stopped: process 1 of 2 was killed")
    assert f"run the same again to go on from step {step} (details: " in str(stopped.value)
    assert "\n" not in str(stopped.value)

    key = trained(start, step + 2, processes=2)
    assert f"training_goes_on step={step}" in caplog.text
    stage = finished(workspace, key, step + 2)
    assert stage.manifest.config["processes"] == 2
