"""Packing in several processes: the same archive, and what becomes of it where a process is killed."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from clc.archive.layout import Archive
from clc.archive.pack import pack
from clc.archive.packing.executors import InProcesses, usual_processes
from clc.archive.packing.tasks import Job
from clc.archive.unpack import verify
from clc.codec.codec import Codec
from clc.errors import ClcError
from tests.clc.archive.conftest import OPTIONS

_PARENT = """
import os, sys, time
from clc.archive.packing.executors import InProcesses
if __name__ == "__main__":
    with InProcesses(1) as executor:
        print(executor._pool.submit(os.getpid).result(), flush=True)
        time.sleep(60)
"""


def kill_children(progress: object) -> None:
    for child in multiprocessing.active_children():
        child.kill()


def test_a_killed_process_is_told_and_the_next_run_goes_on(tmp_path: Path, strip: Path, shipped: Codec) -> None:
    out, options = tmp_path / "archive", replace(OPTIONS, effort=0, levels=1)
    with InProcesses(2) as executor, pytest.raises(ClcError, match="was killed, for lack of memory as a rule"):
        pack(strip, out, shipped, options, kill_children, executor)
    done = len(list((out / ".packing").glob("*-alone/*.json")))
    assert done >= 1
    with InProcesses(2) as executor:
        told = pack(strip, out, shipped, options, executor=executor)
    assert len(told.manifest.pictures) == 4
    archive = Archive(out)
    assert list(verify(archive, archive.codec())) == []


def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(_PARENT)
    root = Path(__file__).parents[4]
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(root)}
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        for _ in range(100):
            if not is_running(child):
                return
            time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the process that coded pictures outlives its parent")


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_processes_are_not_started_without_an_end() -> None:
    with pytest.raises(RuntimeError, match="with statement"):
        next(InProcesses(1).run(Job("", "", "cpu", 0, None), []))


def test_few_pictures_are_packed_in_one_process() -> None:
    assert usual_processes(3) == usual_processes(7) == 1
    assert 1 <= usual_processes(1000) <= (os.cpu_count() or 1)
