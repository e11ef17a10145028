"""Named numpy arrays in safetensors files, with a digest of their content inside.

safetensors has no checksum of its own, so `write_arrays` puts the SHA-256 of names, types, shapes, bytes and metadata
into the file's metadata and `read_arrays` compares it. A file without one is read only when the caller gives the
SHA-256 of the file.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from storage.atomic import write_bytes
from storage.digest import canonical_json, sha256_bytes
from storage.errors import StorageError
from storage.regular import open_regular, read_regular

_DIGEST = "content_sha256"
_LENGTH_BYTES = 8
_MOST_HEADER_BYTES = 100_000_000  # as the library has it

Arrays = dict[str, np.ndarray[Any, Any]]


def write_arrays(
    path: Path, arrays: Mapping[str, np.ndarray[Any, Any]], metadata: Mapping[str, str] | None = None
) -> None:
    """Write `arrays` (any shape; bool, integer or float types) and text `metadata` in one step.

    Raises `StorageError` when a type does not fit the format or the file cannot be written.
    """
    plain = {name: array if array.flags.c_contiguous else array.copy(order="C") for name, array in arrays.items()}
    texts = dict(metadata or {})
    if _DIGEST in texts:
        raise StorageError(f"the metadata name {_DIGEST} is taken by the checksum of {path}")
    try:
        data = safetensors.numpy.save(plain, {**texts, _DIGEST: _content_digest(plain, texts)})
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise StorageError(f"cannot write {path} as safetensors: {error}") from error
    write_bytes(path, data)


def read_arrays(path: Path, sha256: str | None = None, most_bytes: int | None = None) -> Arrays:
    """Return the arrays of a file after comparing its `sha256` where one is given, or else the digest inside.

    Raises `StorageError` when the file is missing, altered, no regular file, no safetensors file, larger than
    `most_bytes`, or carries no checksum at all.
    """
    try:
        data = read_regular(path, most_bytes)
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
    if sha256 is not None and sha256_bytes(data) != sha256:
        raise StorageError(f"{path} was altered: its SHA-256 is not {sha256}")
    try:
        arrays = safetensors.numpy.load(data)
        metadata = _metadata(data)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise StorageError(f"{path} is no intact safetensors file: {error}") from error
    stated = metadata.pop(_DIGEST, None)
    if stated is None and sha256 is None:
        raise StorageError(f"{path} carries no checksum; write it with storage.arrays or name its SHA-256")
    if sha256 is None and stated != _content_digest(arrays, metadata):
        raise StorageError(f"{path} was altered: its arrays do not match their checksum")
    return arrays


def read_metadata(path: Path) -> dict[str, str]:
    """Return the text metadata of a file, unverified: only `read_arrays` compares it with the digest.

    Raises `StorageError` when the file cannot be read or is no safetensors file.
    """
    metadata = dict(_header_of(path).get("__metadata__", {}))
    metadata.pop(_DIGEST, None)
    return metadata


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each array of a file by its name, unverified; no array is read.

    Raises `StorageError` as `read_metadata` does.
    """
    header = _header_of(path)
    try:
        return {name: tuple(map(int, of["shape"])) for name, of in header.items() if name != "__metadata__"}
    except (ValueError, TypeError, KeyError) as error:
        raise StorageError(f"{path} is no intact safetensors file: {error}") from error


def _header_of(path: Path) -> dict[str, Any]:
    """Return the header of a file, which is all that is read of it."""
    try:
        with open_regular(path) as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            if length > _MOST_HEADER_BYTES:
                raise StorageError(f"{path} is no intact safetensors file: its header claims {length} bytes")
            return dict(json.loads(file.read(length)))
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise StorageError(f"{path} is no intact safetensors file: {error}") from error


def _metadata(data: bytes) -> dict[str, str]:
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    header = dict(json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + length]))
    return dict(header.get("__metadata__", {}))


def _content_digest(arrays: Mapping[str, np.ndarray[Any, Any]], metadata: Mapping[str, str]) -> str:
    digest = hashlib.sha256(canonical_json(dict(metadata)))
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(canonical_json([name, array.dtype.str, list(array.shape)]))
        digest.update(array.tobytes())
    return digest.hexdigest()
