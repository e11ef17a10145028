"""Does this installation of Pillow code the payloads of other codecs as it should? Part of the command `selftest`."""

from __future__ import annotations

import numpy as np
from PIL import Image

from clc.bitstream.embedding import AV1_PROFILE, FORMATS, PNG_PROFILE, WEBP_PROFILE, Embedding, Reason
from clc.codec.embedded import sealed
from clc.codec.ways.suitability import psnr_of, squared_error_of
from clc.errors import DecodeMismatch
from clc.payloads import avif, webp
from clc.payloads.avif import avif_payload
from clc.payloads.exact import Payload
from clc.payloads.png import png_payload
from clc.payloads.webp import webp_payload
from clc.pictures.picture import Picture

_LEAST_PSNR = 36.0


def check_payloads(picture_HW3: Picture) -> tuple[list[str], list[str]]:
    """Return the formats that code a picture, uint8 (H, W, 3), as they should, and those that Pillow lacks here.

    Each is coded and decoded again. Raises a `ClcError` where one gives another picture.
    """
    image = Image.fromarray(np.ascontiguousarray(picture_HW3))
    sound, missing = [FORMATS[PNG_PROFILE]], []
    payloads = [Payload(PNG_PROFILE, png_payload(image))]
    if webp.is_available():
        payloads.append(Payload(WEBP_PROFILE, webp_payload(image)))
        sound.append(FORMATS[WEBP_PROFILE])
    else:
        missing.append(FORMATS[WEBP_PROFILE])
    for payload in payloads:
        sealed(picture_HW3, None, payload, Embedding(Reason.LOSSLESS), ())
    if not avif.can_write():
        return sound, [*missing, FORMATS[AV1_PROFILE]]
    lossy = Payload(AV1_PROFILE, avif_payload(image, 95, 8))
    _, decoded_HW3 = sealed(picture_HW3, None, lossy, Embedding(Reason.CHEAPER), ())
    psnr = psnr_of(squared_error_of(decoded_HW3, picture_HW3))
    if psnr < _LEAST_PSNR:
        raise DecodeMismatch(f"AVIF of this installation of Pillow gives {psnr:.1f} dB, in place of {_LEAST_PSNR:g}")
    return [*sound, FORMATS[AV1_PROFILE]], missing
