"""What both layouts of the container share: magic, version, sizes, checksum, and reading with a limit.

Called by `clc.bitstream.container` and `clc.bitstream.embedded`.
"""

from __future__ import annotations

import zlib

from clc.bitstream.embedding import EMBEDDED_PROFILES
from clc.bitstream.stream import COMPOUND_VERSION, EMBEDDED_VERSION, LATENT_PROFILES, VERSION
from clc.bitstream.varints import read_varint
from clc.errors import CorruptStream, TruncatedStream, UnknownVersion
from clc.limits import check_size

MAGIC = b"\x89CLC"

CRC_BYTES = 4
MAX_SIZE_VARINT_BYTES = 3
MAX_LENGTH_VARINT_BYTES = 4

_FOREIGN_MAGICS = (  # position, bytes, name
    (0, b"\x89PNG", "PNG picture"),
    (0, b"\xff\xd8\xff", "JPEG picture"),
    (0, b"GIF8", "GIF picture"),
    (0, b"BM", "BMP picture"),
    (0, b"II*\x00", "TIFF picture"),
    (0, b"MM\x00*", "TIFF picture"),
    (8, b"WEBP", "WebP picture"),
    (4, b"ftypavif", "AVIF picture"),
    (0, b"PK\x03\x04", "zip archive"),
    (0, b"\x1f\x8b", "gzip file"),
)


def check_magic_and_version(data: bytes) -> None:
    """Refuse what is no stream that this release reads: `TruncatedStream` or `UnknownVersion`."""
    if not data:
        raise TruncatedStream("the stream is empty (0 bytes): get the file again")
    if data[: len(MAGIC)] != MAGIC[: len(data)]:
        kind = next((name for at, magic, name in _FOREIGN_MAGICS if data.startswith(magic, at)), None)
        found = f"this is a {kind}" if kind else f"it starts with {data[:4].hex(' ')}"
        raise UnknownVersion(f"not a .clc stream: {found}; give a file that `encode` wrote")
    if len(data) < len(MAGIC) + 2:
        raise TruncatedStream(f"the stream has only {len(data)} bytes: get the whole file again")
    version, profile = data[len(MAGIC)], data[len(MAGIC) + 1]
    profiles = EMBEDDED_PROFILES if version >= EMBEDDED_VERSION else LATENT_PROFILES
    if not VERSION <= version <= COMPOUND_VERSION or profile not in profiles:
        raise UnknownVersion(
            f"the stream is of version {version}, profile {profile}; this release reads versions {VERSION} to "
            f"{COMPOUND_VERSION}, profiles {LATENT_PROFILES[0]} to {EMBEDDED_PROFILES[-1]}: install the release that "
            "wrote it"
        )


def read_size(data: bytes) -> tuple[int, int, int]:
    """Return width and height in px, which stand behind the profile, and the position behind them.

    Raises `CorruptStream` for an empty picture, `LimitError` for one over the caps of `clc.limits`.
    """
    width, position = read_varint(data, len(MAGIC) + 2, MAX_SIZE_VARINT_BYTES, "width")
    height, position = read_varint(data, position, MAX_SIZE_VARINT_BYTES, "height")
    if width == 0 or height == 0:
        raise CorruptStream(f"the stream claims a picture of {width}x{height} px: it is damaged")
    check_size(width, height)
    return width, height, position


def check_length(data: bytes, payload_at: int, payload_bytes: int) -> None:
    """Refuse a stream that does not end where its payload does: `TruncatedStream` or `CorruptStream`."""
    missing = payload_at + payload_bytes - len(data)
    if missing > 0:
        raise TruncatedStream(f"{missing} of the stream's {len(data) + missing} bytes are missing: get the whole file")
    if missing < 0:
        raise CorruptStream(f"{-missing} bytes too many stand behind the payload: get the file again")


def check_checksum(data: bytes, at: int) -> None:
    """Refuse a stream whose checksum, at a position, is not that of all its other bytes."""
    stored = int.from_bytes(data[at : at + CRC_BYTES], "little")
    if stored != checksum_of(data[:at], data[at + CRC_BYTES :]):
        raise CorruptStream("the stream's checksum does not match its bytes: it was damaged, get the file again")


def checksum_of(head: bytes, tail: bytes) -> int:
    """Return the CRC-32 of what stands before and behind the checksum."""
    return zlib.crc32(tail, zlib.crc32(head))


def take(data: bytes, position: int, n_bytes: int, field: str) -> tuple[bytes, int]:
    """Return `n_bytes` of `data` from `position` and the position behind them; `TruncatedStream` where they end."""
    if position + n_bytes > len(data):
        raise TruncatedStream(f"the stream ends inside the {field}, after {len(data)} bytes: get the whole file again")
    return data[position : position + n_bytes], position + n_bytes
