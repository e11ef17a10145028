"""The only commit mark: a folder without an intact `manifest.json` does not exist, nor a file that it does not name.

`flows.runtime.stage` writes one as the last act of a stage. It names what the stage was made from, with which
parameters, and the SHA-256 and size of every file; the manifest's own SHA-256 stands in its last field.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from storage.atomic import write_bytes
from storage.digest import digest_json, sha256_file
from storage.errors import StorageError
from storage.regular import read_regular

MANIFEST_NAME = "manifest.json"
_MOST_BYTES = 256 * 2**20


@dataclass(frozen=True)
class FileEntry:
    """A file of a manifest: its SHA-256, 64 hex digits, and its size in bytes."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """What one finished stage was made from, and what it made.

    `inputs` are keys and digests by name, `config` parameters, `files` by path in the folder, `summary` numbers
    for people; `created_utc` is ISO 8601 with microseconds. `seconds` is how long it took, 0 where nobody knows.
    """

    stage: str
    key: str
    inputs: dict[str, str]
    config: dict[str, Any]
    files: dict[str, FileEntry]
    summary: dict[str, Any]
    created_utc: str
    seconds: float = 0.0


def describe_files(directory: Path) -> dict[str, FileEntry]:
    """Return all files below `directory`, by relative path, except the manifest and hidden files (temporaries)."""
    found = (path for path in sorted(directory.rglob("*")) if path.is_file() and not path.name.startswith("."))
    named = ((path.relative_to(directory).as_posix(), path) for path in found)
    return {name: FileEntry(sha256_file(path), path.stat().st_size) for name, path in named if name != MANIFEST_NAME}


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Commit `directory`: write its manifest in one step. Raises `StorageError` when it fails or a field is no JSON."""
    fields = asdict(manifest)
    document = {**fields, "sha256": digest_json(fields)}
    write_bytes(directory / MANIFEST_NAME, json.dumps(document, indent=1, ensure_ascii=False).encode())


def read_manifest(directory: Path, verify: bool = True) -> Manifest:
    """Return the manifest of a committed folder; with `verify`, hash every file that it names and compare.

    Raises `StorageError` when the manifest is missing or altered, or a file is missing, altered or outside the folder.
    """
    path = directory / MANIFEST_NAME
    try:
        document = json.loads(read_regular(path, _MOST_BYTES))
        stated = document.pop("sha256")
        is_intact = stated == digest_json(document)
        manifest = _parse(document)
    except FileNotFoundError as error:
        raise StorageError(f"{directory} has no {MANIFEST_NAME}: it was never finished") from error
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise StorageError(f"{path} is no intact manifest; remove {directory} and run its stage again") from error
    if not is_intact:
        raise StorageError(f"{path} was altered; remove {directory} and run its stage again")
    if verify:
        _verify_files(directory, manifest.files)
    return manifest


def _parse(document: Mapping[str, Any]) -> Manifest:
    files = {name: FileEntry(str(entry["sha256"]), int(entry["bytes"])) for name, entry in document["files"].items()}
    return Manifest(
        stage=str(document["stage"]),
        key=str(document["key"]),
        inputs=dict(document["inputs"]),
        config=dict(document["config"]),
        files=files,
        summary=dict(document["summary"]),
        created_utc=str(document["created_utc"]),
        seconds=float(document.get("seconds", 0.0)),  # releases up to 0.16.0 did not say it
    )


def _verify_files(directory: Path, files: Mapping[str, FileEntry]) -> None:
    for name, entry in files.items():
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts:
            raise StorageError(f"the manifest of {directory} names {name!r}, which lies outside of it")
        path = directory / relative
        if not path.is_file():
            raise StorageError(f"{path} is missing; remove {directory} and run its stage again")
        if path.stat().st_size != entry.bytes or sha256_file(path) != entry.sha256:
            raise StorageError(f"{path} was altered; remove {directory} and run its stage again")
