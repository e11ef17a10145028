"""Bundles found by their ids: which folder holds the bundle that a stream names.

    shelf = Shelf(["survey-bundle", "service"])
    shelf.first()                       the folder to encode with
    shelf.find("de3449ba54d8c6e8")      the folder to decode with

A stream is decoded by the one bundle that it names, so it never matters where that is found first. Places are searched
in this order, each only if the ones before lack it; whoever encodes takes the first copy that is whole:

1. what the user named (`--bundle`): a bundle, a folder of bundles, an id, or "service"
2. the bundle that the package ships
3. the decoder's bundles of former releases, in the package and then in packages of models (`clc.bundle.released`)
4. the workspace of the pipeline (`CLC_WORKSPACE`): the bundle in service, then all that it trained, then
   those that served and lie nowhere else
5. the folders of `CLC_BUNDLES`, separated like those of PATH: bundles, and folders of bundles

How far a folder of bundles is searched says `clc.bundle.search`. A bundle is known by the SHA-256 of its manifest, and
nothing but manifests is read while searching: whether a copy is sound shows when it is loaded (`clc.codec.codecs`).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from clc.bundle import released
from clc.bundle.identity import (
    ID_DIGITS,
    SHIPPED,
    id_of,
    is_decoder_bundle,
    is_id,
    manifest_problem,
    read_manifest_bytes,
)
from clc.bundle.search import Found, Tell, find_bundles
from clc.bundle.service import (
    KEPT,
    SERVICE_FOLDER,
    TRAINED,
    is_anything_promoted,
    service_bundle,
    workspace_root,
)
from clc.errors import DictionaryMismatch, InputError, StorageError
from clc.pictures.folders import is_folder

logger = logging.getLogger(__name__)

SERVICE = "service"
VARIABLE = "CLC_BUNDLES"


@lru_cache(1000)
def log_once(line: str) -> None:
    """Log a sentence, the first time that it is told in this process: who calls in a loop reads it once."""
    logger.warning("bundles note=%s", line)


@dataclass(frozen=True)
class _Place:
    """A place to look in, by the name that messages give it."""

    name: str
    folder: Path


class Shelf:
    """The bundles within reach: those that a user named, and those in the places that are always searched.

    `given` are values of `--bundle`; a `Path` is a folder, whatever it is called, a text may be a folder, an id or
    "service". An id is looked for among the other bundles that are given, then in the places above. `tell` takes what
    is passed over, each sentence once. Raises `InputError` for a value that is none of these, `StorageError` where a
    manifest that was named, or the record of the bundle in service, is damaged.
    """

    def __init__(self, given: Sequence[str | Path] = (), tell: Tell = log_once) -> None:
        self._tell_once = tell
        self._told: set[str] = set()
        self._listings: dict[Path, list[Found]] = {}
        folders = {value: self._folder_named(value) for value in given}
        self._given = [place for place in folders.values() if place is not None]
        places = {value: place or self._id_named(str(value)) for value, place in folders.items()}
        self._given = list(places.values())

    def first(self) -> Path:
        """Return the folder of the bundle to encode with: the first that was named, else the shipped one."""
        if not self._given:
            return SHIPPED
        place = self._given[0]
        found = self._listing(place.folder)
        n_bundles = len({one.bundle_id for one in found})
        if n_bundles != 1:
            count = f"{n_bundles} bundles" if n_bundles else "no bundle"
            raise InputError(f"{place.folder} holds {count}, and encoding takes one; name the folder of one bundle")
        return _whole_before_reduced(one.folder for one in found)[0]

    def named(self) -> list[Path]:
        """Return the folders of all bundles that were named, in order; of the shipped one where none was."""
        if not self._given:
            return [SHIPPED]
        return list(_without_repeats(found.folder for place in self._given for found in self._listing(place.folder)))

    def find(self, bundle_id: str) -> Path:
        """Return the folder of the bundle with an id, 16 hex digits; the first of `copies`.

        Raises `DictionaryMismatch`, which says where it was looked for, where no place has it.
        """
        return next(self.copies(bundle_id))

    def copies(self, bundle_id: str) -> Iterator[Path]:
        """Yield the folders of all bundles with an id, in the order of the places; a place is searched when it is due.

        Raises `DictionaryMismatch`, which says where it was looked for, where no place has it.
        """
        is_found = False
        for folder in _without_repeats(self._with_id(bundle_id, [*self._given, *self._standing_places()])):
            is_found = True
            yield folder
        if not is_found:
            listed = _listed([*self._given, *self._standing_places()])
            known = released.where_to_get(bundle_id)
            raise DictionaryMismatch(
                f"the stream needs bundle {bundle_id}, which was not found. Looked in: {listed}. {known}Name its "
                f"folder with --bundle or in {VARIABLE}; `python -m clc.codec info FOLDER` shows a bundle's id"
            )

    def everywhere(self) -> list[Found]:
        """Return all bundles within reach, copies too, in the order of the places; each folder once."""
        found = [one for place in [*self._given, *self._standing_places()] for one in self._listing(place.folder)]
        by_folder = {one.folder: one for one in found}
        return [by_folder[folder] for folder in _without_repeats(by_folder)]

    def _tell(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            self._tell_once(line)

    def _listing(self, folder: Path) -> list[Found]:
        """The bundles below a folder, which is searched once."""
        if folder not in self._listings:
            self._listings[folder] = find_bundles(folder, self._tell)
        return self._listings[folder]

    def _folder_named(self, value: str | Path) -> _Place | None:
        """The place that a value of `--bundle` means; None for an id, which may be that of another value's bundle."""
        if value == SERVICE:
            return _Place("the bundle in service", self._in_service())
        folder = Path(value)
        if is_folder(folder):
            self._refuse_without_bundle(folder)
            return _Place(str(value), folder)
        if isinstance(value, Path):
            raise InputError(f"{value}: no folder; name that of a bundle, or give an id as a text")
        if not is_id(value):
            raise InputError(f'{value}: no folder, no id of a bundle (16 hex digits) and not "{SERVICE}"')
        return None

    def _refuse_without_bundle(self, folder: Path) -> None:
        lines: list[str] = []
        found = find_bundles(folder, lines.append)
        if not found and (problem := manifest_problem(folder)):
            raise StorageError(problem)
        for line in lines:
            self._tell(line)
        if not found:
            raise InputError(f"{folder}: no bundle there; name a folder that train-codec or collect made")
        self._listings[folder] = found

    def _id_named(self, text: str) -> _Place:
        """The place of the bundle with an id, or with the only one that begins so."""
        places = [*self._given, *self._standing_places()]
        found = self._with_id(text, places)
        there = list(_until_whole(found)) if len(text) == ID_DIGITS else list(found)
        if len({_id_in(folder) for folder in there}) > 1:
            raise InputError(f"{text}: several bundles have ids that begin so; give all 16 digits")
        if not there:
            raise InputError(
                f"no bundle {text} was found; looked in: {_listed(places)}. Name its folder, or add that to {VARIABLE}"
            )
        return _Place(text, _whole_before_reduced(there)[0])

    def _with_id(self, beginning: str, places: Iterable[_Place]) -> Iterator[Path]:
        """The bundles whose ids begin so, in the order of the places."""
        for place in places:
            for found in self._listing(place.folder):
                if found.bundle_id.startswith(beginning):
                    yield found.folder

    def _in_service(self) -> Path:
        workspace = workspace_root()
        folder = service_bundle(workspace)
        if folder is None and not is_anything_promoted(workspace):
            self._tell(f"nothing was promoted in the workspace {workspace}: the shipped bundle serves")
        return folder or SHIPPED

    def _standing_places(self) -> list[_Place]:
        """The places that are searched whatever a user names."""
        listed = os.environ.get(VARIABLE, "").split(os.pathsep)
        return [
            _Place("the shipped bundle", SHIPPED),
            *(_Place("the released models", folder) for folder in released.folders() if is_folder(folder)),
            *self._of_workspace(),
            *(_Place(f"{name} ({VARIABLE})", Path(name)) for name in listed if name),
        ]

    def _of_workspace(self) -> list[_Place]:
        """The bundle in service, and all that were trained. What cannot be read there hides no other bundle."""
        places = []
        try:
            workspace = workspace_root()
        except OSError:  # the current folder is gone
            return []
        try:
            serving = service_bundle(workspace)
        except StorageError as error:
            self._tell(f"the bundle in service is passed over: {error}")
        else:
            if serving is not None:
                places.append(_Place("the bundle in service", serving))
        folders = (workspace / TRAINED, workspace / SERVICE_FOLDER / KEPT)
        places += [_Place(f"the workspace {workspace}", folder) for folder in folders if is_folder(folder)]
        return places


def _listed(places: Sequence[_Place]) -> str:
    return ", ".join(dict.fromkeys(place.name for place in places))


def _until_whole(folders: Iterable[Path]) -> Iterator[Path]:
    """The folders up to the first whole bundle."""
    for folder in folders:
        yield folder
        if not is_decoder_bundle(folder):
            return


def _whole_before_reduced(folders: Iterable[Path]) -> list[Path]:
    """The folders of whole bundles, then those of bundles that only decode."""
    return sorted(folders, key=is_decoder_bundle)


def _without_repeats(folders: Iterable[Path]) -> Iterator[Path]:
    """The folders, each once by whichever name."""
    seen = set()
    for folder in folders:
        real = os.path.realpath(folder)
        if real not in seen:
            seen.add(real)
            yield folder


def _id_in(folder: Path) -> str:
    try:
        return id_of(read_manifest_bytes(folder))
    except InputError:  # removed a moment ago
        return ""
