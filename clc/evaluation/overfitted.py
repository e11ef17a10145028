"""Overfitted streams behind the interface of an evaluation: a function is fitted anew for each picture and quality.

Nothing is shared between two files, so that seconds and bytes are those of somebody who codes one picture once. The
viewer of a report, which searches for a size and times nothing, takes `OverfittedCoder.continuing`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clc.codec.effort import DEFAULT_EFFORT
from clc.codec.overfitted import OverfittedCodec

OVERFITTED = "overfitted"
"""Name of overfitted streams in rows, plots and reports."""

QUALITIES = (0.0, 20.0, 60.0, 100.0)
"""As few as a BD-rate takes, because each is a fit of its own; all of them together only double a file's size."""


@dataclass(frozen=True)
class OverfittedCoder:
    """Overfitted streams in the latents of one autoencoder; see `clc.evaluation.coders.Coder` for the interface."""

    codec: OverfittedCodec
    name: str = OVERFITTED
    qualities: tuple[float, ...] = QUALITIES
    references: str = "-"
    effort: int = DEFAULT_EFFORT

    @classmethod
    def load(cls, folder: Path) -> "OverfittedCoder":
        """The coder of an autoencoder's folder; raises `InputError` unless both of its networks work."""
        codec = OverfittedCodec.load(folder)
        codec.autoencoder.check()
        return cls(codec)

    @property
    def settings(self) -> str:
        """How it is run; the folder's name is no part of it."""
        named = self.codec.autoencoder.id_bytes.hex()
        return f"a function fitted to each picture in the latents of autoencoder {named}, effort {self.effort}"

    @property
    def digest(self) -> str:
        """The SHA-256, in hex, of all that the autoencoder's folder decides: another encoder makes other files."""
        return self.codec.autoencoder.digest

    def encode(self, image_HW3: NDArray[np.uint8], quality: float) -> bytes:
        """Fit a function to a uint8 (H, W, 3) picture at quality 0..100, and return the whole `.clc` stream."""
        return self.codec.encode(image_HW3, quality, "none", effort=self.effort)

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """Decode a `.clc` stream to uint8 (H, W, 3)."""
        return self.codec.decode(data)

    def continuing(self) -> "ContinuingCoder":
        """The same coder for several qualities of one picture: each fit starts where the one before ended."""
        return ContinuingCoder(self)


@dataclass
class ContinuingCoder:
    """`OverfittedCoder` in two fifths of its time for a picture that it coded last; one thread at a time."""

    coder: OverfittedCoder
    _picture: NDArray[np.uint8] | None = field(default=None, init=False)
    _encode: Callable[[float], bytes] = field(default=lambda _: b"", init=False)

    @property
    def name(self) -> str:
        """Label in tables and plots."""
        return self.coder.name

    @property
    def settings(self) -> str:
        """How it is run."""
        return self.coder.settings

    @property
    def qualities(self) -> tuple[float, ...]:
        """The quality ladder, rising."""
        return self.coder.qualities

    @property
    def references(self) -> str:
        """What it may look up: nothing."""
        return self.coder.references

    def encode(self, image_HW3: NDArray[np.uint8], quality: float) -> bytes:
        """Return the whole stream."""
        if image_HW3 is not self._picture:
            self._encode = self.coder.codec.at_qualities(image_HW3, effort=self.coder.effort)
            self._picture = image_HW3
        return self._encode(quality)

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """Decode a stream to uint8 (H, W, 3)."""
        return self.coder.decode(data)
