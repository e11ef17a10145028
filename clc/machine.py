"""What a command asks of the machine that it runs on; results stay what they are, but for the last bits of a float.

Memory and denormals are settings of the whole process, which the command lines make (`clc.codec.cli.main`,
`clc.training`) and the library never does by itself. Whether there is bfloat16 is only looked up.
"""

from __future__ import annotations

import ctypes

import numpy as np
import torch

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
"""Names of mallopt(3)."""

KEPT_BYTES, LARGE_BYTES, STEP_BYTES = 1 << 30, 1 << 25, 1 << 26
BFLOAT16 = ("avx512_bf16", "amx_bf16")


def keep_freed_memory() -> bool:
    """Has the C library keep up to 1 GiB of freed memory for the next tensors; whether it can (glibc alone).

    By default it soon gives the memory of a feature map back to the kernel, which clears every page of the next one.
    Maps over 32 MiB, which large pictures have, go back as before.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no glibc: another libc, or Windows
        return False
    wanted = ((M_MMAP_THRESHOLD, LARGE_BYTES), (M_TRIM_THRESHOLD, KEPT_BYTES), (M_TOP_PAD, STEP_BYTES))
    return bool(min(mallopt(name, value) for name, value in wanted) == 1)


def flush_denormals() -> None:
    """Has the CPU take numbers below 1e-38 for zero, which it is slow with, until `torch.set_flush_denormal(False)`."""
    # numpy asks once what the smallest numbers are, and would warn when by then they are gone.
    for kind in (np.float32, np.float64):
        np.finfo(kind)
    torch.set_flush_denormal(True)


def has_bfloat16(device: torch.device) -> bool:
    """Whether `device` is a CPU that multiplies bfloat16 by instructions of its own; False where torch cannot say."""
    found: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # since torch 2.13
    return device.type == "cpu" and any(found.get(name) for name in BFLOAT16)
