"""EXIF and XMP of an open picture, ready for a stream, and what of its metadata is left out.

EXIF keeps its bytes, MakerNote and thumbnail included; only the orientation becomes upright, in EXIF and in XMP,
because the pixels are. Called by `clc.pictures.images` and by whoever is handed EXIF or XMP as bytes (`kept`).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from PIL import Image

from clc.limits import MAX_METADATA_BYTES
from clc.pictures import exif as exif_data
from clc.pictures import losses
from clc.pictures.metadata import Metadata

_XMP_ORIENTATION = re.compile(rb"""(tiff:Orientation\s*(?:=\s*["']|>)\s*)([1-8])(?=\s*["'<])""")
_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_RAW_PROFILE = "Raw profile type "
_IPTC_RESOURCE = 0x0404
_XMP_KEYS = ("XML:com.adobe.xmp", "xmp")


class Found(NamedTuple):
    """EXIF from its TIFF header on and XMP, as they stood in a file; what of its metadata is left out."""

    exif: bytes = b""
    xmp: bytes = b""
    losses: tuple[str, ...] = ()

    @property
    def orientation(self) -> int:
        """The orientation of the pixels: that of EXIF, else that of XMP, else 1 (upright)."""
        in_exif = exif_data.orientation(self.exif)
        in_xmp = _XMP_ORIENTATION.search(self.xmp)
        return in_exif or (int(in_xmp[2]) if in_xmp else 1)


class Kept(NamedTuple):
    """Metadata for a stream, and what could not be kept."""

    metadata: Metadata
    losses: tuple[str, ...]


def kept(exif: bytes, xmp: bytes) -> Kept:
    """Return EXIF and XMP, as any file holds them, for pixels that are upright already."""
    lost = []
    exif = exif_data.bare(exif)
    try:
        xmp = _in_utf_8(xmp)
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
    return Kept(Metadata(exif, _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)), tuple(lost))


def is_xmp(xmp: bytes) -> bool:
    """Whether this is text in UTF-8, as streams and PNG hold XMP."""
    try:
        xmp.decode()
    except UnicodeDecodeError:
        return False
    return True


def find(image: Image.Image) -> Found:
    """Return the metadata of an open picture; its pixels are loaded, because some of it stands behind them."""
    texts = _texts(image)
    profiles = {key.removeprefix(_RAW_PROFILE): _raw_profile(text) for key, text in texts.items() if _is_profile(key)}
    app1 = profiles.get("APP1", b"") or b""
    exif = image.info.get("exif") or profiles.get("exif") or (b"" if b"xap" in app1[:32] else app1)
    xmp = image.info.get("xmp") or profiles.get("xmp") or (app1.partition(b"\0")[2] if b"xap" in app1[:32] else b"")
    return Found(exif_data.bare(_as_bytes(exif)), _as_bytes(xmp), (*_broken(profiles), *_left_out(image, texts)))


def find_in_tiff(structure: exif_data.Structure, directory: exif_data.Directory) -> Found:
    """Return the metadata of a TIFF picture: its tags are the EXIF data."""
    entries = directory.entries
    lost = [losses.LAYERS] if exif_data.LAYERS in entries else []
    try:
        resources = structure.value(entries[exif_data.PHOTOSHOP]) if exif_data.PHOTOSHOP in entries else b""
        if exif_data.IPTC in entries or b"8BIM" + _IPTC_RESOURCE.to_bytes(2, "big") in resources:
            lost.append(losses.IPTC)
        xmp = structure.value(entries[exif_data.XMP]) if exif_data.XMP in entries else b""
    except ValueError:
        xmp = b""
        lost.append(losses.XMP)
    try:
        return Found(exif_data.of_tiff(structure, directory), xmp, tuple(lost))
    except ValueError:
        return Found(b"", xmp, (losses.EXIF, *lost))


def _in_utf_8(xmp: bytes) -> bytes:
    """Return an XMP packet in UTF-8; `UnicodeError` where it is in no encoding that XMP allows."""
    if xmp.startswith((b"\xff\xfe", b"\xfe\xff")):
        return xmp.decode("utf-16").encode()
    xmp = xmp.removesuffix(b"\0")
    xmp.decode("utf-8-sig")
    return xmp


def _texts(image: Image.Image) -> dict[str, str]:
    texts = getattr(image, "text", None)
    return {str(key): str(text) for key, text in texts.items()} if isinstance(texts, dict) else {}


def _is_profile(key: str) -> bool:
    return key.removeprefix(_RAW_PROFILE) in ("exif", "APP1", "xmp") and key.startswith(_RAW_PROFILE)


def _raw_profile(text: str) -> bytes | None:
    """Return the bytes of a profile that ImageMagick writes as text: its name, its length, hexadecimal digits."""
    try:
        return bytes.fromhex("".join(text.split("\n")[3:]))
    except ValueError:
        return None


def _broken(profiles: dict[str, bytes | None]) -> tuple[str, ...]:
    return (losses.EXIF,) if any(profile is None for profile in profiles.values()) else ()


def _as_bytes(value: object) -> bytes:
    if isinstance(value, str):
        return value.encode()
    return value if isinstance(value, bytes) else b""


def _left_out(image: Image.Image, texts: dict[str, str]) -> tuple[str, ...]:
    """Return which metadata of other kinds a picture has."""
    segments = getattr(image, "applist", None) or []
    photoshop = image.info.get("photoshop")
    has_iptc = isinstance(photoshop, dict) and _IPTC_RESOURCE in photoshop
    has_texts = any(text and not _is_profile(key) and key not in _XMP_KEYS for key, text in texts.items())
    has_credentials = any(name == "APP11" and b"c2pa" in data[:512] for name, data in segments)
    found = {
        losses.EXTENDED_XMP: any(data.startswith(_EXTENSION) for _, data in segments),
        losses.IPTC: has_iptc or _RAW_PROFILE + "iptc" in texts,
        losses.COMMENT: bool(image.info.get("comment")),
        losses.TEXT: has_texts,
        losses.CREDENTIALS: has_credentials
        or any(chunk[0] == b"caBX" for chunk in getattr(image, "private_chunks", ())),
    }
    return tuple(loss for loss, is_found in found.items() if is_found)
