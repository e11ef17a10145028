"""Decoding apart: pictures of optional formats are decoded by a process each, so that a crash costs one picture.

The libraries of the extras are young, and bytes are known that end their process by a memory fault, which no `except`
sees. A decoder that does not come to an end costs its picture alone, too. Called by `clc.pictures.images` for every
picture; those of Pillow's formats are decoded right here.

The process runs the same interpreter and imports from the same places: from the current folder, which may hold
anything, only where this process does. On its standard input it gets the length of the picture's name in 8 bytes, the
name and the file. It answers with the length of a JSON text in 8 bytes, the text, and the bytes that the text counts;
never with objects.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
from PIL import Image

from clc.errors import InputError, LimitError
from clc.pictures import decoding
from clc.pictures.formats import check_installed, extra_format
from clc.pictures.metadata_reading import Found
from clc.pictures.rasters import Raster

_PROGRAM = "from clc.pictures.isolation import answer; answer()"
_LENGTH_BYTES = 8
_MOST_S = 600.0  # a guess, meant to be far above what any picture takes


def decode(data: bytes, name: str) -> decoding.Decoded:
    """Decode a picture's file of any format. Raises whatever a decoder does, and `InputError` without its extra."""
    needed = extra_format(data)
    if needed is None:
        return decoding.decode(data, name)
    check_installed(needed, name)
    called = name.encode(errors="surrogatepass")  # a file's name may be any bytes
    # Nothing here is a name from outside. -P keeps the current folder out, unless this process imports from it, too.
    try:
        process = subprocess.run(  # noqa: S603
            [sys.executable, "-P", "-c", _PROGRAM],
            input=len(called).to_bytes(_LENGTH_BYTES, "big") + called + data,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path or os.curdir for path in sys.path)},
            check=False,
            timeout=_MOST_S,
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"the decoder of {needed} did not end within {_MOST_S:g} s") from error
    if process.returncode != 0:
        raise ValueError(f"the decoder of {needed} ended with status {process.returncode}")
    return _unpacked(process.stdout)


def answer() -> None:
    """Decode the picture on standard input, in the process that `decode` started."""
    given = sys.stdin.buffer.read()
    at = _LENGTH_BYTES + int.from_bytes(given[:_LENGTH_BYTES], "big")
    try:
        packed = _packed(decoding.decode(given[at:], given[_LENGTH_BYTES:at].decode(errors="surrogatepass")))
    except InputError as error:
        packed = _text({"refused": str(error), "is_limit": isinstance(error, LimitError)})
    except MemoryError:
        packed = _text({"is_without_memory": True})
    except Exception as error:  # it is raised again on the other side
        packed = _text({"failed": str(error) or type(error).__name__})
    sys.stdout.buffer.write(packed)


def _packed(decoded: decoding.Decoded) -> bytes:
    image, alpha_HW, lost = decoded.raster
    parts = (
        image.tobytes(),
        b"" if alpha_HW is None else alpha_HW.tobytes(),
        decoded.icc_profile or b"",
        decoded.found.exif,
        decoded.found.xmp,
    )
    told = {"raster": lost, "found": decoded.found.losses, "file": decoded.losses}
    header = {"mode": image.mode, "size": image.size, "orientation": decoded.orientation, "told": told}
    return b"".join((_text({**header, "parts": [len(part) for part in parts]}), *parts))


def _unpacked(packed: bytes) -> decoding.Decoded:
    at = _LENGTH_BYTES + int.from_bytes(packed[:_LENGTH_BYTES], "big")
    header = json.loads(packed[_LENGTH_BYTES:at])
    if "refused" in header:
        raise (LimitError if header["is_limit"] else InputError)(header["refused"])
    if "is_without_memory" in header:
        raise MemoryError
    if "failed" in header:
        raise ValueError(header["failed"])
    parts = []
    for length in header["parts"]:
        parts.append(packed[at : at + length])
        at += length
    pixels, alpha, icc_profile, exif, xmp = parts
    width, height = header["size"]
    alpha_HW = np.frombuffer(alpha, np.uint8).reshape(height, width) if alpha else None
    told = {where: tuple(sentences) for where, sentences in header["told"].items()}
    raster = Raster(Image.frombytes(header["mode"], (width, height), pixels), alpha_HW, told["raster"])
    found = Found(exif, xmp, told["found"])
    return decoding.Decoded(raster, icc_profile or None, found, header["orientation"], told["file"])


def _text(header: dict[str, Any]) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(_LENGTH_BYTES, "big") + text
