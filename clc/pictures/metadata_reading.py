"""EXIF and XMP of an open picture, ready for a stream, and what of its metadata is left out.

EXIF keeps its bytes, MakerNote and thumbnail included; only the orientation becomes upright, in EXIF and in XMP,
because the pixels are. Called by `clc.pictures.images` and by whoever is handed EXIF or XMP as bytes (`kept`).

Pillow mixes the texts of a PNG, whose keywords anyone may choose, with what the file says of its pixels: in `info`,
nothing that is a text is a fact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from PIL import Image

from clc.limits import MAX_METADATA_BYTES
from clc.pictures import exif as exif_data
from clc.pictures import losses
from clc.pictures.containers import photoshop_kinds
from clc.pictures.metadata import Metadata
from clc.pictures.xmp import in_utf_8, is_packet, joined, orientation, upright

_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_RAW_PROFILE = "Raw profile type "
_IPTC_RESOURCE = 0x0404
PHOTOSHOP_READ = frozenset((0x03ED, _IPTC_RESOURCE, 0x0409, 0x040C, 0x0425))
"""Photoshop's resources that lose nothing or are told by themselves: resolution, IPTC and its digest, thumbnails."""

XMP_KEYS = ("XML:com.adobe.xmp", "xmp", "XMP")
"""Keywords of PNG texts that may hold XMP; the first one is the standard's."""

PROFILE_KEYS = tuple(_RAW_PROFILE + kind for kind in ("exif", "APP1", "xmp"))
"""Keywords of PNG texts in which ImageMagick keeps EXIF and XMP."""


class Found(NamedTuple):
    """EXIF from its TIFF header on and XMP, as they stood in a file; what of its metadata is left out."""

    exif: bytes = b""
    xmp: bytes = b""
    losses: tuple[str, ...] = ()

    @property
    def orientation(self) -> int:
        """The orientation of the pixels: that of EXIF, else that of XMP, else 1 (upright)."""
        return exif_data.orientation(self.exif) or orientation(self.xmp) or 1


class Kept(NamedTuple):
    """Metadata for a stream, and what could not be kept."""

    metadata: Metadata
    losses: tuple[str, ...]


def kept(exif: bytes, xmp: bytes) -> Kept:
    """Return EXIF and XMP, as any file holds them, for pixels that are upright already."""
    lost = []
    exif = exif_data.bare(exif)
    try:
        xmp = in_utf_8(xmp)
    except UnicodeError:
        xmp = b""
        lost.append(losses.XMP)
    if max(len(exif), len(xmp)) > MAX_METADATA_BYTES:
        lost.append(losses.METADATA_SIZE)
        exif, xmp = (part if len(part) <= MAX_METADATA_BYTES else b"" for part in (exif, xmp))
    try:
        exif = exif_data.upright(exif) if exif else b""
    except ValueError:
        exif = b""
        lost.append(losses.EXIF)
    return Kept(Metadata(exif, upright(xmp)), tuple(lost))


def find(image: Image.Image) -> Found:
    """Return the metadata of an open picture; its pixels are loaded, because some of it stands behind them."""
    texts = {key: text.encode() for key, text in _texts(image).items()}
    exif, xmp = image.info.get("exif"), image.info.get("xmp")
    if not isinstance(exif, bytes) or exif == texts.get("exif"):  # Pillow turns such a text into bytes
        exif = b""
    found = of_texts(exif, _as_packet(xmp), texts)
    parts = [data for name, data in getattr(image, "applist", None) or () if data.startswith(_EXTENSION)]
    whole = joined(found.xmp, [part[len(_EXTENSION) :] for part in parts]) if parts else found.xmp
    lost = (*found.losses, *_left_out(image), *((losses.EXTENDED_XMP,) if whole is None else ()))
    return found._replace(xmp=found.xmp if whole is None else whole, losses=lost)


def of_texts(exif: bytes, xmp: bytes, texts: Mapping[str, bytes]) -> Found:
    """Return EXIF and XMP of a picture whose texts, by keyword, may hold them, too; what else they hold is told.

    What is no text comes first, then `PROFILE_KEYS`, then XMP as a text of its own.
    """
    profiles = {key.removeprefix(_RAW_PROFILE): _raw_profile(texts[key]) for key in PROFILE_KEYS if key in texts}
    packets = {key: texts[key] for key in XMP_KEYS if key in texts and is_packet(texts[key])}
    app1 = profiles.get("APP1") or b""
    is_xmp = b"xap" in app1[:32]
    exif = exif_data.bare(exif or profiles.get("exif") or (b"" if is_xmp else app1))
    in_profile = profiles.get("xmp") or (app1.partition(b"\0")[2] if is_xmp else b"")
    xmp = xmp or in_profile or next(iter(packets.values()), b"")
    others = [text for key, text in texts.items() if key not in PROFILE_KEYS]
    others_of_exif = (profiles.get("exif"), b"" if is_xmp else app1)
    told = {
        losses.EXIF: None in profiles.values(),
        losses.IPTC: _RAW_PROFILE + "iptc" in texts,
        losses.TEXT: any(text and text != xmp for text in (*others, in_profile)),
        losses.OTHER: any(exif_data.bare(other) != exif for other in others_of_exif if other),
    }
    return Found(exif, xmp, tuple(loss for loss, is_so in told.items() if is_so))


def find_in_tiff(structure: exif_data.Structure, directory: exif_data.Directory) -> Found:
    """Return the metadata of a TIFF picture: its tags are the EXIF data."""
    entries = directory.entries
    lost = [losses.LAYERS] if exif_data.LAYERS in entries else []
    try:
        resources = structure.value(entries[exif_data.PHOTOSHOP]) if exif_data.PHOTOSHOP in entries else b""
        kinds = photoshop_kinds(resources)
        if exif_data.IPTC in entries or _IPTC_RESOURCE in kinds:
            lost.append(losses.IPTC)
        if kinds - PHOTOSHOP_READ or (resources and not kinds):
            lost.append(losses.OTHER)
        xmp = structure.value(entries[exif_data.XMP]) if exif_data.XMP in entries else b""
    except ValueError:
        xmp = b""
        lost.append(losses.XMP)
    try:
        exif = exif_data.of_tiff(structure, directory)
        lost += [losses.OTHER] if exif_data.has_more(structure, directory) else []
        return Found(exif, xmp, tuple(lost))
    except ValueError:
        return Found(b"", xmp, (losses.EXIF, *lost))


def _texts(image: Image.Image) -> dict[str, str]:
    texts = getattr(image, "text", None)
    return {str(key): str(text) for key, text in texts.items()} if isinstance(texts, dict) else {}


def _raw_profile(text: bytes) -> bytes | None:
    """Return the bytes of a profile that ImageMagick writes as text: its name, its length, hexadecimal digits."""
    try:
        return bytes.fromhex(b"".join(text.split(b"\n", 3)[3:]).decode("ascii"))
    except ValueError:
        return None


def _as_packet(xmp: object) -> bytes:
    """XMP as `info` has it: bytes of a file, or a text, which may be any."""
    if isinstance(xmp, str):
        return xmp.encode() if is_packet(xmp.encode()) else b""
    return xmp if isinstance(xmp, bytes) else b""


def _left_out(image: Image.Image) -> tuple[str, ...]:
    """Return which metadata of other kinds a picture has."""
    segments = getattr(image, "applist", None) or []
    photoshop, tags = image.info.get("photoshop"), getattr(image, "tag_v2", ())  # tags of a TIFF
    found = {
        losses.LAYERS: exif_data.LAYERS in tags,
        losses.IPTC: (isinstance(photoshop, dict) and _IPTC_RESOURCE in photoshop) or exif_data.IPTC in tags,
        losses.COMMENT: isinstance(image.info.get("comment"), bytes) and bool(image.info["comment"]),
        losses.CREDENTIALS: any(name == "APP11" and b"c2pa" in data[:512] for name, data in segments)
        or any(chunk[0] == b"caBX" for chunk in getattr(image, "private_chunks", ())),
    }
    return tuple(loss for loss, is_found in found.items() if is_found)
