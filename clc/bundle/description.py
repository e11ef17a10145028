"""What a bundle says of itself, for `info`: read without torch, and without its arrays.

The files are looked at, but only the manifest and the provenance are read and checked, and of the arrays the headers.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clc.bundle.identity import (
    ENTRIES,
    REDUCED,
    checked_bytes,
    file_of,
    id_of,
    is_decoder_bundle,
    origin_lines,
    parse_manifest,
    read_manifest_bytes,
    reduced_file_of,
    training_of,
)
from clc.bundle.released import read_register
from clc.errors import StorageError

_OF_MODEL = ("transforms", "prior")
_SHIFT = ".shift"
"""The end of the names of arrays that scale others: they were not learned."""


@dataclass(frozen=True)
class BundleInfo:
    """A bundle as `info` shows it; sizes in bytes.

    `parent` is the id of the bundle whose model it continues, empty where none is recorded. `entries` counts the
    dictionary, `key_pictures` those of it that can be aligned. `parameters` counts the numbers of the network that were
    learned, `model_bytes` is what they take in the bundle. `sources` counts the entries by where their pictures come
    from and under which licence, `training` the pictures that the model was trained on in its last run; both are texts
    such as "12 x survey, CC0-1.0". `release` is the release that shipped it, empty for one that none did; `encodes` is
    false for a decoder's bundle, of which `parameters` and `model_bytes` count what it has.
    """

    bundle_id: str
    version: int
    parent: str
    entries: int
    key_pictures: int
    parameters: int
    model_bytes: int
    total_bytes: int
    sources: tuple[str, ...]
    training: tuple[str, ...]
    release: str
    encodes: bool

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON object, tuples as lists."""
        return {**asdict(self), "sources": list(self.sources), "training": list(self.training)}


def bundle_info(directory: Path) -> BundleInfo:
    """Return what the bundle in a folder says of itself; its arrays are neither read nor checked.

    Raises `InputError` where there is none, `StorageError`, which names what is wrong, for one that is damaged.
    """
    # numpy takes a moment that `info` of a stream should not cost
    from clc.bundle.decoder_bundle import files_of
    from storage.arrays import read_shapes

    data = read_manifest_bytes(directory)
    manifest = parse_manifest(data, directory)
    provenance = _provenance(directory, manifest)
    is_reduced = is_decoder_bundle(directory)
    files = [reduced_file_of(part) if is_reduced and part in REDUCED else file_of(part) for part in _OF_MODEL]
    sizes = files_of(directory)
    shapes = [read_shapes(directory / name) for name in files]
    return BundleInfo(
        bundle_id=id_of(data),
        version=manifest["version"],
        parent=str(manifest.get("parent", "")),
        entries=len(provenance),
        key_pictures=len(manifest["pictures"]),
        parameters=sum(math.prod(shape) for of in shapes for name, shape in of.items() if not name.endswith(_SHIFT)),
        model_bytes=sum(sizes[name] for name in files),
        total_bytes=_total_bytes(directory),
        sources=origin_lines((str(entry.get("source", "")), str(entry.get("licence", ""))) for entry in provenance),
        training=training_of(manifest),
        release=read_register().release_of(id_of(data)) or "",
        encodes=not is_reduced,
    )


def _provenance(directory: Path, manifest: dict[str, Any]) -> list[dict[str, Any]]:
    try:
        provenance = json.loads(checked_bytes(directory, ENTRIES, manifest))
    except (ValueError, RecursionError) as error:
        raise StorageError(f"{directory}: its {ENTRIES} is damaged: it is no JSON: {error}; get it again") from error
    if not isinstance(provenance, list) or not all(isinstance(entry, dict) for entry in provenance):
        raise StorageError(f"{directory}: its {ENTRIES} is damaged: it holds no list of objects; get it again")
    return provenance


def _total_bytes(directory: Path) -> int:
    try:
        return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    except OSError as error:  # removed a moment ago, or out of reach
        raise StorageError(f"{error.filename or directory}: {error.strerror}; check its permissions") from error
