"""A picture coded by one way: what the ways are compared by."""

from __future__ import annotations

from dataclasses import dataclass

from clc.codec.ways.suitability import psnr_of


@dataclass(frozen=True)
class Way:
    """A finished stream, and the mean squared error of its colours, in levels of 0..255.

    `avif_quality` is that of libavif's encoder, where the whole picture is AVIF.
    """

    data: bytes
    squared_error: float
    avif_quality: int | None = None

    @property
    def psnr(self) -> float:
        """In dB."""
        return psnr_of(self.squared_error)

    def cost(self, pixels: int, trade: float) -> float:
        """Rate + `trade` * squared error of a picture of so many pixels, bits a pixel."""
        return 8 * len(self.data) / pixels + trade * self.squared_error
