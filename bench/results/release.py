"""Figures that were measured before a release and are the release's, because the code behind them is the same.

Measuring takes hours, and a release is a number in `pyproject.toml` and a heading in the changelog. Of both no figure
depends. What one does depend on are the codec and the program that measured it (`Measurement.code`): where git says
that these are as they were at the commit of a record, the record may name the release.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from bench.results.machine import Code
from bench.results.measurement import Measurement, Registry
from bench.results.record import Record, Records
from bench.results.state import MEASURED, MISSING, TRANSCRIBED, state_of
from clc.errors import InputError


def take_over(root: Path, registry: Registry, records: Records, code: Code, folder: Path) -> Mapping[str, str]:
    """Write the release's number into all records of `folder` that are of its code.

    Returns, by name, why the others are not. Raises `InputError` where the tree is younger than its release, and
    `StorageError`.
    """
    if code.after_release:
        raise InputError(
            "CHANGELOG.md says Unreleased: give the release its heading, and pyproject.toml its number, first"
        )
    refused = {}
    for one in registry.measurements:
        record = records.get(one.name)
        if record is None:
            refused[one.name] = MISSING
        elif state_of(one, record, code) == MEASURED:
            continue
        elif why := why_not(root, one, record, code):
            refused[one.name] = why
        else:
            replace(record, version=code.version, after_release=False).write(folder)
    return refused


def why_not(root: Path, one: Measurement, record: Record, code: Code) -> str:
    """Say why a record is not of the working tree's code; empty where it is."""
    if record.transcribed:
        return TRANSCRIBED
    if not record.is_clean:
        return "of a changed tree"
    if record.bundle != code.bundle:
        return f"of bundle {record.bundle}"
    if record.command != one.command:
        return "by another command"
    return _changes(root, record.commit, one.code)


def _changes(root: Path, commit: str, paths: tuple[str, ...]) -> str:
    """What of these paths the working tree has otherwise than a commit; empty where nothing."""
    done = subprocess.run(
        ["git", "diff", "--name-only", commit, "--", *paths], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode:
        return f"of commit {commit}, which this clone does not have"
    changed = done.stdout.split()
    others = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    return f"{changed[0]}{others} changed since {commit}" if changed else ""
