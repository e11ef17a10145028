"""What a command asks of its machine: memory that is kept, and bfloat16 for the encoder alone."""

import ctypes
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from clc.codec import Codec
from clc.evaluation.metrics import psnr_db
from clc.machine import flush_denormals, has_bfloat16, keep_freed_memory
from tests.conftest import Picture

CPU = torch.device("cpu")
# Eight maps of 20 MiB are made and freed together, three times. What the C library then holds is its own account.
HELD = """
import ctypes, sys, torch
from clc.machine import keep_freed_memory
FIELDS = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
class Account(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS.split()]
if sys.argv[1] == "kept":
    assert keep_freed_memory()
account = ctypes.CDLL(None).mallinfo2
account.restype = Account
x = torch.ones(5 << 20)
for again in range(3):
    maps = [x * 2.0 for number in range(8)]
    del maps
print(account().fordblks)
"""


def held_bytes(mode: str) -> int:
    command = [sys.executable, "-c", HELD, mode]
    # Fixed thresholds: those that glibc has by itself move with what was freed before, and so with what was imported.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="mallinfo2 is glibc's, from 2.33 on")
def test_freed_memory_is_held_for_the_next_tensors() -> None:
    # Counted by the C library, not by the kernel: how many page faults that saves depends on the machine's pages.
    assert held_bytes("kept") > 8 * 20 << 20
    assert held_bytes("given back") < 20 << 20


def test_without_mallopt_nothing_is_set_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not keep_freed_memory()


@pytest.mark.parametrize("turn", ["first", "second"])
def test_denormals_that_one_test_flushes_are_there_in_the_next(turn: str) -> None:
    assert torch.tensor(1e-40).add(0).item() > 0, turn
    flush_denormals()
    assert torch.tensor(1e-40).add(0).item() == 0


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
