"""What of a workspace nobody needs: `clc gc` lists it, and removes it.

A run that was killed leaves blobs that no finished ingest names, folders of stages without a manifest, and temporaries.
The contract: what a manifest stands for is never touched, nor what the journal of the intake knows to be brought, nor
what an unfinished stage can go on from, nor a file that this project did not make; and nothing is removed while a run
is at work, or where a table cannot be read that would say what is needed.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clc.errors import InputError
from flows.intake.journal import Journal
from flows.runtime.resumable import can_go_on
from flows.runtime.stage import KEY, STAGES
from flows.runtime.workspace import Workspace
from storage.atomic import is_temporary
from storage.errors import LeaseHeld, StorageError
from storage.locks import in_use
from storage.manifest import MANIFEST_NAME, read_manifest
from storage.tables import read_table

OF_A_RUN = (
    *STAGES,
    *("measure-codec", "measure-baselines", "measure-overfitted", "pack-strip"),
    *("describe-windows", "refuse-leaks"),
    *(f"reproduction-{table}" for table in ("references", "dictionary", "components", "alignment", "perturbation")),
)
"""The folders below `stages/`: each holds a folder a key."""

_BLOB = "blob"
_DIGITS = set("0123456789abcdef")


@dataclass(frozen=True)
class Garbage:
    """What nobody needs: files and folders, and how many bytes they take together."""

    paths: tuple[Path, ...]
    n_bytes: int


def clean(workspace: Workspace, *, is_dry: bool = False) -> Garbage:
    """Return what nobody needs, and remove it unless `is_dry`.

    Raises `InputError` while a run is at work, and `StorageError` where it cannot be known what is needed.
    """
    if not workspace.root.is_dir():
        raise InputError(f"there is no workspace at {workspace.root}; name another in CLC_WORKSPACE")
    try:
        with in_use(workspace.in_use, alone=True):
            garbage = _garbage(workspace)
            for path in () if is_dry else garbage.paths:
                _remove(path)
    except LeaseHeld as error:
        raise InputError(f"a run is at work in {workspace.root}; wait for its end, and run the same again") from error
    return garbage


def _garbage(workspace: Workspace) -> Garbage:
    needed = _needed(workspace)
    paths = sorted((*_unfinished(workspace), *_not_resumable(workspace), *_unnamed(workspace, needed)))
    return Garbage(tuple(paths), sum(map(_size, paths)))


def _needed(workspace: Workspace) -> set[str]:
    """Return the blobs that a table of a finished stage or the journal names."""
    needed: set[str] = set()
    for path in workspace.stages.glob(f"*/*/{MANIFEST_NAME}"):
        for name in read_manifest(path.parent, verify=False).files:
            if name.endswith(".parquet"):
                table = read_table(path.parent / name, (), optional=(_BLOB,))
                needed.update(filter(None, table.column(_BLOB).to_pylist() if table.column_names else ()))
    journal = workspace.intake / "journal.db"
    if journal.is_file():
        with Journal(journal) as lines:
            needed |= lines.blobs()
    return needed


def _unfinished(workspace: Workspace) -> Iterator[Path]:
    """Yield the folders of stages that were never finished; one with another name than a key is somebody's."""
    for stage in OF_A_RUN:
        for folder in (workspace.stages / stage).glob("*"):
            is_ours = is_temporary(folder.name) or KEY.fullmatch(folder.name)
            if is_ours and folder.is_dir() and not (folder / MANIFEST_NAME).exists():
                yield folder


def _not_resumable(workspace: Workspace) -> Iterator[Path]:
    """Yield what unfinished stages had got and no run goes on from, and what killed writers left in the rest.

    No run goes on where the stage is finished, where it was killed before there was anything to go on from, and where
    the code that makes it has changed, for that gives it another key.
    """
    for stage in OF_A_RUN:
        for folder in (workspace.resumable / stage).glob("*"):
            if not KEY.fullmatch(folder.name) or not folder.is_dir():
                continue
            is_finished = (workspace.stages / stage / folder.name / MANIFEST_NAME).is_file()
            if is_finished or not can_go_on(folder):
                yield folder
            else:
                yield from (path for path in folder.rglob(".*") if is_temporary(path.name))


def _unnamed(workspace: Workspace, needed: set[str]) -> Iterator[Path]:
    """Yield the blobs that are not needed, and what killed writers of blobs left."""
    for path in workspace.blobs.root.glob("[0-9a-f][0-9a-f]/*"):
        is_blob = len(path.name) == 64 and path.name.startswith(path.parent.name) and not set(path.name) - _DIGITS
        if path.is_file() and (is_temporary(path.name) or (is_blob and path.name not in needed)):
            yield path


def _size(path: Path) -> int:
    files = (one for one in path.rglob("*") if one.is_file()) if path.is_dir() else (path,)
    return sum(one.stat().st_size for one in files)


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"cannot remove {path}: {error.strerror}; check its permissions") from error
