"""From a parsed stream to a picture, step by step, with one bundle on one device.

    stream -> checks -> conditions (tokens, warped key pictures) -> exact path -> CRC -> g_s -> post-filter

`clc.codec.codec.Codec` runs all of it; `clc.codec.encoding` runs parts of it, because an encoder decodes its own
stream. A decoder keeps nothing of a stream between calls, so threads may share one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from clc.bitstream.container import ParsedStream, Stream, empty_stream, pack_fields
from clc.bundle.bundle import Bundle
from clc.codec.latent_coding import check_payload, decode_latents
from clc.errors import DecodeMismatch, DictionaryMismatch
from clc.machine import has_bfloat16, make_forks_safe
from clc.model.gains import Gains
from clc.model.model import STRIDE_Z, channels_last, padded
from clc.model.post_filter import PostFilter
from clc.model.prior.walk import Conditions, Decoded, Trace
from clc.model.transforms.interface import Synthesis
from clc.model.transforms.self_generated import Modulation
from clc.model.transforms.tiled import Known, Structured, synthesise
from clc.pictures.picture import Picture
from clc.references.aligned import PATCH_PX, AlignedLatents, AlignedPixels, AlignedView
from clc.references.key_pictures import KeyPictureCache, PictureSource, WarpedKeyPictures
from clc.references.warp import compose

_WINDOW = 4  # latents a side of a window by which a picture is judged
_LEAST_SHARE = 12  # a picture is as large as all windows so many times, at least


class SynthesisParts(NamedTuple):
    """What makes pixels of latents. It computes in the precision of its parameters, float32 or float64.

    `to_g_s` is there where the model has a self-generated prior.
    """

    g_s: Synthesis
    gains: Gains
    post_filter: PostFilter | None
    to_g_s: Modulation | None = None


def synthesised(
    parts: SynthesisParts,
    stream: Stream,
    latents: Decoded,
    conditions: Conditions,
    watch: Callable[[torch.Tensor], None] | None = None,
) -> Picture:
    """The uint8 picture (H, W, 3) of a stream's latents; `watch` as in `clc.model.transforms.tiled.synthesise`."""
    like = parts.gains.log_step
    quality = torch.tensor([stream.quality_q6], device=like.device)
    view = None
    if conditions.aligned is not None and latents.reference is not None:
        pixels = AlignedPixels(*(part.to(like.dtype) for part in conditions.aligned))
        view = AlignedView(pixels, AlignedLatents(*(part.to(like.dtype) for part in latents.reference)))
    y_hat = latents.y_hat.to(like.dtype).contiguous(memory_format=torch.channels_last)
    step, rate_modulation = parts.gains.step(quality), parts.gains.modulation(quality)
    filtered = parts.post_filter
    post_filter = None if filtered is None else lambda levels: filtered.apply(levels, stream.quality_q6)
    structured = None
    if parts.to_g_s is not None and latents.structure is not None:
        structured = Structured(latents.structure.to(like.dtype), parts.to_g_s)
    known = Known(latents.a.to(like.dtype), view, structured)
    made = synthesise(parts.g_s, y_hat, step, rate_modulation, known, post_filter, watch)
    cropped = made[0, :, : stream.height, : stream.width]
    image: Picture = cropped.permute(1, 2, 0).contiguous().cpu().numpy()
    return image


class Decoder:
    """A bundle on a device, and the steps of decoding.

    `model` is the float model and `prior` the exact one, both on the device; `key_pictures` are those of the bundle.
    """

    def __init__(self, bundle: Bundle, device: str = "cpu") -> None:
        make_forks_safe()
        self.bundle, self.device = bundle, torch.device(device)
        self.model = channels_last(bundle.model.to(self.device))
        if has_bfloat16(self.device):  # for g_a and refinement; g_s of a decoder stays float32
            self.model.low_precision = torch.bfloat16
        self.prior = bundle.prior.to(self.device)
        self.key_pictures: PictureSource = KeyPictureCache(bundle.entries.pictures)

    def beside(self, pictures: PictureSource) -> Decoder:
        """The same decoder, sharing all memory, with another source of the pictures that streams align."""
        other = copy.copy(self)
        other.key_pictures = pictures
        return other

    def check(self, stream: Stream) -> None:
        """Refuses a stream before memory is made for it.

        Raises `DictionaryMismatch` for one of another bundle, `CorruptStream` for a payload that is too short for the
        picture that the header claims.
        """
        self._check_bundle(stream)
        is_aligned = bool(stream.alignments)
        check_payload(
            self.prior, self.bundle.table, len(stream.payload), self._latents_shape(stream), is_aligned=is_aligned
        )

    def check_insets(self, stream: Stream) -> None:
        """Refuses a compound stream as `check` does, before anything of it is decoded."""
        for inset in stream.inset_streams:
            self.check(inset)

    @torch.no_grad()
    def plain_picture(self, stream: Stream) -> Picture:
        """The picture of a stream that refers to nothing, such as an inset, and that `check` accepts.

        Raises what `latents` raises.
        """
        conditions = self.conditions(ParsedStream(stream, pack_fields(stream)))
        return self.picture(stream, self.latents(stream, conditions), conditions)

    def conditions(self, parsed: ParsedStream, warped: WarpedKeyPictures | None = None) -> Conditions:
        """What both sides know of a stream before its first symbol; `warped` are views of key pictures that are known.

        Raises `DictionaryMismatch` for an entry or a key picture that the bundle has not, `StorageError` where a key
        picture is damaged.
        """
        stream = parsed.stream
        tokens = self.bundle.entries.conditioning(stream.token_references).to(self.device)
        aligned = self._aligned(stream, warped or WarpedKeyPictures(self.key_pictures))
        return Conditions(stream.quality_q6, tokens, empty_stream(parsed.fields), aligned)

    def _aligned(self, stream: Stream, warped: WarpedKeyPictures) -> AlignedPixels | None:
        """The key pictures that a stream aligns, warped and laid over one another, padded as pictures are."""
        if not stream.alignments:
            return None
        size = (stream.height, stream.width)
        aligned = zip(stream.aligned_references, stream.alignments, strict=True)
        seen = compose([warped.warp(reference, size, alignment) for reference, alignment in aligned])
        levels = padded(torch.from_numpy(seen.pixels).to(self.device))
        inside = padded(torch.from_numpy(seen.inside.astype(np.uint8))[..., None].to(self.device))
        return AlignedPixels(levels, inside, torch.ones(1, 1, 1, 1, device=self.device))

    def latents(self, stream: Stream, conditions: Conditions, trace: Trace | None = None) -> Decoded:
        """The latents of a stream, checked against the CRC-32 of the encoder's.

        Raises `DecodeMismatch` where they differ, and what `clc.bitstream.range_coder.Decoder` raises.
        """
        self._check_bundle(stream)
        shape, table = self._latents_shape(stream), self.bundle.table
        decoded = decode_latents(self.prior, table, stream.payload, shape, conditions, trace)
        if decoded.crc32 != stream.latents_crc32:
            raise DecodeMismatch(
                f"the decoded latents have CRC {decoded.crc32:08x}, the encoder's had {stream.latents_crc32:08x}: the "
                "stream is damaged or this machine computes differently; run `python -m clc.codec selftest`"
            )
        return decoded

    def picture(self, stream: Stream, latents: Decoded, conditions: Conditions) -> Picture:
        """g_s and the post-filter: latents to the uint8 picture (H, W, 3) of the size that the stream says."""
        own = self.model.self_prior
        to_g_s = None if own is None else own.to_g_s
        parts = SynthesisParts(self.model.g_s, self.model.gains, self.bundle.postfilter, to_g_s)
        return synthesised(parts, stream, latents, conditions)

    def windows(self, stream: Stream, latents: Decoded) -> list[tuple[int, int, Picture]] | None:
        """Four windows of the picture, synthesised by themselves: top and left in px, and pixels uint8 (64, 64, 3).

        Their borders lack what lies beyond, so they are a little worse than the picture there. None where that spares
        little, or where the pixels depend on more than latents.
        """
        rows, columns = stream.height // PATCH_PX, stream.width // PATCH_PX
        is_plain = latents.reference is None and latents.structure is None
        if not is_plain or rows * columns < _LEAST_SHARE * 4 * _WINDOW**2 or min(rows, columns) < 2 * _WINDOW:
            return None
        tops = [(2 * i + 1) * rows // 4 - _WINDOW // 2 for i in range(2)]
        lefts = [(2 * j + 1) * columns // 4 - _WINDOW // 2 for j in range(2)]
        places = [(top, left) for top in tops for left in lefts]
        part = replace(stream, width=_WINDOW * PATCH_PX, height=_WINDOW * PATCH_PX)
        nothing = Conditions(stream.quality_q6, torch.zeros(1, 0, 0))
        found = []
        for top, left in places:
            window = slice(top, top + _WINDOW), slice(left, left + _WINDOW)
            cut = latents._replace(y_hat=latents.y_hat[..., *window], a=latents.a[..., *window])
            found.append((top * PATCH_PX, left * PATCH_PX, self.picture(part, cut, nothing)))
        return found

    def _check_bundle(self, stream: Stream) -> None:
        if stream.is_overfitted:
            raise DictionaryMismatch(
                f"the stream is overfitted in the latents of autoencoder {stream.bundle_id.hex()}: no bundle decodes "
                "it, name the autoencoder's folder (--autoencoder FOLDER)"
            )
        if stream.bundle_id != self.bundle.id_bytes:
            raise DictionaryMismatch(
                f"the stream was written with bundle {stream.bundle_id.hex()}, but bundle {self.bundle.bundle_id} "
                "is loaded: name the stream's bundle (--bundle FOLDER)"
            )

    def _latents_shape(self, stream: Stream) -> tuple[int, int, int]:
        return self.bundle.config.hyper, -(-stream.height // STRIDE_Z), -(-stream.width // STRIDE_Z)
