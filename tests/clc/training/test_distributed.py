"""Two processes train one model: other crops each, the same parameters, one log, one end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from clc.errors import InputError
from clc.training.data import random_patches
from clc.training.distributed import ALONE, check_device, joined
from clc.training.run_folder import WEIGHTS
from clc.training.train import train
from tests.clc.training.rank_worker import CONFIG, pictures

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two gloo processes under torchrun: the folder with what they left."""
    out = tmp_path_factory.mktemp("ranks")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [*torchrun, "-m", "tests.clc.training.rank_worker", str(out)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


def test_both_processes_end_with_the_same_parameters(ended: Path) -> None:
    one, other = (load_file(ended / f"rank{rank}.safetensors") for rank in (0, 1))
    crops = one.pop("first crops"), other.pop("first crops")
    assert not torch.equal(*crops)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_two_processes_learn_from_more_than_one_does(ended: Path, tmp_path: Path) -> None:
    data = pictures()
    alone = train(CONFIG, data, random_patches(data, 3, 256, seed=0), tmp_path).weights
    both = load_file(ended / "rank0.safetensors")
    assert not all(torch.equal(alone[name], both[name]) for name in alone)


def test_only_the_first_process_logs_and_saves(ended: Path) -> None:
    assert int((ended / "lines0").read_text()) >= 3
    assert (ended / "lines1").read_text() == "0"
    saved, one = load_file(ended / "run" / WEIGHTS), load_file(ended / "rank0.safetensors")
    assert all(torch.equal(saved[name], one[name]) for name in saved)


def test_a_process_alone_agrees_with_itself_and_leaves_gradients_alone() -> None:
    parameter = torch.nn.Parameter(torch.ones(3))
    parameter.grad = torch.full((3,), 2.0)
    ALONE.average_gradients([parameter])
    ALONE.spread([parameter])
    assert parameter.grad.tolist() == [2.0] * 3
    assert ALONE.agree(1.5) == 1.5
    with joined({}, "cpu") as (ranks, device):
        assert (ranks, device) == (ALONE, "cpu")


@pytest.mark.parametrize("device", ["meta", "cuda"])
def test_a_device_that_there_is_not_is_told(device: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(InputError, match="no device"), joined({}, device):
        pass


def test_more_processes_than_gpus_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert check_device("cuda", 2) == "cuda"
    with pytest.raises(InputError, match="3 processes are to train on a GPU each, and torch finds 2; say fewer"):
        check_device("cuda", 3)
    assert check_device("cpu", 64) == "cpu"
