"""What a stream says of itself, read without a bundle and without torch: `python -m clc.codec info`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from clc.bitstream.container import Stream, parse
from clc.bitstream.embedded import has_steps, promised_error
from clc.bitstream.embedding import AV1_PROFILE, EMBEDDED_PROFILES, FORMATS, Reason
from clc.bitstream.fields import MAGIC, check_magic_and_version, read_size, take
from clc.bitstream.sections import name_of
from clc.bitstream.stream import COMPOUND_VERSION, COPYING_VERSION, OVERFITTED_PROFILE
from clc.bundle.released import read_register
from clc.codec.buffers import stream_bytes
from clc.quality import from_q6

if TYPE_CHECKING:
    from typing_extensions import Buffer


class InsetInfo(NamedTuple):
    """A rectangle that a bundle's model shows, px, the quality of its latents, and the bytes of its payload."""

    left: int
    top: int
    width: int
    height: int
    quality: float
    payload_bytes: int


@dataclass(frozen=True)
class StreamInfo:
    """The header of a stream; sizes in pixels and bytes. `overhead_bytes` is all that is not payload.

    `mode` is "learned", "overfitted" where the payload is a function, "lossless", "near-lossless" or "avif" where it is
    the bitstream of another codec, or "compound" where that lies under rectangles that are learned; near-lossless are
    samples in steps, or copied within an error. `payload` names
    what it holds, and `why` says why it came to that. `bundle_id` is that of the bundle, or of the autoencoder, that
    decodes the stream, and None where it needs none; `quality` is None where no quality was asked for.

    `references` are dictionary entries that give tokens, `aligned` those whose key pictures are warped, `streams` the
    ids, 16 hex digits each, of streams whose pictures are. `sections` are
    what the picture has beside its colours: the name of each kind, with the bytes that it takes in the stream. `insets`
    are the learned rectangles of a compound picture. `release` is the release that shipped the bundle, None where the
    stream needs no bundle or one that no release did.
    """

    version: int
    profile: int
    mode: str
    width: int
    height: int
    quality: float | None
    bundle_id: str | None
    references: tuple[int, ...]
    aligned: tuple[int, ...]
    streams: tuple[str, ...]
    total_bytes: int
    payload_bytes: int
    overhead_bytes: int
    bpp: float
    sections: dict[str, int]
    payload: str
    why: str
    insets: tuple[InsetInfo, ...] = ()
    release: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON object, tuples as lists."""
        return {
            **asdict(self),
            "references": list(self.references),
            "aligned": list(self.aligned),
            "streams": list(self.streams),
            "insets": [inset._asdict() for inset in self.insets],
        }


def stream_info(data: Buffer) -> StreamInfo:
    """Reads the header of a stream, any buffer of bytes, after all its checks; needs no bundle.

    Raises a `BitstreamError`, or `InputError` for what is no buffer of bytes.
    """
    data = stream_bytes(data)
    stream = parse(data)
    payload_bytes = len(stream.payload) + sum(len(inset.payload) for inset in stream.insets)
    return StreamInfo(
        version=data[4],
        profile=stream.profile,
        mode=_mode_of(stream),
        width=stream.width,
        height=stream.height,
        quality=None if _asks_for_no_quality(stream) else from_q6(stream.quality_q6),
        bundle_id=stream.bundle_id.hex() if stream.needs_bundle else None,
        references=stream.token_references,
        aligned=() if stream.streams else stream.references[: len(stream.alignments)],
        streams=tuple(one.hex() for one in stream.streams),
        total_bytes=len(data),
        payload_bytes=payload_bytes,
        overhead_bytes=len(data) - payload_bytes,
        bpp=len(data) * 8 / (stream.width * stream.height),
        sections={name_of(section.kind): len(section.stored) for section in stream.sections},
        payload=_payload_of(stream),
        why=_why(stream),
        insets=tuple(
            InsetInfo(one.left, one.top, one.width, one.height, from_q6(one.quality_q6), len(one.payload))
            for one in stream.insets
        ),
        release=_release_of(stream),
    )


COMPOUND = "compound"
"""The mode of a picture some rectangles of which are learned."""

WAY_BYTES = 14
"""So many first bytes of a stream tell its way."""


def way_of(start: bytes) -> str:
    """The `mode` of the stream whose first `WAY_BYTES` bytes are given. Raises what `parse` raises."""
    check_magic_and_version(start)
    profile = start[len(MAGIC) + 1]
    _, _, position = read_size(start)
    (reason,), _ = take(start, position, 1, "reason")
    if start[len(MAGIC)] == COMPOUND_VERSION:
        return COMPOUND
    is_copying = profile in EMBEDDED_PROFILES and start[len(MAGIC)] == COPYING_VERSION
    is_near = has_steps(reason) or (is_copying and bool(promised_error(start, position)))
    return _mode(profile, is_near=is_near)


def promise_of(start: bytes) -> int | None:
    """By how many levels a sample is off at most, of a stream whose first `WAY_BYTES` bytes are given.

    0 is without loss, None where nothing was promised. Raises what `parse` raises.
    """
    if way_of(start) not in ("lossless", "near-lossless"):
        return None
    _, _, position = read_size(start)
    return promised_error(start, position)


def _release_of(stream: Stream) -> str | None:
    if not stream.needs_bundle or stream.is_overfitted:
        return None
    return read_register().release_of(stream.bundle_id.hex())


def _asks_for_no_quality(stream: Stream) -> bool:
    return stream.embedding is not None and stream.embedding.quality_q6 is None


def _mode_of(stream: Stream) -> str:
    if stream.insets:
        return COMPOUND
    embedding = stream.embedding
    is_near = embedding is not None and (
        bool(embedding.step_error) or (bool(stream.streams) and embedding.reason is Reason.MAX_ERROR)
    )
    return _mode(stream.profile, is_near=is_near)


def _mode(profile: int, *, is_near: bool) -> str:
    """`is_near` says that samples are in steps, or that what is copied may be off."""
    if profile not in EMBEDDED_PROFILES:
        return "overfitted" if profile == OVERFITTED_PROFILE else "learned"
    if profile == AV1_PROFILE:
        return "avif"
    return "near-lossless" if is_near else "lossless"


def _payload_of(stream: Stream) -> str:
    if stream.embedding is None:
        return "a function of the picture" if stream.is_overfitted else "latents of the bundle's model"
    beside = " with transparency" if stream.embedding.has_alpha else ""
    steps = f" of samples in steps of {2 * stream.embedding.step_error + 1}" if stream.embedding.step_error else ""
    others = f"{len(stream.streams)} other stream" + ("s" if len(stream.streams) > 1 else "")
    copied = f" beside what is copied from {others}" if stream.streams else ""
    learned = f", {_rectangles(stream)} by latents of the bundle's model" if stream.insets else ""
    return FORMATS[stream.profile] + steps + beside + copied + learned


def _rectangles(stream: Stream) -> str:
    return "a rectangle" if len(stream.insets) == 1 else f"{len(stream.insets)} rectangles"


def _why(stream: Stream) -> str:
    """Why the stream's payload is what it is, in words."""
    embedding = stream.embedding
    if embedding is None:
        return "asked for" if stream.is_overfitted else "the way that pictures are usually coded"
    quality = f"quality {from_q6(stream.quality_q6):g}"
    said = {
        Reason.LOSSLESS: "no loss was asked for",
        Reason.MAX_ERROR: f"an error of {embedding.value} at most was asked for",
        Reason.CHEAPER: f"it costs less than the model's latents at {quality}",
        Reason.FALLS_SHORT: f"the model's latents would fall short of what photographs get at {quality}",
        Reason.TARGET_PSNR: f"it takes the fewest bytes for {embedding.target_psnr or 0:.4g} dB",
    }
    if not stream.insets:
        return said[embedding.reason]
    return f"photographs in a page: their rectangles by the model and all else another way cost least at {quality}"
