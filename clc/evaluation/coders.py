"""The codecs that people use today, and ours, behind one interface: picture and quality in, whole file out, and back.

`clc.evaluation.measure` measures every codec through `Coder` and so counts the same bytes for all of them. A baseline
that this machine lacks is reported with its reason by `find_baselines`, never left out in silence; those that Pillow
does not bring are in `clc.evaluation.baselines`.
"""

import functools
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from clc.codec.effort import DEFAULT_EFFORT
from clc.errors import InputError, LimitError
from clc.evaluation.baselines.commands import av1, hevc, jpeg_xl_by_command
from clc.evaluation.baselines.libraries import jpeg_2000, jpeg_xl
from clc.evaluation.baselines.unavailable import Unavailable
from clc.evaluation.baselines.zoo import ARCHITECTURES, zoo_coder
from clc.pictures.formats import WEBP_SIDE_PX

References = Literal["auto", "none"]

JPEG_SIDE_PX, AVIF_SIDE_PX = 65_500, 32_768
"""The longest sides: libjpeg's, and what libavif reads unless it is told otherwise, as Pillow does not."""

TEST = "clc"
WITHOUT_REFERENCES = "clc, no references"
"""Names of our codec in rows, plots and reports: as it is, and barred from its dictionary."""


class Coder(Protocol):
    """A codec as the measurement sees it.

    `name` labels it in tables, `settings` says how it was run, `qualities` is the ladder it is measured on, and
    `references` is what it may look up in a dictionary ("auto" or "none"; "-" for codecs that know none).
    """

    @property
    def name(self) -> str:
        """Label in tables and plots."""

    @property
    def settings(self) -> str:
        """How it is run, with its library's version."""

    @property
    def qualities(self) -> tuple[float, ...]:
        """The quality ladder, rising."""

    @property
    def references(self) -> str:
        """What it may look up: "auto", "none", or "-"."""

    def encode(self, image_HW3: NDArray[np.uint8], quality: float) -> bytes:
        """Return the whole file."""

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """Return the uint8 (H, W, 3) picture that the file holds."""


@dataclass(frozen=True)
class Baseline:
    """A format that Pillow writes, with fixed options; see `Coder` for the interface.

    `side_px` is the longest side of a picture that goes into a file of the format and comes back out of it.
    """

    name: str
    settings: str
    qualities: tuple[float, ...]
    pillow_format: str
    side_px: int
    options: Mapping[str, Any] = field(default_factory=dict)
    references: str = "-"

    def encode(self, image_HW3: NDArray[np.uint8], quality: float) -> bytes:
        """Code a uint8 (H, W, 3) picture at an integer quality 0..100.

        Raises `InputError` for another quality, `LimitError` for a picture with a longer side than the format has.
        """
        if not 0 <= quality <= 100:
            raise InputError(f"{self.name} quality must lie in 0..100, not {quality}")
        height, width = image_HW3.shape[:2]
        if max(height, width) > self.side_px:
            raise LimitError(f"{self.name} ends at {self.side_px} px a side, and the picture is {width}x{height} px")
        buffer = io.BytesIO()
        picture = Image.fromarray(np.ascontiguousarray(image_HW3))
        picture.save(buffer, format=self.pillow_format, quality=round(quality), **self.options)
        return buffer.getvalue()

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """Decode a file that `encode` wrote to uint8 (H, W, 3)."""
        with Image.open(io.BytesIO(data), formats=(self.pillow_format,)) as picture:
            return np.asarray(picture.convert("RGB"))


class PictureCodec(Protocol):
    """What the measurement needs of `clc.codec.Codec`."""

    def encode(
        self, image_HW3: NDArray[np.uint8], quality: float = ..., references: References = ..., *, effort: int = ...
    ) -> bytes:
        """Return the stream."""

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """Return the picture."""


@dataclass(frozen=True)
class CodecUnderTest:
    """Our codec behind the `Coder` interface, its references switched on ("auto") or off ("none"), at an effort."""

    codec: PictureCodec
    name: str
    settings: str
    qualities: tuple[float, ...]
    references: References = "auto"
    effort: int = DEFAULT_EFFORT

    def encode(self, image_HW3: NDArray[np.uint8], quality: float) -> bytes:
        """Code a uint8 (H, W, 3) picture at quality 0..100 to a whole `.clc` stream."""
        return self.codec.encode(image_HW3, quality=quality, references=self.references, effort=self.effort)

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """Decode a `.clc` stream to uint8 (H, W, 3)."""
        return self.codec.decode(data)


@dataclass(frozen=True)
class BaselineSet:
    """The baselines of this machine, and the reason for each one that it lacks."""

    available: tuple[Coder, ...]
    missing: Mapping[str, str]


OF_PILLOW = ("jpeg", "webp", "avif")
"""Baselines that every installation has."""
QUICK = (*OF_PILLOW, "jpeg-xl", "jpeg-2000")
"""Baselines that take less than a second a picture."""


def find_baselines(names: Sequence[str] = OF_PILLOW) -> BaselineSet:
    """Build the named baselines, in this order; those that this machine lacks come back under `missing` with a reason.

    Raises:
        InputError: if a name is none of `BASELINES`.
    """
    available: list[Coder] = []
    missing: dict[str, str] = {}
    for name in names:
        if name not in _BUILDERS:
            raise InputError(f"unknown baseline {name!r}: choose from {', '.join(_BUILDERS)}")
        reasons = []
        for build in _BUILDERS[name]:
            try:
                available.append(build())
            except Unavailable as error:
                reasons.append(str(error))
                continue
            break
        else:
            missing[name] = "; ".join(reasons)
    return BaselineSet(tuple(available), missing)


def _library_version(feature: str) -> str:
    """Return the version of the library inside Pillow, such as "libwebp 1.6.0"."""
    if feature == "jpg":
        turbo = features.version_feature("libjpeg_turbo")
        return f"libjpeg-turbo {turbo}" if turbo else f"libjpeg {features.version('jpg')}"
    return f"lib{feature} {features.version(feature)}"


def _version_in_pillow(name: str) -> str:
    feature = "jpg" if name == "jpeg" else name
    if not features.check(feature):
        raise Unavailable(f"this build of Pillow has no {name.upper()}; install pillow>=11.3 from a wheel")
    return _library_version(feature)


def _jpeg() -> Baseline:
    settings = f"{_version_in_pillow('jpeg')}, optimize, 4:2:0"
    options = {"optimize": True, "subsampling": "4:2:0"}
    return Baseline("jpeg", settings, (8, 15, 25, 40, 60, 75, 88), "JPEG", JPEG_SIDE_PX, options)


def _webp() -> Baseline:
    settings = f"{_version_in_pillow('webp')}, method 6"
    return Baseline("webp", settings, (2, 15, 35, 55, 72, 82, 90), "WEBP", WEBP_SIDE_PX, {"method": 6})


def _avif() -> Baseline:
    settings = f"{_version_in_pillow('avif')}, speed 4, 4:4:4"
    # One thread means one tile, so that the bytes do not depend on the number of cores.
    options = {"speed": 4, "subsampling": "4:4:4", "max_threads": 1}
    return Baseline("avif", settings, (20, 34, 46, 57, 67, 76), "AVIF", AVIF_SIDE_PX, options)


_BUILDERS: Mapping[str, tuple[Callable[[], Coder], ...]] = {
    "jpeg": (_jpeg,),
    "webp": (_webp,),
    "avif": (_avif,),
    "jpeg-xl": (jpeg_xl, jpeg_xl_by_command),
    "jpeg-2000": (jpeg_2000,),
    "hevc": (hevc,),
    "av1": (av1,),
    **{name: (functools.partial(zoo_coder, name),) for name in ARCHITECTURES},
}
"""What builds each baseline: the first that can be had."""

BASELINES = tuple(_BUILDERS)
"""The names of all baselines."""
