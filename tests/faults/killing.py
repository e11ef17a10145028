"""Stages that are killed: one process imports what takes long, and runs each stage in a fork, which a test kills.

    python -m tests.faults.killing MODULES...

`Stages` is what a test holds. The process takes a line of JSON a run, and says of each when it has begun and how it
ended. The forks call the functions of the flows, without Prefect's server.
"""

import importlib
import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from clc.pictures.images import png_bytes

ROOT = Path(__file__).parents[2]
TINY_ONNX = str(ROOT / "tests" / "golden" / "tiny_backbone.onnx")
LONGEST_S = 900.0


class Ended(NamedTuple):
    """How a run ended: killed by the test or by itself, and after how many seconds."""

    was_killed: bool
    seconds: float


class Stages:
    """Runs stages, each in a process group of its own; `log` takes what they write. See `stages`."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self._process, self._log = process, log

    def run(
        self,
        stage: str,
        workspace: Path,
        seconds: float = LONGEST_S,
        until: Callable[[], bool] = lambda: False,
        **arguments: Any,
    ) -> Ended:
        """Run a stage in a workspace, and kill it with all its processes after so many seconds, or when `until` holds.

        Fails where it ends by itself with an error.
        """
        assert self._process.stdin is not None
        order = {"stage": stage, "workspace": str(workspace), "arguments": arguments}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        group, begun = int(self._said()), time.monotonic()
        while not self._has_said():
            if time.monotonic() - begun >= seconds or until():
                os.killpg(group, signal.SIGKILL)
                break
            time.sleep(0.002)
        status, taken = int(self._said()), time.monotonic() - begun
        assert status in (0, -signal.SIGKILL), f"{stage} ended with {status}: {self._log.read_text()[-2000:]}"
        return Ended(status != 0, taken)

    def _said(self) -> bytes:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self._log.read_text()[-2000:]
        return line

    def _has_said(self) -> bool:
        with selectors.DefaultSelector() as selector:
            assert self._process.stdout is not None
            selector.register(self._process.stdout, selectors.EVENT_READ)
            return bool(selector.select(0))


@contextmanager
def stages(folder: Path, *modules: str) -> Iterator[Stages]:
    """Yield what runs stages while the block lasts; `folder` takes what they write.

    `modules` are those that are imported once, so that the forks need not.
    """
    log = folder / "stages.log"
    with log.open("wb") as written:
        command = [sys.executable, "-m", "tests.faults.killing", *modules]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=written, bufsize=0
        ) as process:
            try:
                yield Stages(process, log)
            finally:
                assert process.stdin is not None
                process.stdin.close()


def photos(folder: Path, count: int, side_px: int) -> Path:
    """Write pictures of noise, of which every ninth is cut short."""
    folder.mkdir()
    for seed in range(count):
        data = png_bytes(np.random.default_rng(seed).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8))
        (folder / f"{seed}.png").write_bytes(data if seed % 9 else data[:200])
    return folder


def ingest(source: str, shard_files: int = 64) -> None:
    """Ingest as the flow does: in one shard here, or in smaller ones by a worker process of a cluster of its own."""
    from flows import ingest
    from flows.intake import examining

    examining.SHARD_FILES = shard_files
    ingest.ingest_images.fn(source, patch_px=32, workers=1)


def features(**arguments: Any) -> None:
    """Describe pictures by a tiny network."""
    from flows.features import extract_features

    extract_features.fn(backbone=TINY_ONNX, shard_items=2, workers=1, **arguments)


def dictionary() -> None:
    """Choose four of the pictures."""
    from flows.dictionary import build_dictionary

    build_dictionary.fn(entries=4, components=4, candidates=6)


def training(start: str, steps: int, is_tracked: bool = False) -> None:
    """Train a tiny model for so many steps."""
    from tests.flows.tiny_training import trained

    trained(start, steps, is_tracked=is_tracked)


def evaluation(**arguments: Any) -> None:
    """Measure the shipped codec beside JPEG."""
    from flows.evaluate import evaluate_codec

    evaluate_codec.fn(bundle="shipped", qualities=(20.0, 80.0), baselines=("jpeg",), **arguments)


def tracking() -> None:
    """Tell MLflow of a run."""
    from flows.runtime.mlflow_session import Server
    from flows.runtime.tracking import log_totals
    from flows.runtime.workspace import Workspace

    if not log_totals(Server.of(Workspace.from_environment()), "totals", "a run", {}, {"pictures": 2.0}, "its key"):
        raise RuntimeError("MLflow did not take it")


STAGES: dict[str, Callable[..., None]] = {
    "ingest-images": ingest,
    "extract-features": features,
    "build-dictionary": dictionary,
    "train-codec": training,
    "evaluate-codec": evaluation,
    "mlflow": tracking,
}


def fork(order: dict[str, Any]) -> int:
    """Run a stage in a fork, the first of a process group; return its id, which is the group's."""
    child = os.fork()
    if child:
        os.setpgid(child, child)  # here too: whichever of the two is first
        return child
    status = 1
    try:
        os.setpgid(0, 0)
        os.dup2(2, 1)
        os.environ["CLC_WORKSPACE"] = order["workspace"]
        STAGES[order["stage"]](**order["arguments"])
        status = 0
    except Exception:
        logging.exception("failed")
    finally:
        os._exit(status)


def main() -> None:
    """Run what stdin asks for, one after the other."""
    warnings.simplefilter("ignore")
    for module in sys.argv[1:]:
        importlib.import_module(module)
    for line in sys.stdin:
        child = fork(json.loads(line))
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
