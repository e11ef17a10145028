"""The body of an answer, read into a file of bounded size: never more bytes than the cap, packed or unpacked."""

from typing import BinaryIO

import httpx

from storage.decompression import DamagedData, Decompressor
from storage.network.reasons import READ_FAILED, TOO_MANY_BYTES, WRONG_CONTENT_TYPE, WRONG_ENCODING, FetchFailure

_PICTURES = ("image/",)
_UNSPECIFIC = (
    "",
    "application/octet-stream",
    "binary/octet-stream",
    "application/x-octet-stream",
    "application/binary",
)
_PLAIN = ("", "identity")
_GZIP = ("gzip", "x-gzip", "deflate")


def check_type(answer: httpx.Response) -> str:
    """Return the content type of an answer; `FetchFailure` where it says that this is no picture."""
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not kind.startswith(_PICTURES) and kind not in _UNSPECIFIC:
        raise FetchFailure(WRONG_CONTENT_TYPE, f"the server sends {kind[:80]!r}, no picture")
    return str(kind)


async def read_body(answer: httpx.Response, file: BinaryIO, most_bytes: int) -> int:
    """Write the body of an answer into `file`, and return how many bytes it has.

    Raises `FetchFailure` for more than `most_bytes`, before they are read where the server announces them, and for
    bytes that were compressed in an unknown way or are damaged.
    """
    announced = answer.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > most_bytes:
        raise _too_many(f"the server announces {announced[:20]} bytes, more", most_bytes)
    unpack = _decompressor(answer)
    came = written = 0
    async for chunk in answer.aiter_raw():
        came += len(chunk)
        try:
            for piece in (chunk,) if unpack is None else unpack.pieces(chunk):
                written += len(piece)
                if max(came, written) > most_bytes:
                    raise _too_many("the server sends more bytes", most_bytes)
                file.write(piece)
        except DamagedData as error:
            raise FetchFailure(WRONG_ENCODING, str(error)) from error
        if came > most_bytes:
            raise _too_many("the server sends more bytes", most_bytes)
    if unpack is not None and came and not unpack.is_complete:
        raise FetchFailure(READ_FAILED, "the compressed body ends before its end")
    return written


def _decompressor(answer: httpx.Response) -> Decompressor | None:
    encoding = answer.headers.get("content-encoding", "").strip().lower()
    if encoding in _PLAIN:
        return None
    if encoding in _GZIP:
        return Decompressor("gzip")
    raise FetchFailure(WRONG_ENCODING, f"the server packs the body as {encoding[:80]!r}, which was not asked for")


def _too_many(found: str, most_bytes: int) -> FetchFailure:
    return FetchFailure(TOO_MANY_BYTES, f"{found} than the {most_bytes} that are read")
