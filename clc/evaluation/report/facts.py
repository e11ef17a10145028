"""What a measurement was taken with, for its report: processor, release and commit."""

import platform
import subprocess
from pathlib import Path

from clc.version import version

_CPU_INFO = Path("/proc/cpuinfo")
_ROOT = Path(__file__).parents[3]
_UNKNOWN = "not known"


def machine_facts() -> dict[str, str]:
    """Return what a measurement was taken with: processor, release and commit."""
    return {"CPU": _cpu(), "release": version(), "commit": _commit()}


def _cpu() -> str:
    """Return the processor's name, as Linux or Python's `platform` tells it."""
    try:
        lines = _CPU_INFO.read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.processor() or platform.machine()


def _commit() -> str:
    """Return the commit of the source tree that runs, with a word where it was changed since; "" outside of git."""
    git = ["git", "-C", str(_ROOT), "describe", "--always", "--dirty=, changed since", "--exclude=*"]
    try:
        found = subprocess.run(git, capture_output=True, text=True, check=False, timeout=10)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return _UNKNOWN
    return found.stdout.strip() or _UNKNOWN
