"""Settings of a process that make it faster; results stay the same, but for the last bits of a float.

Memory and denormals are settings of the whole process: the command lines make them (`clc.codec.cli.main`,
`clc.training`), the library never does. `has_bfloat16` only looks up what the machine has.
"""

from __future__ import annotations

import ctypes

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
