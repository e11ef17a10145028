"""Pictures to evaluate that belong to no ingest: a folder, or a set that others measure on, by its name.

A named set is a folder of that name in one of the folders of `CLC_SETS`. The name is a claim, so the pictures are
compared with what is known of the set: how many they are and, where this project has its digest, which pixels. Nothing
is downloaded.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from clc.console import text_of
from clc.errors import InputError
from clc.evaluation.measure import NATURAL, PICTURE_ERRORS
from clc.pictures.folders import find_pictures
from clc.pictures.images import png_bytes, read_image
from flows.items import Item
from flows.runtime.workspace import Workspace
from storage.digest import digest_json, sha256_bytes
from storage.names import shown_name

VARIABLE = "CLC_SETS"
"""Folders that hold sets, separated like those of PATH."""


class KnownSet(NamedTuple):
    """How many pictures a set has, the digest of their pixels in any order ("" where it is not known), and its name in
    the file of published curves."""

    pictures: int
    digest: str
    published: str


KNOWN_SETS: Mapping[str, KnownSet] = {
    "kodak": KnownSet(24, "b8b34507dd6fb865a1365822c4877db6150d6f9f0e3186ada4ff3e39cc6a8876", "kodak"),
    "clic": KnownSet(41, "", "clic2020-professional-valid"),
    "tecnick": KnownSet(100, "", "tecnick"),
}
"""Sets by name: Kodak's photographs, the validation pictures of CLIC 2020 professional, Tecnick's at 1200x1200."""


@dataclass(frozen=True)
class PictureSet:
    """Pictures to evaluate, all whole; `label` is their folder, `unreadable` are names and reasons.

    `published` is what the file of published curves calls the set, "" where the pictures are no known set.
    """

    label: str
    items: tuple[Item, ...]
    unreadable: tuple[tuple[str, str], ...]
    published: str


def read_picture_set(workspace: Workspace, pictures: str) -> PictureSet:
    """Store the pictures of a folder, or of a set by its name, in the workspace, and return them as items.

    Of equal pictures the first stays. Raises `InputError` where there is no such folder or set, where it holds no
    picture that can be read, or where a named set is another one than its name says.
    """
    folder = _folder(pictures)
    found = find_pictures(folder)
    items: dict[str, Item] = {}
    unreadable = [(_name(one.path, folder), f"cannot be searched: {one.reason}") for one in found.unreadable]
    for path in found.files:
        name = _name(path, folder)
        try:
            image_HW3 = read_image(path)
        except PICTURE_ERRORS as error:
            unreadable.append((name, text_of(error, path)))
            continue
        content = sha256_bytes(repr(image_HW3.shape).encode() + image_HW3.tobytes())
        if content in items:
            unreadable.append((name, f"the same picture as {items[content].name}"))
            continue
        height, width = image_HW3.shape[:2]
        items[content] = Item(
            item_id=content[:16],
            name=name,
            photo=name,
            part="evaluation",
            row=NATURAL,
            blob=workspace.blobs.put(png_bytes(image_HW3)),
            width=width,
            height=height,
            source=shown_name(folder.name),
            licence="not stated",
        )
    if not items:
        first = f": {unreadable[0][0]}: {unreadable[0][1]}" if unreadable else ""
        raise InputError(f"no picture to evaluate in {shown_name(str(folder))}{first}; name a folder of pictures")
    _check(pictures, list(items))
    known = KNOWN_SETS.get(pictures)
    published = known.published if known else ""
    return PictureSet(shown_name(str(folder)), tuple(items.values()), tuple(unreadable), published)


def _folder(pictures: str) -> Path:
    if pictures not in KNOWN_SETS:
        folder = Path(pictures).expanduser().absolute()
        if folder.is_dir():
            return folder
        names = ", ".join(KNOWN_SETS)
        raise InputError(f"no folder of pictures at {shown_name(str(folder))}; name one, or a set ({names})")
    places = [Path(one) / pictures for one in os.environ.get(VARIABLE, "").split(os.pathsep) if one]
    for place in places:
        if place.is_dir():
            return place.absolute()
    looked = f"none of the folders of {VARIABLE} holds it" if places else f"{VARIABLE} names no folder that holds sets"
    raise InputError(f"the set {pictures} is not here: {looked}; put its pictures in a folder {pictures} below one")


def _check(name: str, contents: list[str]) -> None:
    """Refuse pictures under the name of a set that they are not."""
    known = KNOWN_SETS.get(name)
    if known is None:
        return
    if len(contents) != known.pictures:
        raise InputError(
            f"the set {name} has {known.pictures} pictures, and this folder {len(contents)}; name its path"
        )
    if known.digest and digest_json(sorted(contents)) != known.digest:
        raise InputError(
            f"these are not the pictures of the set {name}, for their pixels differ; name the folder's path"
        )


def _name(path: Path, folder: Path) -> str:
    return shown_name(os.path.relpath(path, folder))
