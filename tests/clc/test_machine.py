"""What a command asks of its machine: memory that is kept, and bfloat16 for the encoder alone."""

import ctypes
import platform
import subprocess
import sys

import numpy as np
import pytest
import torch

from clc.codec import Codec
from clc.evaluation.metrics import psnr_db
from clc.machine import has_bfloat16, keep_freed_memory
from tests.conftest import Picture

CPU = torch.device("cpu")
# Eight maps of 8 MiB are made and freed together, again and again.
FAULTS = """
import resource, sys, torch
from clc.machine import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
x = torch.ones(2 << 20)
for warm in range(10):
    maps = [x * 2.0 for number in range(8)]
    del maps
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for again in range(10):
    maps = [x * 2.0 for number in range(8)]
    del maps
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    command = [sys.executable, "-c", FAULTS, mode]
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_is_used_again_with_few_page_faults() -> None:
    # The system may take pages back on its own, or give large ones: of a few runs the clearest counts.
    assert min(faults("kept") for _ in range(3)) < 0.25 * max(faults("given back") for _ in range(3))


def test_without_mallopt_nothing_is_set_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not keep_freed_memory()


def test_bfloat16_is_what_torch_says_of_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    assert has_bfloat16(CPU)
    assert not has_bfloat16(torch.device("cuda"))
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True})
    assert not has_bfloat16(CPU)
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not has_bfloat16(CPU)


def test_an_encoder_with_bfloat16_is_as_good_and_its_decoder_the_same(
    photo: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = np.ascontiguousarray(photo[60:252, 100:356])
    codecs = {}
    for has in (False, True):
        monkeypatch.setattr("clc.codec.decoder.has_bfloat16", lambda device, has=has: has)
        codecs[has] = Codec.load()
    streams = {has: codec.encode(picture, 40.0, "none") for has, codec in codecs.items()}
    decoded = {has: codecs[has].decode(stream) for has, stream in streams.items()}
    assert streams[True] != streams[False]
    assert len(streams[True]) == pytest.approx(len(streams[False]), rel=0.01)
    assert psnr_db(decoded[True], picture) == pytest.approx(psnr_db(decoded[False], picture), abs=0.03)
    np.testing.assert_array_equal(codecs[False].decode(streams[True]), decoded[True])
