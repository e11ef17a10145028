"""The exact path gives the same bits under other thread counts and instruction sets."""

import os
import subprocess
import sys

import pytest

REPLAY = (
    "import sys, torch; torch.set_num_threads(int(sys.argv[1])); from clc.cli import main; sys.exit(main(['selftest']))"
)


@pytest.mark.parametrize(
    ("threads", "settings"),
    [
        (1, {}),
        (2, {"ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}),
        (2, {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}),
    ],
)
def test_the_self_test_passes_under(threads: int, settings: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", REPLAY, str(threads)],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "all equal" in done.stdout
