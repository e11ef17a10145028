"""What a bundle is called, and its manifest: read without torch and without its arrays.

The first 8 bytes of the SHA-256 of `manifest.json` are the bundle's id, which every stream names. It is computed from
the file whenever it is asked for: what a folder is called proves nothing.
"""

from __future__ import annotations

import json
import os
import string
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from clc.errors import InputError, StorageError
from clc.limits import MAX_BUNDLE_FILE_BYTES
from storage.digest import sha256_bytes
from storage.regular import read_regular

FORMAT = "clc-bundle"
VERSION = 7
VERSION_WITH_PNG = 8
VERSION_WITH_SELF_PRIOR = 9
READABLE = (2, 3, 4, 5, 6, 7, 8, 9)
"""The versions that can be read. Releases 0.2 wrote 2, 0.3 to 0.6 wrote 3, 0.7 and 0.8 wrote 4, 0.9 to 0.11 wrote 5,
0.12 wrote 6. Fields that the configuration lacks have the values of `clc.model.config.BEFORE`. Before version 4 all
phases have the same set of tables; before version 6 there is no post-filter, and in version 6 it has no weights for
clipped differences. A bundle extended by a later release has its own version, and may lack these all the same. Version
8 is 7 with a key picture that is a PNG, and 9 is 8 with a self-generated prior; each is written for such bundles alone:
all others open in earlier releases."""

SHIPPED = Path(__file__).parents[1] / "assets" / "shipped"
MANIFEST = "manifest.json"
PARTS = ("transforms", "prior", "tables", "dictionary")
"""The arrays of a bundle, each part in the file that `file_of` names."""
REDUCED = ("transforms", "dictionary")
"""The parts that are stored without what only an encoder needs where a bundle only decodes."""
ENTRIES = "entries.json"
ID_BYTES = 8
ID_DIGITS = 2 * ID_BYTES
SELFTEST_STREAMS = ("selftest.clc", "selftest-aligned.clc")
KEY_PICTURES = "pictures"
MAX_MANIFEST_BYTES = 16 * 2**20

_FIELDS = {"model": dict, "files": dict, "pictures": list}


def id_of(manifest: bytes) -> str:
    """Return the id, 16 hex digits, of the bundle with this manifest."""
    return sha256_bytes(manifest)[:ID_DIGITS]


def is_id(text: str) -> bool:
    """Whether a text is an id or the beginning of one: 8 to 16 hex digits in lower case."""
    return ID_DIGITS // 2 <= len(text) <= ID_DIGITS and set(text) <= set(string.hexdigits.lower())


def file_of(part: str) -> str:
    """Return the name of the file that holds a part."""
    return f"{part}.safetensors"


def reduced_file_of(part: str) -> str:
    """Return the name of the file that holds a part of `REDUCED` in a decoder's bundle."""
    return f"{part}.decoder.safetensors"


def is_decoder_bundle(directory: Path) -> bool:
    """Whether the bundle in a folder only decodes (`clc.bundle.decoder_bundle`): it has reduced files and no whole one.

    Where both lie there it is a whole bundle, and what is reduced is not looked at.
    """
    has_whole = any(os.path.lexists(directory / file_of(part)) for part in REDUCED)
    return not has_whole and any(os.path.lexists(directory / reduced_file_of(part)) for part in REDUCED)


def only_decodes(bundle_id: str, directory: Path) -> InputError:
    """Return the error for what a decoder's bundle cannot do, such as encoding."""
    return InputError(
        f"bundle {bundle_id} in {directory} only decodes: what an encoder needs was left out. Encode with the shipped "
        "bundle, or name a whole copy of this one (--bundle FOLDER), such as clc/assets/shipped of its release"
    )


def read_manifest_bytes(directory: Path) -> bytes:
    """Return the manifest of the bundle in a folder.

    Raises `InputError` where there is none, or something else in its place, or one far too large.
    """
    try:
        return read_regular(directory / MANIFEST, MAX_MANIFEST_BYTES)
    except OSError as error:
        raise InputError(
            f"no bundle in {directory}: {MANIFEST}: {error.strerror}; name one that train-codec or collect made"
        ) from error


def parse_manifest(data: bytes, directory: Path) -> dict[str, Any]:
    """Return the manifest as an object, which has all fields that every bundle has.

    Raises `StorageError` for one of another version, and for one that is damaged: it names what is wrong.
    """
    try:
        manifest = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _damaged(directory, f"it is no JSON: {error}") from error
    if not isinstance(manifest, dict):
        raise _damaged(directory, "it holds no JSON object")
    missing = [name for name in ("format", "version") if name not in manifest]
    if missing:
        raise _damaged(directory, f"it lacks {missing[0]!r}")
    if manifest["format"] != FORMAT or manifest["version"] not in READABLE:
        raise StorageError(
            f"{directory} is {manifest['format']} version {manifest['version']}; this release reads {FORMAT} "
            f"{', '.join(str(version) for version in READABLE)}"
        )
    for name, kind in _FIELDS.items():
        if not isinstance(manifest.get(name), kind):
            what = f"{name!r} is of another kind" if name in manifest else f"it lacks {name!r}"
            raise _damaged(directory, what)
    for name in (*map(file_of, PARTS), ENTRIES):
        if not _is_described(manifest["files"].get(name)):
            raise _damaged(directory, f"it does not say the size and SHA-256 of {name}")
    return manifest


def checked_bytes(directory: Path, name: str, manifest: dict[str, Any]) -> bytes:
    """Return the content of a file that a parsed manifest names; `StorageError` unless it is that to the byte."""
    try:
        data = read_regular(directory / name, most_bytes_of(name, manifest))
    except FileNotFoundError as error:
        raise StorageError(f"the bundle in {directory} lacks {name}: {error.strerror}; get it again") from error
    except OSError as error:
        raise StorageError(f"{directory / name} {_reason(error)}; get the bundle again") from error
    if sha256_bytes(data) != manifest["files"][name]["sha256"]:
        raise StorageError(f"{name} in {directory} is not the file that the manifest names; get the bundle again")
    return data


def most_bytes_of(name: str, manifest: dict[str, Any]) -> int:
    """Return how large a file may be that a parsed manifest names: as it says, and within `clc.limits`."""
    return min(int(manifest["files"][name]["bytes"]), MAX_BUNDLE_FILE_BYTES)


def is_bundle(directory: Path) -> bool:
    """Whether a folder holds the manifest of a bundle, of whatever version; a stage's manifest is none."""
    try:
        return is_of_bundle(read_manifest_bytes(directory))
    except (InputError, ValueError, RecursionError):
        return False


def own_names(directory: Path) -> tuple[str, ...]:
    """Return what in a folder is part of the bundle that it holds and looks like a user's: its streams and pictures."""
    return (*SELFTEST_STREAMS, KEY_PICTURES) if is_bundle(directory) else ()


def is_of_bundle(manifest: bytes) -> bool:
    """Whether a manifest is that of a bundle. Raises `ValueError` or `RecursionError` where it is no JSON."""
    fields = json.loads(manifest)
    return isinstance(fields, dict) and fields.get("format") == FORMAT


def manifest_problem(directory: Path) -> str:
    """Return what is wrong with that which stands where a folder's manifest does, if it is one of a bundle or broken.

    "" where nothing stands there, and for a sound manifest: that of a bundle, or of something else.
    """
    if not os.path.lexists(directory / MANIFEST):
        return ""
    try:
        data = read_manifest_bytes(directory)
        if is_of_bundle(data) or not isinstance(json.loads(data), dict):
            parse_manifest(data, directory)
    except (InputError, StorageError) as error:
        return str(error)
    except (ValueError, RecursionError) as error:
        return str(_damaged(directory, f"it is no JSON: {error}"))
    return ""


def origin_lines(origins: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Return a line for each pair of source and licence, the most frequent first: "12 x survey, CC0-1.0"."""
    return tuple(
        f"{count} x {source or 'source not stated'}, {licence or 'licence not stated'}"
        for (source, licence), count in Counter(origins).most_common()
    )


def training_of(manifest: dict[str, Any]) -> tuple[str, ...]:
    """Return the lines about the training pictures that a parsed manifest records; none where it has none."""
    lines = manifest.get("training", ())
    return tuple(map(str, lines)) if isinstance(lines, list) else ()


def _damaged(directory: Path, what: str) -> StorageError:
    return StorageError(f"{directory}: its {MANIFEST} is damaged: {what}; get the bundle again")


def _is_described(file: object) -> bool:
    """Whether the manifest says of a file what it must."""
    if not isinstance(file, dict):
        return False
    size = file.get("bytes")
    return isinstance(file.get("sha256"), str) and isinstance(size, int) and size >= 0


def _reason(error: OSError) -> str:
    return str(error.strerror or error)
