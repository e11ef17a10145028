"""A PNG file taken apart: what its decoder needs, and what it says beside its pixels.

Pillow reads texts and facts into one dictionary, where a text named "gamma" or "transparency" takes the place of what
the file says of its pixels, and refuses a picture over a text that unfolds to more than 1 MiB. It is therefore handed
the chunks of the pixels alone. Colours, EXIF, XMP and texts are read here, from the chunks themselves. A chunk whose
checksum is wrong is left out and told.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from clc.limits import MAX_METADATA_BYTES
from clc.pictures import losses
from clc.pictures.colour import MAX_PROFILE_BYTES, coded_losses, stated_losses
from clc.pictures.containers import PNG_START, Part, is_blank, png_chunks
from clc.pictures.exif import Resolution, with_resolution
from clc.pictures.metadata_reading import PROFILE_KEYS, XMP_KEYS, Found, of_texts
from clc.pictures.xmp import is_packet

NO_PROFILE = b"\0"
"""What no colour management takes for a profile: stands for one that is broken or too large."""

_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_FACTS = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"cICP": 4, b"pHYs": 9}
_PIXELS = (b"tRNS",)  # beside those whose names say that no reader can do without them
_KNOWN = (*_PIXELS, b"IHDR", b"PLTE", b"IDAT", b"IEND")
_STORAGE = frozenset((b"sBIT", b"hIST", b"iDOT", b"acTL", b"fcTL"))  # how pixels are stored, timed and best decoded
_MOST_UNPACKED_BYTES = 8 * MAX_METADATA_BYTES  # of all texts together, which may be packed a thousandfold
_MOST_TEXT_BYTES = 3 * MAX_METADATA_BYTES  # hexadecimal digits are twice as long as what they say


class PngFile(NamedTuple):
    """A PNG's pixels as a file of their own; its profile, metadata and losses, those of decoding left aside."""

    pixels: bytes
    icc_profile: bytes | None
    found: Found
    losses: tuple[str, ...]


def read_png(data: bytes) -> PngFile:
    """Take a PNG apart. Raises `ValueError` for more chunks than a picture can have; all else is its decoder's."""
    pieces, reading, kind, at = [PNG_START], _Reading(data), b"", len(PNG_START)
    for part in png_chunks(data):
        kind, _, end = part
        if kind in _PIXELS or kind[:1].isupper():
            reading.lost += [] if kind in _KNOWN else [losses.OTHER]
            pieces.append(data[part.start - 8 : end + 4])
        else:
            reading.read(part)
        at = end + 4
    if kind != b"IEND":
        pieces.append(data[at:])  # broken from here on: what that means is for the decoder to say
    elif not is_blank(data, at):
        reading.lost.append(losses.APPENDIX)
    return PngFile(b"".join(pieces), reading.icc_profile, reading.found(), tuple(reading.lost))


class _Reading:
    """What is found chunk by chunk: of each kind the first one counts."""

    def __init__(self, data: bytes) -> None:
        self.icc_profile: bytes | None = None
        self.lost: list[str] = []
        self._data = data
        self._facts: dict[bytes, bytes] = {}
        self._exif = b""
        self._texts: dict[str, bytes] = {}
        self._xmp = b""
        self._left_bytes = _MOST_UNPACKED_BYTES

    def read(self, part: Part) -> None:
        """Read a chunk that no decoder of pixels needs."""
        kind, content = part.kind, self._data[part.start : part.end]
        if zlib.crc32(content, zlib.crc32(kind)) != int.from_bytes(self._data[part.end : part.end + 4], "big"):
            self.lost.append(losses.OTHER)
        elif kind in _TEXTS:
            self._read_text(kind, content)
        elif kind == b"iCCP" and self.icc_profile is None:
            profile = self._unpacked(content.partition(b"\0")[2][1:], MAX_PROFILE_BYTES)
            self.icc_profile = profile or NO_PROFILE
        elif kind == b"eXIf" and not self._exif:
            self._exif = content
        elif kind in _FACTS and len(content) >= _FACTS[kind] and kind not in self._facts:
            self._facts[kind] = content
        elif kind == b"fdAT":
            self.lost.append(losses.FRAMES)
        elif kind == b"caBX":
            self.lost.append(losses.CREDENTIALS)
        elif kind not in _STORAGE:
            self.lost.append(losses.OTHER)

    def found(self) -> Found:
        """EXIF and XMP, once all chunks are read; tells of the colours, too."""
        self.lost += self._colour_losses()
        found = of_texts(self._exif, self._xmp, self._texts)
        if b"pHYs" not in self._facts:
            return found
        across, down, unit = struct.unpack(">IIB", self._facts[b"pHYs"][:9])
        return found._replace(exif=with_resolution(found.exif, Resolution.a_metre(across, down, unit)))

    def _read_text(self, kind: bytes, content: bytes) -> None:
        keyword, _, rest = content.partition(b"\0")
        is_packed = kind == b"zTXt"
        text = rest[1:] if is_packed else rest
        if kind == b"iTXt":
            is_packed, text = rest[:1] not in (b"", b"\0"), rest[2:].split(b"\0", 2)[-1]
        key = keyword.decode("latin-1")
        if key not in (*PROFILE_KEYS, *XMP_KEYS):
            # Others are left out: of those it matters only whether there is anything.
            self._texts.setdefault(key, b"" if is_packed and self._unpacked(text, 0) == b"" else text[:1])
            return
        whole = self._unpacked(text, _MOST_TEXT_BYTES) if is_packed else text
        if whole is None:
            self.lost.append(losses.METADATA_SIZE if self._left_bytes < 0 else losses.TEXT)
        elif key == XMP_KEYS[0] and not self._xmp and (kind == b"iTXt" or is_packet(whole)):
            self._xmp = whole
        elif key in self._texts or (key == XMP_KEYS[0] and whole != self._xmp):
            self.lost.append(losses.TEXT)
        else:
            self._texts[key] = whole

    def _unpacked(self, packed: bytes, most: int) -> bytes | None:
        """Return what deflated bytes unfold to; None where that is broken, too much, or all texts together are."""
        if self._left_bytes < 0:
            return None
        unpacking = zlib.decompressobj()
        try:
            whole = unpacking.decompress(packed, most + 1)
        except zlib.error:
            return None
        self._left_bytes -= len(whole)
        return whole if len(whole) <= most and unpacking.eof else None

    def _colour_losses(self) -> tuple[str, ...]:
        facts = self._facts
        if b"cICP" in facts:
            return coded_losses(facts[b"cICP"][0], facts[b"cICP"][1], has_profile=self.icc_profile is not None)
        if self.icc_profile is not None or b"sRGB" in facts:
            return ()
        gamma = int.from_bytes(facts[b"gAMA"][:4], "big") / 100_000 if b"gAMA" in facts else None
        numbers = struct.unpack(">8I", facts[b"cHRM"][:32]) if b"cHRM" in facts else None
        return stated_losses(gamma, None if numbers is None else [number / 100_000 for number in numbers])
