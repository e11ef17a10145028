"""Does this installation of Pillow code the payloads of other codecs as it should? Part of the command `selftest`."""

from __future__ import annotations

import numpy as np
from PIL import Image

from clc.bitstream.alignment import identity
from clc.bitstream.embedding import AV1_PROFILE, FORMATS, PNG_PROFILE, WEBP_PROFILE, Embedding, Reason
from clc.bitstream.stream import NO_BUNDLE, STREAM_ID_BYTES, Reference, Stream
from clc.codec.embedded import Copies, sealed
from clc.codec.ways.suitability import psnr_of, squared_error_of
from clc.errors import DecodeMismatch
from clc.payloads import avif, webp
from clc.payloads.avif import avif_payload
from clc.payloads.exact import Payload
from clc.payloads.pixels import decode_payload
from clc.payloads.png import png_payload
from clc.payloads.webp import webp_payload
from clc.pictures.picture import Picture
from clc.references.key_pictures import PictureSource

_LEAST_PSNR = 36.0

_RAMPS_PX, _RAMPS_CRC32 = 16, 4258052456
_RAMPS = bytes.fromhex(
    "0a08380cffd8404341a4322e14c0041041040031b8c53d8779c29dcaac724fd117000df6afad268aec4bcd77126df7a03a15cfa1b9dbf7604ed8"
)
"""Ramps of colours as AV1, and the CRC-32 of their pixels, which are the same on every machine."""


class _Same(PictureSource):
    """Gives one picture for whatever stream is named."""

    def __init__(self, picture_HW3: Picture) -> None:
        self._picture_HW3 = picture_HW3

    def read(self, reference: Reference, /) -> Picture:
        return self._picture_HW3


def check_payloads(picture_HW3: Picture) -> tuple[list[str], list[str]]:
    """Return the formats that code a picture, uint8 (H, W, 3), as they should, and those that Pillow lacks here.

    Each is coded and decoded again. Raises a `ClcError` where one gives another picture.
    """
    image = Image.fromarray(np.ascontiguousarray(picture_HW3))
    sound, missing = [FORMATS[PNG_PROFILE]], []
    payloads = [Payload(PNG_PROFILE, png_payload(image))]
    if webp.is_available():
        payloads.append(Payload(WEBP_PROFILE, webp_payload(image)))
        sound.append(FORMATS[WEBP_PROFILE])
    else:
        missing.append(FORMATS[WEBP_PROFILE])
    for payload in payloads:
        sealed(picture_HW3, None, payload, Embedding(Reason.LOSSLESS), ())
    # A black payload, over which all of a picture is copied: that no sample is off is checked.
    black = Payload(PNG_PROFILE, png_payload(Image.new("RGB", image.size)))
    copies = Copies((bytes(STREAM_ID_BYTES),), (identity(*picture_HW3.shape[:2]),), _Same(picture_HW3))
    sealed(picture_HW3, None, black, Embedding(Reason.LOSSLESS), (), copies)
    if avif.is_available():
        _check_ramps()
    if not avif.can_write():
        return sound, [*missing, FORMATS[AV1_PROFILE]]
    lossy = Payload(AV1_PROFILE, avif_payload(image, 95, 8))
    _, decoded_HW3 = sealed(picture_HW3, None, lossy, Embedding(Reason.CHEAPER), ())
    psnr = psnr_of(squared_error_of(decoded_HW3, picture_HW3))
    if psnr < _LEAST_PSNR:
        raise DecodeMismatch(f"AVIF of this installation of Pillow gives {psnr:.1f} dB, in place of {_LEAST_PSNR:g}")
    return [*sound, FORMATS[AV1_PROFILE]], missing


def _check_ramps() -> None:
    embedding = Embedding(Reason.CHEAPER)
    stream = Stream(AV1_PROFILE, _RAMPS_PX, _RAMPS_PX, 0, NO_BUNDLE, (), 0, _RAMPS, embedding=embedding)
    if decode_payload(stream).crc32 != _RAMPS_CRC32:
        raise DecodeMismatch("AVIF of this installation of Pillow gives other pixels than other machines have")
