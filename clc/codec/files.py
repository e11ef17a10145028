"""Which file becomes which: the plan of `encode --out` and `decode --out`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from clc.errors import InputError
from clc.pictures.picture import PICTURE_SUFFIXES

STREAM_SUFFIXES = frozenset((".clc",))


@dataclass(frozen=True)
class Direction:
    """Encoding or decoding: `verb` in the past tense, the endings of inputs in a folder, and that of outputs."""

    verb: str
    reads: frozenset[str]
    ending: str


ENCODE = Direction("encoded", PICTURE_SUFFIXES, ".clc")
DECODE = Direction("decoded", STREAM_SUFFIXES, ".png")


@dataclass(frozen=True)
class Job:
    """One file and what it becomes; `problem` says why it cannot be done, empty where it can."""

    source: Path
    output: Path
    problem: str = ""


class Plan(NamedTuple):
    """The jobs in order, and how many files of other kinds the folders held."""

    jobs: list[Job]
    n_passed_over: int


def plan(inputs: Sequence[Path], out: Path, direction: Direction) -> Plan:
    """Says what every input becomes under `out`.

    A file keeps its name, with the ending of what is written in place of its own. A folder is searched for files to
    read, and its structure is kept below `out`; several folders each keep their own name on top. Files that would
    become the same output (a.png and a.jpg) keep their endings: a.png.clc, a.jpg.clc. What then still meets, and what
    would overwrite an input, becomes a job with a `problem`. Raises `InputError` where nothing is found, or `out` is a
    file.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; name a folder after --out")
    n_folders = sum(path.is_dir() for path in inputs)
    found: dict[str, tuple[Path, Path]] = {}
    n_passed_over = 0
    for path in inputs:
        files, n_others = find(path, direction.reads)
        n_passed_over += n_others
        top = Path(path.resolve().name) if n_folders > 1 else Path()
        for file in files:
            relative = top / file.relative_to(path) if path.is_dir() else Path(file.name)
            found.setdefault(os.path.abspath(file), (file, relative))  # noqa: PTH100 - a link is a file of its own
    if not found:
        kinds = " ".join(sorted(direction.reads))
        raise InputError(f"{', '.join(map(str, inputs))}: no file to read there; looked for {kinds}")
    return Plan(_jobs(list(found.values()), out, direction), n_passed_over)


def find(path: Path, suffixes: frozenset[str]) -> tuple[list[Path], int]:
    """The files of a folder that have one of the suffixes, in order, and the number of others; a file is itself.

    Hidden files and folders are left out. Raises `InputError` for a folder that cannot be read.
    """
    if not path.is_dir():
        return [path], 0
    files = list(_walk(path))
    chosen = [file for file in files if file.suffix.lower() in suffixes]
    return chosen, len(files) - len(chosen)


def _jobs(found: list[tuple[Path, Path]], out: Path, direction: Direction) -> list[Job]:
    # Folded: on some file systems A.clc and a.clc are one file.
    short = [str(relative.with_suffix(direction.ending)).casefold() for _, relative in found]
    times = Counter(short)
    sources = {os.path.realpath(source) for source, _ in found}
    taken: dict[Path, Path] = {}
    jobs = []
    for (source, relative), name in zip(found, short, strict=True):
        is_alone = times[name] == 1
        ending = direction.ending if is_alone else relative.suffix + direction.ending
        output = out / relative.with_suffix(ending)
        first = taken.setdefault(output, source)
        problem = ""
        if first is not source:
            problem = f"would become {output}, as {first} does; give it another --out"
        elif os.path.realpath(output) in sources:
            problem = f"would overwrite {output}, which is an input; give another --out"
        jobs.append(Job(source, output, problem))
    return jobs


def _walk(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: {error.strerror}; check the folder's permissions") from error

    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent) / name for name in sorted(names) if not name.startswith("."))


def refuse_problem(job: Job, overwrite: bool) -> None:
    """Raises `InputError` for a job with a problem, or whose output exists and may not be replaced."""
    if job.problem:
        raise InputError(job.problem)
    if job.output.exists() and not overwrite:
        raise InputError(f"{job.output} exists already; remove it, or give --overwrite or another --out")
