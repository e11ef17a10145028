"""What a stream says of itself, read without a bundle and without torch: `python -m clc.codec info`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from clc.bitstream.container import Stream, parse
from clc.bitstream.embedded import has_steps, promised_error
from clc.bitstream.embedding import AV1_PROFILE, EMBEDDED_PROFILES, FORMATS, Reason
from clc.bitstream.fields import MAGIC, check_magic_and_version, read_size, take
from clc.bitstream.sections import name_of
from clc.bitstream.stream import COPYING_VERSION, OVERFITTED_PROFILE
from clc.codec.buffers import stream_bytes
from clc.quality import from_q6

if TYPE_CHECKING:
    from typing_extensions import Buffer


@dataclass(frozen=True)
class StreamInfo:
    """The header of a stream; sizes in pixels and bytes. `overhead_bytes` is all that is not payload.

    `mode` is "learned", "overfitted" where the payload is a function, or "lossless", "near-lossless" or "avif" where it
    is the bitstream of another codec; near-lossless are samples in steps, or copied within an error. `payload` names
    what it holds, and `why` says why it came to that. `bundle_id` is that of the bundle, or of the autoencoder, that
    decodes the stream, and None where it needs none; `quality` is None where no quality was asked for.

    `references` are dictionary entries that give tokens, `aligned` those whose key pictures are warped, `streams` the
    ids, 16 hex digits each, of streams whose pictures are. `sections` are
    what the picture has beside its colours: the name of each kind, with the bytes that it takes in the stream.
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

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON object, tuples as lists."""
        return {
            **asdict(self),
            "references": list(self.references),
            "aligned": list(self.aligned),
            "streams": list(self.streams),
        }


def stream_info(data: Buffer) -> StreamInfo:
    """Reads the header of a stream, any buffer of bytes, after all its checks; needs no bundle.

    Raises a `BitstreamError`, or `InputError` for what is no buffer of bytes.
    """
    data = stream_bytes(data)
    stream = parse(data)
    return StreamInfo(
        version=data[4],
        profile=stream.profile,
        mode=_mode_of(stream),
        width=stream.width,
        height=stream.height,
        quality=None if _asks_for_no_quality(stream) else from_q6(stream.quality_q6),
        bundle_id=None if stream.embedding else stream.bundle_id.hex(),
        references=stream.token_references,
        aligned=() if stream.streams else stream.references[: len(stream.alignments)],
        streams=tuple(one.hex() for one in stream.streams),
        total_bytes=len(data),
        payload_bytes=len(stream.payload),
        overhead_bytes=len(data) - len(stream.payload),
        bpp=len(data) * 8 / (stream.width * stream.height),
        sections={name_of(section.kind): len(section.stored) for section in stream.sections},
        payload=_payload_of(stream),
        why=_why(stream),
    )


WAY_BYTES = 14
"""So many first bytes of a stream tell its way."""


def way_of(start: bytes) -> str:
    """The `mode` of the stream whose first `WAY_BYTES` bytes are given. Raises what `parse` raises."""
    check_magic_and_version(start)
    profile = start[len(MAGIC) + 1]
    _, _, position = read_size(start)
    (reason,), _ = take(start, position, 1, "reason")
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


def _asks_for_no_quality(stream: Stream) -> bool:
    return stream.embedding is not None and stream.embedding.quality_q6 is None


def _mode_of(stream: Stream) -> str:
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
    return FORMATS[stream.profile] + steps + beside + copied


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
    return said[embedding.reason]
