"""The codec: pictures to `.clc` streams and back, and its command line (`python -m clc.codec`).

    encode: picture -> g_a -> latents -> exact path (clc.latents) -> payload -> container (clc.bitstream)
    decode: container -> checks -> bundle -> exact path -> CRC of the latents -> g_s -> picture

A stream decodes to the same latents on every machine; the pixels that g_s makes of them may differ by a rounding. A
stream whose latents are not those of the encoder raises `DecodeMismatch` and never gives a picture.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from clc.bitstream import MAX_QUALITY_Q6, PROFILE, Stream, pack, parse
from clc.bundle import Bundle
from clc.errors import DecodeMismatch, DictionaryMismatch, InputError
from clc.features import CodecBackbone
from clc.latents import Conditions, Decoded, Trace, decode_latents, encode_latents
from clc.limits import check_size
from clc.model import STRIDE_Z, Picture, channels_last
from clc.retrieval import Index, multi_query, open_index, query_vectors

REFERENCES = 3
References = Literal["auto", "none"]


@dataclass(frozen=True)
class StreamInfo:
    """What a stream says of itself; sizes in pixels and bytes, `overhead_bytes` is all that is not payload."""

    version: int
    profile: int
    width: int
    height: int
    quality: float
    bundle_id: str
    references: tuple[int, ...]
    total_bytes: int
    payload_bytes: int
    overhead_bytes: int
    bpp: float

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {**asdict(self), "references": list(self.references)}


class Codec:
    """Encodes and decodes with one bundle on one device."""

    def __init__(self, bundle: Bundle, device: str = "cpu") -> None:
        self.bundle, self.device = bundle, torch.device(device)
        self._model = channels_last(bundle.model.to(self.device))
        self._prior = bundle.prior.to(self.device)

    @classmethod
    def load(cls, bundle: Path | None = None, device: str = "cpu") -> Codec:
        """Loads a bundle folder, the shipped one by default. Raises `InputError` or `StorageError`."""
        return cls(Bundle.load(bundle), device)

    @cached_property
    def _index(self) -> Index:
        return open_index(self.bundle.entries.keys)

    def analyse(self, image_HW3: Picture) -> npt.NDArray[np.float32]:
        """The map that retrieval pools: float32 (64, h, w), h and w the sides over 16, rounded up to multiples of 4."""
        described: npt.NDArray[np.float32] = self._model.describe(self._model.analyse(_checked(image_HW3)))[0]
        return described

    @torch.no_grad()
    def encode(self, image_HW3: Picture, quality: float = 50.0, references: References = "auto") -> bytes:
        """Codes a uint8 (H, W, 3) RGB picture at a quality of 0 to 100.

        With `references="auto"` the picture is coded with the dictionary entries that resemble it and without, and the
        shorter stream is kept. The encoder decodes its own stream's latents before it returns it. Raises `InputError`
        for another shape or type or a quality out of range, `LimitError` for a picture over `clc.limits`.
        """
        image_HW3 = _checked(image_HW3)
        if references not in ("auto", "none"):
            raise InputError(f"references must be 'auto' or 'none', not {references!r}")
        if not 0.0 <= quality <= 100.0:
            raise InputError(f"the quality must lie within 0 and 100, not {quality}")
        quality_q6 = min(MAX_QUALITY_Q6, round(quality * 64))
        y, size = self._model.analyse(image_HW3), (image_HW3.shape[0], image_HW3.shape[1])
        candidates: list[tuple[int, ...]] = [()]
        if references == "auto":
            candidates.append(self._retrieve(image_HW3))
        streams = [self._encode_with(y, size, quality_q6, chosen) for chosen in candidates]
        best = min(streams, key=len)
        self._decode_latents(parse(best))
        return best

    def _retrieve(self, image_HW3: Picture) -> tuple[int, ...]:
        queries = query_vectors(image_HW3, CodecBackbone(self), self.bundle.entries.reduction)
        return tuple(int(i) for i in multi_query(self._index, queries, REFERENCES).indices)

    def _encode_with(
        self, y: torch.Tensor, size: tuple[int, int], quality_q6: int, references: tuple[int, ...]
    ) -> bytes:
        stream = Stream(
            profile=PROFILE,
            width=size[1],
            height=size[0],
            quality_q6=quality_q6,
            bundle_id=self.bundle.id_bytes,
            references=references,
            latents_crc32=0,
            payload=b"",
        )
        scaled = y / self._model.gains.step(torch.tensor([quality_q6], device=self.device))
        z = self._model.h_a(scaled)
        payload, decoded = encode_latents(self._prior, self.bundle.table, scaled, z, self._conditions(stream))
        return pack(replace(stream, latents_crc32=decoded.crc32, payload=payload))

    def _conditions(self, stream: Stream) -> Conditions:
        header = pack(replace(stream, latents_crc32=0, payload=b""))
        tokens = self.bundle.entries.conditioning(stream.references).to(self.device)
        return Conditions(stream.quality_q6, tokens, header)

    @torch.no_grad()
    def decode(self, data: bytes) -> Picture:
        """Decodes a stream to a uint8 (H, W, 3) RGB picture.

        Raises a `BitstreamError`: `DictionaryMismatch` for a stream of another bundle, `DecodeMismatch` when the
        latents are not those of the encoder, the others for damaged bytes; `LimitError` over the caps.
        """
        stream = parse(data)
        latents = self._decode_latents(stream)
        quality = torch.tensor([stream.quality_q6], device=self.device)
        gains = self._model.gains
        y_hat = latents.y_hat.float().contiguous(memory_format=torch.channels_last)
        x_hat = self._model.g_s(y_hat, gains.step(quality), gains.modulation(quality), latents.a.float())
        cropped = x_hat[0, :, : stream.height, : stream.width]
        pixels = torch.round(cropped.clamp(0.0, 1.0) * 255.0).to(torch.uint8)
        image: Picture = pixels.permute(1, 2, 0).contiguous().cpu().numpy()
        return image

    def _decode_latents(self, stream: Stream, trace: Trace | None = None) -> Decoded:
        if stream.bundle_id != self.bundle.id_bytes:
            raise DictionaryMismatch(
                f"the stream was written with bundle {stream.bundle_id.hex()}, but bundle {self.bundle.bundle_id} "
                "is loaded: name the stream's bundle (--bundle FOLDER)"
            )
        conditions = self._conditions(stream)
        shape = (self.bundle.config.hyper, -(-stream.height // STRIDE_Z), -(-stream.width // STRIDE_Z))
        decoded = decode_latents(self._prior, self.bundle.table, stream.payload, shape, conditions, trace)
        if decoded.crc32 != stream.latents_crc32:
            raise DecodeMismatch(
                f"the decoded latents have CRC {decoded.crc32:08x}, the encoder's had {stream.latents_crc32:08x}: the "
                "stream is damaged or this machine computes differently; run `python -m clc.codec selftest`"
            )
        return decoded

    def trace(self, data: bytes, trace: Trace) -> None:
        """Decodes the latents of a stream and shows every intermediate result of the exact path to `trace`."""
        with torch.no_grad():
            self._decode_latents(parse(data), trace)

    def info(self, data: bytes) -> StreamInfo:
        """See `stream_info`."""
        return stream_info(data)


def stream_info(data: bytes) -> StreamInfo:
    """Reads the header of a stream after all its checks; needs no bundle. Raises a `BitstreamError`."""
    stream = parse(data)
    return StreamInfo(
        version=data[4],
        profile=stream.profile,
        width=stream.width,
        height=stream.height,
        quality=stream.quality_q6 / 64,
        bundle_id=stream.bundle_id.hex(),
        references=stream.references,
        total_bytes=len(data),
        payload_bytes=len(stream.payload),
        overhead_bytes=len(data) - len(stream.payload),
        bpp=len(data) * 8 / (stream.width * stream.height),
    )


def _checked(image_HW3: Picture) -> Picture:
    if image_HW3.ndim != 3 or image_HW3.shape[2] != 3 or image_HW3.dtype != np.uint8:
        raise InputError(f"a picture is uint8 (H, W, 3), but this one is {image_HW3.dtype} {image_HW3.shape}")
    check_size(image_HW3.shape[1], image_HW3.shape[0])
    return image_HW3


if __name__ == "__main__":
    import sys

    from clc.cli import main

    sys.exit(main())
