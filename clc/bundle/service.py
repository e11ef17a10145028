"""The bundle in service: which one the pipeline's `retrain` promoted last, and where the pipeline keeps its state.

`service/current.json` in the workspace names it. `clc.bundle.serving` writes the file; the command line reads it for
`--bundle service`. Only where there is no such file at all was nothing promoted, and the shipped bundle serves;
whatever else stands in its place is an error, because pictures would be coded with another bundle than was meant.
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

from clc.errors import StorageError
from storage.regular import read_regular

SERVICE_FOLDER = "service"
CURRENT = "current.json"
KEPT = "bundles"
"""Folder in `service/` with copies of bundles that served and lie nowhere else in the workspace."""
TRAINED = Path("stages") / "train-codec"
"""Folder in the workspace with the bundles that were trained."""
SHIPPED_NAME = "shipped"
"""What `current.json` says where the bundle that the package ships is in service."""

_MOST_BYTES = 2**20


def workspace_root() -> Path:
    """Return the folder that `CLC_WORKSPACE` names, by default `workspace` below the current folder; absolute.

    A variable that is empty or blank names none.
    """
    return Path(os.environ.get("CLC_WORKSPACE", "").strip() or "workspace").absolute()


def service_bundle(workspace: Path) -> Path | None:
    """Return the folder of the bundle in service, None for the shipped one.

    Raises `StorageError` when `current.json` is damaged, cannot be read, is no file (a folder, a pipe, a link to
    nothing), or names a bundle that is gone or lies outside the workspace.
    """
    path = workspace / SERVICE_FOLDER / CURRENT
    advice = f"remove {path} to return to the shipped bundle"
    try:
        if not _stands(path):
            return None
        named = str(json.loads(read_regular(path, _MOST_BYTES))["bundle"])
        folder = Path(os.path.realpath(workspace / named))
        is_there = folder.is_relative_to(os.path.realpath(workspace)) and folder.is_dir()
    except OSError as error:
        raise StorageError(
            f"{error.filename or path} cannot be read: {error.strerror}; check the workspace, or {advice}"
        ) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StorageError(f"{path} is damaged; {advice}") from error
    if named == SHIPPED_NAME:
        return None
    if not is_there:
        raise StorageError(f"the bundle in service, {folder}, is gone; {advice}")
    return folder


def record_of(workspace: Path) -> dict[str, Any]:
    """Return what `current.json` says, an empty object where there is no such file or `service_bundle` refuses it."""
    try:
        found = json.loads(read_regular(workspace / SERVICE_FOLDER / CURRENT, _MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def is_anything_promoted(workspace: Path) -> bool:
    """Whether there is a record of a bundle in service. Raises `StorageError` where that cannot be told."""
    path = workspace / SERVICE_FOLDER / CURRENT
    try:
        return _stands(path)
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}; check the workspace") from error


def _stands(path: Path) -> bool:
    """Whether a record, or anything else, stands at a path. Raises `OSError` where a folder above leads nowhere."""
    try:
        path.lstat()
    except FileNotFoundError:
        for folder in (path.parent, path.parent.parent):
            if folder.is_symlink() and not folder.exists():
                raise FileNotFoundError(errno.ENOENT, "is a link to nothing", str(folder)) from None
        return False
    return True
