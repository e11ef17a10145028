"""Pictures in object stores and other file systems that fsspec knows: `s3://bucket/folder`, `gs://`, `abfs://`.

Credentials are those that the store's own library finds in the environment. A store is named by the user of the
pipeline, never by a list from outside.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, BinaryIO

import fsspec

from clc.errors import InputError
from clc.limits import MAX_PICTURE_FILE_BYTES
from flows.intake.origin import Entry, Names, Unavailable, kind_of
from storage.digest import digest_json
from storage.names import shown_name

PROTOCOLS = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "hdfs", "sftp", "smb", "oci", "memory")
"""Kinds of stores; what reaches the web by a URL is not among them, for only the crawl looks where a name leads."""

UNREADABLE = "store_failed"
TOO_LARGE = "member_too_large"
_PIECE_BYTES = 2**20
_VERSIONS = ("ETag", "etag", "md5Hash", "content_md5", "LastModified", "mtime", "created", "updated")


@dataclass
class Store:
    """A folder, a pattern or one file of a store as an origin."""

    url: str
    passed_over: Counter[str] = field(default_factory=Counter)

    @property
    def label(self) -> str:
        """The address as the user gave it."""
        return shown_name(self.url)

    @cached_property
    def identity(self) -> str:
        """The digest of all names, sizes and versions below the address."""
        return f"{self.url} {digest_json([[name, _version(one)] for name, one in self._found.items()])}"

    @cached_property
    def files(self) -> list[str]:
        """The paths of all files at or below the address, within the store."""
        return list(self._found)

    def check(self) -> None:
        """Raise `InputError` where the store cannot be read, or holds nothing at the address."""
        len(self._found)

    def entries(self) -> Iterator[Entry]:
        """Yield the pictures below the address in the order of their paths."""
        self.passed_over.clear()
        names, base = Names(), self._base
        for path, about in self._found.items():
            below = path.removeprefix(base).lstrip("/") or path.rpartition("/")[2]
            kind = kind_of(below)
            if kind:
                self.passed_over[kind] += 1
                continue
            name = names.unique(shown_name(below))
            size = about.get("size") or 0
            if size > MAX_PICTURE_FILE_BYTES:
                yield Entry(name, reason=TOO_LARGE, detail=f"{size} bytes, more than are read")
            else:
                yield Entry(name, read=lambda into, path=path: self._read(path, into))  # type: ignore[misc]

    @contextlib.contextmanager
    def open_file(self, path: str) -> Iterator[BinaryIO]:
        """Open one file of the store, which can seek. Raises `InputError`."""
        try:
            file = self._system.open(path, "rb")
        except Exception as error:  # each store raises what its own library does
            raise _failed(self.label, error) from error
        with file:
            yield file

    def _read(self, path: str, into: BinaryIO) -> int:
        size = 0
        # Writing stands outside: a full disk here is no fault of the store's file.
        for piece in self._pieces(path):
            size += len(piece)
            if size > MAX_PICTURE_FILE_BYTES:
                raise Unavailable(TOO_LARGE, f"more than the {MAX_PICTURE_FILE_BYTES} bytes that are read")
            into.write(piece)
        return size

    def _pieces(self, path: str) -> Iterator[bytes]:
        with contextlib.ExitStack() as opened:
            file = None
            while True:
                try:
                    file = file or opened.enter_context(self._system.open(path, "rb"))
                    piece = file.read(_PIECE_BYTES)
                except Exception as error:  # each store raises what its own library does
                    raise Unavailable(UNREADABLE, f"{type(error).__name__}: {error}") from error
                if not piece:
                    return
                yield piece

    @cached_property
    def _place(self) -> tuple[Any, str]:
        protocol, colon, _ = self.url.partition("://")
        if not colon or protocol not in PROTOCOLS or "::" in self.url:
            raise InputError(f"{self.label} is no store that is read; one of {', '.join(PROTOCOLS)} is wanted")
        try:
            return fsspec.core.url_to_fs(self.url)  # type: ignore[no-any-return]
        except ImportError as error:
            raise InputError(f"{self.label}: {error}") from error
        except Exception as error:
            raise _failed(self.label, error) from error

    @property
    def _system(self) -> Any:
        return self._place[0]

    @property
    def _base(self) -> str:
        """What the paths of all files begin with, and their names do not."""
        path = self._place[1]
        magic = min((path.find(one) for one in "*?[" if one in path), default=-1)
        return path[:magic].rpartition("/")[0] + "/" if magic >= 0 else path

    @cached_property
    def _found(self) -> Mapping[str, Mapping[str, Any]]:
        system, path = self._place
        try:
            if any(one in path for one in "*?["):
                found = system.glob(path, detail=True)
            elif system.isfile(path):
                found = {path: system.info(path)}
            else:
                found = system.find(path, detail=True)
        except Exception as error:
            raise _failed(self.label, error) from error
        files = {name: one for name, one in sorted(found.items()) if one.get("type") != "directory"}
        if not files:
            raise InputError(f"there is nothing at {self.label}; check the address and the credentials")
        return files


def _version(about: Mapping[str, Any]) -> list[str]:
    return [str(about.get(key)) for key in ("size", *_VERSIONS) if about.get(key) is not None]


def _failed(label: str, error: Exception) -> InputError:
    return InputError(
        f"{label} cannot be read ({type(error).__name__}: {error}); check the address and the credentials"
    )
