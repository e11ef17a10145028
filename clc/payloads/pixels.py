"""A payload to pixels: the file of its format is put together again, opened by `clc.pictures.images`, and checked.

The bitstream is untrusted. The size was checked against `clc.limits` with the stream's header, and is written into the
file's headers from there; a picture of AV1 has to say the same of itself (`clc.payloads.av1`).
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

from clc.bitstream.embedding import AV1_PROFILE, EXACT_PROFILES, FORMATS, WEBP_PROFILE
from clc.bitstream.stream import Stream
from clc.errors import CorruptStream, DecodeMismatch, InputError, LimitError
from clc.payloads import avif, webp
from clc.payloads.avif import avif_file, rgb_of
from clc.payloads.png import png_file
from clc.payloads.steps import samples_of
from clc.payloads.webp import webp_file
from clc.pictures.images import ReadPicture, read_picture
from clc.pictures.picture import Picture, Plane


class Pixels(NamedTuple):
    """Colours, uint8 (H, W, 3), and alpha (H, W) where the payload holds that, else None."""

    image_HW3: Picture
    alpha_HW: Plane | None

    @property
    def crc32(self) -> int:
        """The CRC-32 of the colours, and of the alpha behind them."""
        colours = zlib.crc32(self.image_HW3.tobytes())
        return colours if self.alpha_HW is None else zlib.crc32(self.alpha_HW.tobytes(), colours)


def decode_payload(stream: Stream, *, is_checked: bool = True) -> Pixels:
    """Return the pixels of a stream whose payload is the bitstream of another codec.

    Left unchecked is the CRC by an encoder, which does not know it yet, and where parts of the picture are copied, as
    it is that of the whole. Raises `CorruptStream` where the payload cannot be
    decoded, `DecodeMismatch` where an exact one gives other pixels than the encoder had, `LimitError` where memory is
    short, `InputError` where Pillow lacks the format.
    """
    embedding = stream.embedding
    if embedding is None:
        raise InputError("the stream holds latents, and no bitstream of another codec")
    picture = _decoded(stream)
    if (picture.alpha_HW is not None) != embedding.has_alpha:
        raise CorruptStream("the payload's alpha is not what the stream says: it is damaged")
    image_HW3 = samples_of(picture.image_HW3, embedding.step_error) if embedding.step_error else picture.image_HW3
    if stream.profile == AV1_PROFILE:
        image_HW3 = rgb_of(image_HW3)
    pixels = Pixels(image_HW3, picture.alpha_HW)
    if is_checked:
        check_pixels(stream, pixels)
    return pixels


def check_pixels(stream: Stream, pixels: Pixels) -> None:
    """Raise `DecodeMismatch` where an exact stream has other pixels than its encoder had."""
    if stream.profile in EXACT_PROFILES and pixels.crc32 != stream.latents_crc32:
        raise DecodeMismatch(
            f"the decoded pixels have CRC {pixels.crc32:08x}, the encoder's had {stream.latents_crc32:08x}: the stream "
            f"is damaged, or this decoder of {FORMATS[stream.profile]} is wrong"
        )


def _decoded(stream: Stream) -> ReadPicture:
    """The payload's picture as its decoder gives it: of AV1 the planes, see `avif_file`."""
    _check_available(stream.profile)
    try:
        picture = read_picture(_file_of(stream), FORMATS[stream.profile])
    except LimitError:
        raise
    except InputError as error:
        raise CorruptStream(f"the payload cannot be decoded ({error}): get the file again") from error
    found = picture.image_HW3.shape[:2]
    if found != (stream.height, stream.width) or picture.losses or picture.metadata:
        raise CorruptStream("the payload is not a picture as encoders write it: the stream is damaged")
    return picture


def _file_of(stream: Stream) -> bytes:
    """The payload as a file of its format. Raises `CorruptStream` where it is none, `InputError` for a size."""
    width, height = stream.width, stream.height
    has_alpha = stream.embedding is not None and stream.embedding.has_alpha
    if stream.profile == AV1_PROFILE:
        return avif_file(stream.payload, width, height)
    if stream.profile == WEBP_PROFILE:
        return webp_file(stream.payload, width, height, has_alpha=has_alpha)
    return png_file(stream.payload, width, height, has_alpha=has_alpha)


def _check_available(profile: int) -> None:
    needed = {AV1_PROFILE: avif, WEBP_PROFILE: webp}.get(profile)
    if needed is not None and not needed.is_available():
        raise InputError(
            f"the stream's payload is {FORMATS[profile]}, which this installation of Pillow cannot decode; install one "
            "with it: pip install --upgrade pillow"
        )
