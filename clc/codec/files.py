"""Which file becomes which, and what may be written: the plan of `encode --out` and `decode --out`.

The contract: the name of an output depends on that of its input alone, never on what lies beside it; no input is ever
overwritten, nor what the same run wrote; what exists is replaced only if the user says so.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from clc.bundle.identity import own_names
from clc.errors import InputError
from clc.pictures.folders import Found, Unreadable, find_files, is_folder, passed_over_text
from clc.pictures.picture import PICTURE_SUFFIXES
from storage.target import find_target, refuse_read_only

STREAM_SUFFIXES = frozenset((".clc",))
MOST_NAME_BYTES = 255
"""What a name may have where the file system does not say otherwise."""

Existing = Literal["refuse", "skip", "replace"]
"""What becomes of an output that exists: an error, nothing, or it is replaced."""


@dataclass(frozen=True)
class Direction:
    """Encoding or decoding: `verb` in the past tense, endings of inputs in a folder, and how an output is named.

    An output ends in `ending`, which stands in place of `replaces` where an input ends so, else behind its whole name.
    """

    verb: str
    reads: frozenset[str]
    replaces: str
    ending: str

    def named(self, name: str) -> str:
        """The name of the output of a file: a.png and a.clc become one another, a.jpg becomes a.jpg.clc, a.jpg.png."""
        is_short = name.lower().endswith(self.replaces) and len(name) > len(self.replaces)
        return (name[: -len(self.replaces)] if is_short else name) + self.ending


ENCODE = Direction("encoded", PICTURE_SUFFIXES, ".png", ".clc")
DECODE = Direction("decoded", STREAM_SUFFIXES, ".clc", ".png")


@dataclass(frozen=True)
class Job:
    """One file and what it becomes; `problem` says why it cannot be done, empty where it can."""

    source: Path
    output: Path
    problem: str = ""


class Plan(NamedTuple):
    """The jobs in order, and what else the folders held: see `clc.pictures.folders.Found`."""

    jobs: list[Job]
    passed_over: dict[str, int]
    unreadable: list[Unreadable]


def plan(inputs: Sequence[Path], out: Path, direction: Direction) -> Plan:
    """Says what every input becomes under `out`.

    A folder is searched for files to read, and its structure is kept below `out`; several folders each keep their own
    name on top. What would become the same output as another, or gets too long a name, becomes a job with a `problem`.
    Raises `InputError` where nothing is found, or where `out` is a file or nothing can be written there.
    """
    check_folder(out)
    n_folders = sum(map(is_folder, inputs))
    files: dict[str, tuple[Path, Path]] = {}
    passed_over: Counter[str] = Counter()
    unreadable: list[Unreadable] = []
    for path in inputs:
        found = find(path, direction.reads)
        passed_over.update(found.passed_over)
        unreadable += found.unreadable
        top = Path(path.resolve().name) if n_folders > 1 and is_folder(path) else Path()
        for file in found.files:
            relative = top / file.relative_to(path) if is_folder(path) else Path(file.name)
            files.setdefault(os.path.abspath(file), (file, relative))  # noqa: PTH100 - a link is a file of its own
    if not files:
        raise InputError(nothing_found(inputs, direction.reads, passed_over, unreadable))
    return Plan(_jobs(list(files.values()), out, direction), dict(passed_over), unreadable)


def find(path: Path, suffixes: frozenset[str]) -> Found:
    """The files of a folder that end in a suffix, and what is left out; a file is itself, whatever its name.

    The streams and pictures that are parts of a bundle below the folder are left out.
    """
    return find_files(path, suffixes, own_names) if is_folder(path) else Found([path], {}, [])


def nothing_found(
    inputs: Iterable[Path], suffixes: frozenset[str], passed_over: Counter[str], unreadable: Sequence[Unreadable]
) -> str:
    """The message for inputs that hold no file to read."""
    message = f"{', '.join(map(str, inputs))}: no file to read there; looked for {' '.join(sorted(suffixes))}"
    if passed_over:
        message += f"; passed over: {passed_over_text(passed_over)}"
    return message + "".join(f"; {path}: {reason}" for path, reason in unreadable)


def check_folder(out: Path) -> None:
    """Raises `InputError` where a folder of outputs is something else, or would not let one write into it."""
    if not out.is_dir() and os.path.lexists(out):
        what = "a file" if out.exists() else "a link to nothing"
        raise InputError(f"{out}: is {what}; name a folder after --out")
    there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        what = "may not be written into" if there.is_dir() else "is no folder"
        raise InputError(f"{out}: {there} {what}; check its permissions, or name another folder after --out")


def _jobs(found: list[tuple[Path, Path]], out: Path, direction: Direction) -> list[Job]:
    taken: dict[Path, Path] = {}
    limit = _most_name_bytes(out)
    jobs = []
    for source, relative in found:
        output = out / relative.with_name(direction.named(relative.name))
        first = taken.setdefault(output, source)
        n_bytes = len(os.fsencode(output.name))
        problem = ""
        if first is not source:
            problem = _same_output(output, first)
        elif n_bytes > limit:
            problem = (
                f"the name of its output, which ends in {direction.ending}, would have {n_bytes} bytes, but {limit} "
                "are allowed; give it a shorter name"
            )
        jobs.append(Job(source, output, problem))
    return jobs


def _most_name_bytes(out: Path) -> int:
    there = next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())
    try:
        return os.pathconf(there, "PC_NAME_MAX")
    except (OSError, ValueError, AttributeError):
        return MOST_NAME_BYTES


def _same_output(output: Path, first: Path) -> str:
    return f"would become {output}, as {first} does; give it another --out"


@dataclass(frozen=True)
class Outputs:
    """What one run may write: asks before a file is made, and remembers what was.

    Files are known by device and inode, so that names which the file system takes for one are one here, too.
    """

    existing: Existing
    sources: dict[tuple[int, int], Path]
    written: dict[tuple[int, int], Path] = field(default_factory=dict)

    @classmethod
    def of(cls, jobs: Iterable[Job], existing: Existing) -> Outputs:
        """Those of a run over some jobs."""
        found = ((_identity(job.source), job.source) for job in jobs)
        return cls(existing, {identity: source for identity, source in found if identity is not None})

    def is_wanted(self, job: Job) -> bool:
        """Whether a job's output is still to be written; False where it exists and is to be skipped.

        Raises `InputError` for a job with a problem, and for an output that may not be replaced.
        """
        if job.problem:
            raise InputError(job.problem)
        identity = _identity(job.output)
        if identity is not None and identity in self.sources:
            raise InputError(f"would overwrite {job.output}, which is an input; give another --out")
        if identity is not None and identity in self.written:
            raise InputError(_same_output(job.output, self.written[identity]))
        is_wanted = is_to_be_written(job.output, self.existing, "--overwrite or another --out")
        if not is_wanted and identity is not None:
            self.written[identity] = job.source
        return is_wanted

    def remember(self, job: Job) -> None:
        """Notes that the output of a job was written."""
        identity = _identity(job.output)
        if identity is not None:
            self.written[identity] = job.source


def refuse_existing(outputs: Iterable[Path], *, overwrite: bool) -> None:
    """Raises `InputError` for the first file that exists and may not be replaced, before work is done for it."""
    for output in outputs:
        is_to_be_written(output, "replace" if overwrite else "refuse", "another name or --overwrite")


def is_to_be_written(output: Path, existing: Existing, advice: str) -> bool:
    """Whether an output is to be written; False where it exists and is to be skipped.

    A pipe and a device are always written into, but for disks. Raises `InputError` for a file or a disk that exists
    and may not be replaced, and for an empty file that would be taken for a finished output; `advice` tells it.
    """
    try:
        status = output.stat()
    except FileNotFoundError:
        return True
    except OSError as error:
        raise InputError(f"{output}: {error.strerror}; name another output") from error
    if stat.S_ISBLK(status.st_mode) and existing != "replace":
        raise InputError(f"{output}: is a disk, whose content would be replaced; give {advice}")
    if not stat.S_ISREG(status.st_mode):
        return True
    if existing == "replace":
        _refuse_read_only(output)
        return True
    if existing == "refuse":
        raise InputError(f"{output} exists already; remove it, or give {advice}")
    if status.st_size == 0:
        raise InputError(f"{output} exists already but is empty; remove it, or give --overwrite")
    return False


def _refuse_read_only(output: Path) -> None:
    try:
        refuse_read_only(find_target(output))
    except OSError as error:
        raise InputError(f"{output}: {error.strerror}") from error


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of what a path leads to; None where that is nothing, or is no regular file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None
