"""Folders of pictures: which files they hold, and what is passed over, so that nothing is left out in silence.

Called by `clc.codec.files` for the command line, and by `flows.sources` for the pipeline. The contract: every entry of
a folder is either found, or counted as passed over, or named as unreadable; and no folder is read twice, whatever links
there are.
"""

from __future__ import annotations

import os
import re
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from clc.pictures.picture import PICTURE_SUFFIXES

HIDDEN = "hidden"
NO_EXTENSION = "without extension"
SPECIAL = "special"
READ_ALREADY = "linked to what was read already"
OWN = "of a bundle"

_EXTENSION = re.compile(r"\.\w{1,10}")
_KINDS_NAMED = 12


OwnNames = Callable[[Path], Collection[str]]
"""Tells which names in a folder are parts of that which the folder is, and no files of a user's."""


class Unreadable(NamedTuple):
    """A folder or link that could not be followed, and why."""

    path: Path
    reason: str


class Found(NamedTuple):
    """What a folder holds: `files` in order of their paths, and all the rest.

    `passed_over` counts the others by their extension in lower case (".txt"), or as `NO_EXTENSION`, `HIDDEN` (a hidden
    folder counts once), `SPECIAL` (devices, pipes, sockets), `READ_ALREADY` (a link to a folder that was read by
    another name) or `OWN` (files and folders that are parts of a bundle). `unreadable` are folders that refuse to be
    read and links to nothing.
    """

    files: list[Path]
    passed_over: Mapping[str, int]
    unreadable: list[Unreadable]


def nothing_own(folder: Path) -> Collection[str]:
    """Return no name: a folder that is taken for an ordinary one, whatever it holds."""
    return ()


def find_pictures(folder: Path, own_names: OwnNames = nothing_own) -> Found:
    """Find the pictures of a folder, by `PICTURE_SUFFIXES`; see `find_files`."""
    return find_files(folder, PICTURE_SUFFIXES, own_names)


def find_files(folder: Path, suffixes: frozenset[str], own_names: OwnNames = nothing_own) -> Found:
    """Find the files of a folder and of its subfolders that end in one of `suffixes`, which are in lower case.

    Links to files and folders are followed. A folder is read once, by its own name where it has one below `folder`,
    else by that of its first link. Hidden files and folders are passed over, and those that `own_names` names for their
    folder (`clc.bundle.identity.own_names`). A `folder` that cannot be read is `unreadable`.
    """
    walk = _Walk(suffixes, own_names)
    walk.read(folder)
    return Found(sorted(walk.files), dict(walk.passed_over), sorted(walk.unreadable))


def is_folder(path: Path) -> bool:
    """Whether a path leads to a folder; False also where one may not look."""
    try:
        return path.is_dir()
    except OSError:
        return False


def passed_over_text(passed_over: Mapping[str, int]) -> str:
    """Say what was passed over, the most frequent first: "3 .txt, 1 .mov, 1 without extension"."""
    kinds = sorted(passed_over.items(), key=lambda kind: (-kind[1], kind[0]))
    named = [f"{count} {what}" for what, count in kinds[:_KINDS_NAMED]]
    rest = sum(count for _, count in kinds[_KINDS_NAMED:])
    return ", ".join([*named, f"{rest} of {len(kinds) - _KINDS_NAMED} other kinds"] if rest else named)


class _Walk:
    """One search; folders by their own names come first, links to folders when all of those are read."""

    def __init__(self, suffixes: frozenset[str], own_names: OwnNames) -> None:
        self.suffixes = suffixes
        self._own_names = own_names
        self.files: list[Path] = []
        self.passed_over: Counter[str] = Counter()
        self.unreadable: list[Unreadable] = []
        self._seen: set[tuple[int, int]] = set()

    def read(self, top: Path) -> None:
        folders, links = deque([top]), deque[Path]()
        while folders or links:
            folder = folders.popleft() if folders else links.popleft()
            try:
                status = folder.stat()
                identity = status.st_dev, status.st_ino
                if identity in self._seen:
                    self.passed_over[READ_ALREADY] += 1
                    continue
                self._seen.add(identity)
                own = self._own_names(folder)
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if entry.name in own:
                            self.passed_over[OWN] += 1
                        else:
                            self._sort(entry, folder / entry.name, folders, links)
            except OSError as error:
                self.unreadable.append(Unreadable(folder, error.strerror or type(error).__name__))

    def _sort(self, entry: os.DirEntry[str], path: Path, folders: deque[Path], links: deque[Path]) -> None:
        """Put one entry of a folder where it belongs."""
        if entry.name.startswith("."):
            self.passed_over[HIDDEN] += 1
            return
        try:
            is_link, is_folder, is_file = entry.is_symlink(), entry.is_dir(), entry.is_file()
        except OSError as error:
            # A link in a circle, or into a folder that refuses.
            self.unreadable.append(Unreadable(path, error.strerror or type(error).__name__))
            return
        if is_folder:
            (links if is_link else folders).append(path)
        elif is_file and path.suffix.lower() in self.suffixes:
            self.files.append(path)
        elif is_file:
            self.passed_over[_extension(path)] += 1
        elif is_link and not path.exists():
            self.unreadable.append(Unreadable(path, "is a link to nothing"))
        else:
            self.passed_over[SPECIAL] += 1


def _extension(path: Path) -> str:
    """Return what stands behind the last dot, where it looks like the name of a kind of file."""
    extension = path.suffix.lower()
    return extension if _EXTENSION.fullmatch(extension) else NO_EXTENSION
