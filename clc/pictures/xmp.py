"""XMP packets as bytes: what is one, its encoding, its orientation, and its parts in a JPEG.

Packets are patched and put together as text and never written anew, so that what a reader knows nothing of stays what
it was. Nothing here parses XML: a packet comes from outside, and entities of XML may unfold without end.
"""

from __future__ import annotations

import codecs
import hashlib
import re
from collections.abc import Sequence

from clc.limits import MAX_METADATA_BYTES

_ENCODINGS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (b"<\0\0\0", "utf-32-le"),
    (b"\0\0\0<", "utf-32-be"),
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)
"""How packets begin that are not in UTF-8; the longer beginnings first."""

_DECLARED = re.compile(
    r"""\A(\ufeff?<\?xml\b[^>]{0,200}?)\s{1,9}encoding\s{0,9}=\s{0,9}(?:"[^"]{0,99}"|'[^']{0,99}')"""
)
_MARKS = (b"<?xpacket", b":xmpmeta", b":RDF")
_ORIENTATION = re.compile(rb"""(tiff:Orientation\s*(?:=\s*["']|>)\s*)([1-8])(?=\s*["'<])""")

_EXTENDS = re.compile(
    rb"""\sxmpNote:HasExtendedXMP\s*=\s*["']([0-9A-Fa-f]{32})["']"""
    rb"""|<xmpNote:HasExtendedXMP>\s*([0-9A-Fa-f]{32})\s*</xmpNote:HasExtendedXMP>"""
)
# What may follow a name at any length is bounded, or ends where another name can begin, so that no search is quadratic.
_RDF_START, _RDF_END = re.compile(rb"<rdf:RDF\b[^<>]*>"), re.compile(rb"</rdf:RDF\s*>")
_NAMESPACE = re.compile(rb"""(xmlns(?::[\w.-]+)?)\s*=\s*["']([^"']*)["']""")
_META = (b"xmlns:x", b"adobe:ns:meta/")
_GUID_BYTES, _PLACE_BYTES = 32, 4


def in_utf_8(xmp: bytes) -> bytes:
    """Return XMP in UTF-8, from whichever encoding it may be in; `UnicodeError` where it is no text."""
    for start, encoding in _ENCODINGS:
        if xmp.startswith(start):
            text = xmp.decode(encoding)
            return _DECLARED.sub(r"\1", text.removesuffix("\0"), count=1).encode()
    xmp = xmp.removesuffix(b"\0")
    xmp.decode("utf-8-sig")
    return xmp


def is_text(xmp: bytes) -> bool:
    """Whether this is text in UTF-8, as streams and PNG hold XMP."""
    try:
        xmp.decode()
    except UnicodeDecodeError:
        return False
    return True


def is_packet(xmp: bytes) -> bool:
    """Whether bytes that nothing but a name calls XMP are an XMP packet: text with a packet's marks."""
    try:
        text = in_utf_8(xmp).lstrip(b"\xef\xbb\xbf \t\r\n\0")
    except UnicodeError:
        return False
    return text.startswith(b"<") and any(mark in text for mark in _MARKS)


def orientation(xmp: bytes) -> int:
    """Return the orientation in XMP of any encoding, 1 (upright) to 8; 0 where it has none."""
    try:
        found = _ORIENTATION.search(in_utf_8(xmp))
    except UnicodeError:
        return 0
    return int(found[2]) if found else 0


def upright(xmp: bytes) -> bytes:
    """Return XMP in UTF-8 with the orientation 1, every other byte as it was."""
    return _ORIENTATION.sub(rb"\g<1>1", xmp)


def joined(xmp: bytes, parts: Sequence[bytes]) -> bytes | None:
    """Return XMP with the extended part that a JPEG keeps in segments of their own, None where they do not fit.

    A part is the digest that the packet names, the length of the whole and its own place in it, 4 bytes each, and text.
    It is put in front of the end of the packet's RDF, and the note of it is taken out.
    """
    note = _EXTENDS.search(xmp)
    if note is None:
        return None
    digest = (note[1] or note[2]).upper()
    extended = _assembled([part for part in parts if part[:_GUID_BYTES].upper() == digest], digest)
    if extended is None or any(part[:_GUID_BYTES].upper() != digest for part in parts):
        return None
    inner = _inner(xmp, extended)
    ends = list(_RDF_END.finditer(xmp))
    if inner is None or len(ends) != 1 or len(xmp) + len(inner) > MAX_METADATA_BYTES:
        return None
    whole = xmp[: ends[0].start()] + inner + xmp[ends[0].start() :]
    return whole[: note.start()] + whole[note.end() :]


def _assembled(parts: Sequence[bytes], digest: bytes) -> bytes | None:
    """Return the extended packet that parts make together, None where one is missing or another than was named."""
    head = _GUID_BYTES + 2 * _PLACE_BYTES
    extended = bytearray()
    for part in sorted(parts, key=lambda part: part[_GUID_BYTES + _PLACE_BYTES : head]):
        if int.from_bytes(part[_GUID_BYTES + _PLACE_BYTES : head], "big") != len(extended):
            return None
        extended += part[head:]
        if len(extended) > MAX_METADATA_BYTES:
            return None
    is_named = hashlib.md5(extended, usedforsecurity=False).hexdigest().upper().encode() == digest
    return bytes(extended) if extended and is_named else None


def _inner(xmp: bytes, extended: bytes) -> bytes | None:
    """Return the descriptions of an extended packet, None where they cannot stand in the other one as they are."""
    starts, ends = list(_RDF_START.finditer(extended)), list(_RDF_END.finditer(extended))
    into = _RDF_START.search(xmp)
    if into is None or len(starts) != 1 or len(ends) != 1 or starts[0].end() > ends[0].start():
        return None
    if b"<!" in xmp or b"<!" in extended or not is_text(extended):  # a tag in a comment or in an entity is none
        return None
    # What the tags around the descriptions declare must hold in the other packet, too.
    declared = set(_NAMESPACE.findall(extended[: starts[0].end()]))
    if declared - set(_NAMESPACE.findall(xmp[: into.end()])) - {_META}:
        return None
    return extended[starts[0].end() : ends[0].start()]
