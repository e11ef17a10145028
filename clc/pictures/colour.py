"""Colours to sRGB: embedded ICC profiles, CMYK and CIE Lab; and samples of any depth to 8 bits.

Called by `clc.pictures.images` over pictures that are decoded already. A profile is outside data like the picture: one
that cannot be used is named as a loss and costs nothing else.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageCms

from clc.pictures import losses

MAX_PROFILE_BYTES = 8 * 2**20
"""Largest ICC profile that is used."""

# Numbers of colour spaces in PNG, AVIF and HEIF (ITU-T H.273); 2 is "unspecified". The transfers are near enough to
# sRGB's that readers take them for it; 16 and 18 are of high dynamic range.
_SRGB_CODES, _SRGB_TRANSFERS, _HDR_TRANSFERS = (1, 2), (1, 2, 4, 6, 13, 14, 15), (16, 18)
_SRGB_GAMMA = (0.42, 0.49)  # 1 / 2.2 = 0.4545, which writers round in many ways
SRGB_PRIMARIES = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
"""White, red, green and blue, x and y each."""

_SAME_PRIMARY = 0.01
_SAME_COLOUR = 2  # levels of 0..255
_CLIPPED = 6  # levels by which a colour inside sRGB does not change there and back
_BAND_SAMPLES = 2**20
_PROFILE_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # from ICC's colour space to Pillow's mode


class Converted(NamedTuple):
    """A picture in sRGB, mode RGB, and what was lost on the way: sentences of `clc.pictures.losses`."""

    image: Image.Image
    losses: tuple[str, ...]
    is_moved: bool = False
    """Whether a profile moved colours, so that samples are not those of the file."""


def to_srgb(image: Image.Image, icc: bytes | None) -> Converted:
    """Return a picture of 8 bits without transparency in sRGB, from its profile `icc`, or taken for sRGB without one.

    Relative colorimetric with black point compensation. A picture that is so already is returned itself. Raises
    `ValueError` for a mode that Pillow does not convert.
    """
    lost = {"CMYK": (losses.CMYK,), "LAB": (losses.LAB,)}.get(image.mode, ())
    if not icc:
        return Converted(_as_rgb(image), lost)
    converted = _by_profile(image, icc)
    if converted is None:
        return Converted(_as_rgb(image), (*lost, losses.PROFILE))
    return converted._replace(losses=(*lost, *converted.losses))


def coded_losses(primaries: int, transfer: int, *, has_profile: bool) -> tuple[str, ...]:
    """Tell of colours whose space is coded by numbers of ITU-T H.273, which are not applied; a profile is."""
    if transfer in _HDR_TRANSFERS:
        return (losses.HDR,)
    is_srgb = primaries in _SRGB_CODES and transfer in _SRGB_TRANSFERS
    return () if is_srgb or has_profile else (losses.GAMMA,)


def stated_losses(gamma: float | None, primaries: Sequence[float] | None) -> tuple[str, ...]:
    """Tell of colours whose space is stated by its gamma (0.4545 is sRGB's) or as `SRGB_PRIMARIES`; None says neither.

    Neither is applied.
    """
    is_other = gamma is not None and not _SRGB_GAMMA[0] <= gamma <= _SRGB_GAMMA[1]
    if primaries is not None:
        is_other = is_other or bool(np.abs(np.subtract(primaries, SRGB_PRIMARIES)).max() > _SAME_PRIMARY)
    return (losses.GAMMA,) if is_other else ()


def eight_bits(samples: npt.NDArray[np.unsignedinteger[Any]], maximum: int) -> npt.NDArray[np.uint8]:
    """Return unsigned samples of 0..`maximum` as levels of 0..255, rounded; any shape."""
    levels = np.empty(samples.shape, np.uint8)
    band = max(1, _BAND_SAMPLES // max(1, samples[:1].size))  # a picture in wide integers would fill the memory
    for top in range(0, len(samples), band):
        wide: npt.NDArray[Any] = samples[top : top + band].astype(np.uint32 if maximum < 2**24 else np.uint64)
        levels[top : top + band] = (wide * 255 + maximum // 2) // maximum
    return levels


def _as_rgb(image: Image.Image) -> Image.Image:
    """Return a picture in mode RGB; Pillow would copy one that is."""
    return image if image.mode == "RGB" else image.convert("RGB")


def _by_profile(image: Image.Image, icc: bytes) -> Converted | None:
    """Return the picture converted from its profile `icc` to sRGB; None where the profile cannot be used."""
    if len(icc) > MAX_PROFILE_BYTES:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        mode = _PROFILE_MODES[profile.profile.xcolor_space]
        if (image.mode == "CMYK") != (mode == "CMYK") or (mode == "L" and image.mode not in ("1", "L")):
            return None
        transform = _transform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")
        samples = image.convert(mode)
        if mode != "CMYK" and _leaves_colours(transform, mode):
            return Converted(_as_rgb(samples), ())
        rgb = transform.apply(samples)
        clipped = (losses.GAMUT,) if mode == "RGB" and _is_clipped(samples, rgb, profile) else ()
        return Converted(rgb, clipped, is_moved=True)
    except MemoryError:  # says nothing of the profile
        raise
    except Exception:  # whatever lcms, Pillow and the installation do with a broken profile
        return None


def _transform(source: Any, target: Any, source_mode: str, target_mode: str) -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(
        source,
        target,
        source_mode,
        target_mode,
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


def _leaves_colours(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a transform to sRGB moves none of 17 x 17 x 17 colours (or 256 greys) by more than `_SAME_COLOUR`."""
    levels = np.linspace(0, 255, 17).round().astype(np.uint8)
    colours_HW3 = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(17, -1, 3)
    probe = Image.fromarray(colours_HW3 if mode == "RGB" else np.arange(256, dtype=np.uint8)[None])
    moved = np.asarray(transform.apply(probe), np.int16) - np.asarray(probe.convert("RGB"), np.int16)
    return bool(np.abs(moved).max() <= _SAME_COLOUR)


def _is_clipped(samples: Image.Image, rgb: Image.Image, profile: ImageCms.ImageCmsProfile) -> bool:
    """Whether colours lay outside sRGB: those do not come back. False for a profile that goes one way only."""
    try:
        back = _transform(ImageCms.createProfile("sRGB"), profile, "RGB", "RGB").apply(rgb)
    except ImageCms.PyCMSError:
        return False
    return int(np.asarray(ImageChops.difference(back, samples)).max()) > _CLIPPED
