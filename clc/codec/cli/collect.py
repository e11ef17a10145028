"""`python -m clc.codec collect`: a bundle for overlapping pictures, made in a minute, without training.

Finds which pictures overlap, chooses the key pictures that serve most of the others, and writes a bundle that holds
them beside everything of the one it started from. What is then encoded with it may be aligned with a key picture.

A picture or folder that cannot be read is named on stderr and left out; the bundle is made of the others, and the exit
status is 1. The bundle appears whole or not at all, in a folder that is new or empty. All pictures are in memory at the
same time: 3 bytes a pixel.
"""

from __future__ import annotations

import os
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from clc.bundle.bundle import Bundle
from clc.bundle.extend import add_pictures, refuse_filled
from clc.bundle.identity import own_names
from clc.codec.cli.encode_decode import warn
from clc.codec.codecs import Codecs
from clc.codec.selftest import write_vectors
from clc.console import complain, reason_of, say, shown
from clc.errors import InputError
from clc.pictures.folders import find_pictures, passed_over_text
from clc.pictures.formats import WEBP_SIDE_PX
from clc.pictures.images import ReadPicture, read_picture
from clc.pictures.picture import Picture
from clc.references.key_pictures import PNG
from clc.references.overlaps import Overlap, choose_key_pictures, find_overlaps
from storage.atomic import leftovers_of, staging_directory
from storage.names import shown_name

_NAMES_SHOWN = 3


@dataclass
class Collection:
    """The pictures that were read, in order, and what became of everything else that was named or found.

    `paths`, `names` and `pictures` go together. `failed` says of what could not be read why; `losses` has the names of
    the pictures that each loss happened to.
    """

    paths: list[Path] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    failed: list[tuple[Path, str]] = field(default_factory=list)
    losses: dict[str, list[str]] = field(default_factory=dict)
    passed_over: Counter[str] = field(default_factory=Counter)


def collect_command(options: Namespace) -> int:
    """Makes the bundle and says what is in it; returns the exit status, 1 if anything could not be read or said."""
    refuse_filled(options.out)
    for leftover in leftovers_of(options.out.resolve()):
        warn(f"{leftover}: left by a collect that was killed, unless one is still at work; nothing needs it, remove it")
    # What is wrong with the bundle is said before the pictures are read and compared, which takes a while.
    base = Codecs([options.bundle] if options.bundle else (), tell=warn).for_encoding().bundle.directory
    collection = read_collection(options.paths)
    for line in _complaints(collection):
        complain(line)
    if not collection.pictures:
        raise InputError(f"{', '.join(map(shown, options.paths))}: no picture there that can be read")
    overlaps = find_overlaps(collection.pictures)
    keys = choose_key_pictures(overlaps, len(collection.pictures), options.keys)
    made = _write(options, base, collection, keys)
    covered = _covered(overlaps, keys, len(collection.pictures))
    is_said = say("\n".join(_summary(made, options.out, collection, keys, covered)))
    return int(bool(collection.failed) or not is_said)


def read_collection(given: Iterable[Path]) -> Collection:
    """Reads the pictures that are given or lie in the folders that are given, each once, in order."""
    collection = Collection()
    seen: set[str] = set()
    found: list[tuple[Path, Path]] = []
    for path in given:
        for file in _files(path, collection):
            real = os.path.realpath(file)  # where links go in a circle, `Path.resolve` raises
            if real not in seen:
                seen.add(real)
                found.append((file, path))
    names = names_within([(file, root if root != file else file.parent) for file, root in found])
    for (file, _), name in zip(found, names, strict=True):
        try:
            picture = _read(file)
        except Exception as error:  # a decoder may raise anything over a file from outside
            collection.failed.append((file, reason_of(error, file)))
            continue
        collection.paths.append(file)
        collection.names.append(name)
        collection.pictures.append(picture.image_HW3)
        for loss in picture.losses:
            collection.losses.setdefault(loss, []).append(name)
    return collection


def names_within(files: Sequence[tuple[Path, Path]]) -> list[str]:
    """What each file is called below its folder, given as (file, folder); where two agree, with more of their paths.

    No two files get the same name, and no name tells more of a path than it has to.
    """
    whole = [file.absolute() for file, _ in files]
    depths = [len(file.relative_to(folder).parts) for file, folder in files]
    while True:
        names = ["/".join(path.parts[-depth:]) for path, depth in zip(whole, depths, strict=True)]
        times = Counter(names)
        deeper = [
            depth + 1 if times[name] > 1 and depth < len(path.parts) else depth
            for name, depth, path in zip(names, depths, whole, strict=True)
        ]
        if deeper == depths:
            return [shown_name(name) for name in names]
        depths = deeper


def _files(path: Path, collection: Collection) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = find_pictures(path, own_names)
    collection.passed_over.update(found.passed_over)
    collection.failed += [(one.path, one.reason) for one in found.unreadable]
    return found.files


def _read(path: Path) -> ReadPicture:
    """A picture as others are aligned with it: pixels alone, what is transparent over white."""
    return read_picture(path, background="white")


def _write(options: Namespace, base: Path, collection: Collection, keys: Sequence[int]) -> Bundle:
    """Writes the bundle, whole or not at all, and returns it as it is read."""
    provenance = [
        {
            "name": collection.names[key],
            "photo": collection.names[key],
            "source": options.source,
            "licence": options.licence,
        }
        for key in keys
    ]
    final = options.out.resolve()
    with staging_directory(final) as folder:
        pictures = [collection.pictures[key] for key in keys]
        add_pictures(base, folder, pictures, provenance, options.format)
        write_vectors(folder)
        if final.is_dir():
            final.rmdir()  # which only removes what is empty
    return Bundle.load(options.out)


def _summary(made: Bundle, out: Path, collection: Collection, keys: Sequence[int], covered: float) -> list[str]:
    lines = []
    for entry, key in enumerate(keys, start=len(made.entries) - len(keys)):
        stored = made.entries.pictures[entry]
        kept = f", kept as PNG, for WebP ends at {WEBP_SIDE_PX} px a side" if stored.kind == PNG else ""
        lines.append(
            f"entry {entry}: {shown(collection.paths[key])}, {stored.width}x{stored.height} px, "
            f"{stored.file_bytes} bytes{kept}"
        )
    lines.append(
        f"{shown(out)}: bundle {made.bundle_id}, {len(keys)} key pictures of {len(collection.pictures)}; they show "
        f"{100 * covered:.0f} % of the others. Next: python -m clc.codec encode PICTURE OUT.clc --bundle {shown(out)}"
    )
    if collection.passed_over:
        lines.append(f"passed over: {passed_over_text(collection.passed_over)}")
    return lines


def _complaints(collection: Collection) -> list[str]:
    """One line for each kind of loss, with the first names, and one for each file or folder that was not read."""
    lines = [f"warning: {_first_of(names)}: {loss}" for loss, names in collection.losses.items()]
    return lines + [f"error: {shown(path)}: {reason}" for path, reason in collection.failed]


def _first_of(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more


def _covered(overlaps: list[Overlap], keys: list[int], pictures: int) -> float:
    """Mean share of a picture, of those that are no key, that its best key picture shows."""
    best = np.zeros(pictures)
    for overlap in overlaps:
        if overlap.reference in keys:
            best[overlap.target] = max(best[overlap.target], overlap.registration.coverage)
    others = np.delete(best, keys)
    return float(others.mean()) if len(others) else 1.0
