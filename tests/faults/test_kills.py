"""An ingest that is killed at any moment leaves nothing wrong, and the next run makes what it would have made."""

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clc.pictures.images import png_bytes
from flows.runtime.workspace import Workspace
from flows.upkeep.cleaning import clean
from storage.atomic import is_temporary
from storage.digest import sha256_bytes, sha256_file
from storage.manifest import MANIFEST_NAME

ROOT = Path(__file__).parents[2]
HERE = sorted(random.Random(7 * number).random() for number in range(8))  # noqa: S311
ON_A_CLUSTER = [0.3, 0.65, 0.9]
"""Shares of the time that an ingest takes, after which it is killed; a cluster takes a while to start.

The earliest comes first: on a machine that is busy for a while, a later one may be after the end."""


def runs(workspace: Path, source: Path, *delays_s: float, shard_files: int = 64) -> list[tuple[str, float]]:
    """Ingest once for each delay, after which it is killed; whether it was killed or finished, and when."""
    environment = {**os.environ, "CLC_WORKSPACE": str(workspace), "PYTHONPATH": str(ROOT)}
    environment["CLC_TEST_SHARD"] = str(shard_files)
    command = [sys.executable, "-m", "tests.faults.kill_ingest", str(source), *map(str, delays_s)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [(what, float(seconds)) for what, seconds in map(str.split, done.stdout.splitlines())]


def made(workspace: Path) -> dict[str, str]:
    """Return the digests of all that counts: blobs, and the files of finished stages."""
    blobs = {path.name: sha256_file(path) for path in (workspace / "blobs").rglob("*") if path.is_file()}
    stages = {
        path.relative_to(workspace).as_posix(): sha256_file(path)
        for path in (workspace / "stages").rglob("*")
        if path.is_file() and path.name != MANIFEST_NAME
    }
    return blobs | stages


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(40):
        generator = np.random.default_rng(seed)
        data = png_bytes(generator.integers(0, 256, (300, 300, 3), dtype=np.uint8))
        (folder / f"{seed}.png").write_bytes(data if seed % 9 else data[:200])
    return folder


@pytest.mark.parametrize(("shard_files", "moments"), [(64, HERE), (8, ON_A_CLUSTER)], ids=["here", "on a cluster"])
def test_killed_at_random_moments_it_ends_as_if_it_never_was(
    tmp_path: Path, source: Path, shard_files: int, moments: list[float]
) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    ((ended, seconds),) = runs(undisturbed, source, 300, shard_files=shard_files)
    assert ended == "finished"
    delays = [share * seconds for share in moments]
    assert "killed" in dict(runs(disturbed, source, *delays, shard_files=shard_files))
    for path in (disturbed / "blobs").rglob("*"):
        assert path.is_dir() or is_temporary(path.name) or sha256_bytes(path.read_bytes()) == path.name
    assert [what for what, _ in runs(disturbed, source, 300, shard_files=shard_files)] == ["finished"]
    clean(Workspace(disturbed))
    assert made(disturbed) == made(undisturbed)
