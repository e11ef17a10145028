"""x265 on the pictures of bench/references.py: alone, after the best key picture, and after that picture warped.

The reference is the key picture that registers best (`clc.references.registration`): the one whose warped pixels leave
the least squared error, where the picture's own variance stands for what it does not cover. The warp is the decoder's
own (`clc.references.warp`); what it does not cover is filled with the mean colour of the rest. To the bytes of a
picture with the warped reference those of the alignment are added, as in our files.
"""

from collections.abc import Sequence

import numpy as np
from hevc import QPS, Coded, Hevc

from clc.bitstream.alignment import Alignment, pack_alignment
from clc.pictures.picture import Picture
from clc.references.key_pictures import PicturesInMemory
from clc.references.registration import Registrar, Registration
from clc.references.warp import Warped, warp

INTRA, RAW, WARPED = X265_MODES = ("x265 intra", "x265 raw", "x265 warped")


def measure_x265(image_HW3: Picture, keys: Sequence[Picture], qps: Sequence[int] = QPS) -> list[tuple[str, Coded]]:
    """Code a picture in the three ways at all QPs.

    A picture that no key picture fits has the raw reference in place of the warped one, and where the key picture has
    another size, no reference in place of the raw one. Raises `InputError` where x265 is missing or fails.
    """
    hevc = Hevc.find()
    best = best_reference(image_HW3, keys)
    raw = keys[best[0]] if best else keys[0]
    alone = [hevc.code(image_HW3, qp) for qp in qps]
    after_raw = [hevc.code(image_HW3, qp, raw) for qp in qps] if raw.shape == image_HW3.shape else alone
    after_warped = _after_warped(hevc, image_HW3, raw, best[1].alignment, qps) if best else after_raw
    by_mode = {INTRA: alone, RAW: after_raw, WARPED: after_warped}
    return [(mode, coded) for mode, found in by_mode.items() for coded in found]


def _after_warped(hevc: Hevc, image_HW3: Picture, raw: Picture, how: Alignment, qps: Sequence[int]) -> list[Coded]:
    reference = filled(warp(raw, (image_HW3.shape[0], image_HW3.shape[1]), how))
    side_bytes = len(pack_alignment(how))
    coded = [hevc.code(image_HW3, qp, reference) for qp in qps]
    return [
        one._replace(size_bytes=one.size_bytes + side_bytes, header_bytes=one.header_bytes + side_bytes)
        for one in coded
    ]


def best_reference(image_HW3: Picture, keys: Sequence[Picture]) -> tuple[int, Registration] | None:
    """The key picture that leaves the least error, and how it lies; None where none registers."""
    registrar = Registrar(PicturesInMemory(keys))
    found = [(entry, registrar.register(image_HW3, entry)) for entry in range(len(keys))]
    fitting = [(entry, one) for entry, one in found if one is not None]
    variance = float(image_HW3.astype(np.float64).var(axis=(0, 1)).mean())

    def error(pair: tuple[int, Registration]) -> float:
        squared = 255.0**2 / 10.0 ** (pair[1].psnr_db / 10.0)
        return pair[1].coverage * squared + (1.0 - pair[1].coverage) * variance

    return min(fitting, key=error, default=None)


def filled(warped: Warped) -> Picture:
    """The warped pixels, with their mean colour where the reference does not reach."""
    pixels = warped.pixels.copy()
    if warped.inside.any():
        pixels[~warped.inside] = np.rint(pixels[warped.inside].mean(axis=0)).astype(np.uint8)
    return pixels
