"""The pictures that streams of an archive refer to, the same pixels on every machine.

A stream names others by their ids. `ReferredPictures` decodes these in float64 (`clc.codec.exact_pixels`), checks the
SHA-256 of the pixels against the manifest's, and keeps the last ones in memory. A stream may refer to streams that
refer to others: one is decoded through as many as its chain has.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

import torch

from clc.archive.pixel_cache import PixelCache
from clc.bitstream.container import ParsedStream, pack_fields, parse_with_fields, stream_id
from clc.bitstream.stream import Reference, Stream
from clc.codec.decoder import Decoder
from clc.codec.embedded import embedded_pixels, with_insets
from clc.codec.exact_pixels import ExactPicture, ExactSynthesis
from clc.errors import CorruptStream, DecodeMismatch, MissingReference
from clc.pictures.picture import Picture
from clc.references.key_pictures import PictureSource, WarpedKeyPictures
from storage.digest import sha256_bytes

CACHED_BYTES = 512 << 20
"""Of decoded pictures that are kept; the last one is kept whatever its size."""

LONGEST_CHAIN = 64
"""Streams through which one may be decoded: more is no archive that was packed, but an attack on the reader."""


class ReferredPictures(PictureSource):
    """Reads pictures by the ids of their streams, and dictionary entries as the bundle's own source does.

    `stream_of` gives the bytes of a stream, `pixels_sha256_of` the digest of its pixels; both may raise
    `MissingReference`. `cache` keeps pictures on disk besides. One thread decodes at a time.
    """

    def __init__(
        self,
        decoder: Decoder,
        stream_of: Callable[[bytes], bytes],
        pixels_sha256_of: Callable[[bytes], str],
        cache: PixelCache | None = None,
    ) -> None:
        self._entries = decoder.key_pictures
        self.decoder = decoder.beside(self)
        self.synthesis = ExactSynthesis(decoder)
        self._stream_of, self._pixels_sha256_of, self._cache = stream_of, pixels_sha256_of, cache
        self._kept: OrderedDict[bytes, Picture] = OrderedDict()
        self._lock = threading.RLock()
        self._chain: list[bytes] = []
        self.decoded = 0
        """How many pictures were decoded because others refer to them."""

    def read(self, reference: Reference, /) -> Picture:
        """The picture of a stream's id, or of a dictionary entry, uint8 (H, W, 3); do not write into it.

        Raises `MissingReference` for a stream that is not at hand, `CorruptStream` for one that is another than its id
        says, `DecodeMismatch` where its pixels are not those that the archive names.
        """
        if isinstance(reference, int):
            return self._entries.read(reference)
        with self._lock:
            known = self._kept.get(reference)
            if known is None:
                known = self._on_disk(reference)
                if known is None:
                    known = self._decoded(reference)
                    self.keep(reference, known)
                else:
                    self._keep_in_memory(reference, known)
            self._kept.move_to_end(reference)
            return known

    def keep(self, reference: bytes, image_HW3: Picture) -> None:
        """Keeps a picture whose exact pixels are known, and forgets those that were read longest ago."""
        self._keep_in_memory(reference, image_HW3)
        if self._cache is not None:
            self._cache.keep(reference, image_HW3)

    def _on_disk(self, reference: bytes) -> Picture | None:
        return None if self._cache is None else self._cache.read(reference, self._pixels_sha256_of(reference))

    def _keep_in_memory(self, reference: bytes, image_HW3: Picture) -> None:
        with self._lock:
            self._kept[reference] = image_HW3
            while len(self._kept) > 1 and sum(image.nbytes for image in self._kept.values()) > CACHED_BYTES:
                self._kept.popitem(last=False)

    def _decoded(self, reference: bytes) -> Picture:
        if len(self._chain) >= LONGEST_CHAIN:
            raise CorruptStream(f"the stream depends on a chain of more than {LONGEST_CHAIN} streams: it is damaged")
        data = self._stream_of(reference)
        if stream_id(data) != reference:
            raise CorruptStream(f"stream {reference.hex()} is another one than its id says: get the archive again")
        self._chain.append(reference)
        try:
            picture = self.exactly(data)
        finally:
            self._chain.pop()
        self.decoded += 1
        if sha256_bytes(picture.image_HW3.tobytes()) != self._pixels_sha256_of(reference):
            raise DecodeMismatch(
                f"stream {reference.hex()} does not decode to the pixels that the archive names: the table is not "
                "this archive's, or this machine computes differently; run `clc selftest`"
            )
        return picture.image_HW3

    @torch.no_grad()
    def exactly(self, data: bytes) -> ExactPicture:
        """The picture of a stream in float64, with its clearance. Raises what `clc.codec.codec.Codec.decode` raises.

        That of another codec's bitstream is one of whole numbers, so nothing of it is near to an edge; parts that it
        copies from other streams are read here. The insets of a compound picture are made in float64 as all else is.
        """
        parsed = parse_with_fields(data)
        if parsed.stream.embedding is None:
            self.decoder.check(parsed.stream)
            return self._synthesised(parsed)
        self.decoder.check_insets(parsed.stream)
        clearances = [0.5]

        def inset(stream: Stream) -> Picture:
            picture = self._synthesised(ParsedStream(stream, pack_fields(stream)))
            clearances.append(picture.clearance)
            return picture.image_HW3

        image_HW3 = with_insets(embedded_pixels(parsed.stream, self).image_HW3, parsed.stream, inset)
        return ExactPicture(image_HW3, min(clearances))

    def _synthesised(self, parsed: ParsedStream) -> ExactPicture:
        conditions = self.decoder.conditions(parsed, WarpedKeyPictures(self))
        latents = self.decoder.latents(parsed.stream, conditions)
        return self.synthesis.synthesise_exactly(parsed.stream, latents, conditions)


def nothing_stored(reference: bytes) -> bytes:
    """A `stream_of` for an archive that has no streams yet."""
    raise MissingReference(f"no stream {reference.hex()} is at hand")
