"""An alpha plane, uint8 (H, W), as the lossless picture file that a stream carries, and back.

WebP lossless stores masks in a half to three quarters of the bytes of PNG; the smaller of the two files is kept, and
PNG alone where a side is over WebP's 16,383 px. Which one it is, the file itself says.
"""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image

from clc.errors import CorruptStream
from clc.pictures.formats import WEBP_SIDE_PX
from clc.pictures.picture import Plane

_FORMATS = ("WEBP", "PNG")


def alpha_bytes(alpha_HW: Plane) -> bytes:
    """Return a plane as a picture file of one lossless format."""
    plane = Image.fromarray(np.ascontiguousarray(alpha_HW))
    png = io.BytesIO()
    plane.save(png, "PNG", optimize=True)
    if max(alpha_HW.shape) > WEBP_SIDE_PX:
        return png.getvalue()
    webp = io.BytesIO()
    plane.convert("RGB").save(webp, "WEBP", lossless=True, quality=100, method=6)
    return min(webp.getvalue(), png.getvalue(), key=len)


def read_alpha(data: bytes, size_HW: tuple[int, int]) -> Plane:
    """Return the plane (H, W) of a file that `alpha_bytes` made; the size is that of the picture, in px.

    Raises `CorruptStream` for anything else, before more memory is taken than a plane of that size needs.
    """
    height, width = size_HW
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            with Image.open(io.BytesIO(data), formats=_FORMATS) as plane:
                found = f"{plane.size[0]}x{plane.size[1]} px of mode {plane.mode}"
                if plane.size == (width, height) and plane.mode in ("L", "RGB"):
                    return np.array(plane.getchannel(0))
    except MemoryError:  # says nothing of the plane
        raise
    except Exception as error:  # whatever a decoder raises over outside bytes
        raise CorruptStream(f"the alpha plane cannot be decoded ({error}): get the file again") from error
    raise CorruptStream(f"the alpha plane is {found}, the picture {width}x{height} px: the stream is damaged")
