"""Sections of a stream: what a picture has beside its colours, each with its kind, length and checksum.

A stream of container version 3 (`clc.bitstream.container`) has 1 to 15 of them, one of version 4 up to 15, in rising
order of their kinds:

    ========  ==============  ======================================================================
    bytes     field           content
    ========  ==============  ======================================================================
    1         number          of sections, 1 to 15, or 0 in version 4
    for each section:
    1         kind            bits 0 to 6: 1 EXIF, 2 XMP, 3 alpha; bit 7: whether it is deflated
    1 to 4    stored length   varint, bytes, at least 1
    1 to 4    length          varint, bytes of the content; only where the section is deflated
    4         checksum        CRC-32 of the kind, as a byte, and the content
    ..        stored bytes    the content, or its zlib stream where that is shorter
    ========  ==============  ======================================================================

EXIF is a TIFF structure without "Exif\\0\\0" in front, XMP a packet in UTF-8, alpha a picture file
(`clc.pictures.alpha`). A kind that this release does not know is read over, kept, and named by `unknown_kinds`, so that
a later release may add kinds without a new version. Content is inflated only when it is asked for, and never beyond the
length that was checked.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from clc.bitstream.varints import read_varint, write_varint
from clc.errors import CorruptStream, InputError, LimitError, TruncatedStream
from clc.limits import MAX_METADATA_BYTES

EXIF = 1
XMP = 2
ALPHA = 3
KIND_NAMES = {EXIF: "EXIF", XMP: "XMP", ALPHA: "alpha"}
"""Kinds that this release knows, by the names that `info` shows."""

MAX_SECTIONS = 15
MAX_KIND = 127

_METADATA = (EXIF, XMP)
_IS_DEFLATED = 0x80
_MAX_LENGTH_VARINT_BYTES = 4
_CRC_BYTES = 4


@dataclass(frozen=True)
class Section:
    """One section as it is stored: `stored` is the content, or its zlib stream where `is_deflated`.

    `n_bytes` is the content's length, `crc32` its checksum. `Section.of` makes one; `content` gives the content back.
    """

    kind: int
    stored: bytes
    is_deflated: bool
    n_bytes: int
    crc32: int

    @classmethod
    def of(cls, kind: int, content: bytes) -> Section:
        """Return a section of some content, deflated where that makes it shorter.

        Raises `InputError` for a kind out of range or no content; `LimitError` for more than `MAX_METADATA_BYTES` that
        would have to be deflated.
        """
        if not 1 <= kind <= MAX_KIND:
            raise InputError(f"kinds of sections are 1 to {MAX_KIND}, not {kind}")
        if not content:
            raise InputError("a section is not empty")
        if kind in _METADATA and len(content) > MAX_METADATA_BYTES:
            raise LimitError(
                f"the {KIND_NAMES[kind]} data have {len(content)} bytes, at most {MAX_METADATA_BYTES} are allowed"
            )
        stored, is_deflated = content, False
        if len(content) <= MAX_METADATA_BYTES:
            packed = zlib.compress(content, 9)
            if len(packed) + len(write_varint(len(content))) < len(content):
                stored, is_deflated = packed, True
        return cls(kind, stored, is_deflated, len(content), _checksum(kind, content))

    def content(self) -> bytes:
        """Return the content. Raises `CorruptStream` where it is not what its length and checksum say."""
        content = self._inflated() if self.is_deflated else self.stored
        if len(content) != self.n_bytes or _checksum(self.kind, content) != self.crc32:
            raise CorruptStream(f"{self.name}: the content does not match its checksum, get the file again")
        return content

    @property
    def name(self) -> str:
        """What messages call the section."""
        return f"the stream's section {name_of(self.kind)}"

    def _inflated(self) -> bytes:
        inflater = zlib.decompressobj()
        try:
            content = inflater.decompress(self.stored, self.n_bytes + 1)
        except zlib.error as error:
            raise CorruptStream(f"{self.name} cannot be inflated ({error}): get the file again") from error
        if not inflater.eof or inflater.unused_data:
            raise CorruptStream(f"{self.name} is cut short or followed by other bytes: get the file again")
        return content


def name_of(kind: int) -> str:
    """Return what a kind is called: "EXIF", "XMP", "alpha", "kind 7"."""
    return KIND_NAMES.get(kind, f"kind {kind}")


def unknown_kinds(sections: Sequence[Section]) -> tuple[int, ...]:
    """Return the kinds that this release does not know."""
    return tuple(section.kind for section in sections if section.kind not in KIND_NAMES)


def check_sections(sections: Sequence[Section]) -> None:
    """Raise `LimitError` for too many sections and `InputError` for kinds that do not rise."""
    if len(sections) > MAX_SECTIONS:
        raise LimitError(f"{len(sections)} sections, at most {MAX_SECTIONS} are allowed")
    kinds = [section.kind for section in sections]
    if any(kind >= following for kind, following in pairwise(kinds)):
        raise InputError(f"sections stand in rising order of their kinds, one of each: {kinds}")


def pack_sections(sections: Sequence[Section]) -> bytes:
    """Return the bytes of all sections; nothing where there are none, as in versions 1 and 2."""
    if not sections:
        return b""
    return bytes((len(sections),)) + b"".join(_packed(section) for section in sections)


def read_sections(data: bytes, position: int, *, may_be_none: bool = False) -> tuple[tuple[Section, ...], int]:
    """Return the sections that stand at a position, not inflated, and the position behind them.

    Raises `TruncatedStream` where bytes are missing, `LimitError` over a cap, and `CorruptStream` for what no encoder
    writes.
    """
    (number,), position = _take(data, position, 1)
    if number > MAX_SECTIONS:
        raise LimitError(f"the stream has {number} sections, at most {MAX_SECTIONS} are allowed")
    if number == 0 and not may_be_none:
        raise CorruptStream("the stream announces sections and has none: it is damaged")
    sections: list[Section] = []
    for _ in range(number):
        section, position = _read_section(data, position)
        if sections and section.kind <= sections[-1].kind:
            raise CorruptStream("the stream's sections do not stand in order: it is damaged")
        sections.append(section)
    return tuple(sections), position


def _packed(section: Section) -> bytes:
    head = bytes((section.kind | (_IS_DEFLATED if section.is_deflated else 0),)) + write_varint(len(section.stored))
    if section.is_deflated:
        head += write_varint(section.n_bytes)
    return head + section.crc32.to_bytes(_CRC_BYTES, "little") + section.stored


def _read_section(data: bytes, position: int) -> tuple[Section, int]:
    (head,), position = _take(data, position, 1)
    kind, is_deflated = head & ~_IS_DEFLATED, bool(head & _IS_DEFLATED)
    if kind == 0:
        raise CorruptStream("the stream has a section of kind 0, which does not exist: it is damaged")
    n_stored, position = read_varint(data, position, _MAX_LENGTH_VARINT_BYTES, "length of a section")
    if n_stored == 0:
        raise CorruptStream("the stream has an empty section: it is damaged")
    n_bytes = n_stored
    if is_deflated:
        n_bytes, position = read_varint(data, position, _MAX_LENGTH_VARINT_BYTES, "length of a section")
        if n_bytes <= n_stored:
            raise CorruptStream("the stream has a section that deflating made longer: it is damaged")
    if (is_deflated or kind in _METADATA) and n_bytes > MAX_METADATA_BYTES:
        raise LimitError(f"a section claims {n_bytes} bytes, at most {MAX_METADATA_BYTES} are allowed")
    crc32, position = _take(data, position, _CRC_BYTES)
    stored, position = _take(data, position, n_stored)
    return Section(kind, stored, is_deflated, n_bytes, int.from_bytes(crc32, "little")), position


def _checksum(kind: int, content: bytes) -> int:
    return zlib.crc32(content, zlib.crc32(bytes((kind,))))


def _take(data: bytes, position: int, n_bytes: int) -> tuple[bytes, int]:
    if position + n_bytes > len(data):
        raise TruncatedStream(f"the stream ends inside its sections, after {len(data)} bytes: get the whole file again")
    return data[position : position + n_bytes], position + n_bytes
