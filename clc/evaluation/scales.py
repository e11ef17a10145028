"""What each measure of quality is called, in which unit it is shown, and how a curve is drawn over it.

A `Scale` is one measure of `clc.evaluation.measure.Row` as the axis of a rate-distortion curve. The contract: a mean is
the mean of the pictures' own values, and only then goes onto the axis. So MS-SSIM in dB is that of the mean ratio, as
published curves have it, and not the mean of decibels.
"""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Scale:
    """A measure as an axis, on which more is better.

    `key` is the field of a row that holds it, `label` and `unit` are for readers, `digits` is how many behind the point
    they are shown. `axis` says what a mean becomes on the axis: "as it is", "decibels" (a ratio r becomes
    -10 log10(1 - r)), or "negative" (of a distance, of which less is better).
    """

    key: str
    label: str
    unit: str
    digits: int
    axis: Literal["as it is", "decibels", "negative"] = "as it is"

    def on_axis(self, mean: float) -> float:
        """Return where a mean lies on the axis; infinite for a ratio of 1 in decibels, nan for nan."""
        if self.axis == "negative":
            return -mean
        if self.axis == "decibels":
            return math.inf if mean >= 1 else -10 * math.log10(1 - mean)
        return mean

    def shown(self, place: float) -> float:
        """Return what readers see at a place of the axis: a distance is shown positive."""
        return -place if self.axis == "negative" else place


PSNR = Scale("psnr_db", "PSNR of RGB", "dB", 2)
PSNR_YCBCR = Scale("psnr_ycbcr_db", "PSNR of YCbCr", "dB", 2)
MS_SSIM = Scale("ms_ssim", "MS-SSIM", "dB", 2, "decibels")
SSIM = Scale("ssim", "SSIM", "", 4)
SSIMULACRA2 = Scale("ssimulacra2", "SSIMULACRA2", "", 1)
ST_LPIPS = Scale("st_lpips", "shift-tolerant LPIPS", "", 4, "negative")

SCALES = {one.key: one for one in (PSNR, PSNR_YCBCR, MS_SSIM, SSIM, SSIMULACRA2, ST_LPIPS)}
"""All measures by key, in the order in which they are shown."""
