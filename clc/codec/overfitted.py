"""Pictures to overfitted streams and back: a function fitted to each picture in the latents of an autoencoder.

    encode: picture -> autoencoder -> y -> `clc.overfitted.fit` -> integers -> payload -> stream
    decode: stream -> integers -> y_hat -> autoencoder -> picture

`OverfittedCodec` takes and gives what `clc.codec.codec.Codec` does, with an autoencoder in place of a bundle. A stream
decodes to the same integers on every machine, and raises `DecodeMismatch` where it does not; y_hat and the pixels that
float networks make of them may differ by a rounding.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from clc.bitstream.container import ParsedStream, empty_stream, pack, pack_fields, parse_with_fields, with_sections
from clc.bitstream.stream import OVERFITTED_PROFILE, Stream
from clc.codec.beside import DecodedPicture, sections_of, with_beside
from clc.codec.buffers import stream_bytes
from clc.codec.effort import DEFAULT_EFFORT, effort_of
from clc.codec.info import StreamInfo, stream_info
from clc.errors import DecodeMismatch, DictionaryMismatch, InputError
from clc.overfitted.autoencoder import Autoencoder
from clc.overfitted.coding import decode_function, encode_function
from clc.overfitted.fit import Fitted, Fitter
from clc.overfitted.integers import FunctionIntegers
from clc.overfitted.layout import layout_of
from clc.pictures.metadata import NO_METADATA, Metadata
from clc.pictures.picture import Picture, Plane, check_picture
from clc.quality import checked_quality, from_q6, rate_distortion_lambda, to_q6

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from clc.codec.search.selection import References

ITERATIONS = (50, 100, 200, 300, 450, 600, 1000, 2000, 4000, 8000)
"""Steps of a fit for each effort, 0 to 9."""

COLOURS = 3


class OverfittedCodec:
    """Encodes and decodes with one autoencoder, on the CPU. Threads may share it."""

    def __init__(self, autoencoder: Autoencoder) -> None:
        self.autoencoder = autoencoder

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> OverfittedCodec:
        """The codec of an autoencoder's folder; raises `InputError` where it is none."""
        return cls(Autoencoder(Path(folder)))

    def encode(
        self,
        image_HW3: Picture,
        quality: float = 50.0,
        references: References = "auto",
        *,
        effort: int = DEFAULT_EFFORT,
        alpha_HW: Plane | None = None,
        metadata: Metadata = NO_METADATA,
    ) -> bytes:
        """Codes a uint8 (H, W, 3) RGB picture at a quality of 0 to 100; arguments and errors as `Codec.encode`.

        The quality is the same trade of bits for squared error as the codec's own. `references` exist for the sake of
        one interface: an overfitted stream has none, and only "auto" and "none" are taken. `effort` is how many steps
        the fit takes: 600 at 5.
        """
        if references not in ("auto", "none"):
            raise InputError(f"an overfitted stream has no references, so they are auto or none, not {references!r}")
        return self.at_qualities(image_HW3, effort=effort, alpha_HW=alpha_HW, metadata=metadata)(quality)

    def at_qualities(
        self,
        image_HW3: Picture,
        *,
        effort: int = DEFAULT_EFFORT,
        alpha_HW: Plane | None = None,
        metadata: Metadata = NO_METADATA,
    ) -> Callable[[float], bytes]:
        """What codes one picture at one quality after another; each fit starts where the one before ended."""
        fitting = Fitting(self.autoencoder, image_HW3, effort)
        sections = sections_of(alpha_HW, metadata, (image_HW3.shape[0], image_HW3.shape[1]))
        return lambda quality: with_sections(fitting.encode(quality), sections)

    def decode(self, data: Buffer) -> Picture:
        """Decodes the colours of a stream to a uint8 (H, W, 3) RGB picture; see `decode_picture`."""
        return self._decode(parse_with_fields(stream_bytes(data)))

    def decode_picture(self, data: Buffer) -> DecodedPicture:
        """Decodes a stream, any buffer of bytes, with all that it holds; errors as `Codec.decode_picture`.

        `DictionaryMismatch` is for a stream of another autoencoder, or one that is not overfitted.
        """
        parsed = parse_with_fields(stream_bytes(data))
        return with_beside(self._decode(parsed), parsed.stream.sections)

    def info(self, data: Buffer) -> StreamInfo:
        """See `clc.codec.info.stream_info`."""
        return stream_info(data)

    def _decode(self, parsed: ParsedStream) -> Picture:
        stream = parsed.stream
        integers = self.integers(parsed)
        return self.autoencoder.decode(y_hat_of(integers), stream.width, stream.height)

    def integers(self, parsed: ParsedStream) -> FunctionIntegers:
        """The function of a stream, checked against the CRC-32 of the encoder's; raises as `decode_picture`."""
        stream = parsed.stream
        if not stream.is_overfitted or stream.bundle_id != self.autoencoder.id_bytes:
            kind, advice = ("autoencoder", "--autoencoder") if stream.is_overfitted else ("bundle", "--bundle")
            raise DictionaryMismatch(
                f"the stream was written with {kind} {stream.bundle_id.hex()}, but autoencoder "
                f"{self.autoencoder.id_bytes.hex()} is loaded: name the stream's {kind} ({advice} FOLDER)"
            )
        integers = decode_function(stream.payload, self.autoencoder.latents_shape(stream.width, stream.height))
        _check(integers, parsed)
        return integers


class Fitting:
    """One uint8 picture (H, W, 3) that is being fitted, at one quality after another.

    Raises `InputError` for another shape or dtype or an effort that does not exist, `LimitError` for a picture over
    `clc.limits`.
    """

    def __init__(self, autoencoder: Autoencoder, image_HW3: Picture, effort: int = DEFAULT_EFFORT) -> None:
        effort_of(effort)
        self._size = check_picture(image_HW3).shape[:2]
        self._autoencoder = autoencoder
        y = autoencoder.encode(image_HW3)
        self._fitter = Fitter(y, autoencoder.importance(y), ITERATIONS[effort])

    def encode(self, quality: float) -> bytes:
        """The stream at a quality of 0 to 100, without sections; its payload was decoded again and compared."""
        return self.fitted(quality)[0]

    def fitted(self, quality: float) -> tuple[bytes, Fitted]:
        """The stream at a quality of 0 to 100, and what the fit says of it."""
        quality_q6 = to_q6(checked_quality(quality))
        fitted = self._fitter.fit(weight_of(from_q6(quality_q6)))
        height, width = self._size
        stream = Stream(
            profile=OVERFITTED_PROFILE,
            width=width,
            height=height,
            quality_q6=quality_q6,
            bundle_id=self._autoencoder.id_bytes,
            references=(),
            latents_crc32=0,
            payload=encode_function(fitted.integers),
        )
        stream = replace(stream, latents_crc32=fitted.integers.crc32(empty_stream(pack_fields(stream))))
        data = pack(stream)
        parsed = parse_with_fields(data)
        _check(decode_function(parsed.stream.payload, fitted.integers.shape), parsed)
        return data, fitted


def weight_of(quality: float) -> float:
    """Bits for a squared error of 1 in a pixel's level of 0..1 in one colour, at a quality of 0 to 100."""
    return rate_distortion_lambda(quality) * 255.0**2 / COLOURS


@torch.no_grad()
def y_hat_of(integers: FunctionIntegers) -> torch.Tensor:
    """The autoencoder's latents (1, C, h, w) that a function makes, float32."""
    latents = torch.from_numpy(integers.latents).float()
    y_hat: torch.Tensor = integers.function()(latents, layout_of(*integers.shape[1:]))
    return y_hat


def _check(integers: FunctionIntegers, parsed: ParsedStream) -> None:
    crc32 = integers.crc32(empty_stream(parsed.fields))
    if crc32 != parsed.stream.latents_crc32:
        raise DecodeMismatch(
            f"the decoded function has CRC {crc32:08x}, the encoder's had {parsed.stream.latents_crc32:08x}: the "
            "stream is damaged or this machine computes differently"
        )
