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

_DIGEST = "content_sha256"
_LENGTH_BYTES = 8

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


def read_arrays(path: Path, sha256: str | None = None) -> Arrays:
    """Return the arrays of a file after comparing the digest inside, and the file's `sha256` where one is given.

    Raises `StorageError` when the file is missing, altered, no safetensors file, or carries no checksum at all.
    """
    try:
        data = path.read_bytes()
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
    if stated is not None and stated != _content_digest(arrays, metadata):
        raise StorageError(f"{path} was altered: its arrays do not match their checksum")
    return arrays


def read_metadata(path: Path) -> dict[str, str]:
    """Return the text metadata of a file, unverified: only `read_arrays` compares it with the digest.

    Raises `StorageError` when the file cannot be read or is no safetensors file.
    """
    try:
        metadata = _metadata(path.read_bytes())
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise StorageError(f"{path} is no intact safetensors file: {error}") from error
    metadata.pop(_DIGEST, None)
    return metadata


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
