"""Zip and tar archives of others, read member by member as a stream: nothing is ever extracted.

`flows.intake` takes pictures from them. An archive is hostile until read: its names are labels and never paths, links
and devices are told and not followed, and whatever a header claims, a member is read as far as `most_bytes` and an
archive as far as its own size allows. What cannot be read is told with its place, never passed over in silence.
"""

import io
import lzma
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from storage.decompression import DamagedData, Decompressor
from storage.errors import StorageError

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
"""Ends of names, in lower case, by which an archive is known."""

MOST_MEMBERS = 4_000_000
_MOST_DIRECTORY_BYTES = 512 * 2**20
_MOST_RATIO = 200  # bytes that one packed byte may become, once they are many; zlib reaches 1032
_FREE_BYTES = 16 * 2**20  # below this no ratio counts
_MOST_HEADER_BYTES = 2**20  # of one header of a tar, with its names
_PIECE_BYTES = 2**18
_BLOCK_BYTES = 512

LINK = "member_link"
SPECIAL = "member_special"
NAME = "member_name"
ENCRYPTED = "member_encrypted"
PACKED_OTHERWISE = "member_packed_otherwise"
TOO_LARGE = "member_too_large"
BOMB = "member_bomb"
DAMAGED = "member_damaged"
NESTED = "member_archive"
ARCHIVE_DAMAGED = "archive_damaged"


class ArchiveDamaged(StorageError):
    """An archive cannot be read, from its beginning or from some place on."""


class MemberRefused(StorageError):
    """A member cannot be read; `reason` is one of the words above."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True)
class Member:
    """One entry of an archive: its name as it stands there, its claimed size, and why it is refused, if it is.

    `is_file` is False for folders, which hold nothing.
    """

    name: str
    size_bytes: int
    is_file: bool = True
    refusal: MemberRefused | None = None


class MemberReader:
    """Walks through an archive. Between two steps `read` gives the bytes of the member that was yielded last."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._open: BinaryIO | None = None
        self._packed_bytes = 0

    def read(self, into: BinaryIO) -> int:
        """Write the bytes of the present member into a file and return their number. Raises `MemberRefused`."""
        if self._open is None:
            raise MemberRefused(DAMAGED, "the member has no bytes")
        size = 0
        try:
            while piece := self._open.read(_PIECE_BYTES):
                size += len(piece)
                if size > self.most_bytes:
                    raise MemberRefused(
                        TOO_LARGE, f"the member has more than the {self.most_bytes} bytes that are read"
                    )
                if self._packed_bytes and _is_bomb(size, self._packed_bytes):
                    raise _bomb(size, self._packed_bytes)
                into.write(piece)
        except (zipfile.BadZipFile, zlib.error, tarfile.TarError, EOFError, lzma.LZMAError, DamagedData) as error:
            raise MemberRefused(DAMAGED, f"the member is damaged ({error})") from error
        return size


class ZipReader(MemberReader):
    """A zip file; `file` must be able to seek."""

    def __init__(self, file: BinaryIO, most_bytes: int) -> None:
        super().__init__(most_bytes)
        _check_directory(file)
        try:
            self._zip = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, OSError, ValueError, struct.error, NotImplementedError, UnicodeError) as error:
            raise ArchiveDamaged(f"it is no readable zip archive ({error})") from error
        if sum(info.compress_size for info in self._zip.infolist()) > _length(file):
            raise ArchiveDamaged("its members lie over one another, as no zip program writes them")

    def __iter__(self) -> Iterator[Member]:
        """Yield the members in the order of the directory."""
        for info in self._zip.infolist():
            refusal = _zip_refusal(info, self.most_bytes)
            if info.is_dir() or refusal is not None:
                yield Member(info.filename, info.file_size, not info.is_dir(), refusal)
                continue
            try:
                with self._zip.open(info) as opened:
                    self._open, self._packed_bytes = opened, info.compress_size  # type: ignore[assignment]
                    yield Member(info.filename, info.file_size)
            except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, struct.error) as error:
                yield Member(info.filename, info.file_size, True, MemberRefused(DAMAGED, f"damaged ({error})"))
            finally:
                self._open = None


class TarReader(MemberReader):
    """A tar file, plain or packed by gzip, bzip2 or xz, read from its beginning to its end."""

    def __init__(self, file: BinaryIO, most_bytes: int) -> None:
        super().__init__(most_bytes)
        self._stream = _Forward(file)
        try:
            self._tar: Any = tarfile.open(fileobj=self._stream, mode="r:")  # noqa: SIM115 - the caller closes the file
        except (tarfile.TarError, DamagedData, OSError, EOFError, ValueError, OverflowError) as error:
            raise ArchiveDamaged(f"it is no readable tar archive ({error})") from error

    def __iter__(self) -> Iterator[Member]:
        """Yield the members in order. Raises `ArchiveDamaged` where the archive ends before its end."""
        count = 0
        while True:
            try:
                info = self._tar.next()
            except (
                tarfile.TarError,
                DamagedData,
                OSError,
                EOFError,
                ValueError,
                OverflowError,
                RecursionError,
            ) as error:
                raise ArchiveDamaged(f"it is damaged behind member {count} ({error})") from error
            if info is None:
                break
            self._tar.members = []  # it would keep every header
            count += 1
            if count > MOST_MEMBERS:
                raise ArchiveDamaged(f"it has more than {MOST_MEMBERS} members")
            refusal = _tar_refusal(info, self.most_bytes)
            if info.isfile() and refusal is None:
                self._open = self._tar.extractfile(info)  # a stream of its bytes
            yield Member(info.name, info.size, not info.isdir(), refusal)
            self._open = None
        try:
            ends_well = self._stream.ends_well()
        except (DamagedData, OSError) as error:
            raise ArchiveDamaged(f"it is damaged behind its last member ({error})") from error
        if not ends_well:
            raise ArchiveDamaged(f"it is cut off or damaged behind member {count}, or has more behind its end")


def open_archive(name: str, file: BinaryIO, most_bytes: int) -> ZipReader | TarReader:
    """Return the reader of an archive whose name tells its kind. Raises `ArchiveDamaged` for what is none."""
    return ZipReader(file, most_bytes) if name.lower().endswith(".zip") else TarReader(file, most_bytes)


def _zip_refusal(info: zipfile.ZipInfo, most_bytes: int) -> MemberRefused | None:
    kind = info.external_attr >> 28  # the type in the mode of Unix, if a Unix wrote it
    if kind == 0o12:
        return MemberRefused(LINK, "a link, which is not followed")
    if kind not in (0, 0o10, 0o4):
        return MemberRefused(SPECIAL, "a device or a pipe")
    if info.flag_bits & 1:
        return MemberRefused(ENCRYPTED, "encrypted; pack it without a password")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2) and not info.is_dir():
        return MemberRefused(PACKED_OTHERWISE, f"packed by method {info.compress_type}; use deflate")
    if _is_bomb(info.file_size, info.compress_size):
        return _bomb(info.file_size, info.compress_size)
    return _refusal(info.filename, info.file_size, most_bytes)


def _tar_refusal(info: tarfile.TarInfo, most_bytes: int) -> MemberRefused | None:
    if info.issym() or info.islnk():
        return MemberRefused(LINK, f"a link to {info.linkname[:200]!r}, which is not followed")
    if info.issparse() or not (info.isfile() or info.isdir()):
        return MemberRefused(SPECIAL, "a device, a pipe or a file with holes")
    return _refusal(info.name, info.size, most_bytes)


def _refusal(name: str, size_bytes: int, most_bytes: int) -> MemberRefused | None:
    parts = re.split(r"[/\\]", name)
    if ".." in parts or name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) or "\0" in name or not name:
        return MemberRefused(NAME, "a name that leads out of the archive")
    if size_bytes > most_bytes:
        return MemberRefused(TOO_LARGE, f"{size_bytes} bytes, more than the {most_bytes} that are read")
    return None


def _is_bomb(size_bytes: int, packed_bytes: int) -> bool:
    return size_bytes > _FREE_BYTES and size_bytes > _MOST_RATIO * packed_bytes


def _bomb(size_bytes: int, packed_bytes: int) -> MemberRefused:
    return MemberRefused(BOMB, f"{size_bytes} bytes and more of {packed_bytes} packed ones, as no picture is")


def _length(file: BinaryIO) -> int:
    return file.seek(0, io.SEEK_END)


def _check_directory(file: BinaryIO) -> None:
    """Refuse a zip whose directory is too large to be kept in memory, before it is read."""
    length = _length(file)
    tail_bytes = min(length, 2**16 + 22 + 20 + 56)
    file.seek(length - tail_bytes)
    tail = file.read(tail_bytes)
    end = tail.rfind(b"PK\5\6")
    if end < 0 or len(tail) - end < 22:
        raise ArchiveDamaged("it is no readable zip archive (its directory is missing: it may be cut off)")
    count, size = struct.unpack_from("<HI", tail, end + 10)
    large = tail.rfind(b"PK\6\6")
    if large >= 0 and len(tail) - large >= 56:
        count, size = struct.unpack_from("<QQ", tail, large + 32)
    if count > MOST_MEMBERS or size > min(_MOST_DIRECTORY_BYTES, length):
        raise ArchiveDamaged(f"its directory of {count} members and {size} bytes is larger than what is read")


class _Forward(io.RawIOBase):
    """A file that is read forwards only, unpacked on the way; it never gives more at once than a header needs.

    `tarfile` seeks over what it does not read: that is read and thrown away, as far as the ratio allows.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self._length = _length(file)
        file.seek(0)
        magic = file.read(6)
        file.seek(0)
        kind = next((name for mark, name in _MAGIC.items() if magic.startswith(mark)), "")
        self._unpack = Decompressor(kind) if kind else None
        self._waiting = bytearray()
        self._pieces: Iterator[bytes] = iter(())
        self._position = 0
        self._last = b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET or offset < self._position:
            if whence == io.SEEK_SET and self._unpack is None:
                self._file.seek(offset)
                self._position = offset
                return offset
            raise DamagedData("its members do not follow one another")
        if self._unpack is None:
            self._position = self._file.seek(min(offset, self._length))
            return self._position
        while self._position < offset and self.read(min(_PIECE_BYTES, offset - self._position)):
            pass
        return self._position

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MOST_HEADER_BYTES:
            raise DamagedData(f"a header of it claims {size} bytes")
        data = self._file.read(size) if self._unpack is None else self._unpacked(size)
        self._position += len(data)
        if size == _BLOCK_BYTES:
            self._last = data
        return data

    def ends_well(self) -> bool:
        """Whether the last header that was read is the block of zeros that ends an archive, and only zeros follow.

        Raises `DamagedData` where the checksum behind packed bytes is wrong.
        """
        if len(self._last) != _BLOCK_BYTES or any(self._last):
            return False
        while rest := self.read(_PIECE_BYTES):
            if any(rest):
                return False
        return True

    def _unpacked(self, size: int) -> bytes:
        while len(self._waiting) < size and (piece := self._piece()):
            self._waiting += piece
            total = self._position + len(self._waiting)
            if _is_bomb(total, self._file.tell()):
                raise DamagedData(f"{self._file.tell()} packed bytes of it became more than {total}")
        data = bytes(self._waiting[:size])
        del self._waiting[:size]
        return data

    def _piece(self) -> bytes:
        """Return the next unpacked bytes, empty at the end."""
        if self._unpack is None:
            return b""
        while True:
            piece = next(self._pieces, b"")
            if piece:
                return piece
            packed = self._file.read(_PIECE_BYTES)
            if not packed:
                if not self._unpack.is_complete:
                    raise DamagedData("it is cut off")
                return b""
            self._pieces = self._unpack.pieces(packed)


_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz"}
