"""What was measured once: a file of `docs/figures` that says of which version, when, on what machine, by which command.

Others write files there as well (`docs/figures/NAME.json` of a page of their own). What every such file must say is
`REQUIRED`; more is allowed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from clc.errors import InputError
from storage.atomic import write_bytes

REQUIRED: Mapping[str, type | tuple[type, ...]] = {
    "version": str,
    "commit": str,
    "machine": str,
    "date": str,
    "values": (dict, list),
}
"""What every file of figures says, and as what. The command is in the record, or on the page that shows the figures."""


@dataclass(frozen=True)
class Record:
    """One measurement and what it came to.

    `after_release` is True where the code was younger than the release `version`; `is_clean` is False where the working
    tree differed from `commit`. `load_before` and `load_after` are the load averages of one, five and fifteen minutes,
    `others_cores` the mean number of cores that other work took meanwhile. `pictures` are digests (SHA-256) of what was
    drawn for a page, by its path. `transcribed` figures were taken from a
    table, which a command that was run by hand had filled: what such a record does not know is None.
    """

    name: str
    version: str
    after_release: bool
    commit: str
    is_clean: bool | None
    bundle: str
    machine: str
    date: str
    command: str
    values: Mapping[str, Any]
    seconds: float | None = None
    processor_seconds: float | None = None
    load_before: tuple[float, ...] | None = None
    load_after: tuple[float, ...] | None = None
    others_cores: float | None = None
    pictures: Mapping[str, str] = field(default_factory=dict)
    transcribed: bool = False

    def write(self, folder: Path) -> None:
        """Write the record into `folder` under its name. Raises `StorageError`."""
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"
        write_bytes(path_of(folder, self.name), text.encode())


Records = Mapping[str, Record]
"""Measurements by name."""


def path_of(folder: Path, name: str) -> Path:
    """Where a measurement of that name lies."""
    return folder / f"{name}.json"


def read_figures(path: Path) -> dict[str, Any]:
    """Read a file of figures, of whatever page. Raises `InputError` where it is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a file of figures ({error}); remove it, or measure it again") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: not a file of figures; an object is wanted")
    for key, kind in REQUIRED.items():
        if not isinstance(found.get(key), kind) or not found[key]:
            raise InputError(f"{path}: not a file of figures; it says no {key!r}")
    return found


def read_record(folder: Path, name: str) -> Record | None:
    """Read what was measured under a name, None where nothing was.

    Raises `InputError` where the file holds something else: it is not replaced then, either.
    """
    path = path_of(folder, name)
    if not path.exists():
        return None
    found = read_figures(path)
    if found.get("name") != name:
        raise InputError(f"{path}: figures of {found.get('name')!r}, not of {name!r}; move the file away")
    loads = {key: None if found.get(key) is None else tuple(found[key]) for key in ("load_before", "load_after")}
    try:
        return Record(**{**found, **loads})
    except TypeError as error:
        raise InputError(f"{path}: not a record of this program ({error}); move the file away") from error


def read_records(folder: Path, names: Iterable[str]) -> dict[str, Record]:
    """Read what was measured under each of these names. Raises `InputError`."""
    found = ((name, read_record(folder, name)) for name in names)
    return {name: record for name, record in found if record is not None}
