"""Bundles below a folder, found at a bounded cost.

Called by `clc.bundle.locate` for every folder of bundles. The contract: a search ends soon, whatever lies there (links
in a circle, a disk full of files, pipes, huge manifests), and what it passes over is told, because the bundle that is
wanted may be just that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from clc.bundle.identity import MANIFEST, MAX_MANIFEST_BYTES, id_of, is_of_bundle
from storage.atomic import is_temporary
from storage.regular import read_regular

MAX_DEPTH = 2
"""How many folders deep a search goes."""
MAX_ENTRIES = 20_000
"""Entries of folders that one search looks at."""
MAX_SEARCHED_BYTES = 256 * 2**20
"""Bytes of manifests after which one search ends."""

Tell = Callable[[str], None]
"""Takes a sentence for whoever waits for the result."""


class Found(NamedTuple):
    """A folder with the manifest of a bundle, and the bundle's id."""

    folder: Path
    bundle_id: str


def find_bundles(folder: Path, tell: Tell) -> list[Found]:
    """Return the folder itself where it is a bundle, else the bundles at most `MAX_DEPTH` folders below it.

    Those that lie less deep come first, then the order is that of their names. A folder is looked at once, whatever
    links lead to it; one that is still being written is no bundle. Of a bundle nothing is read but the manifest. Raises
    nothing: what cannot be read, or is left because of a bound, is told.
    """
    return list(_Search(folder, tell).run())


class _Search:
    def __init__(self, top: Path, tell: Tell) -> None:
        self._top = top
        self._tell = tell
        self._entries_left = MAX_ENTRIES
        self._bytes_left = MAX_SEARCHED_BYTES
        self._seen: set[tuple[int, int]] = set()
        self._bound = ""  # which bound was reached

    def run(self) -> Iterator[Found]:
        level = [self._top]
        for depth in range(MAX_DEPTH + 1):
            below: list[Path] = []
            for folder in level:
                bundle_id = self._look(folder, below if depth < MAX_DEPTH else None)
                if bundle_id:
                    yield Found(folder, bundle_id)
            level = below
        if self._bound:
            self._tell(f"{self._top}: {self._bound}; not all of it was searched: name the bundle's own folder")

    def _look(self, folder: Path, below: list[Path] | None) -> str:
        """Return the id of the bundle that a folder is; where it is none, add the folders in it to `below`."""
        try:
            status = folder.stat()
            identity = status.st_dev, status.st_ino
            if identity in self._seen:
                return ""
            self._seen.add(identity)
            bundle_id = self._id_in(folder)
            if not bundle_id and below is not None:
                below += self._folders_in(folder)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            reason = getattr(error, "strerror", None) or str(error)
            self._tell(f"{folder}: {reason}; it was not searched for bundles")
            return ""
        return bundle_id

    def _id_in(self, folder: Path) -> str:
        """Return the id of the bundle in a folder; "" where its manifest is none, or cannot be read, which is told."""
        path = folder / MANIFEST
        if not os.path.lexists(path):
            return ""
        if self._bytes_left <= 0:
            self._bound = f"the manifests there have more than {MAX_SEARCHED_BYTES >> 20} MiB"
            return ""
        try:
            data = read_regular(path, MAX_MANIFEST_BYTES)
            self._bytes_left -= len(data)
            return id_of(data) if is_of_bundle(data) else ""
        except OSError as error:
            reason = error.strerror or str(error)
        except (ValueError, RecursionError):
            reason = "is no JSON, so that the bundle's id is not known"
        self._tell(f"{path}: {reason}; passed over")
        return ""

    def _folders_in(self, folder: Path) -> list[Path]:
        found = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if self._entries_left <= 0:
                    self._bound = f"more than {MAX_ENTRIES} files and folders lie there"
                    break
                self._entries_left -= 1
                if is_temporary(entry.name):
                    continue
                try:
                    is_folder = entry.is_dir()
                except OSError:  # a link in a circle, or one into a folder that refuses: told when it is looked at
                    is_folder = True
                if is_folder:
                    found.append(folder / entry.name)
        return sorted(found)
