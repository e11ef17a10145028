"""JPEG XL and JPEG 2000 by imagecodecs, which carries libjxl and OpenJPEG; the extra `baselines` brings it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clc.errors import MissingExtra
from clc.evaluation.baselines.unavailable import Unavailable, check_quality
from storage.extras import need

JXL_LADDER: tuple[float, ...] = (8, 30, 50, 68, 80, 90, 95)
_JPEG_2000_LADDER: tuple[float, ...] = (10, 24, 38, 50, 60, 70, 80)


@dataclass(frozen=True)
class LibraryCoder:
    """A format that a library writes and reads; `encoded` takes picture and quality, `decoded` the whole file."""

    name: str
    settings: str
    qualities: tuple[float, ...]
    encoded: Callable[[NDArray[np.uint8], float], bytes]
    decoded: Callable[[bytes], NDArray[np.uint8]]
    references: str = "-"

    def encode(self, image_HW3: NDArray[np.uint8], quality: float) -> bytes:
        """Code a uint8 (H, W, 3) picture at a quality 0..100; `InputError` for another one."""
        return self.encoded(np.ascontiguousarray(image_HW3), check_quality(self.name, quality))

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """Decode a file that `encode` wrote to uint8 (H, W, 3)."""
        return np.asarray(self.decoded(data), np.uint8)


def jpeg_xl() -> LibraryCoder:
    """JPEG XL by libjxl at its default effort, by distance. Raises `Unavailable` without imagecodecs."""
    library = _library("JPEGXL", "JPEG XL")

    def encoded(image_HW3: NDArray[np.uint8], quality: float) -> bytes:
        return bytes(library.jpegxl_encode(image_HW3, distance=jxl_distance(quality), effort=7, numthreads=1))

    version = library.jpegxl_version()
    return LibraryCoder("jpeg-xl", f"{version}, effort 7", JXL_LADDER, encoded, library.jpegxl_decode)


def jpeg_2000() -> LibraryCoder:
    """JPEG 2000 by OpenJPEG, aimed at a PSNR. Raises `Unavailable` without imagecodecs."""
    library = _library("JPEG2K", "JPEG 2000")

    def encoded(image_HW3: NDArray[np.uint8], quality: float) -> bytes:
        level = jpeg_2000_psnr_db(quality)
        return bytes(
            library.jpeg2k_encode(image_HW3, level=level, codecformat="jp2", reversible=False, mct=True, numthreads=1)
        )

    settings = f"{library.jpeg2k_version()}, 9/7 wavelet, aimed at 20 to 50 dB"
    return LibraryCoder("jpeg-2000", settings, _JPEG_2000_LADDER, encoded, library.jpeg2k_decode)


def jxl_distance(quality: float) -> float:
    """Return libjxl's distance for a quality of 0 to 100, as its own tools map them; 100 is 0.1 here, not lossless."""
    if quality >= 30:
        return 0.1 + (100 - quality) * 0.09
    return 53 / 3000 * quality**2 - 23 / 20 * quality + 25


def jpeg_2000_psnr_db(quality: float) -> float:
    """Return the PSNR that a JPEG 2000 file aims at, 20 dB at quality 0 to 50 dB at 100."""
    return 20 + 0.3 * quality


def _library(codec: str, name: str) -> Any:
    try:
        need("baselines", "imagecodecs")
    except MissingExtra as error:
        raise Unavailable(str(error)) from error
    import imagecodecs  # here, because it belongs to an extra of its own

    if not getattr(imagecodecs, codec).available:
        raise Unavailable(f"this build of imagecodecs has no {name}; install its wheel")
    return imagecodecs
