"""What a bundle is called and what it says of itself, read without torch and without its arrays.

The first 8 bytes of the SHA-256 of `manifest.json` are the bundle's id, which every stream names. It is computed from
the file whenever it is asked for: what a folder is called proves nothing.
"""

from __future__ import annotations

import json
import stat
import string
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clc.errors import InputError, StorageError
from storage.digest import sha256_bytes

FORMAT = "clc-bundle"
VERSION = 7
VERSION_WITH_PNG = 8
READABLE = (2, 3, 4, 5, 6, 7, 8)
"""The versions that can be read. Releases 0.2 wrote 2, 0.3 to 0.6 wrote 3, 0.7 and 0.8 wrote 4, 0.9 to 0.11 wrote 5,
0.12 wrote 6. Fields that the configuration lacks have the values of `clc.model.config.BEFORE`. Before version 4 all
phases have the same set of tables; before version 6 there is no post-filter, and in version 6 it has no weights for
clipped differences. A bundle extended by a later release has its own version, and may lack these all the same. Version
8 is 7 with a key picture that is a PNG, and is written for such bundles alone: all others open in earlier releases."""

SHIPPED = Path(__file__).parents[1] / "assets" / "shipped"
MANIFEST = "manifest.json"
ENTRIES = "entries.json"
ID_BYTES = 8
ID_DIGITS = 2 * ID_BYTES

_MAX_MANIFEST_BYTES = 16 * 2**20


@dataclass(frozen=True)
class BundleInfo:
    """A bundle as `info` shows it; sizes in bytes.

    `parent` is the id of the bundle whose model it continues, empty where none is recorded. `entries` counts the
    dictionary, `key_pictures` those of it that can be aligned. `sources` counts the entries by where their pictures
    come from and under which licence, `training` the pictures that the model was trained on in its last run; both are
    texts such as "12 x survey, CC0-1.0".
    """

    bundle_id: str
    version: int
    parent: str
    entries: int
    key_pictures: int
    total_bytes: int
    sources: tuple[str, ...]
    training: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON object, tuples as lists."""
        return {**asdict(self), "sources": list(self.sources), "training": list(self.training)}


def id_of(manifest: bytes) -> str:
    """Return the id, 16 hex digits, of the bundle with this manifest."""
    return sha256_bytes(manifest)[:ID_DIGITS]


def is_id(text: str) -> bool:
    """Whether a text is an id or the beginning of one: 8 to 16 hex digits in lower case."""
    return ID_DIGITS // 2 <= len(text) <= ID_DIGITS and set(text) <= set(string.hexdigits.lower())


def read_manifest_bytes(directory: Path) -> bytes:
    """Return the manifest of the bundle in a folder. Raises `InputError` where there is none, or one far too large."""
    path = directory / MANIFEST
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            raise InputError(f"no bundle in {directory}: {MANIFEST} is no regular file")
        with path.open("rb") as file:
            data = file.read(_MAX_MANIFEST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"no bundle in {directory}: {reason}; name one that train-codec or collect made") from error
    if len(data) > _MAX_MANIFEST_BYTES:
        raise InputError(f"no bundle in {directory}: {MANIFEST} is larger than {_MAX_MANIFEST_BYTES} bytes")
    return data


def parse_manifest(data: bytes, directory: Path) -> dict[str, Any]:
    """Return the manifest as an object. Raises `StorageError` for one that is damaged or of another version."""
    try:
        manifest = json.loads(data)
        found = manifest["format"], manifest["version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StorageError(f"the manifest in {directory} is damaged ({error}); get the bundle again") from error
    if found[0] != FORMAT or found[1] not in READABLE:
        raise StorageError(
            f"{directory} is {found[0]} version {found[1]}; this release reads {FORMAT} "
            f"{', '.join(str(version) for version in READABLE)}"
        )
    return dict(manifest)


def is_bundle(directory: Path) -> bool:
    """Whether a folder holds the manifest of a bundle, of whatever version; a stage's manifest is none."""
    try:
        return bool(json.loads(read_manifest_bytes(directory))["format"] == FORMAT)
    except (InputError, ValueError, KeyError, TypeError, RecursionError):
        return False


def bundle_info(directory: Path) -> BundleInfo:
    """Return what the bundle in a folder says of itself; its arrays are neither read nor checked.

    Raises `InputError` where there is none, `StorageError` for one that is damaged.
    """
    data = read_manifest_bytes(directory)
    manifest = parse_manifest(data, directory)
    try:
        provenance = json.loads((directory / ENTRIES).read_bytes())
        pictures = manifest["pictures"]
        return BundleInfo(
            bundle_id=id_of(data),
            version=manifest["version"],
            parent=str(manifest.get("parent", "")),
            entries=len(provenance),
            key_pictures=len(pictures),
            total_bytes=sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()),
            sources=origin_lines((entry.get("source", ""), entry.get("licence", "")) for entry in provenance),
            training=tuple(str(line) for line in manifest.get("training", ())),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StorageError(f"the bundle in {directory} is malformed: {error}; get it again") from error


def origin_lines(origins: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Return a line for each pair of source and licence, the most frequent first: "12 x survey, CC0-1.0"."""
    return tuple(
        f"{count} x {source or 'source not stated'}, {licence or 'licence not stated'}"
        for (source, licence), count in Counter(origins).most_common()
    )
