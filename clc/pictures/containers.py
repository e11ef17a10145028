"""The parts of picture files: one walker for each kind of container, over bytes that nobody vouches for.

A walker yields parts in the order of the file and copies nothing. Lengths are cut at the end of the data, every step
goes forward, and nothing recurses, so that a walk is linear in the file. `ValueError` says that there are more parts
than a picture can have.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

MOST_PARTS = 2**20
"""Parts of a file; a PNG of the largest size that is read has some 30,000."""

PNG_START = b"\x89PNG\r\n\x1a\n"
END_OF_JPEG, GIF_TRAILER, GIF_IMAGE = b"\xd9", b";", b","

_MOST_BLOCKS = 2**22  # of up to 255 bytes each, so that a GIF may be as large as any file
_PNG_KIND = re.compile(rb"\w{4}")
_JPEG_MARKER = re.compile(rb"\xff[^\0\xd0-\xd7\xff]")
_MARKERS_ALONE = (b"\x01", b"\xd8", END_OF_JPEG)  # without a length behind them
_SOMETHING = re.compile(rb"[^\0\xff\n\r\t ]")
_MOST_META_BYTES = 2**22  # what describes the items of a file, some 100 bytes each
_HEVC_ALPHA, _MPEG_ALPHA = b"urn:mpeg:hevc:2015:auxid:1", b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha"


class Part(NamedTuple):
    """A part of a file: its kind, and where its content begins and ends, in bytes."""

    kind: bytes
    start: int
    end: int


def is_blank(data: bytes, at: int) -> bool:
    """Whether only padding stands from `at` on: zeros, blanks, ends of lines."""
    return _SOMETHING.search(data, at) is None


def png_chunks(data: bytes) -> Iterator[Part]:
    """Yield the chunks of a PNG, up to IEND or to what is no chunk; a length stands 8 bytes before each content."""
    at = len(PNG_START)
    for _ in range(MOST_PARTS):
        kind = data[at + 4 : at + 8]
        if not _PNG_KIND.fullmatch(kind):
            return
        length = _number(data, at, 4)
        yield Part(kind, at + 8, min(at + 8 + length, len(data)))
        at += 12 + length
        if kind == b"IEND":
            return
    raise _too_many()


def riff_chunks(data: bytes) -> Iterator[Part]:
    """Yield the chunks of a RIFF file such as WebP; the last part, of kind "RIFF", ends where the file says it does."""
    end = min(8 + int.from_bytes(data[4:8], "little"), len(data))
    at = 12
    for _ in range(MOST_PARTS):
        if at + 8 > end:
            yield Part(b"RIFF", end, end)
            return
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        yield Part(data[at : at + 4], at + 8, min(at + 8 + length, end))
        at += 8 + length + length % 2
    raise _too_many()


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Part]:
    """Yield the boxes of an ISO base media file (AVIF, HEIF, JPEG XL), or those within one; stop at what is none."""
    at, end = start, len(data) if end is None else end
    for _ in range(MOST_PARTS):
        if at + 8 > end:
            return
        length, head = _number(data, at, 4), 8
        if length == 1:
            length, head = _number(data, at + 8, 8), 16
        elif length == 0:  # up to the end, unless this is padding
            length = 0 if is_blank(data, at) else end - at
        if length < head:
            return
        yield Part(data[at + 4 : at + 8], min(at + head, end), min(at + length, end))
        at += length
    raise _too_many()


def jpeg_segments(data: bytes, start: int = 0) -> Iterator[Part]:
    """Yield the segments of the JPEG picture that begins at `start`, by the second byte of their markers.

    The last one is `END_OF_JPEG`, unless that is missing. The coded pixels are in none.
    """
    at = start + 2
    for _ in range(MOST_PARTS):
        marker = _JPEG_MARKER.search(data, at)
        if marker is None:
            return
        at, kind = marker.end(), marker[0][1:]
        length = 0 if kind in _MARKERS_ALONE else _number(data, at, 2)
        yield Part(kind, min(at + 2 * (length > 0), len(data)), min(at + length, len(data)))
        at += length
        if kind == END_OF_JPEG:
            return
    raise _too_many()


def gif_blocks(data: bytes) -> Iterator[Part]:
    """Yield the blocks of a GIF: "!" and its label for an extension; pictures; the trailer."""
    at = 13 + _colour_table_bytes(data[10:11])
    left = _MOST_BLOCKS
    while at < len(data):
        introducer, start = data[at : at + 1], at + 1
        if introducer == GIF_TRAILER:
            yield Part(GIF_TRAILER, start, start)
            return
        kind = introducer
        if introducer == b"!":
            kind, start = data[at : at + 2], at + 2
        elif introducer == GIF_IMAGE:
            start = at + 11 + _colour_table_bytes(data[at + 9 : at + 10])
        else:  # Pillow passes over it
            start, left = at + 1, left - 1
        at = start
        while introducer in (b"!", GIF_IMAGE) and at < len(data):
            length, left = data[at], left - 1
            at += 1 + length
            if not length or left < 0:
                break
        if left < 0:
            raise _too_many()
        if introducer in (b"!", GIF_IMAGE):
            yield Part(kind, min(start, len(data)), min(at, len(data)))


def joined_blocks(data: bytes, part: Part) -> bytes:
    """Return what the sub-blocks of a GIF's block hold."""
    at, joined = part.start, bytearray()
    while at < part.end and data[at]:
        joined += data[at + 1 : min(at + 1 + data[at], part.end)]
        at += 1 + data[at]
    return bytes(joined)


def photoshop_kinds(resources: bytes) -> set[int]:
    """Return which resources of Photoshop's a block of them holds."""
    found, at = set(), 0
    while resources[at : at + 4] == b"8BIM":
        found.add(int.from_bytes(resources[at + 4 : at + 6], "big"))
        at += 7 + int.from_bytes(resources[at + 6 : at + 7], "big")
        at += at % 2
        at += 4 + int.from_bytes(resources[at : at + 4], "big")
        at += at % 2
    return found


class Items(NamedTuple):
    """What the meta box of an AVIF or HEIF file says of its items, by their numbers.

    `kinds` are types of items, of type "mime" the media type instead; `properties` are boxes; `references` are a kind,
    a number, and the numbers that it refers to.
    """

    primary: int
    kinds: dict[int, bytes]
    properties: dict[int, list[Part]]
    references: list[tuple[bytes, int, tuple[int, ...]]]

    def picture(self, data: bytes) -> set[int]:
        """Return the numbers of the primary picture, of its tiles, and of its alpha plane, which has tiles, too."""
        found = self._with_parts({self.primary})
        planes = {number for number, parts in self.properties.items() if any(_is_alpha(data, part) for part in parts)}
        alpha = {
            number
            for kind, number, targets in self.references
            if kind == b"auxl" and number in planes and not found.isdisjoint(targets)
        }
        return self._with_parts(found | alpha)

    def _with_parts(self, numbers: set[int]) -> set[int]:
        parts: dict[int, set[int]] = {}
        for kind, number, targets in self.references:
            if kind == b"dimg":
                parts.setdefault(number, set()).update(targets)
        found, left = set(numbers), list(numbers)
        while left:
            new = parts.get(left.pop(), set()) - found
            found |= new
            left += new
        return found


def _is_alpha(data: bytes, part: Part) -> bool:
    urn = data[part.start + 4 : min(part.end, part.start + 68)].partition(b"\0")[0]
    return part.kind == b"auxC" and urn in (_HEVC_ALPHA, _MPEG_ALPHA)


def items_of(data: bytes, meta: Part) -> Items:
    """Return what a meta box says; `ValueError` where it is larger than any picture needs it."""
    if meta.end - meta.start > _MOST_META_BYTES:
        raise _too_many()
    primary, kinds, made, references = 0, {}, Items(0, {}, {}, []), []
    for box in boxes(data, meta.start + 4, meta.end):
        wide = data[box.start : box.start + 1] != b"\0"
        if box.kind == b"pitm":
            primary = _number(data, box.start + 4, 4 if wide else 2)
        elif box.kind == b"iinf":
            kinds = dict(_item_kind(data, part) for part in boxes(data, box.start + (8 if wide else 6), box.end))
        elif box.kind == b"iref":
            parts = boxes(data, box.start + 4, box.end)
            references = [_reference(data, part, 4 if wide else 2) for part in parts]
        elif box.kind == b"iprp":
            made = made._replace(properties=_properties(data, box))
    return made._replace(primary=primary, kinds=kinds, references=references)


def _item_kind(data: bytes, infe: Part) -> tuple[int, bytes]:
    id_bytes = 4 if data[infe.start : infe.start + 1] == b"\x03" else 2
    at = infe.start + 4 + id_bytes + 2
    kind, names = data[at : at + 4], data[at + 4 : infe.end].split(b"\0", 2)
    return _number(data, infe.start + 4, id_bytes), names[1] if kind == b"mime" and len(names) > 1 else kind


def _reference(data: bytes, part: Part, id_bytes: int) -> tuple[bytes, int, tuple[int, ...]]:
    at = part.start + id_bytes + 2
    end = min(at + id_bytes * _number(data, at - 2, 2), part.end)
    targets = tuple(_number(data, place, id_bytes) for place in range(at, end, id_bytes))
    return part.kind, _number(data, part.start, id_bytes), targets


def _properties(data: bytes, iprp: Part) -> dict[int, list[Part]]:
    known: list[Part] = []
    found: dict[int, list[Part]] = {}
    for box in boxes(data, iprp.start, iprp.end):
        if box.kind == b"ipco":
            known = list(boxes(data, box.start, box.end))
        if box.kind != b"ipma":
            continue
        id_bytes = 2 if data[box.start : box.start + 1] == b"\0" else 4
        index_bytes = 1 + (_number(data, box.start + 3, 1) & 1)
        at = box.start + 8
        while at < box.end:
            number, count = _number(data, at, id_bytes), _number(data, at + id_bytes, 1)
            at += id_bytes + 1
            for place in range(at, min(at + count * index_bytes, box.end), index_bytes):
                index = _number(data, place, index_bytes) & (0x7F if index_bytes == 1 else 0x7FFF)
                if 0 < index <= len(known):
                    found.setdefault(number, []).append(known[index - 1])
            at += count * index_bytes
    return found


def _colour_table_bytes(flags: bytes) -> int:
    return 3 * 2 ** ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


def _number(data: bytes, at: int, n_bytes: int) -> int:
    """A number, of fewer bytes at the end of the data."""
    return int.from_bytes(data[at : at + n_bytes], "big")


def _too_many() -> ValueError:
    return ValueError("its file has far more parts than a picture")
