"""What a stream says of itself, read without a bundle and without torch: `python -m clc.codec info`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from clc.bitstream.container import parse
from clc.bitstream.sections import name_of
from clc.codec.buffers import stream_bytes
from clc.quality import from_q6

if TYPE_CHECKING:
    from typing_extensions import Buffer


@dataclass(frozen=True)
class StreamInfo:
    """The header of a stream; sizes in pixels and bytes. `overhead_bytes` is all that is not payload.

    `mode` is "learned", or "overfitted" where the payload is a function; `bundle_id` then is the id of its autoencoder.
    `references` are dictionary entries that give tokens, `aligned` those whose key pictures are warped, `streams` the
    ids, 16 hex digits each, of streams whose pictures are. `sections` are
    what the picture has beside its colours: the name of each kind, with the bytes that it takes in the stream.
    """

    version: int
    profile: int
    mode: str
    width: int
    height: int
    quality: float
    bundle_id: str
    references: tuple[int, ...]
    aligned: tuple[int, ...]
    streams: tuple[str, ...]
    total_bytes: int
    payload_bytes: int
    overhead_bytes: int
    bpp: float
    sections: dict[str, int]

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
        mode="overfitted" if stream.is_overfitted else "learned",
        width=stream.width,
        height=stream.height,
        quality=from_q6(stream.quality_q6),
        bundle_id=stream.bundle_id.hex(),
        references=stream.token_references,
        aligned=() if stream.streams else stream.references[: len(stream.alignments)],
        streams=tuple(one.hex() for one in stream.streams),
        total_bytes=len(data),
        payload_bytes=len(stream.payload),
        overhead_bytes=len(data) - len(stream.payload),
        bpp=len(data) * 8 / (stream.width * stream.height),
        sections={name_of(section.kind): len(section.stored) for section in stream.sections},
    )
