"""A process that used the codec may fork workers that use it too: none hangs, and all make the same bytes."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clc import machine
from clc.bundle.extend import add_pictures
from clc.codec import Codec
from tests.conftest import Picture

WORKER = Path(__file__).with_name("fork_worker.py")
ROOT = Path(__file__).parents[3]
SECONDS = 110

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture(scope="module")
def bundle(photo: Picture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with one key picture, so that OpenCV, which has threads of its own, works for the encoder, too."""
    folder = tmp_path_factory.mktemp("forks") / "bundle"
    key_picture = np.ascontiguousarray(photo[:200, :220])
    first = {"name": "cat", "source": "test", "licence": "CC0"}
    add_pictures(Codec.load().bundle.directory, folder, [key_picture], [first])
    return folder


@pytest.mark.parametrize(
    "mode",
    [
        pytest.param("fork", marks=forks),
        pytest.param("loader", marks=forks),
        pytest.param("beside threads", marks=forks),
        "spawn",
    ],
)
def test_children_of_a_process_that_used_the_codec_code_the_same_bytes(mode: str, bundle: Path) -> None:
    # Threads that wait actively take the processor from one another where the machine is loaded.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"}
    run = subprocess.run(
        [sys.executable, str(WORKER), mode, str(bundle)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=environment,
    )
    assert run.stdout.splitlines() == ["same", "same", "threads 2"], run.stderr[-2000:]


@forks
def test_a_child_has_one_thread_and_its_parent_keeps_its_own() -> None:
    program = (
        "import os, torch, cv2, faiss, numpy as np\n"
        "from clc.machine import make_forks_safe\n"
        "make_forks_safe(); make_forks_safe()\n"
        "torch.set_num_threads(2); cv2.setNumThreads(2); faiss.omp_set_num_threads(2)\n"
        "cv2.resize(np.zeros((999, 999), np.uint8), (500, 500), interpolation=cv2.INTER_AREA)\n"
        "counts = lambda: (torch.get_num_threads(), cv2.getNumThreads(), faiss.omp_get_max_threads())\n"
        "child = os.fork()\n"
        "if child == 0: os._exit(0 if counts() == (1, 1, 1) else 1)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), counts())\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=SECONDS, cwd=ROOT, check=True
    )
    assert run.stdout == "0 (2, 2, 2)\n"


def test_libraries_that_are_not_loaded_stay_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "faiss", raising=False)
    before = set(sys.modules)
    monkeypatch.setattr(machine, "THREAD_SETTERS", (("faiss", "omp_set_num_threads", 1), ("os", "no_such", 1)))
    machine.use_one_thread()
    assert set(sys.modules) == before
