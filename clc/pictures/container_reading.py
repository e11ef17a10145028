"""What the container of a picture says and holds beside what its decoder gives: pictures, data, colours, resolution.

Called by `clc.pictures.decoding` for every format but PNG and TIFF, which have readers of their own. Nothing here
refuses a picture: parts that make no sense are for the decoder to judge.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from clc.pictures import losses, rasters
from clc.pictures.colour import SRGB_PRIMARIES, coded_losses, stated_losses
from clc.pictures.containers import (
    END_OF_JPEG,
    GIF_IMAGE,
    GIF_TRAILER,
    Items,
    Part,
    boxes,
    gif_blocks,
    is_blank,
    items_of,
    joined_blocks,
    jpeg_segments,
    photoshop_kinds,
    riff_chunks,
)
from clc.pictures.exif import Resolution
from clc.pictures.metadata_reading import PHOTOSHOP_READ

_JPEG_START = re.compile(rb"[\0\n\r ]*(?=\xff\xd8\xff)")
_MOST_FURTHER_PICTURES = 256
_ADOBE, _PHOTOSHOP, _JUMBF = b"\xee", b"\xed", b"\xeb"
_SCAN, _COMMENT = b"\xda", b"\xfe"
_JPEG_READ = (
    *((b"\xe0", b"JFIF\0"), (b"\xe0", b"JFXX\0"), (b"\xe1", b"Exif\0\0"), (b"\xe1", b"http://ns.adobe.com/xap/1.0/\0")),
    *((b"\xe1", b"http://ns.adobe.com/xmp/extension/\0"), (b"\xe2", b"MPF\0")),
    *((_ADOBE, b"Adobe"), (b"\xec", b"Ducky")),
)
"""Segments of applications that are read or that only tell how the pixels were coded."""

_GAIN_MAP = b"urn:iso:std:iso:ts:21496"
_XAP = _JPEG_READ[3]

_WEBP_READ = frozenset((b"VP8 ", b"VP8L", b"VP8X", b"ANIM", b"ANMF", b"RIFF"))
_WEBP_GIVEN = {
    **{b"ICCP": (0x20, losses.PROFILE), b"ALPH": (0x10, losses.OTHER)},
    **{b"EXIF": (0x08, losses.OTHER), b"XMP ": (0x04, losses.OTHER)},
}
"""Chunks that are given where the head of the file says so, by which bit, and what is lost where it does not."""

_GIF_XMP, _GIF_PROFILE = b"XMP DataXMP", b"ICCRGBG1012"
_GIF_LOOPS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")
_GIF_COMMENT, _GIF_CONTROL, _GIF_APPLICATION = b"!\xfe", b"!\xf9", b"!\xff"
_GIF_XMP_END = bytes((1, *range(255, -1, -1)))  # 257 bytes that lead a reader of sub-blocks out of the packet

_BOXES_READ = frozenset((b"ftyp", b"styp", b"meta", b"mdat", b"idat", b"moov", b"free", b"skip", b"wide"))
_JXL_READ = frozenset((b"JXL ", b"ftyp", b"jxll", b"jxlc", b"jxlp", b"jxli", b"jbrd", b"Exif", b"xml "))
_C2PA = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_VIDEOS = (b"mpvd",)
_XMP_TYPE = b"application/rdf+xml"
_PICTURE_TYPES = (b"av01", b"hvc1", b"grid", b"iden", b"iovl", b"tmap", b"jpeg", b"j2k1", b"unci", b"avc1", b"vvc1")
_MBED, _LINK = b"DEBM", b"KNIL"


class Beside(NamedTuple):
    """Losses; a profile, XMP and a resolution, where the container has them and its decoder does not give them."""

    losses: tuple[str, ...] = ()
    icc_profile: bytes | None = None
    xmp: bytes = b""
    resolution: Resolution | None = None


def read_beside(
    image_format: str | None, data: bytes, *, has_profile: bool = False, has_exif: bool = True, has_xmp: bool = True
) -> Beside:
    """Return what the container of a picture of one of Pillow's formats has; `has_...` where its decoder gave it.

    More parts than a picture can have are not looked through, which is told as a loss.
    """
    try:
        beside = _read_beside(image_format, data, has_profile=has_profile)
        if image_format != "JXL" or data[4:8] != b"JXL ":
            return beside
        return beside._replace(losses=(*beside.losses, *_not_given(data, has_exif=has_exif, has_xmp=has_xmp)))
    except ValueError:
        return Beside((losses.OTHER,))


def _read_beside(image_format: str | None, data: bytes, *, has_profile: bool) -> Beside:
    if image_format in ("JPEG", "MPO"):
        return _of_jpeg(data, has_profile=has_profile)
    if image_format == "GIF":
        return _of_gif(data)
    if image_format == "BMP":
        return _of_bmp(data)
    if image_format == "WEBP":
        return Beside(_losses_of_webp(data))
    if image_format == "PPM":
        return Beside(rasters.losses_behind_netpbm(data))
    if data[4:8] in (b"ftyp", b"JXL "):
        return Beside(_losses_of_boxes(data, has_profile=has_profile))
    return Beside()


def _of_jpeg(data: bytes, *, has_profile: bool) -> Beside:
    told, resolution, n_packets, end = [], None, 0, len(data)
    has_boxes = has_credentials = is_coded = False
    for part in jpeg_segments(data):
        head = data[part.start : min(part.end, part.start + 64)]
        if part.kind == END_OF_JPEG:
            end = part.end
        elif part.kind == _COMMENT:
            told += [losses.COMMENT] if head else []
        elif is_coded:  # between the scans, where decoders look for nothing
            told += [losses.OTHER] if b"\xe0" <= part.kind <= b"\xef" else []
        elif part.kind == _SCAN:
            is_coded = True
        elif part.kind == _PHOTOSHOP and head.startswith(b"Photoshop 3.0\0"):
            resources = data[part.start + 14 : part.end]
            kinds = photoshop_kinds(resources)
            told += [losses.OTHER] if kinds - PHOTOSHOP_READ or (resources and not kinds) else []
        elif part.kind == _JUMBF:
            has_boxes, has_credentials = True, has_credentials or b"c2pa" in data[part.start : part.end][:512]
        elif b"\xe0" <= part.kind <= b"\xef":
            n_packets += (part.kind, head[: len(_XAP[1])]) == _XAP
            if part.kind == b"\xe2" and head.startswith(_GAIN_MAP):
                told.append(losses.FRAMES)
            elif part.kind == b"\xe2" and head.startswith(b"ICC_PROFILE\0"):
                told += [] if has_profile else [losses.PROFILE]  # of parts that do not fit together
            elif not any(part.kind == kind and head.startswith(start) for kind, start in _JPEG_READ):
                told.append(losses.OTHER)
            if part.kind == b"\xe0" and head.startswith(b"JFIF\0") and len(head) >= 12:
                density = int.from_bytes(head[8:10], "big"), int.from_bytes(head[10:12], "big")
                resolution = Resolution((density[0], 1), (density[1], 1), {1: 2, 2: 3}.get(head[7], 1))
    if n_packets > 1 or (has_boxes and not has_credentials):
        told.append(losses.OTHER)
    if has_credentials:
        told.append(losses.CREDENTIALS)
    return Beside((*told, *_behind_jpeg(data, end)), resolution=resolution)


def _behind_jpeg(data: bytes, end: int) -> tuple[str, ...]:
    """Tell of further pictures behind the first one, as previews and gain maps are kept, and of what follows them."""
    told = []
    for _ in range(_MOST_FURTHER_PICTURES):
        start = _JPEG_START.match(data, end)
        if start is None:
            break
        told = [losses.FRAMES]
        end = next((part.end for part in jpeg_segments(data, start.end()) if part.kind == END_OF_JPEG), len(data))
    return (*told, *(() if is_blank(data, end) else (losses.APPENDIX,)))


def _of_gif(data: bytes) -> Beside:
    made, told, at = Beside(), [], 0
    for part in gif_blocks(data):
        at = part.end
        if part.kind == _GIF_APPLICATION:
            name = data[part.start + 1 : part.start + 12]
            if name == _GIF_XMP and not made.xmp:
                made = made._replace(xmp=_xmp_of_gif(data, part))
            elif name == _GIF_PROFILE and made.icc_profile is None:
                made = made._replace(icc_profile=joined_blocks(data, part._replace(start=part.start + 12)))
            elif name not in _GIF_LOOPS:
                told.append(losses.OTHER)
        elif part.kind == GIF_TRAILER:
            told += [] if is_blank(data, at) else [losses.APPENDIX]
        elif part.kind not in (GIF_IMAGE, _GIF_CONTROL):
            told.append(losses.COMMENT if part.kind == _GIF_COMMENT else losses.OTHER)
    return made._replace(losses=tuple(told))


def _xmp_of_gif(data: bytes, part: Part) -> bytes:
    """Return a packet of a GIF, which stands there as it is, and not in sub-blocks as some write it."""
    packet = data[part.start + 12 : part.end].removesuffix(b"\0")
    if packet.endswith(_GIF_XMP_END):
        return packet.removesuffix(_GIF_XMP_END)
    return joined_blocks(data, part._replace(start=part.start + 12))


def _of_bmp(data: bytes) -> Beside:
    def number(at: int, n_bytes: int = 4) -> int:
        return int.from_bytes(data[at : at + n_bytes], "little")

    pixels_at, header_bytes = number(10), number(14)
    if header_bytes < 40:
        width, height, bits, compression = number(18, 2), number(20, 2), number(24, 2), 0
    else:
        width, height, bits, compression = number(18), number(22), number(28, 2), number(30)
    height = min(height, 2**32 - height)  # a negative one says that the top row comes first
    end = pixels_at + (width * bits + 31) // 32 * 4 * height
    if compression not in (0, 3, 6):
        end = pixels_at + number(34) if number(34) else max(number(2), pixels_at)
    told, profile, resolution = [], None, None
    if (bits, compression) == (32, 0) and _says_something(data[pixels_at + 3 : end : 4]):
        told.append(losses.CHANNELS)  # some programs keep transparency there, which the format has no place for
    if header_bytes >= 124 and data[70:74] in (_MBED, _LINK):
        profile_at, profile_bytes = 14 + number(126), number(130)
        profile = data[profile_at : profile_at + profile_bytes] if data[70:74] == _MBED else b""
        end = max(end, profile_at + profile_bytes) if data[70:74] == _MBED else end
        told += [] if profile else [losses.PROFILE]
    if header_bytes >= 108 and not number(70):
        told += _stated_in_bmp([number(at) for at in range(74, 122, 4)])
    if header_bytes >= 40:
        resolution = Resolution.a_metre(number(38), number(42), 1)
    if not is_blank(data, end):
        told.append(losses.APPENDIX)
    return Beside(tuple(told), profile or None, resolution=resolution)


def _says_something(values: bytes) -> bool:
    """Whether the fourth values of all pixels are more than padding: neither 0 nor 255 throughout."""
    return bool(values.strip(b"\0")) and bool(values.strip(b"\xff"))


def _stated_in_bmp(numbers: Sequence[int]) -> tuple[str, ...]:
    """Tell of calibrated colours: CIE XYZ of red, green and blue, then a gamma for each; zeros say nothing."""
    primaries = list(SRGB_PRIMARIES)
    for at in range(3):
        x, y, z = numbers[3 * at : 3 * at + 3]
        if x + y + z:
            primaries[2 * at + 2 : 2 * at + 4] = x / (x + y + z), y / (x + y + z)
    gammas = [2**16 / number for number in numbers[9:] if number]
    return (*stated_losses(None, primaries), *(loss for gamma in gammas for loss in stated_losses(gamma, None)))


def _losses_of_webp(data: bytes) -> tuple[str, ...]:
    told: list[str] = []
    end, said = len(data), 0
    for part in riff_chunks(data):
        end = part.end
        if part.kind == b"VP8X":
            said |= int.from_bytes(data[part.start : part.start + 1], "big")
        elif part.kind in _WEBP_GIVEN:
            bit, loss = _WEBP_GIVEN[part.kind]
            told += [] if said & bit else [loss]
            said &= ~bit  # a second one is not given
        elif part.kind not in _WEBP_READ:
            told.append(losses.CREDENTIALS if part.kind == b"C2PA" else losses.OTHER)
    return (*told, *(() if is_blank(data, end) else (losses.APPENDIX,)))


def _losses_of_boxes(data: bytes, *, has_profile: bool) -> tuple[str, ...]:
    """Tell of what AVIF, HEIF and JPEG XL hold in boxes that are not read."""
    is_jxl, end = data[4:8] == b"JXL ", 0
    told: list[str] = []
    for found in boxes(data):
        part, end = _unwrapped(data, found) if is_jxl else found, found.end
        head = data[part.start : min(part.end, part.start + 512)]
        if part.kind == b"meta" and not is_jxl:
            told += _losses_of_items(data, part, has_profile=has_profile)
        elif part.kind in (_JXL_READ if is_jxl else _BOXES_READ):
            continue
        elif (part.kind == b"uuid" and head.startswith(_C2PA)) or (part.kind == b"jumb" and b"c2pa" in head):
            told.append(losses.CREDENTIALS)
        elif part.kind == b"jhgm":
            told.append(losses.FRAMES)
        else:
            told.append(losses.APPENDIX if part.kind in _VIDEOS else losses.OTHER)
    return (*told, *(() if is_blank(data, end) else (losses.APPENDIX,)))


def _unwrapped(data: bytes, part: Part) -> Part:
    """Return a box of JPEG XL as what it is; one that is compressed (brob) says of which kind its content is."""
    return part._replace(kind=data[part.start : part.start + 4]) if part.kind == b"brob" else part


def _not_given(data: bytes, *, has_exif: bool, has_xmp: bool) -> tuple[str, ...]:
    """Tell of EXIF and XMP in a JPEG XL that its decoder did not give, being broken, or not the first."""
    kinds = [_unwrapped(data, part).kind for part in boxes(data)]
    told = []
    for kind, is_given, loss in ((b"Exif", has_exif, losses.EXIF), (b"xml ", has_xmp, losses.XMP)):
        told += [loss] if kind in kinds and not is_given else []
        told += [losses.OTHER] if kinds.count(kind) > 1 else []
    return tuple(told)


def _losses_of_items(data: bytes, meta: Part, *, has_profile: bool) -> tuple[str, ...]:
    items = items_of(data, meta)
    picture = items.picture(data)
    described: dict[int, set[int]] = {}
    shown = set(picture)  # previews of it, too
    for kind, number, targets in items.references:
        if kind == b"cdsc":
            described.setdefault(number, set()).update(targets)
        if kind == b"thmb" and not picture.isdisjoint(targets):
            shown.add(number)
    told, told_of = list(_coded_colours(data, items, has_profile=has_profile)), []
    for number, kind in items.kinds.items():
        if kind in _PICTURE_TYPES:
            told += [] if number in shown else [losses.FRAMES]
        elif kind not in (b"Exif", _XMP_TYPE):
            told.append(losses.OTHER)
        elif number not in described or not picture.isdisjoint(described[number]):
            told_of.append(kind)
    is_repeated = len(told_of) > len(set(told_of))
    return (*told, *((losses.OTHER,) if is_repeated else ()))


def _coded_colours(data: bytes, items: Items, *, has_profile: bool) -> tuple[str, ...]:
    """Tell of the colour space that the primary picture states by numbers."""
    for part in items.properties.get(items.primary, ()):
        if part.kind == b"colr" and data[part.start : part.start + 4] == b"nclx" and part.end - part.start >= 8:
            numbers = (int.from_bytes(data[part.start + at : part.start + at + 2], "big") for at in (4, 6))
            return coded_losses(*numbers, has_profile=has_profile)
    return ()
