"""SHA-256 digests of bytes, files and JSON values: the names by which everything on disk is known."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from storage.errors import StorageError
from storage.regular import open_regular

_CHUNK_BYTES = 1 << 20
_LEAST_BYTES = 1 << 16


def sha256_bytes(data: bytes | memoryview) -> str:
    """Return the SHA-256 of `data` as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hex digits; `StorageError` when it is none, or cannot be read."""
    digest = hashlib.sha256()
    try:
        with open_regular(path) as file:
            # A small file is read in one piece of its size: the memory of a large piece costs more than its bytes.
            piece_bytes = min(_CHUNK_BYTES, max(_LEAST_BYTES, os.fstat(file.fileno()).st_size + 1))
            while chunk := file.read(piece_bytes):
                digest.update(chunk)
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
    return digest.hexdigest()


def canonical_json(value: Any) -> bytes:
    """Return the canonical UTF-8 encoding of a JSON value: sorted keys, no spaces, no NaN.

    Raises `StorageError` for what JSON cannot hold: no approximation is made of it, because digests name things.
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode()
    except (TypeError, ValueError) as error:
        raise StorageError(f"not a JSON value: {error}") from error


def digest_json(value: Any) -> str:
    """Return the SHA-256 of `canonical_json` of a value as 64 hex digits. Raises `StorageError` as that does."""
    return sha256_bytes(canonical_json(value))
