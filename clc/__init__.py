"""Conditional latent coding: a learned image codec conditioned on a dictionary of reference pictures.

    data = clc.encode(image_HW3, quality=50)
    image_HW3 = clc.decode(data)

Both use the bundle that the package ships, or the one that is named. The import also teaches Pillow to open and save
`.clc` files (`clc.codec.pillow_plugin`); it costs no torch and no numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from clc.codec.pillow_plugin import register
from clc.errors import (
    BitstreamError,
    ClcError,
    DecodeMismatch,
    DictionaryMismatch,
    InputError,
    LimitError,
    LossWarning,
    StorageError,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from clc.codec.beside import DecodedPicture
    from clc.codec.info import StreamInfo
    from clc.codec.interface import Bundles, Folder
    from clc.codec.search.selection import References
    from clc.codec.sources import PictureSource, StreamSource
    from clc.pictures.metadata import Metadata

    __version__: str

__all__ = [
    "encode",
    "decode",
    "decode_picture",
    "info",
    "DecodedPicture",
    "Metadata",
    "StreamInfo",
    "BitstreamError",
    "ClcError",
    "DecodeMismatch",
    "DictionaryMismatch",
    "InputError",
    "LimitError",
    "LossWarning",
    "StorageError",
    "__version__",
]

_HOMES = {
    "DecodedPicture": "clc.codec.beside",
    "Metadata": "clc.pictures.metadata",
    "StreamInfo": "clc.codec.info",
}


def encode(
    source: PictureSource,
    quality: float = 50.0,
    references: References = "auto",
    *,
    mode: str = "auto",
    lossless: bool = False,
    max_error: int | None = None,
    target_psnr: float | None = None,
    bundle: Bundles = None,
    autoencoder: Folder | None = None,
    effort: int = 5,
    alpha_HW: npt.NDArray[np.uint8] | None = None,
    metadata: Metadata | None = None,
) -> bytes:
    """Codes a picture at a quality of 0 to 100, to a PSNR, or without loss; see `clc.codec.Codec.encode_to`.

    Args:
        source: A uint8 array, (H, W, 3) RGB, (H, W, 4) RGBA, (H, W) or (H, W, 1) grey; a picture of Pillow's; or a
            picture file: its path, its bytes, or the file itself, open in binary mode. It is left as it is.
        quality: 0 (smallest) to 100 (best), in steps of 1/64.
        references: "auto", "none", "tokens", "aligned", or the greatest number of references, 0 to 5.
        mode: "auto" codes a picture that does not suit the model of a bundle, such as a screen or a chart, as AVIF or
            without loss, whichever costs less; "learned" keeps to the model.
        lossless: Keeps every sample, in place of a quality. No bundle is needed, then or for decoding.
        max_error: Keeps every sample within so many levels of 0..255, 0 to 127, in place of a quality.
        target_psnr: The PSNR in dB that the picture is to have at least, in place of a quality.
        bundle: What to code with: the folder of a bundle, an id or "service" as in `clc.bundle.locate`, or a loaded
            `Bundle`; the first of a list is used. A `Path` is a folder, whatever its name. None is the bundle that the
            package ships.
        autoencoder: The folder of a pretrained autoencoder, in place of a bundle: a function is overfitted to the
            picture in its latents, which takes seconds to minutes (`clc.codec.overfitted`).
        effort: 0 to 9, how long the search may take (`clc.codec.effort`).
        alpha_HW: Transparency of a picture that has none of its own, uint8 (H, W), 255 opaque.
        metadata: EXIF and XMP in place of the picture's own; `Metadata()` leaves them out. An orientation in them turns
            nothing; beside anything but an array, whose pixels stand upright, it says so.

    A picture file or a picture of Pillow's keeps its transparency, EXIF and XMP. What else of it is lost, such as
    further frames, is told by a `LossWarning` for each loss.

    Raises:
        InputError: For what is no picture, or a parameter of another type or out of range.
        LimitError: For a picture or metadata over `clc.limits`.
        StorageError: For a damaged bundle.
    """
    from clc.codec import interface  # torch takes a second that `import clc` should not cost

    return interface.encode(
        source,
        quality,
        references,
        mode=mode,
        lossless=lossless,
        max_error=max_error,
        target_psnr=target_psnr,
        bundle=bundle,
        autoencoder=autoencoder,
        effort=effort,
        alpha_HW=alpha_HW,
        metadata=metadata,
    )


def decode(data: StreamSource, bundle: Bundles = None, autoencoder: Folder | None = None) -> npt.NDArray[np.uint8]:
    """Decodes the colours of a stream to uint8 (H, W, 3); `decode_picture` also gives what stands beside them.

    Args:
        data: The stream: bytes or any buffer of bytes, the path of a file, or a file open in binary mode.
        bundle: Where to look for the bundle that the stream names, before the places of `clc.bundle.locate`: as in
            `encode`, and a folder of bundles, or a list of them.
        autoencoder: The folder of the autoencoder that an overfitted stream names.

    Raises:
        BitstreamError: For a damaged stream, or one whose bundle is not found; see `clc.codec.Codec.decode_picture`.
        InputError: For what is no stream or no bundle.
        LimitError: For a stream over `clc.limits`.
        StorageError: For a damaged bundle.
    """
    from clc.codec import interface

    return interface.decode(data, bundle, autoencoder)


def decode_picture(data: StreamSource, bundle: Bundles = None, autoencoder: Folder | None = None) -> DecodedPicture:
    """Decodes a stream with all that it holds: colours, transparency, EXIF and XMP; arguments and errors as `decode`.

    What the stream holds and this release cannot give back is in `left_out`, and a `LossWarning` for each.
    """
    from clc.codec import interface

    return interface.decode_picture(data, bundle, autoencoder)


def info(data: StreamSource) -> StreamInfo:
    """What a stream says of itself: sizes, quality, bundle, references. It needs no bundle and no torch.

    `data` as in `decode`. Raises a `BitstreamError` for a damaged stream, `InputError` for what is none.
    """
    from clc.codec.info import stream_info
    from clc.codec.sources import stream_from

    return stream_info(stream_from(data))


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from clc.version import version

        return version()
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


register()
