"""The one interface of all sources that are brought into the workspace: an origin, and the entries that it names."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO, Protocol

from clc.pictures.folders import HIDDEN, NO_EXTENSION
from clc.pictures.picture import PICTURE_SUFFIXES

_EXTENSION = re.compile(r"\.\w{1,10}")


@dataclass(frozen=True)
class Entry:
    """One picture that an origin names: `name` is that of no other entry, and can be written into any table.

    Either `url` says where it is, or `read` writes its bytes into a file and returns their number (once, and before the
    next entry is asked for), or `reason` and `detail` say why it cannot be had. `read` raises `Unavailable`.
    """

    name: str
    licence: str = ""
    url: str = ""
    read: Callable[[BinaryIO], int] | None = None
    reason: str = ""
    detail: str = ""


class Unavailable(Exception):
    """An entry cannot be had; `reason` is a word of the table in docs/sources.md, the text says what happened."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Origin(Protocol):
    """Something that names pictures and gives their bytes."""

    @property
    def label(self) -> str:
        """How a user knows it, in one line."""
        ...

    @property
    def identity(self) -> str:
        """A text that changes when the content does."""
        ...

    @property
    def passed_over(self) -> Mapping[str, int]:
        """How many files were no pictures, by extension: complete when all entries were asked for."""
        ...

    def entries(self) -> Iterator[Entry]:
        """Yield the entries in an order that is always the same. Raises `InputError` for what cannot be read at all."""
        ...


def kind_of(name: str) -> str:
    """Return "" for the name of a picture, else the word under which a file of this name is counted as passed over."""
    path = PurePosixPath(name)
    if any(part.startswith(".") and part != ".." for part in path.parts) or "__MACOSX" in path.parts:
        return HIDDEN
    extension = path.suffix.lower()
    if extension in PICTURE_SUFFIXES:
        return ""
    return extension if _EXTENSION.fullmatch(extension) else NO_EXTENSION


class Names:
    """Gives every entry a name of its own: what comes again gets a number behind it."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def __len__(self) -> int:
        """How many names were given."""
        return len(self._taken)

    def unique(self, name: str) -> str:
        """Return the name itself the first time, then `name#2` and so on."""
        found, number = name, 1
        while found in self._taken:
            number += 1
            found = f"{name}#{number}"
        self._taken.add(found)
        return found
