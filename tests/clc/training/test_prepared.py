"""A prepared training is what it was, in a folder too; its processes end with whoever started them."""

import json
import logging
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clc.console import Terminated
from clc.errors import InputError
from clc.model.model import Model
from clc.training import worker as of_worker
from clc.training.checkpoint import lines_so_far
from clc.training.config import TrainingConfig
from clc.training.data import PictureSet
from clc.training.pairs import Pair
from clc.training.prepared import PreparedTraining, read_result, train_prepared
from clc.training.run_folder import POSITION, STATE
from clc.training.worker import BEGUN, FAILURE, LINE, NOTE, PREPARED, STOPPED, parse
from storage.atomic import temporary_beside
from storage.errors import AlreadyExists
from tests.conftest import SMALL

ROOT = Path(__file__).parents[3]
CONFIG = TrainingConfig(
    minutes=60.0, steps=2, batch_px=64 * 64, crops=((0.0, 64),), warmup_steps=2, log_s=0.0, save_s=0.0, model=SMALL
)


def prepared(steps: int = 2) -> PreparedTraining:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (256, 256 + 8 * n, 3), dtype=np.uint8) for n in range(4)]
    data = PictureSet(pictures, ["a", "b", "\udce9", "d"])
    entries = PictureSet([picture[:, :256] for picture in pictures], data.photos)
    pair = Pair(pictures[1], pictures[1][::-1], rng.random((256, 264)) < 0.5, "b")
    torch.manual_seed(1)
    return PreparedTraining(replace(CONFIG, steps=steps), data, entries, [pair], Model(SMALL).state_dict())


def without_pairs(steps: int) -> PreparedTraining:
    return replace(prepared(steps), pairs=())


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    one = prepared()
    one.write(tmp_path / "prepared")
    other = PreparedTraining.read(tmp_path / "prepared")
    assert other.config == one.config
    for mine, its in ((one.data, other.data), (one.entries, other.entries)):
        assert list(its.photos) == list(mine.photos)
        assert all(np.array_equal(*two) for two in zip(mine.pictures, its.pictures, strict=True))
    pair, read = one.pairs[0], other.pairs[0]
    assert read.photo == pair.photo
    assert read.inside.dtype == np.bool_
    assert read.picture is other.data.pictures[1], "pixels of a picture are kept once"
    assert all(np.array_equal(getattr(pair, name), getattr(read, name)) for name in ("picture", "warped", "inside"))
    assert one.start is not None
    assert other.start is not None
    assert all(torch.equal(value, other.start[name]) for name, value in one.start.items())
    with pytest.raises(AlreadyExists):
        one.write(tmp_path / "prepared")


def test_a_folder_that_holds_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        PreparedTraining.read(tmp_path)
    prepared().write(tmp_path / "prepared")
    table = tmp_path / "prepared" / "pictures.json"
    described = json.loads(table.read_text())
    described["shapes"][0][0] += 1
    table.write_text(json.dumps(described))
    with pytest.raises(InputError, match="holds no prepared training"):
        PreparedTraining.read(tmp_path / "prepared")


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that has made two steps."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.raises(InputError, match="it has no checkpoint"):
        read_result(folder)
    train_prepared(without_pairs(2), folder)
    return folder


@pytest.fixture
def begun(two_steps: Path, tmp_path: Path) -> Path:
    """A copy of that folder."""
    return Path(shutil.copytree(two_steps, tmp_path / "run"))


def test_it_goes_on_and_its_result_is_that_in_its_folder(
    begun: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    killed = temporary_beside(begun / STATE)
    killed.write_bytes(b"half")
    leftover = tmp_path / ".0b1d3e8e7ac3a2b5.01234567.partial"
    leftover.write_bytes(b"of somebody else")
    result = train_prepared(without_pairs(3), begun)
    assert "training_goes_on step=2" in caplog.text
    assert [line["step"] for line in result.log if "bpp" in line] == [1, 2, 3]
    read = read_result(begun)
    assert (read.steps, read.kept_step, read.log) == (result.steps, result.kept_step, result.log)
    assert all(torch.equal(value, read.weights[name]) for name, value in result.weights.items())
    assert (killed.exists(), leftover.exists()) == (False, True)


def test_a_damaged_checkpoint_is_told_and_the_training_starts_over(
    begun: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (begun / STATE).write_bytes(b"half")
    assert train_prepared(without_pairs(1), begun).steps == 1
    assert "training_starts_over" in caplog.text


def test_lines_behind_the_checkpoint_are_those_of_a_process_that_was_killed(begun: Path) -> None:
    position = json.loads((begun / POSITION).read_text())
    (begun / POSITION).write_text(json.dumps({**position, "step": 1, "batches": 1}))
    assert [line["step"] for line in lines_so_far(begun) if "bpp" in line] == [1]
    log = train_prepared(without_pairs(2), begun).log
    assert [line["step"] for line in log if "bpp" in line] == [1, 2]


def worker(state: Path) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "clc.training.worker", str(state)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment, **pipes)  # type: ignore[call-overload]


def test_a_process_ends_with_whoever_started_it(tmp_path: Path) -> None:
    prepared(10**9).write(tmp_path / PREPARED)
    with worker(tmp_path) as process:
        said = [parse(process.stdout.readline())]
        while said[-1] and said[-1].what in (BEGUN, NOTE):
            said.append(parse(process.stdout.readline()))
        assert [one and one.what for one in (said[0], said[-1])] == [BEGUN, LINE]
        process.stdin.close()
        assert process.wait(60) == 1


def test_what_a_process_refuses_is_said(tmp_path: Path) -> None:
    with worker(tmp_path) as process:
        said = [parse(line) for line in process.stdout]
    assert [one.what for one in said if one] == [BEGUN, FAILURE]
    is_planned, text = said[-1].value
    assert is_planned
    assert "is no training configuration" in text
    assert process.returncode == 1


@pytest.mark.parametrize(
    ("moment", "words"),
    [("reason_of", [BEGUN, STOPPED]), ("traceback.print_exc", [BEGUN, FAILURE, STOPPED])],
)
def test_a_process_that_is_asked_to_end_while_it_fails_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], moment: str, words: list[str]
) -> None:
    def lost(*_: object) -> None:
        raise RuntimeError("connection closed by peer")

    def asked_to_end(*_: object) -> str:
        raise Terminated

    monkeypatch.setattr(of_worker, "_end_with_the_other_side", lambda: None)
    monkeypatch.setattr(of_worker, "_work", lost)
    monkeypatch.setattr(f"clc.training.worker.{moment}", asked_to_end)
    assert of_worker.main([str(tmp_path)]) == Terminated().status
    said = [parse(line) for line in capsys.readouterr().out.splitlines()]
    assert [one.what for one in said if one] == words
