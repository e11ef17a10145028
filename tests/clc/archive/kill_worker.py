"""What `test_kills` runs in a process of its own: packs a folder, is killed, and packs again.

    python kill_worker.py SOURCES WORK KILLS SEED

The process loads the codec and forks a child for each command, as a user would run it; a child that packs is killed at
a random moment. It prints a JSON object a kill: after which share of the time it came, whether the archive was readable
then, and what is wrong, "" where nothing is.
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from clc.archive import pack as packing
from clc.archive.layout import Archive
from clc.archive.manifest import NAME
from clc.archive.unpack import verify
from clc.codec import Codec
from clc.codec.__main__ import main

OPTIONS = ("--keys", "1", "--effort", "0")


def forked(run: Callable[[], int]) -> int:
    """Start a child that ends with what `run` returns; its process id."""
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = 3
        try:
            status = run()
        finally:
            os._exit(status)
    return pid


def ended(pid: int) -> int:
    """Wait for a child; its exit status, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def is_sound(archive: Path) -> int:
    """0 where an archive has no fault."""
    opened = Archive(archive)
    return 1 if list(verify(opened, Codec.shipped())) else 0


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def kill_once(sources: Path, out: Path, share: float, seconds: float, whole: dict[str, bytes]) -> tuple[bool, str]:
    """Whether there was a table after a kill, and what was wrong."""
    command = ["pack", str(sources), str(out), *OPTIONS]
    pid = forked(lambda: main(command))
    time.sleep(share * seconds)
    os.kill(pid, signal.SIGKILL)
    was_finished = ended(pid) == 0
    has_table = (out / NAME).exists()
    if has_table and ended(forked(lambda: is_sound(out))) != 0:
        return has_table, "what was packed so far has faults"
    status = ended(forked(lambda: main(command)))
    # What was finished, but for the lease in its work folder, is an archive already; the lease is cleared.
    if status != 0 and not (was_finished or contents(out) == whole):
        return has_table, f"the same command ends with status {status}"
    return has_table, "" if contents(out) == whole else "another archive than without a kill"


def run(sources: Path, work: Path, kills: int, seed: int) -> None:
    """Pack once as a whole, then with each kill."""
    torch.set_num_threads(1)
    packing.TABLE_EVERY_S = 0.0
    Codec.shipped()
    rng = random.Random(seed)  # noqa: S311 - no secret
    begun = time.monotonic()
    if ended(forked(lambda: main(["pack", str(sources), str(work / "whole"), *OPTIONS]))) != 0:
        raise SystemExit("packing failed without any kill")
    seconds, whole = time.monotonic() - begun, contents(work / "whole")
    for number in range(kills):
        share = rng.random() * 1.05
        has_table, wrong = kill_once(sources, work / str(number), share, seconds, whole)
        print(json.dumps({"share": share, "has_table": has_table, "wrong": wrong}), flush=True)


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
