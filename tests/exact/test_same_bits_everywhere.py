"""The exact path gives the same bits under other threads, instruction sets, libraries, layouts, batches and blocks.

Three processes, one for each set of instructions, compute everything in every other way; all their digests of one
thing must be one digest. Other versions of torch and other devices: `bench/torch_versions.py`.
"""

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clc.codec import Codec
from tests.conftest import Picture
from tests.exact.replay import SETTINGS, make_inputs, walk_digest
from tests.hostile.seeds import make_seeds

INSTRUCTION_SETS = {
    "all of this machine": {},
    "none beyond SSE": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    },
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
}
STREAMS = slice(2, None, 4)
"""Of the streams that mutations start from: some of each kind and quality."""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What each process said of the same streams."""
    folder = tmp_path_factory.mktemp("exact")
    (folder / "streams").mkdir()
    (folder / "keys").mkdir()
    seeds = make_seeds(folder / "bundle")
    for i, data in enumerate(seeds.streams[STREAMS]):
        (folder / "streams" / f"{i:02d}.clc").write_bytes(data)
    # Streams to which others refer: reading one fails where its pixels are not those that were made here.
    for data, sha256 in seeds.keys:
        (folder / "keys" / sha256).write_bytes(data)
    return {name: _replayed(folder, settings) for name, settings in INSTRUCTION_SETS.items()}


def _replayed(folder: Path, settings: dict[str, str]) -> dict[str, Any]:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.exact.replay",
            str(folder / "bundle"),
            str(folder / "streams"),
            str(folder / "keys"),
        ],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_every_way_gives_the_same_bits(told: dict[str, dict[str, Any]]) -> None:
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for instructions, answer in told.items():
        for thing, way, digest in answer["digests"]:
            found[thing][digest].append(f"{instructions}: {way}")
    assert {thing: list(ways.values()) for thing, ways in found.items() if len(ways) > 1} == {}
    assert set(found) == {"streams", "self-generated prior", "alone", "aligned"}
    counted = {thing: sum(map(len, ways.values())) for thing, ways in found.items()}
    sets, ways = len(INSTRUCTION_SETS), len(SETTINGS)
    whole, parts = dict.fromkeys(("streams", "self-generated prior"), sets * ways), sets * (ways + 1)
    assert counted == {**whole, "alone": parts, "aligned": parts}


def test_different_things_have_different_digests(told: dict[str, dict[str, Any]]) -> None:
    digests = {digest for answer in told.values() for _, _, digest in answer["digests"]}
    assert len(digests) == 4


def test_the_instructions_were_restricted(told: dict[str, dict[str, Any]]) -> None:
    assert told["none beyond SSE"]["capability"] in ("DEFAULT", "NO AVX")
    if torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512"):
        assert told["AVX2"]["capability"] == "AVX2"


def test_the_shipped_self_test_passes_under_every_instruction_set(told: dict[str, dict[str, Any]]) -> None:
    assert {name: answer["first_difference"] for name, answer in told.items()} == dict.fromkeys(INSTRUCTION_SETS)


def test_one_weight_off_by_a_little_is_seen(photo: Picture) -> None:
    codec = Codec.load()
    inputs = make_inputs(codec, codec.encode(np.ascontiguousarray(photo[:64, :64]), 50, "none"))
    with torch.no_grad():
        right = walk_digest(codec, inputs, 1, torch.contiguous_format)
        codec.bundle.prior.matching.leave.weight[0, 0] += 2.0**-6
        wrong = walk_digest(codec, inputs, 1, torch.contiguous_format)
    assert right != wrong
