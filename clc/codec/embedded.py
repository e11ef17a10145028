"""Streams whose payload is the bitstream of another codec: sealed by an encoder, and decoded without a bundle.

Of some, parts of the picture are copied from the pictures of other streams (`copied_parts`): those need an archive.
Of others, rectangles are shown by a bundle's model (`with_insets`): those need the bundle.

`EmbeddedCodec` gives what `clc.codec.codec.Codec` does. Which payload a picture gets is decided in `clc.codec.ways`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from clc.bitstream.alignment import Alignment
from clc.bitstream.container import ParsedStream, pack, parse_with_fields
from clc.bitstream.embedding import EXACT_PROFILES, Embedding, Reason
from clc.bitstream.insets import Inset
from clc.bitstream.sections import ALPHA, Section
from clc.bitstream.stream import NO_BUNDLE, Stream
from clc.codec.beside import DecodedPicture, with_beside
from clc.codec.buffers import stream_bytes
from clc.codec.info import StreamInfo, stream_info
from clc.errors import DecodeMismatch, DictionaryMismatch
from clc.payloads.exact import Payload
from clc.payloads.pixels import Pixels, check_pixels, decode_payload
from clc.pictures.picture import Picture, Plane
from clc.references.key_pictures import PicturesInMemory, PictureSource, WarpedKeyPictures
from clc.references.warp import Warped, compose

if TYPE_CHECKING:
    from typing_extensions import Buffer


NO_PICTURES: PictureSource = PicturesInMemory(())


class EmbeddedCodec:
    """Decodes streams that need no bundle. It keeps nothing, so threads may share it."""

    def decode(self, data: Buffer) -> Picture:
        """Decodes the colours of a stream to a uint8 (H, W, 3) RGB picture; see `decode_picture`."""
        return _embedded(parse_with_fields(stream_bytes(data))).image_HW3

    def decode_picture(self, data: Buffer) -> DecodedPicture:
        """Decodes a stream, any buffer of bytes, with all that it holds; errors as `Codec.decode_picture`.

        `DictionaryMismatch` is for a stream that needs a bundle or an autoencoder, `MissingReference` for one that
        copies parts of other streams, `InputError` also where Pillow lacks the format of the payload.
        """
        parsed = parse_with_fields(stream_bytes(data))
        _check_embedded(parsed.stream)
        return with_embedded(parsed)

    def info(self, data: Buffer) -> StreamInfo:
        """See `clc.codec.info.stream_info`."""
        return stream_info(data)


def with_embedded(parsed: ParsedStream, pictures: PictureSource = NO_PICTURES) -> DecodedPicture:
    """Return the picture of a stream whose payload is the bitstream of another codec; raises as `EmbeddedCodec`.

    `pictures` gives those of the streams that it copies from; insets are left to `with_insets`.
    """
    pixels = embedded_pixels(parsed.stream, pictures)
    beside = with_beside(pixels.image_HW3, parsed.stream.sections)
    return beside if pixels.alpha_HW is None else replace(beside, alpha_HW=pixels.alpha_HW)


def embedded_pixels(stream: Stream, pictures: PictureSource, *, is_checked: bool = True) -> Pixels:
    """Return the pixels of a stream, those of its payload and those that are copied from `pictures`, by their ids.

    Where there are insets, these are the pixels below them (`with_insets`).
    Raises as `clc.payloads.pixels.decode_payload` does, and what `pictures` raises.
    """
    if not stream.streams:
        return decode_payload(stream, is_checked=is_checked)
    copied = copied_parts(stream, WarpedKeyPictures(pictures))
    pixels = decode_payload(stream, is_checked=False)
    pixels = pixels._replace(image_HW3=np.where(copied.inside[..., None], copied.pixels, pixels.image_HW3))
    if is_checked:
        check_pixels(stream, pixels)
    return pixels


def with_insets(image_HW3: Picture, stream: Stream, decode: Callable[[Stream], Picture]) -> Picture:
    """Return the pixels of a stream with its insets over those of its payload, as `embedded_pixels` gives them.

    `decode` makes the picture of a stream that the bundle's model decodes, and raises where it cannot.
    """
    if not stream.insets:
        return image_HW3
    completed = image_HW3.copy()
    for inset, inset_stream in zip(stream.insets, stream.inset_streams, strict=True):
        completed[inset.rows, inset.columns] = decode(inset_stream)
    return completed


def copied_parts(stream: Stream, warped: WarpedKeyPictures) -> Warped:
    """Return what a stream copies from other streams, each laid where its alignment says; the first covers the next."""
    size = stream.height, stream.width
    parts = zip(stream.streams, stream.alignments, strict=True)
    return compose([warped.warp(one, size, alignment) for one, alignment in parts])


class Copies(NamedTuple):
    """What a stream copies: from the pictures of which streams, by their ids, each laid how; see `copied_parts`."""

    streams: tuple[bytes, ...] = ()
    alignments: tuple[Alignment, ...] = ()
    pictures: PictureSource = NO_PICTURES


NO_COPIES = Copies()


class Insets(NamedTuple):
    """What a bundle's model shows of a picture: the bundle's id, 8 bytes, and the rectangles."""

    bundle_id: bytes = NO_BUNDLE
    insets: tuple[Inset, ...] = ()


NO_INSETS = Insets()


def sealed(
    image_HW3: Picture,
    alpha_HW: Plane | None,
    payload: Payload,
    embedding: Embedding,
    sections: Sequence[Section],
    copies: Copies = NO_COPIES,
    insets: Insets = NO_INSETS,
) -> tuple[bytes, Picture]:
    """Return the stream of a payload that was made of a picture, and what it decodes to, without insets.

    `alpha_HW` is what the payload holds: with an exact profile it replaces the section of alpha. With `insets`, which
    were decoded before, the picture is what lies below them. The stream is decoded again before it is returned. Raises
    `DecodeMismatch` where an exact payload does not give the pixels that it promises, `LimitError` over a cap.
    """
    height, width = image_HW3.shape[:2]
    is_exact = payload.profile in EXACT_PROFILES
    has_alpha = is_exact and alpha_HW is not None
    kept = tuple(section for section in sections if section.kind != ALPHA or not has_alpha)
    stream = Stream(
        profile=payload.profile,
        width=width,
        height=height,
        quality_q6=embedding.quality_q6 or 0,
        bundle_id=insets.bundle_id,
        references=(),
        latents_crc32=0,
        payload=payload.data,
        alignments=copies.alignments,
        sections=kept,
        streams=copies.streams,
        embedding=replace(embedding, step_error=payload.step_error, has_alpha=has_alpha),
        insets=insets.insets,
    )
    if is_exact:
        pixels = embedded_pixels(stream, copies.pictures, is_checked=False)
        if not copies.streams or embedding.reason in (Reason.LOSSLESS, Reason.MAX_ERROR):
            _check_promise(pixels, Pixels(image_HW3, alpha_HW), _promised(embedding, payload))
        stream = replace(stream, latents_crc32=pixels.crc32)
    data = pack(stream)
    return data, embedded_pixels(parse_with_fields(data).stream, copies.pictures).image_HW3


def _promised(embedding: Embedding, payload: Payload) -> int:
    """By how many levels a sample may be off: what is copied may be so far off as was asked for."""
    return embedding.value if embedding.reason is Reason.MAX_ERROR else payload.step_error


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


def _embedded(parsed: ParsedStream) -> Pixels:
    _check_embedded(parsed.stream)
    return embedded_pixels(parsed.stream, NO_PICTURES)


def _check_embedded(stream: Stream) -> None:
    if stream.needs_bundle:
        kind = "an autoencoder (--autoencoder FOLDER)" if stream.is_overfitted else "a bundle (--bundle FOLDER)"
        raise DictionaryMismatch(f"the stream needs {kind}, {stream.bundle_id.hex()}, and none is loaded")
