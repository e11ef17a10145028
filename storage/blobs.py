"""Content-addressed bytes: a blob's name is its SHA-256, so equal blobs are stored once and a changed byte is found.

`flows.ingest` puts the sources' own files here; every later stage gets them by the digest that `items.parquet` names.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from storage.atomic import write_bytes, write_pieces
from storage.batches import write_batch
from storage.digest import sha256_bytes, sha256_file
from storage.errors import StorageError
from storage.regular import read_regular

_PIECE_BYTES = 2**20
_NAME = re.compile(r"[0-9a-f]{64}")


class BlobStore:
    """Blobs below the folder `root`, spread over 256 subfolders by the first byte of their digest."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, data: bytes) -> str:
        """Store `data` durably and return its SHA-256, 64 hex digits; an intact blob is not written again."""
        sha = sha256_bytes(data)
        if not self._is_kept(sha, data):
            write_bytes(self._path(sha), data)
        return sha

    def put_many(self, many: Sequence[bytes]) -> list[str]:
        """Store each of `many` as `put` does, and return their SHA-256; one wait for the disk serves all of them."""
        digests = [sha256_bytes(data) for data in many]
        self.put_named(dict(zip(digests, many, strict=True)))
        return digests

    def put_named(self, named: Mapping[str, bytes]) -> None:
        """Store bytes as `put_many` does, each by the SHA-256 that the caller has just found it to have."""
        write_batch({self._path(sha): data for sha, data in named.items() if not self._is_kept(sha, data)})

    def put_file(self, file: BinaryIO) -> str:
        """Store what an open file holds, from its beginning, as `put` does; a piece at a time is kept in memory."""
        file.seek(0)
        sha = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        path = self._path(sha)
        if not (path.is_file() and _is_intact(path, sha)):
            file.seek(0)
            write_pieces(path, iter(lambda: file.read(_PIECE_BYTES), b""))
        return sha

    def get(self, sha: str) -> bytes:
        """Return the blob of this SHA-256. Raises `StorageError` when it is missing or its bytes were altered."""
        path = self._path(sha)
        try:
            data = read_regular(path)
        except OSError as error:
            raise StorageError(f"blob {sha} is missing from {self.root}; run ingest-images again") from error
        if sha256_bytes(data) != sha:
            raise StorageError(f"blob {sha} was altered on disk; remove {path} and run ingest-images again")
        return data

    def path(self, sha: str) -> Path:
        """Return where a blob lies, whether or not it is there; `StorageError` for what is no name of one."""
        return self._path(sha)

    def has(self, sha: str) -> bool:
        """Whether a blob of this SHA-256 is there; its bytes are checked by `get` only."""
        return self._path(sha).is_file()

    def _is_kept(self, sha: str, data: bytes) -> bool:
        path = self._path(sha)
        return path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data

    def _path(self, sha: str) -> Path:
        if not _NAME.fullmatch(sha):
            raise StorageError(f"{sha!r} is no blob name: 64 hex digits are wanted")
        return self.root / sha[:2] / sha


def _is_intact(path: Path, sha: str) -> bool:
    try:
        return sha256_file(path) == sha
    except StorageError:
        return False
