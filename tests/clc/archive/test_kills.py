"""Packing that is killed at any moment loses nothing: what the table names is sound, and the same command goes on.

`CLC_TEST_KILLS=100 pytest tests/clc/archive/test_kills.py` kills more often.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Picture

KILLS = int(os.environ.get("CLC_TEST_KILLS", "8"))
WORKER = Path(__file__).with_name("kill_worker.py")
ROOT = Path(__file__).parents[3]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the worker forks")
def test_packing_that_is_killed_goes_on_and_ends_with_the_same_archive(tmp_path: Path, photo: Picture) -> None:
    (tmp_path / "sources").mkdir()
    for number in range(3):
        part = np.ascontiguousarray(photo[40:136, 16 * number : 16 * number + 128])
        Image.fromarray(part).save(tmp_path / "sources" / f"{number}.png")
    command = [sys.executable, str(WORKER), str(tmp_path / "sources"), str(tmp_path), str(KILLS), "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60 + 20 * KILLS, check=False
    )
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one for one in told if one["wrong"]] == [], done.stderr
    assert len(told) == KILLS
