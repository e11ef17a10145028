"""The most memory that this process held while it did something, as Linux counts it.

`clc.evaluation.measure` asks for it around one picture. The figure is of the whole process: the interpreter, the
libraries and the weights are in it, and memory that the C library kept from before. So it is an upper bound of what
the work itself took, and means something only while nothing else runs in the process.
"""

import math
from pathlib import Path

_RESET = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_PEAK_ONLY = "5"
"""Sets the peak back to what is held now, and changes nothing else (proc(5))."""


def forget_peak() -> bool:
    """Begin a new peak; returns whether this machine can, which only Linux does."""
    try:
        _RESET.write_text(_PEAK_ONLY)
    except OSError:
        return False
    return True


def peak_mb() -> float:
    """Return the most that the process held since `forget_peak`, in millions of bytes; nan where that is not known."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return math.nan
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:")), math.nan)
