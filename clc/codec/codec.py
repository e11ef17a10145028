"""The codec: pictures to `.clc` streams and back.

    encode: picture -> g_a -> latents -> exact path (clc.codec.latent_coding) -> payload -> container
    (clc.bitstream.container) decode: container -> checks -> bundle -> exact path -> CRC of the latents -> g_s ->
    post-filter -> picture

A stream decodes to the same latents on every machine; the pixels that g_s makes of them may differ by a rounding. A
stream whose latents are not those of the encoder raises `DecodeMismatch` and never gives a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, lru_cache, partial
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from clc.bitstream.alignment import Alignment, without_brightness
from clc.bitstream.container import PROFILE, Stream, pack, parse
from clc.bundle.bundle import Bundle
from clc.codec.contest import Choice, Judge, cheapest
from clc.codec.effort import DEFAULT_EFFORT, UNREFINED, Effort, effort_of, refinements
from clc.codec.info import StreamInfo, stream_info
from clc.codec.latent_coding import Analysed, check_payload, decode_latents, encode_latents
from clc.codec.refinement import Target, refine
from clc.codec.selection import KeyPictures, References, Selector
from clc.errors import DecodeMismatch, DictionaryMismatch, InputError
from clc.limits import check_size
from clc.machine import has_bfloat16
from clc.model.model import STRIDE_Z, channels_last, padded
from clc.model.prior.walk import Conditions, Decoded, Trace, aligned_latents
from clc.model.transforms.tiled import synthesise
from clc.pictures.picture import Picture, check_picture
from clc.quality import MAX_QUALITY, from_q6, rate_distortion_lambda, to_q6
from clc.references.aligned import AlignedPixels, AlignedView
from clc.references.warp import Warped, compose, lit, warp
from clc.retrieval.descriptors import CodecBackbone

KEY_PICTURES_IN_MEMORY = 8


@dataclass(frozen=True, eq=False)
class Attempt:
    """A picture coded in one way: its fields and bytes, what both sides know of it, and what a decoder will decode."""

    choice: Choice
    stream: Stream
    data: bytes
    conditions: Conditions
    decoded: Decoded

    @property
    def bpp(self) -> float:
        """The rate, bits a pixel."""
        return len(self.data) * 8 / (self.stream.width * self.stream.height)


@dataclass
class _Common:
    """What the ways to code one picture have in common.

    Its latents where nothing is aligned, as they are and `refined`, and the last view of entries: a size and an
    alignment without its brightness, and what the warp makes of them.
    """

    image_HW3: Picture
    y: torch.Tensor | None = None
    refined: dict[Effort, torch.Tensor] = field(default_factory=dict)
    warped: dict[int, tuple[tuple[tuple[int, int], Alignment], Warped]] = field(default_factory=dict)


class Codec:
    """Encodes and decodes with one bundle on one device."""

    def __init__(self, bundle: Bundle, device: str = "cpu") -> None:
        self.bundle, self.device = bundle, torch.device(device)
        self._model = channels_last(bundle.model.to(self.device))
        if has_bfloat16(self.device):  # for g_a and refinement; a decoder's g_s stays float32
            self._model.low_precision = torch.bfloat16
        self._prior = bundle.prior.to(self.device)
        self._key_picture = lru_cache(KEY_PICTURES_IN_MEMORY)(self._read_key_picture)
        self._common: _Common | None = None

    @classmethod
    def load(cls, bundle: Path | None = None, device: str = "cpu") -> Codec:
        """Loads a bundle folder, the shipped one by default. Raises `InputError` or `StorageError`."""
        return cls(Bundle.load(bundle), device)

    @staticmethod
    @cache
    def shipped() -> Codec:
        """The codec of the bundle that the package ships, on the CPU; loaded once in a process."""
        return Codec.load()

    @cached_property
    def _selector(self) -> Selector:
        pictures = KeyPictures(self._key_picture, self._warped)
        return Selector(self.bundle.entries, self.bundle.config, CodecBackbone(self), pictures)

    def _read_key_picture(self, entry: int) -> Picture:
        picture = self.bundle.entries.pictures.get(entry)
        if picture is None:
            raise DictionaryMismatch(f"the stream aligns entry {entry}, of which the bundle holds no key picture")
        return picture.read()

    def analyse(self, image_HW3: Picture) -> npt.NDArray[np.float32]:
        """The map that retrieval pools: float32 (64, h, w), h and w the sides over 16, rounded up to multiples of 4."""
        described: npt.NDArray[np.float32] = self._model.describe(self._analysed(_checked(image_HW3)))[0]
        return described

    @torch.no_grad()
    def encode(
        self,
        image_HW3: Picture,
        quality: float = 50.0,
        references: References = "auto",
        *,
        entries: Sequence[int] | None = None,
        effort: int = DEFAULT_EFFORT,
    ) -> bytes:
        """Codes a uint8 (H, W, 3) RGB picture at a quality of 0 to 100.

        The picture is coded without references and, as `references` allows, with those of the dictionary that resemble
        it, as long as another way may win (`clc.codec.contest.cheapest`), its latents refined; the stream with the
        least rate + lambda * distortion is kept. "none" tries no reference; "tokens" takes the nearest entries for
        their tokens, whatever they save; "aligned" tries none and aligned ones; "auto" tries all; a number is "auto"
        with at most so many references. `entries` restricts the search to these dictionary entries; `effort` 0..9 says
        how long search and refinement may take (`clc.codec.effort`). The encoder decodes its own stream's latents
        before it returns it. Raises `InputError` for another shape or type or a parameter out of range, `LimitError`
        for a picture over `clc.limits`.
        """
        image_HW3 = _checked(image_HW3)
        if not 0.0 <= quality <= MAX_QUALITY:
            raise InputError(f"the quality must lie within 0 and 100, not {quality}")
        quality_q6 = to_q6(quality)
        self._common = _Common(image_HW3)
        try:
            return self._encode(image_HW3, quality_q6, effort_of(effort), (references, entries))
        finally:
            self._common = None

    def _encode(
        self,
        image_HW3: Picture,
        quality_q6: int,
        level: Effort,
        search: tuple[References, Sequence[int] | None],
    ) -> bytes:
        """`encode` with its `search` = (references, entries)."""
        costs: dict[bytes, float] = {}

        def cost(attempt: Attempt) -> float:
            if attempt.data not in costs:
                costs[attempt.data] = self.cost(image_HW3, attempt)
            return costs[attempt.data]

        choices = self._selector.propose(image_HW3, *search, level)
        # Beside aligned key pictures latents are refined anew each time, so the best's alone, once all were compared.
        first = UNREFINED if any(choice.alignments for choice in choices) else level
        code = partial(self.encode_with, image_HW3, quality_q6, level=first)
        pixels = image_HW3.shape[0] * image_HW3.shape[1]
        best = cheapest(choices, Judge(code, rate=lambda attempt: attempt.bpp, cost=cost, pixels=pixels))
        ways = dict.fromkeys((best.choice,) if best.choice.alignments else (best.choice, choices[0]))
        further = [refinement for refinement in refinements(level) if refinement != first]
        for refinement, way in product(further, ways):
            best = min(best, self.encode_with(image_HW3, quality_q6, way, refinement), key=cost)
        stream = parse(best.data)
        self._decode_latents(stream, conditions=best.conditions if stream == best.stream else None)
        return best.data

    @torch.no_grad()
    def cost(self, image_HW3: Picture, attempt: Attempt) -> float:
        """Rate + lambda * distortion in bits a pixel, the objective of training, from real bytes and pixels."""
        error = self._synthesise(attempt.stream, attempt.decoded, attempt.conditions).astype(np.float32) - image_HW3
        trade = rate_distortion_lambda(torch.tensor(from_q6(attempt.stream.quality_q6))).item()
        return attempt.bpp + trade * float(np.square(error).mean())

    @torch.no_grad()
    def encode_with(self, image_HW3: Picture, quality_q6: int, choice: Choice, level: Effort = UNREFINED) -> Attempt:
        """Codes a picture with given references and alignments at a quality of 0..6400; see `encode`.

        Of `level` only the refinement is used.
        """
        stream = Stream(
            profile=PROFILE,
            width=image_HW3.shape[1],
            height=image_HW3.shape[0],
            quality_q6=quality_q6,
            bundle_id=self.bundle.id_bytes,
            references=choice.references,
            alignments=choice.alignments,
            latents_crc32=0,
            payload=b"",
        )
        conditions = self._conditions(stream)
        y = self._analysed(image_HW3, conditions.aligned)
        quality = torch.tensor([quality_q6], device=self.device)
        step = self._model.gains.step(quality)
        own = aligned_latents(self._prior, conditions)
        z = self._model.h_a(y / step, None if own is None else own.to_float())
        if level.down:
            x = padded(torch.from_numpy(image_HW3.copy()).to(self.device)) / 255.0
            y = self._refined(image_HW3, y, Target(x, quality_q6, z, conditions.aligned), level)
        worth = None if level.annealed else self._model.worth(quality, step)
        analysed = Analysed(y / step, z, worth)
        payload, decoded = encode_latents(self._prior, self.bundle.table, analysed, conditions)
        stream = replace(stream, latents_crc32=decoded.crc32, payload=payload)
        return Attempt(choice, stream, pack(stream), conditions, decoded)

    def _analysed(self, image_HW3: Picture, aligned: AlignedPixels | None = None) -> torch.Tensor:
        """The latents y of a picture; without a reference they are the same however it is coded, and computed once."""
        common = self._common
        if aligned is not None or common is None or common.image_HW3 is not image_HW3:
            return self._model.analyse(image_HW3, aligned)
        if common.y is None:
            common.y = self._model.analyse(image_HW3)
        return common.y

    def _refined(self, image_HW3: Picture, y: torch.Tensor, target: Target, level: Effort) -> torch.Tensor:
        """The latents y refined; without an aligned reference they too are computed once."""
        common = self._common
        if target.aligned is not None or common is None or common.image_HW3 is not image_HW3:
            return refine(self._model, y, target, level)
        if level not in common.refined:
            common.refined[level] = refine(self._model, y, target, level)
        return common.refined[level]

    def _warped(self, entry: int, size: tuple[int, int], alignment: Alignment) -> Warped:
        """A key picture as the target of `size` sees it; once for the search and all ways to code a picture."""
        if self._common is None:
            return warp(self._key_picture(entry), size, alignment)
        known, view = self._common.warped, (size, without_brightness(alignment))
        if entry not in known or known[entry][0] != view:
            known[entry] = view, warp(self._key_picture(entry), *view)
        warped = known[entry][1]
        return warped if alignment.is_neutral_in_brightness else lit(warped, alignment)

    def _conditions(self, stream: Stream) -> Conditions:
        header = pack(replace(stream, latents_crc32=0, payload=b""))
        tokens = self.bundle.entries.conditioning(stream.references[len(stream.alignments) :]).to(self.device)
        return Conditions(stream.quality_q6, tokens, header, self._aligned(stream))

    def _aligned(self, stream: Stream) -> AlignedPixels | None:
        """The key pictures that a stream aligns, warped and laid over one another, padded as pictures are."""
        if not stream.alignments:
            return None
        size = (stream.height, stream.width)
        aligned = zip(stream.references, stream.alignments, strict=False)
        seen = compose([self._warped(entry, size, alignment) for entry, alignment in aligned])
        levels = padded(torch.from_numpy(seen.pixels).to(self.device))
        inside = padded(torch.from_numpy(seen.inside.astype(np.uint8))[..., None].to(self.device))
        return AlignedPixels(levels, inside, torch.ones(1, 1, 1, 1, device=self.device))

    @torch.no_grad()
    def decode(self, data: bytes) -> Picture:
        """Decodes a stream to a uint8 (H, W, 3) RGB picture.

        Raises a `BitstreamError`: `DictionaryMismatch` for a stream of another bundle, `DecodeMismatch` when the
        latents are not those of the encoder, the others for damaged bytes; `LimitError` over the caps; `StorageError`
        where a key picture of the bundle is damaged.
        """
        stream = parse(data)
        self._check_bundle(stream)
        self._check_size(stream)
        conditions = self._conditions(stream)
        return self._synthesise(stream, self._decode_latents(stream, conditions=conditions), conditions)

    def _synthesise(self, stream: Stream, latents: Decoded, conditions: Conditions) -> Picture:
        quality = torch.tensor([stream.quality_q6], device=self.device)
        gains = self._model.gains
        view = None
        if conditions.aligned is not None and latents.own is not None:
            view = AlignedView(conditions.aligned, latents.own.to_float())
        y_hat = latents.y_hat.float().contiguous(memory_format=torch.channels_last)
        step, film = gains.step(quality), gains.modulation(quality)
        postfilter = self.bundle.postfilter
        behind = None if postfilter is None else lambda levels: postfilter.apply(levels, stream.quality_q6)
        pixels = synthesise(self._model.g_s, y_hat, step, film, (latents.a.float(), view), behind)
        cropped = pixels[0, :, : stream.height, : stream.width]
        image: Picture = cropped.permute(1, 2, 0).contiguous().cpu().numpy()
        return image

    def _check_bundle(self, stream: Stream) -> None:
        if stream.bundle_id != self.bundle.id_bytes:
            raise DictionaryMismatch(
                f"the stream was written with bundle {stream.bundle_id.hex()}, but bundle {self.bundle.bundle_id} "
                "is loaded: name the stream's bundle (--bundle FOLDER)"
            )

    def _check_size(self, stream: Stream) -> None:
        """Before a reference is warped to a size that nothing but the header vouches for."""
        is_aligned = bool(stream.alignments)
        check_payload(
            self._prior, self.bundle.table, len(stream.payload), self._latents_shape(stream), is_aligned=is_aligned
        )

    def _latents_shape(self, stream: Stream) -> tuple[int, int, int]:
        return self.bundle.config.hyper, -(-stream.height // STRIDE_Z), -(-stream.width // STRIDE_Z)

    def _decode_latents(
        self, stream: Stream, trace: Trace | None = None, conditions: Conditions | None = None
    ) -> Decoded:
        self._check_bundle(stream)
        conditions = conditions or self._conditions(stream)
        shape, table = self._latents_shape(stream), self.bundle.table
        decoded = decode_latents(self._prior, table, stream.payload, shape, conditions, trace)
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


def _checked(image_HW3: Picture) -> Picture:
    check_picture(image_HW3)
    check_size(image_HW3.shape[1], image_HW3.shape[0])
    return image_HW3
