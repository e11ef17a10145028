"""Bundles found by their ids: which folder holds the bundle that a stream names.

    shelf = Shelf(["survey-bundle", "service"])
    shelf.first()                       the folder to encode with
    shelf.find("de3449ba54d8c6e8")      the folder to decode with

A stream is decoded by the one bundle that it names, so it never matters where that is found first. Places are searched
in this order, each only if the ones before lack it:

1. what the user named (`--bundle`): a bundle, a folder of bundles, an id, or "service"
2. the bundle that the package ships
3. the workspace of the pipeline (`CLC_WORKSPACE`): the bundle in service, then all that it trained
4. the folders of `CLC_BUNDLES`, separated like those of PATH: bundles, and folders of bundles

A folder of bundles is searched two folders deep. A bundle is known by the SHA-256 of its manifest, and nothing but
manifests is read while searching. A broken bundle is passed over while another is looked for.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from clc.bundle.identity import SHIPPED, id_of, is_bundle, is_id, read_manifest_bytes
from clc.bundle.service import service_bundle, workspace_root
from clc.errors import DictionaryMismatch, InputError, StorageError
from clc.pictures.folders import is_folder

SERVICE = "service"
VARIABLE = "CLC_BUNDLES"

_DEPTH = 2
_MAX_FOLDERS = 10_000
_TRAINED = Path("stages") / "train-codec"


@dataclass(frozen=True)
class _Place:
    """A place to look in, by the name that messages give it."""

    name: str
    folder: Path


class Shelf:
    """The bundles within reach: those that a user named, and those in the places that are always searched.

    `given` are values of `--bundle`. Raises `InputError` for one that is no folder, id or "service", `StorageError`
    where the record of the bundle in service is damaged.
    """

    def __init__(self, given: Sequence[str | Path] = ()) -> None:
        self._given = [_named(value) for value in given]
        self._found: dict[str, Path] = {}

    def first(self) -> Path:
        """Return the folder of the bundle to encode with: the first that was named, else the shipped one."""
        if not self._given:
            return SHIPPED
        place = self._given[0]
        bundles = list(_bundles(place.folder))
        if len(bundles) != 1:
            count = f"{len(bundles)} bundles" if bundles else "no bundle"
            raise InputError(f"{place.folder} holds {count}, and encoding takes one; name the folder of one bundle")
        return bundles[0]

    def find(self, bundle_id: str) -> Path:
        """Return the folder of the bundle with an id, 16 hex digits.

        Raises `DictionaryMismatch`, which says where it was looked for, where no place has it.
        """
        if bundle_id not in self._found:
            places = [*self._given, *_standing_places()]
            folders = _with_id(bundle_id, places)
            if not folders:
                raise DictionaryMismatch(
                    f"the stream needs bundle {bundle_id}, which was not found. Looked in: {_listed(places)}. Name its "
                    f"folder with --bundle or in {VARIABLE}; `python -m clc.codec info FOLDER` shows a bundle's id"
                )
            self._found[bundle_id] = folders[0]
        return self._found[bundle_id]


def _named(value: str | Path) -> _Place:
    """The place that a value of `--bundle` means."""
    text, folder = str(value), Path(value)
    if text == SERVICE:
        return _Place("the bundle in service", service_bundle(workspace_root()) or SHIPPED)
    if is_folder(folder):
        if next(_bundles(folder), None) is None:
            raise InputError(f"{folder}: no bundle there; name a folder that train-codec or collect made")
        return _Place(text, folder)
    if not is_id(text):
        raise InputError(f'{text}: no folder, no id of a bundle (16 hex digits) and not "{SERVICE}"')
    places = _standing_places()
    folders = _with_id(text, places)
    if len({_id_in(folder) for folder in folders}) > 1:
        raise InputError(f"{text}: several bundles have ids that begin so; give all 16 digits")
    if not folders:
        raise InputError(
            f"no bundle {text} was found; looked in: {_listed(places)}. Name its folder, or add that to {VARIABLE}"
        )
    return _Place(text, folders[0])


def _listed(places: Sequence[_Place]) -> str:
    return ", ".join(dict.fromkeys(place.name for place in places))


def _standing_places() -> list[_Place]:
    """The places that are searched whatever a user names."""
    listed = os.environ.get(VARIABLE, "").split(os.pathsep)
    return [
        _Place("the shipped bundle", SHIPPED),
        *_of_workspace(),
        *(_Place(f"{name} ({VARIABLE})", Path(name)) for name in listed if name),
    ]


def _of_workspace() -> list[_Place]:
    """The bundle in service, and all that were trained. What cannot be read there hides no other bundle."""
    places = []
    try:
        workspace = workspace_root()
    except OSError:  # the current folder is gone
        return []
    with contextlib.suppress(StorageError):  # `--bundle service` tells of it
        serving = service_bundle(workspace)
        if serving is not None:
            places.append(_Place("the bundle in service", serving))
    if is_folder(workspace / _TRAINED):
        places.append(_Place(f"the workspace {workspace}", workspace / _TRAINED))
    return places


def _with_id(beginning: str, places: Sequence[_Place]) -> list[Path]:
    """The bundles whose ids begin so, of the first place that has any for a whole id, else of all places."""
    found: list[Path] = []
    for place in places:
        found += [folder for folder in _bundles(place.folder) if _id_in(folder).startswith(beginning)]
        if found and len(beginning) == len(_id_in(found[0])):
            break
    return found


def _id_in(folder: Path) -> str:
    try:
        return id_of(read_manifest_bytes(folder))
    except InputError:  # removed a moment ago
        return ""


def _bundles(folder: Path) -> Iterator[Path]:
    """The folder itself where it is a bundle, else the bundles at most two folders below it, in order of names."""
    level = [folder]
    for depth in range(_DEPTH + 1):
        below: list[Path] = []
        for candidate in level:
            if is_bundle(candidate):
                yield candidate
            elif depth < _DEPTH:
                below += _folders_in(candidate, _MAX_FOLDERS - len(below))
        level = below


def _folders_in(folder: Path, most: int) -> list[Path]:
    try:
        return sorted(islice((path for path in folder.iterdir() if path.is_dir()), most))
    except OSError:  # missing, or not to be read: there is no bundle to be had
        return []
