"""Conditional latent coding: a learned image codec conditioned on a dictionary of reference pictures.

    data = clc.encode(image_HW3, quality=50)
    image_HW3 = clc.decode(data)

Both use the bundle that the package ships; `clc.codec.Codec.load(folder)` uses another one. The import also teaches
Pillow to open and save `.clc` files (`clc.codec.pillow_plugin`); it costs no torch and no numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clc.codec.pillow_plugin import register
from clc.errors import (
    BitstreamError,
    ClcError,
    DecodeMismatch,
    DictionaryMismatch,
    InputError,
    LimitError,
    StorageError,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from clc.codec.selection import References

__all__ = [
    "BitstreamError",
    "ClcError",
    "DecodeMismatch",
    "DictionaryMismatch",
    "InputError",
    "LimitError",
    "StorageError",
    "decode",
    "encode",
]


def encode(image_HW3: npt.NDArray[np.uint8], quality: float = 50.0, references: References = "auto") -> bytes:
    """Codes a uint8 (H, W, 3) RGB picture with the shipped bundle; see `clc.codec.Codec.encode`."""
    from clc.codec import Codec  # torch takes a second that `import clc` should not cost

    return Codec.shipped().encode(image_HW3, quality, references)


def decode(data: bytes) -> npt.NDArray[np.uint8]:
    """Decodes a stream of the shipped bundle to uint8 (H, W, 3); see `clc.codec.Codec.decode`."""
    from clc.codec import Codec

    return Codec.shipped().decode(data)


register()
