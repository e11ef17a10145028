"""Streams whose payload is the bitstream of another codec: sealed by an encoder, and decoded without a bundle.

`EmbeddedCodec` gives what `clc.codec.codec.Codec` does. Which payload a picture gets is decided in `clc.codec.ways`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from clc.bitstream.container import ParsedStream, pack, parse_with_fields
from clc.bitstream.embedding import EXACT_PROFILES, Embedding
from clc.bitstream.sections import ALPHA, Section
from clc.bitstream.stream import NO_BUNDLE, Stream
from clc.codec.beside import DecodedPicture, with_beside
from clc.codec.buffers import stream_bytes
from clc.codec.info import StreamInfo, stream_info
from clc.errors import DecodeMismatch, DictionaryMismatch
from clc.payloads.exact import Payload
from clc.payloads.pixels import Pixels, decode_payload
from clc.pictures.picture import Picture, Plane

if TYPE_CHECKING:
    from typing_extensions import Buffer


class EmbeddedCodec:
    """Decodes streams that need no bundle. It keeps nothing, so threads may share it."""

    def decode(self, data: Buffer) -> Picture:
        """Decodes the colours of a stream to a uint8 (H, W, 3) RGB picture; see `decode_picture`."""
        return _pixels(parse_with_fields(stream_bytes(data))).image_HW3

    def decode_picture(self, data: Buffer) -> DecodedPicture:
        """Decodes a stream, any buffer of bytes, with all that it holds; errors as `Codec.decode_picture`.

        `DictionaryMismatch` is for a stream that needs a bundle or an autoencoder, `InputError` also where Pillow lacks
        the format of the payload.
        """
        parsed = parse_with_fields(stream_bytes(data))
        return with_embedded(parsed)

    def info(self, data: Buffer) -> StreamInfo:
        """See `clc.codec.info.stream_info`."""
        return stream_info(data)


def with_embedded(parsed: ParsedStream) -> DecodedPicture:
    """Return the picture of a stream whose payload is the bitstream of another codec; raises as `EmbeddedCodec`."""
    pixels = _pixels(parsed)
    beside = with_beside(pixels.image_HW3, parsed.stream.sections)
    return beside if pixels.alpha_HW is None else replace(beside, alpha_HW=pixels.alpha_HW)


def sealed(
    image_HW3: Picture,
    alpha_HW: Plane | None,
    payload: Payload,
    embedding: Embedding,
    sections: Sequence[Section],
) -> tuple[bytes, Picture]:
    """Return the stream of a payload that was made of a picture, and what it decodes to.

    `alpha_HW` is what the payload holds: with an exact profile it replaces the section of alpha. The stream is decoded
    again before it is returned. Raises `DecodeMismatch` where an exact payload does not give the pixels that it
    promises, `LimitError` over a cap.
    """
    height, width = image_HW3.shape[:2]
    is_exact = payload.profile in EXACT_PROFILES
    kept = tuple(section for section in sections if section.kind != ALPHA or not is_exact)
    has_alpha = is_exact and alpha_HW is not None
    stream = Stream(
        profile=payload.profile,
        width=width,
        height=height,
        quality_q6=embedding.quality_q6 or 0,
        bundle_id=NO_BUNDLE,
        references=(),
        latents_crc32=0,
        payload=payload.data,
        sections=kept,
        embedding=replace(embedding, step_error=payload.step_error, has_alpha=has_alpha),
    )
    if is_exact:
        pixels = decode_payload(stream, is_checked=False)
        _check_promise(pixels, Pixels(image_HW3, alpha_HW), payload.step_error)
        stream = replace(stream, latents_crc32=pixels.crc32)
    data = pack(stream)
    return data, decode_payload(parse_with_fields(data).stream).image_HW3


def _check_promise(found: Pixels, meant: Pixels, most_error: int) -> None:
    """Raise `DecodeMismatch` unless each sample is within the error, and the alpha the same."""
    error = np.abs(found.image_HW3.astype(np.int16) - meant.image_HW3).max()
    alphas = found.alpha_HW, meant.alpha_HW
    is_same_alpha = all(plane is None for plane in alphas) or (
        all(plane is not None for plane in alphas) and np.array_equal(alphas[0], alphas[1])  # type: ignore[arg-type]
    )
    if error > most_error or not is_same_alpha:
        raise DecodeMismatch(
            f"an exact payload decodes to samples that are {error} levels off, in place of {most_error}: this "
            "installation of Pillow does not code pictures as it should"
        )


def _pixels(parsed: ParsedStream) -> Pixels:
    stream = parsed.stream
    if stream.embedding is None:
        kind = "an autoencoder (--autoencoder FOLDER)" if stream.is_overfitted else "a bundle (--bundle FOLDER)"
        raise DictionaryMismatch(f"the stream needs {kind}, {stream.bundle_id.hex()}, and none is loaded")
    return decode_payload(stream)
