"""Settings of a process that make it faster; results stay the same, but for the last bits of a float.

Memory and denormals are settings of the whole process: the command lines make them (`clc.codec.cli.main`,
`clc.training`), the library never does. `has_bfloat16` only looks up what the machine has. `make_forks_safe` is the one
thing that the library asks for by itself: without it, a forked process that uses the codec would hang.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

import numpy as np
import torch

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
"""Parameters of mallopt(3)."""

KEPT_BYTES = 1 << 30
"""Freed memory at the top of the heap that is kept: M_TRIM_THRESHOLD."""

LARGE_BYTES = 1 << 25
"""Size from which a block is mapped by itself, and given back when freed: M_MMAP_THRESHOLD."""

STEP_BYTES = 1 << 26
"""Memory that is taken from the kernel beyond each request: M_TOP_PAD."""

BFLOAT16 = ("avx512_bf16", "amx_bf16")
"""Capabilities of a CPU, by torch's names, that multiply bfloat16."""

THREAD_SETTERS = (("torch", "set_num_threads", 1), ("cv2", "setNumThreads", 0), ("faiss", "omp_set_num_threads", 1))
"""Libraries with threads of their own, what sets how many they use, and the number that means "the caller's alone".

OpenCV given 1 would wait for the threads of its pool to end, and in a forked process they never do.
"""


def keep_freed_memory() -> bool:
    """Let the C library keep up to 1 GiB of freed memory for the next tensors; returns whether it can (glibc only).

    By default glibc soon returns the memory of a feature map to the kernel, which then clears every page of the next.
    Maps over 32 MiB, which large pictures have, are still returned.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no glibc: another libc, or Windows
        return False
    wanted = ((M_MMAP_THRESHOLD, LARGE_BYTES), (M_TRIM_THRESHOLD, KEPT_BYTES), (M_TOP_PAD, STEP_BYTES))
    return bool(min(mallopt(name, value) for name, value in wanted) == 1)


def flush_denormals() -> None:
    """Let the CPU treat denormals, below 1e-38 in float32, as 0: it is slow with them.

    `torch.set_flush_denormal(False)` ends it.
    """
    # numpy looks up the smallest numbers once, and would warn if denormals were flushed by then.
    for kind in (np.float32, np.float64):
        np.finfo(kind)
    torch.set_flush_denormal(True)


def has_bfloat16(device: torch.device) -> bool:
    """Whether `device` is a CPU with instructions that multiply bfloat16; False where torch cannot tell."""
    found: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # since torch 2.13
    return device.type == "cpu" and any(found.get(name) for name in BFLOAT16)


@cache
def make_forks_safe() -> None:
    """Let processes that are forked from this one compute: with one thread each. Further calls do nothing.

    A fork copies the memory of a pool of threads and not the threads, so the first parallel loop in the child waits for
    them for ever (OpenMP in torch and faiss, OpenCV's own pool). With one thread there is no such loop. Threads that
    the child starts itself are not concerned, and results do not depend on the number of threads.
    """
    if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
        os.register_at_fork(after_in_child=use_one_thread)


def use_one_thread() -> None:
    """Let the libraries that are loaded compute with the thread that calls them alone."""
    for library, setter, alone in THREAD_SETTERS:
        # A library that is not loaded has no threads yet; one that another thread was just loading lacks the setter.
        set_threads = getattr(sys.modules.get(library), setter, None)
        if set_threads is not None:
            set_threads(alone)
