"""A process that runs an ingest again and again, each time in a fork that is killed after so many seconds.

    python -m tests.faults.kill_ingest SOURCE SECONDS...

It imports once what takes long to import. The forks run the function of the flow without Prefect's server, in the
workspace of the environment. One line a fork says whether it was killed or had finished, and after how many seconds.
"""

import os
import signal
import sys
import time

from flows import ingest
from flows.intake import examining


def work(source: str) -> None:
    """Ingest as the flow does: in one shard here, or in smaller ones by a worker process of a cluster of its own."""
    ingest.publish = lambda *_: None  # type: ignore[assignment]
    examining.SHARD_FILES = int(os.environ.get("CLC_TEST_SHARD", "64"))
    ingest.ingest_images.fn(source, patch_px=32, workers=1)


def killed_after(source: str, seconds: float) -> str:
    """Return whether the fork was killed before it had finished, and when."""
    begun = time.monotonic()
    child = os.fork()
    if child == 0:
        os.setsid()
        status = 1
        try:
            work(source)
            status = 0
        finally:
            os._exit(status)
    while time.monotonic() < begun + seconds:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            if status:
                raise SystemExit(f"the ingest failed with status {status}")
            return f"finished {time.monotonic() - begun:.3f}"
        time.sleep(0.002)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return f"killed {time.monotonic() - begun:.3f}"


if __name__ == "__main__":
    for delay in map(float, sys.argv[2:]):
        print(killed_after(sys.argv[1], delay), flush=True)
