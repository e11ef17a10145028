"""EXIF data and XMP as phones write them, byte by byte, so that tests know what has to come back."""

import struct
from typing import Literal, NamedTuple

MAKER_NOTE = b"Apple iOS\0\0\1MM\0\2" + bytes(range(200))
XMP = (
    b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6" tiff:Make="Maker"/></rdf:RDF></x:xmpmeta>'
    b'<?xpacket end="w"?>'
)


class Tag(NamedTuple):
    """A tag's type and the bytes of its value, or the directory that it names."""

    number: int
    kind: int
    value: bytes | list["Tag"]


def exif_of_a_phone(orientation: int = 6, order: Literal["<", ">"] = ">") -> bytes:
    """EXIF with camera, lens, MakerNote, GPS, interoperability and a thumbnail that has an orientation of its own."""

    def short(value: int) -> bytes:
        return struct.pack(order + "H", value)

    def rationals(*numbers: tuple[int, int]) -> bytes:
        return b"".join(struct.pack(order + "II", *number) for number in numbers)

    interoperability = [Tag(1, 2, b"R98\0")]
    camera = [
        Tag(0x829A, 5, rationals((1, 120))),
        Tag(0x9003, 2, b"2024:05:06 07:08:09\0"),
        Tag(0x927C, 7, MAKER_NOTE),
        Tag(0xA002, 4, struct.pack(order + "I", 4032)),
        Tag(0xA005, 4, interoperability),
        Tag(0xA434, 2, b"iPhone back camera 6.86mm f/1.78\0"),
    ]
    position = [
        Tag(1, 2, b"N\0"),
        Tag(2, 5, rationals((47, 1), (22, 1), (1234, 100))),
        Tag(3, 2, b"E\0"),
        Tag(4, 5, rationals((8, 1), (32, 1), (56, 1))),
    ]
    first = [
        Tag(0x010F, 2, b"Apple\0"),
        Tag(0x0110, 2, b"iPhone 15 Pro\0"),
        Tag(0x0112, 3, short(orientation)),
        Tag(0x011A, 5, rationals((72, 1))),
        Tag(0x8769, 4, camera),
        Tag(0x8825, 4, position),
        Tag(0xC4A5, 7, b"a private tag"),
    ]
    thumbnail = b"\xff\xd8 no picture \xff\xd9"
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    main = _directory(first, 8, order)
    second_at = 8 + len(main)
    main = main[: 2 + 12 * len(first)] + struct.pack(order + "I", second_at) + main[6 + 12 * len(first) :]
    where = struct.pack(order + "I", second_at + 6 + 4 * 12)
    size = struct.pack(order + "I", len(thumbnail))
    second = [Tag(0x0103, 3, short(6)), Tag(0x0112, 3, short(orientation)), Tag(0x0201, 4, where), Tag(0x0202, 4, size)]
    return head + main + _directory(second, second_at, order) + thumbnail


def _directory(tags: list[Tag], at: int, order: str) -> bytes:
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1}
    values_at = at + 6 + 12 * len(tags)
    table, values = struct.pack(order + "H", len(tags)), b""
    for number, kind, value in tags:
        count = 1 if isinstance(value, list) else len(value) // sizes[kind]
        place = values_at + len(values)
        if isinstance(value, list):
            values += _directory(value, place, order)
            value = struct.pack(order + "I", place)
        elif len(value) > 4:
            values += value + bytes(len(value) % 2)
            value = struct.pack(order + "I", place)
        table += struct.pack(order + "HHI", number, kind, count) + value.ljust(4, b"\0")
    return table + bytes(4) + values


def jpeg_with(jpeg: bytes, *segments: tuple[int, bytes]) -> bytes:
    """A JPEG file with segments, of a marker's second byte and data, put at its start."""
    made = b"".join(bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data for marker, data in segments)
    return jpeg[:2] + made + jpeg[2:]
