"""On what is measured: the machine in words, the code and its bundle, and what other work the machine has."""

from __future__ import annotations

import hashlib
import os
import platform
import resource
import subprocess
import time
from dataclasses import dataclass
from importlib.metadata import version as version_of
from pathlib import Path

from clc.errors import InputError
from clc.evaluation.report.facts import machine_facts
from clc.version import version

ROOT = Path(__file__).parents[2]
IDLE_LOAD = 0.5
"""Up to this load average, of one minute, a machine counts as idle."""
IDLE_CORES = 0.1
"""Up to so many cores may other work take, on average, without that seconds are doubted."""


@dataclass(frozen=True)
class Code:
    """What is measured: the release, whether the code is younger than it, commit, state of the tree, shipped bundle."""

    version: str
    after_release: bool
    commit: str
    is_clean: bool
    bundle: str


def code_of(root: Path = ROOT) -> Code:
    """Return what the working tree holds. Raises `InputError` where it is no clone, or there is no git.

    Code is younger than its release where the changelog has a part `Unreleased`. Files of figures and the pages that
    are made of them do not count as changes of the tree: measuring itself changes these.
    """
    changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs", ":!*.md")
    return Code(
        version=version(),
        after_release="\n## Unreleased\n" in (root / "CHANGELOG.md").read_text(),
        commit=_git(root, "rev-parse", "--short=7", "HEAD"),
        is_clean=not changed,
        bundle=bundle_of(root),
    )


def bundle_of(root: Path = ROOT) -> str:
    """Return the id of the bundle that the working tree ships."""
    manifest = (root / "clc" / "assets" / "shipped" / "manifest.json").read_bytes()
    return hashlib.sha256(manifest).hexdigest()[:16]


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise InputError(f"{root}: no clone of the repository, or no git: a figure stands beside its commit") from error
    return done.stdout.strip()


def machine() -> str:
    """The machine in words: processor, cores that may be used, system, and the libraries that seconds depend on."""
    used, system = len(os.sched_getaffinity(0)), f"{platform.machine()}, {platform.system()}"
    libraries = f"Python {platform.python_version()}, torch {version_of('torch')}"
    return f"{machine_facts()['CPU']}, of these {used} used, {system}, {libraries}"


def loads() -> tuple[float, ...]:
    """The load averages of one, five and fifteen minutes."""
    return tuple(round(one, 2) for one in os.getloadavg())


class Watch:
    """What a command takes, from the making of the watch on: seconds, those of a processor, and others' cores."""

    def __init__(self) -> None:
        """Begin to watch."""
        self._start_s, self._own_s, self._busy_s = time.monotonic(), _own_seconds(), _busy_seconds()

    def read(self) -> tuple[float, float, float | None]:
        """Return seconds since the start, seconds of a processor of children that have ended, and others' cores.

        The last is the mean number of cores that everything else on the machine took; None where the kernel does not
        tell how busy they are.
        """
        seconds, own_s = time.monotonic() - self._start_s, _own_seconds() - self._own_s
        if self._busy_s is None or (busy_s := _busy_seconds()) is None or seconds <= 0:
            return seconds, own_s, None
        return seconds, own_s, max(0.0, (busy_s - self._busy_s - own_s) / seconds)


def _own_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _busy_seconds() -> float | None:
    """Seconds that all cores have worked since the machine began: user, nice, system, interrupts; Linux only."""
    fields = next((line.split()[1:] for line in _lines("/proc/stat") if line.startswith("cpu ")), [])
    if len(fields) < 7:
        return None
    return sum(int(fields[at]) for at in (0, 1, 2, 5, 6)) / os.sysconf("SC_CLK_TCK")


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
