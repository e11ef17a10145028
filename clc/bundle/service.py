"""The bundle in service: which one the pipeline's `retrain` promoted last, and where the pipeline keeps its state.

`service/current.json` in the workspace names it. `flows.promotion` writes the file; the command line reads it for
`--bundle service`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from clc.errors import StorageError

SERVICE_FOLDER = "service"
CURRENT = "current.json"
SHIPPED_NAME = "shipped"
"""What `current.json` says where the bundle that the package ships is in service."""


def workspace_root() -> Path:
    """Return the folder that `CLC_WORKSPACE` names, by default `workspace` below the current folder; absolute.

    A variable that is empty or blank names none.
    """
    return Path(os.environ.get("CLC_WORKSPACE", "").strip() or "workspace").absolute()


def service_bundle(workspace: Path) -> Path | None:
    """Return the folder of the bundle in service, None for the shipped one.

    Raises `StorageError` when `current.json` is damaged, cannot be read, or names a bundle that is gone or lies outside
    the workspace.
    """
    path = workspace / SERVICE_FOLDER / CURRENT
    advice = f"remove {path} to return to the shipped bundle"
    try:
        if not path.is_file():
            return None
        named = str(json.loads(path.read_bytes())["bundle"])
        folder = Path(os.path.realpath(workspace / named))
        is_there = folder.is_relative_to(os.path.realpath(workspace)) and folder.is_dir()
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}; check the workspace's permissions") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StorageError(f"{path} is damaged; {advice}") from error
    if named == SHIPPED_NAME:
        return None
    if not is_there:
        raise StorageError(f"the bundle in service, {folder}, is gone; {advice}")
    return folder
