"""Compressed bytes of others, unfolded piece by piece: memory never grows with what they claim or hide.

`storage.archives` reads compressed tar files through it, and `storage.network` the bodies that a server compressed. The
contract: a piece has at most `PIECE_BYTES`, an LZMA dictionary at most `_MOST_MEMORY_BYTES`, and whoever takes the
pieces decides when it has had enough.
"""

import bz2
import lzma
import zlib
from collections.abc import Iterator
from typing import Protocol

from storage.errors import StorageError

PIECE_BYTES = 2**18
"""Most bytes of one piece."""

_MOST_MEMORY_BYTES = 128 * 2**20  # `xz -9` needs 65 MiB
_GZIP_OR_ZLIB = 47  # told by the first bytes
_RAW_DEFLATE = -15


class DamagedData(StorageError):
    """Compressed bytes are damaged, or ask for more memory than is given."""


class _Stream(Protocol):
    """One compressed stream: what `bz2` and `lzma` have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Deflate:
    """A stream of zlib's with the interface of the others."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._is_begun = False

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def needs_input(self) -> bool:
        return not self._stream.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        waiting = self._stream.unconsumed_tail + data
        try:
            piece = self._stream.decompress(waiting, max_length)
        except zlib.error:
            if self._is_begun:
                raise
            # Some servers send "deflate" without the wrapping of zlib that the standard asks for.
            self._stream = zlib.decompressobj(_RAW_DEFLATE)
            piece = self._stream.decompress(waiting, max_length)
        self._is_begun = self._is_begun or bool(waiting)
        return piece


class Decompressor:
    """Unfolds gzip, zlib, bzip2, xz or LZMA, several streams behind one another too.

    `kind` is "gzip" (zlib and raw deflate too), "bzip2" or "xz" (LZMA too).
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._stream = self._new()

    @property
    def is_complete(self) -> bool:
        """Whether the data so far end where a stream ends."""
        return self._stream.eof

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Yield what further compressed bytes unfold to, in pieces. Raises `DamagedData`.

        What stands behind the last stream and begins no other one, such as padding, is passed over.
        """
        rest = data
        while True:
            if self._stream.eof:
                rest = rest.lstrip(b"\0")
                if not rest:
                    return
                self._stream = self._new()
            try:
                piece = self._stream.decompress(rest, PIECE_BYTES)
            except (zlib.error, lzma.LZMAError, OSError, ValueError, EOFError) as error:
                raise DamagedData(f"the compressed data are damaged ({error})") from error
            rest = self._stream.unused_data if self._stream.eof else b""
            if piece:
                yield piece
            elif self._stream.needs_input and not self._stream.eof:
                return

    def _new(self) -> _Stream:
        if self.kind == "gzip":
            return _Deflate()
        if self.kind == "bzip2":
            return bz2.BZ2Decompressor()
        return lzma.LZMADecompressor(memlimit=_MOST_MEMORY_BYTES)
