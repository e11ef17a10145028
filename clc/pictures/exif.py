"""EXIF data as they are in a file: a TIFF structure of directories with tags.

Tags are patched, moved or added as bytes and never written anew from decoded values, so that MakerNotes, unknown tags
and rounded numbers stay what they were. `clc.pictures.tiff` finds the samples of TIFF pictures with the same reader.

Sizes are checked before anything is copied. A structure that contradicts itself raises `ValueError`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from clc.limits import MAX_METADATA_BYTES

ORIENTATION = 0x0112
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
SUB_PICTURES = 330
XMP, IPTC, PHOTOSHOP, ICC_PROFILE, LAYERS = 700, 33723, 34377, 34675, 37724
EXIF_DIRECTORY, GPS_DIRECTORY, INTEROPERABILITY_DIRECTORY = 34665, 34853, 40965

_DIRECTORIES = (EXIF_DIRECTORY, GPS_DIRECTORY, INTEROPERABILITY_DIRECTORY)
_INNER = {EXIF_DIRECTORY: (INTEROPERABILITY_DIRECTORY,)}
_STORAGE_TAGS = frozenset(
    (
        *(254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 280, 281, 284, 288, 289, 290, 291),
        *(292, 293, 301, 317, 318, 319, 320, 321, 322, 323, 324, 325, 326, 327, 328, 330, 332, 333, 334, 336, 337, 338),
        *(339, 340, 341, 342, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532),
        *(XMP, IPTC, PHOTOSHOP, ICC_PROFILE, LAYERS, ORIENTATION),
    )
)
"""Tags of a TIFF file that say how its pixels are stored, or that are kept elsewhere than in EXIF or not at all."""

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_SHORT, _RATIONAL = 3, 5
_DEFAULTS_DPI = (72, 96)
_MOST_NEW_BYTES = 12 * 2**16  # of a directory that is written anew
_CLASSIC_TYPES, _VALUE_TYPES = range(1, 14), range(1, 13)  # the last one points at a directory
_LONG = 4
_MOST_ENTRIES = 2**16  # one for each tag; a BigTIFF may claim any number
_MOST_INTEGERS = 2**20  # strips or tiles of a picture, some four times as many as the caps allow
_HEADERS: dict[bytes, tuple[Literal["<", ">"], bool]] = {
    b"II*\0": ("<", False),
    b"MM\0*": (">", False),
    b"II+\0": ("<", True),
    b"MM\0+": (">", True),
}


class Entry(NamedTuple):
    """A tag's value: its type, how many numbers of it, and where in the data it begins, in bytes."""

    kind: int
    length: int
    position: int

    @property
    def n_bytes(self) -> int:
        """Bytes of the value; 0 for a type that does not exist."""
        return _SIZES.get(self.kind, 0) * self.length


class Directory(NamedTuple):
    """A directory's entries by tag, and the position of the next directory, 0 after the last."""

    entries: Mapping[int, Entry]
    following: int


@dataclass(frozen=True)
class Structure:
    """A TIFF structure: its bytes, its byte order in the words of `struct`, and whether it is a BigTIFF."""

    data: bytes = field(repr=False)
    order: Literal["<", ">"]
    is_big: bool
    first: int

    @staticmethod
    def of(data: bytes) -> Structure | None:
        """Return the structure that begins with `data`, None where no TIFF header stands there."""
        found = _HEADERS.get(data[:4])
        if found is None or len(data) < (16 if found[1] else 8):
            return None
        order, is_big = found
        (first,) = struct.unpack_from(order + ("Q" if is_big else "I"), data, 8 if is_big else 4)
        return Structure(data, order, is_big, first)

    def directory(self, position: int) -> Directory:
        """Return the directory at a position in bytes; `ValueError` where none fits there."""
        count_format, entry_format, entry_bytes, inline = ("Q", "HHQ", 20, 8) if self.is_big else ("H", "HHI", 12, 4)
        n_entries = self._numbers(count_format, position)[0]
        if n_entries > _MOST_ENTRIES:
            raise ValueError("a directory has more entries than there are tags")
        at = position + struct.calcsize(count_format)
        if at + n_entries * entry_bytes > len(self.data):
            raise ValueError("a directory of tags is longer than the data")
        entries: dict[int, Entry] = {}
        for start in range(at, at + n_entries * entry_bytes, entry_bytes):
            tag, kind, count = self._numbers(entry_format, start)
            value_at = start + entry_bytes - inline
            if _SIZES.get(kind, 0) * count > inline:
                value_at = self._numbers("Q" if self.is_big else "I", value_at)[0]
            entries.setdefault(tag, Entry(kind, count, value_at))
        end = at + n_entries * entry_bytes
        has_following = end + inline <= len(self.data)
        return Directory(entries, self._numbers("Q" if self.is_big else "I", end)[0] if has_following else 0)

    def value(self, entry: Entry) -> bytes:
        """Return a value's bytes in the order of the structure; `ValueError` where they are not all there."""
        if entry.position + entry.n_bytes > len(self.data):
            raise ValueError("a tag's value lies outside the data")
        return self.data[entry.position : entry.position + entry.n_bytes]

    def integers(self, entry: Entry) -> tuple[int, ...]:
        """Return a value of unsigned integers; `ValueError` for another type."""
        if entry.kind not in _INTEGERS:
            raise ValueError("a tag that counts something holds no integers")
        if entry.length > _MOST_INTEGERS:
            raise ValueError("a tag counts far more than a picture can have")
        return struct.unpack(f"{self.order}{entry.length}{_INTEGERS[entry.kind]}", self.value(entry))

    def rationals(self, entry: Entry) -> tuple[float, ...]:
        """Return a value of unsigned fractions; `ValueError` for another type, or one without a denominator."""
        if entry.kind != _RATIONAL or entry.length > _MOST_INTEGERS:
            raise ValueError("a tag that measures something holds no fractions")
        numbers = struct.unpack(f"{self.order}{2 * entry.length}I", self.value(entry))
        if not all(numbers[1::2]):
            raise ValueError("a fraction has no denominator")
        return tuple(above / below for above, below in zip(numbers[::2], numbers[1::2], strict=True))

    def _numbers(self, numbers: str, position: int) -> tuple[int, ...]:
        if position + struct.calcsize("=" + numbers) > len(self.data):
            raise ValueError("a directory of tags lies outside the data")
        return struct.unpack_from(self.order + numbers, self.data, position)


class Resolution(NamedTuple):
    """Pixels a unit of length, each as a fraction; `unit` is 2 for inches, 3 for cm, 1 for a ratio alone."""

    across: tuple[int, int]
    down: tuple[int, int]
    unit: int

    @staticmethod
    def a_metre(across: int, down: int, unit: int) -> Resolution:
        """Return pixels a metre (`unit` 1, otherwise a ratio alone), in inches where those were meant."""
        if unit != 1:
            return Resolution((across, 1), (down, 1), 1)
        inches = [round(number * 0.0254) for number in (across, down)]
        if [round(number / 0.0254) for number in inches] == [across, down]:
            return Resolution((inches[0], 1), (inches[1], 1), 2)
        return Resolution((across, 100), (down, 100), 3)

    @property
    def is_told(self) -> bool:
        """Whether it says anything: not where it is 72 or 96 dpi, which programs write that know none."""
        if not self.across[0] or not self.down[0]:
            return False
        if self.across != self.down:
            return True
        dpi = self.across[0] / self.across[1] * (2.54 if self.unit == 3 else 1)
        return self.unit != 1 and all(abs(dpi - default) > 0.1 for default in _DEFAULTS_DPI)


def with_resolution(exif: bytes, resolution: Resolution) -> bytes:
    """Return bare EXIF data that say a resolution, unless they say one or `resolution` says nothing.

    A new first directory stands behind the data, so that every other value stays in its place. Data that are broken
    stay as they are.
    """
    structure = Structure.of(exif or b"II*\0\x08\0\0\0\0\0")
    if structure is None or structure.is_big or not resolution.is_told:
        return exif
    try:
        directory = structure.directory(structure.first)
    except ValueError:
        return exif
    order, data = structure.order, structure.data + bytes(len(structure.data) % 2)
    if _X_RESOLUTION in directory.entries or len(data) + _MOST_NEW_BYTES > MAX_METADATA_BYTES:
        return exif
    (n_entries,) = struct.unpack_from(order + "H", data, structure.first)
    table_at = structure.first + 2
    rows = [data[at : at + 12] for at in range(table_at, table_at + 12 * n_entries, 12)]
    rows = [row for row in rows if struct.unpack_from(order + "H", row)[0] not in (_Y_RESOLUTION, _RESOLUTION_UNIT)]
    values_at = len(data) + 2 + 12 * (len(rows) + 3) + 4
    rows += [
        struct.pack(order + "HHII", _X_RESOLUTION, _RATIONAL, 1, values_at),
        struct.pack(order + "HHII", _Y_RESOLUTION, _RATIONAL, 1, values_at + 8),
        struct.pack(order + "HHIHH", _RESOLUTION_UNIT, _SHORT, 1, resolution.unit, 0),
    ]
    rows.sort(key=lambda row: int(struct.unpack_from(order + "H", row)[0]))
    head = data[:4] + struct.pack(order + "I", len(data)) + data[8:]
    table = struct.pack(order + "H", len(rows)) + b"".join(rows) + struct.pack(order + "I", directory.following)
    return head + table + struct.pack(order + "4I", *resolution.across, *resolution.down)


def bare(exif: bytes) -> bytes:
    """Return EXIF data from their TIFF header on; JPEG puts "Exif\\0\\0" before it, HEIF and JPEG XL an offset."""
    if exif[:4] not in _HEADERS and len(exif) > 8 and exif[4:6] in (b"Ex", b"II", b"MM"):
        exif = exif[4:]
    return exif.removeprefix(b"Exif\0\0")


def orientation(exif: bytes) -> int:
    """Return the orientation of bare EXIF data, 1 (upright) to 8; 0 where they have none or are broken."""
    try:
        structure = Structure.of(exif)
        if structure is None:
            return 0
        entry = structure.directory(structure.first).entries.get(ORIENTATION)
        found = structure.integers(entry)[0] if entry is not None and entry.length == 1 else 0
    except ValueError:
        return 0
    return found if 1 <= found <= 8 else 0


def upright(exif: bytes) -> bytes:
    """Return bare EXIF data with the orientation 1, every other byte as it was; `ValueError` where they are broken.

    The second directory stays: it tells of the thumbnail, which nobody turns.
    """
    structure = Structure.of(exif)
    if structure is None or structure.is_big:
        raise ValueError("no TIFF header")
    entry = structure.directory(structure.first).entries.get(ORIENTATION)
    if entry is None or entry.length != 1 or entry.kind not in _INTEGERS:
        return exif  # what no reader takes for an orientation
    structure.value(entry)
    patched = bytearray(exif)
    struct.pack_into(structure.order + _INTEGERS[entry.kind], patched, entry.position, 1)
    return bytes(patched)


def of_tiff(structure: Structure, directory: Directory) -> bytes:
    """Return what a directory of a TIFF picture says beside its pixels, as bare EXIF data; empty where it says nothing.

    Every tag is copied but those of `_STORAGE_TAGS`, and with the directories for EXIF, GPS and interoperability. A
    MakerNote that points at places in its file loses them, as whenever such a file is written again. Raises
    `ValueError` where tags are broken or larger than `MAX_METADATA_BYTES` together.
    """
    head = (b"II*\0" if structure.order == "<" else b"MM\0*") + struct.pack(structure.order + "I", 8)
    body = _copied(structure, directory.entries, 8, (EXIF_DIRECTORY, GPS_DIRECTORY))
    return head + body if body else b""


def has_more(structure: Structure, directory: Directory) -> bool:
    """Whether a TIFF picture has tags whose values `of_tiff` does not carry: of a BigTIFF's types, or directories."""
    tables = [directory.entries]
    for tag in (EXIF_DIRECTORY, GPS_DIRECTORY):
        pointer = directory.entries.get(tag)
        if pointer is not None and pointer.kind in _INTEGERS:
            tables += [structure.directory(at).entries for at in structure.integers(pointer)[:1]]
        elif pointer is not None:
            return True
    return any(
        entry.length > 0 and entry.kind not in _VALUE_TYPES
        for entries in tables
        for tag, entry in entries.items()
        if tag not in _STORAGE_TAGS and tag not in _DIRECTORIES
    )


def _copied(structure: Structure, entries: Mapping[int, Entry], at: int, inner_tags: tuple[int, ...]) -> bytes:
    """Return a directory for position `at`, with its values and the directories of `inner_tags` behind it."""
    kept = {tag: entry for tag, entry in sorted(entries.items()) if _is_kept(tag, entry, inner_tags)}
    if sum(entry.n_bytes for entry in kept.values()) > MAX_METADATA_BYTES:
        raise ValueError("the tags are too large")
    values_at = at + 2 + 12 * len(kept) + 4
    table, values = [], bytearray()
    for tag, entry in kept.items():
        kind, count, value = entry.kind, entry.length, structure.value(entry)
        position = values_at + len(values)
        if tag in inner_tags:
            inner = structure.directory(structure.integers(entry)[0]).entries
            directory = _copied(structure, inner, position, _INNER.get(tag, ()))
            kind, count, value = _LONG, 1, struct.pack(structure.order + "I", position) if directory else b""
            values += directory
        elif len(value) > 4:
            values += value + b"\0" * (len(value) % 2)
            value = struct.pack(structure.order + "I", position)
        if value:
            table.append(struct.pack(structure.order + "HHI", tag, kind, count) + value.ljust(4, b"\0"))
    if not table:
        return b""
    # The places of inner directories that are empty stay, as zeros behind the table.
    missing = 12 * (len(kept) - len(table))
    return struct.pack(structure.order + "H", len(table)) + b"".join(table) + bytes(4 + missing) + values


def _is_kept(tag: int, entry: Entry, inner_tags: tuple[int, ...]) -> bool:
    if tag in inner_tags:
        return entry.kind in _INTEGERS and entry.length > 0  # in a BigTIFF of 8 bytes
    return tag not in _STORAGE_TAGS and tag not in _DIRECTORIES and entry.kind in _CLASSIC_TYPES and entry.length > 0
