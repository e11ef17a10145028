"""The codec: pictures to `.clc` streams and back.

    encode: picture -> `clc.codec.encoding` -> stream        decode: stream -> `clc.codec.decoder` -> picture

A stream decodes to the same latents on every machine; the pixels that g_s makes of them may differ by a rounding. A
stream whose latents are not those of the encoder raises `DecodeMismatch` and never gives a picture.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from clc.bitstream.container import ParsedStream, pack_fields, parse_with_fields, with_sections
from clc.bundle.bundle import Bundle
from clc.codec.beside import DecodedPicture, sections_of, with_beside
from clc.codec.buffers import stream_bytes
from clc.codec.decoder import Decoder
from clc.codec.effort import DEFAULT_EFFORT, effort_of
from clc.codec.embedded import embedded_pixels, with_embedded, with_insets
from clc.codec.encoding import Encoding
from clc.codec.info import StreamInfo, stream_info
from clc.codec.search.selection import References, Search, Selector, checked_entries, checked_references
from clc.codec.ways.choice import Choice, searched
from clc.codec.ways.exact import encode_exact
from clc.codec.ways.goal import Goal
from clc.model.prior.walk import Trace
from clc.pictures.metadata import NO_METADATA, Metadata
from clc.pictures.picture import Picture, Plane
from clc.quality import checked_quality, to_q6

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from clc.references.key_pictures import PictureSource


class Codec:
    """Encodes and decodes with one bundle on one device.

    What it keeps between calls changes no result: decoded key pictures, their features, and what the last searches
    found. Threads may share it. `decoder` and `selector` are its parts.
    """

    def __init__(self, bundle: Bundle, device: str = "cpu") -> None:
        self.bundle = bundle
        self.decoder = Decoder(bundle, device)
        self.selector = Selector(bundle.entries, bundle.config, self.decoder.key_pictures)

    @classmethod
    def load(cls, bundle: str | os.PathLike[str] | None = None, device: str = "cpu") -> Codec:
        """Loads a bundle folder, the shipped one by default. Raises `InputError` or `StorageError`."""
        return cls(Bundle.load(None if bundle is None else Path(bundle)), device)

    @staticmethod
    @cache
    def shipped() -> Codec:
        """The codec of the bundle that the package ships, on the CPU; loaded once in a process."""
        return Codec.load()

    def beside(self, pictures: PictureSource) -> Codec:
        """The same codec, sharing all memory, which decodes streams beside the pictures of another source."""
        other = copy.copy(self)
        other.decoder = self.decoder.beside(pictures)
        return other

    @property
    def device(self) -> torch.device:
        """The device that it computes on."""
        return self.decoder.device

    def encoding(self, image_HW3: Picture) -> Encoding:
        """Begins to code a picture, uint8 (H, W, 3): for whoever codes it at several qualities or in chosen ways.

        Raises `InputError` for another shape or dtype, `LimitError` for a picture over `clc.limits`.
        """
        return Encoding(self.decoder, self.selector, image_HW3)

    def encode(
        self,
        image_HW3: Picture,
        quality: float = 50.0,
        references: References = "auto",
        *,
        entries: Sequence[int] | None = None,
        effort: int = DEFAULT_EFFORT,
        alpha_HW: Plane | None = None,
        metadata: Metadata = NO_METADATA,
    ) -> bytes:
        """Codes a uint8 (H, W, 3) RGB picture at a quality of 0 to 100.

        The picture is coded without references and with those of the dictionary that resemble it, as long as another
        way may win (`clc.codec.search.contest.cheapest`), its latents refined. The stream with the least rate + lambda
        * distortion is kept. The encoder decodes its own stream's latents before it returns it.

        Args:
            image_HW3: The picture.
            quality: 0 (smallest) to 100 (best), in steps of 1/64.
            references: "none" tries no reference; "tokens" takes the nearest entries for their tokens, whatever they
                save; "aligned" tries none and aligned ones; "auto" tries all; a number is "auto" with at most so many.
            entries: Restricts the search to these dictionary entries.
            effort: 0 to 9, how long search and refinement may take (`clc.codec.effort`).
            alpha_HW: Transparency, uint8 (H, W), 255 where the picture is opaque; it is kept lossless.
            metadata: EXIF and XMP, which are kept as they are.

        Raises:
            InputError: For another shape or dtype, or a parameter out of range.
            LimitError: For a picture or metadata over `clc.limits`.
        """
        encoding = self.encoding(image_HW3)
        quality_q6 = to_q6(checked_quality(quality))
        search = Search(checked_references(references), checked_entries(entries), effort_of(effort))
        sections = sections_of(alpha_HW, metadata, (image_HW3.shape[0], image_HW3.shape[1]))
        data = encoding.encode(quality_q6, search)
        return with_sections(data, sections)

    def encode_to(
        self,
        goal: Goal,
        image_HW3: Picture,
        references: References = "auto",
        *,
        effort: int = DEFAULT_EFFORT,
        alpha_HW: Plane | None = None,
        metadata: Metadata = NO_METADATA,
    ) -> bytes:
        """Codes a picture the way that suits it and the goal (`clc.codec.ways.choice`); else as `encode`.

        Where a photograph is asked for at a quality, that is what `encode` does.
        """
        if goal.max_error is not None:
            return encode_exact(image_HW3, goal.max_error, effort=effort, alpha_HW=alpha_HW, metadata=metadata)
        return self._choice(image_HW3, references, effort, alpha_HW, metadata).encode(goal)

    def at_qualities(
        self,
        image_HW3: Picture,
        references: References = "auto",
        *,
        effort: int = DEFAULT_EFFORT,
        alpha_HW: Plane | None = None,
        metadata: Metadata = NO_METADATA,
    ) -> Callable[[float], bytes]:
        """What codes one picture at one quality after another, as `encode_to` does; what it found once it keeps."""
        return self._choice(image_HW3, references, effort, alpha_HW, metadata).at_quality

    def _choice(
        self, image_HW3: Picture, references: References, effort: int, alpha_HW: Plane | None, metadata: Metadata
    ) -> Choice:
        encoding = self.encoding(image_HW3)
        return Choice(encoding, searched(encoding, references, effort), effort, alpha_HW, metadata)

    def decode(self, data: Buffer) -> Picture:
        """Decodes the colours of a stream to a uint8 (H, W, 3) RGB picture; see `decode_picture`."""
        return self._decode(parse_with_fields(stream_bytes(data)))

    def decode_picture(self, data: Buffer) -> DecodedPicture:
        """Decodes a stream, any buffer of bytes, with all that it holds: colours, transparency, EXIF and XMP.

        Raises a `BitstreamError`: `DictionaryMismatch` for a stream of another bundle, `DecodeMismatch` when the
        latents are not those of the encoder, the others for damaged bytes; `LimitError` over the caps; `StorageError`
        where a key picture of the bundle is damaged; `InputError` for what is no buffer of bytes.
        """
        parsed = parse_with_fields(stream_bytes(data))
        if parsed.stream.embedding is None:
            return with_beside(self._decode(parsed), parsed.stream.sections)
        self.decoder.check_insets(parsed.stream)
        found = with_embedded(parsed, self.decoder.key_pictures)
        return replace(found, image_HW3=with_insets(found.image_HW3, parsed.stream, self.decoder.plain_picture))

    @torch.no_grad()
    def _decode(self, parsed: ParsedStream) -> Picture:
        if parsed.stream.embedding is not None:
            self.decoder.check_insets(parsed.stream)
            payload_HW3 = embedded_pixels(parsed.stream, self.decoder.key_pictures).image_HW3
            return with_insets(payload_HW3, parsed.stream, self.decoder.plain_picture)
        self.decoder.check(parsed.stream)
        conditions = self.decoder.conditions(parsed)
        latents = self.decoder.latents(parsed.stream, conditions)
        return self.decoder.picture(parsed.stream, latents, conditions)

    def feature_map(self, image_HW3: Picture) -> npt.NDArray[np.float32]:
        """The map that retrieval pools: float32 (64, h, w), h and w the sides over 16, rounded up to multiples of 4."""
        return self.encoding(image_HW3).feature_map(image_HW3)

    @torch.no_grad()
    def trace(self, data: Buffer, trace: Trace) -> None:
        """Decodes the latents of a stream and shows every intermediate result of the exact path to `trace`."""
        parsed = parse_with_fields(stream_bytes(data))
        insets = [ParsedStream(inset, pack_fields(inset)) for inset in parsed.stream.inset_streams]
        for one in insets or [parsed]:
            self.decoder.latents(one.stream, self.decoder.conditions(one), trace)

    def info(self, data: Buffer) -> StreamInfo:
        """See `clc.codec.info.stream_info`."""
        return stream_info(data)
