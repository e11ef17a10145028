"""How alike a warped reference and a picture are: PSNR, the same scene or not, brightness. Encoder only."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from clc.bitstream.alignment import GAIN_BITS
from clc.pictures.picture import Picture
from clc.references.policy import POLICY
from clc.references.warp import Warped

CORRELATION_PX = 8
"""Side of the squares whose means are compared between pictures."""

GreyPicture = npt.NDArray[np.uint8]


def agreement_db(target_HW3: Picture, warped: Warped) -> float:
    """PSNR in dB, at most 99, of a warped reference against the target, where it covers it."""
    n_values = int(warped.inside.sum()) * 3
    total = cv2.norm(target_HW3, warped.pixels, cv2.NORM_L2SQR, warped.inside.view(np.uint8))
    return decibels(total / n_values) if n_values else 99.0


def detail_db(picture_HW3: Picture) -> float:
    """PSNR in dB, at most 99, of a picture's means over squares of `CORRELATION_PX`: low for much detail."""
    height, width = picture_HW3.shape[:2]
    size = max(1, width // CORRELATION_PX), max(1, height // CORRELATION_PX)
    means = cv2.resize(picture_HW3, size, interpolation=cv2.INTER_AREA)
    blurred = cv2.resize(means, (width, height), interpolation=cv2.INTER_NEAREST)
    return decibels(cv2.norm(picture_HW3, blurred, cv2.NORM_L2SQR) / picture_HW3.size)


def grey_db(target_HW: GreyPicture, warped: Warped) -> float:
    """PSNR in dB, at most 99, of a warped grey reference against a grey target, uint8 (h, w), where it covers it."""
    total = cv2.norm(target_HW, warped.pixels, cv2.NORM_L2SQR, warped.inside.view(np.uint8))
    return decibels(total / max(1, int(warped.inside.sum())))


def near_squares(target_HW: GreyPicture, warped_HW: GreyPicture) -> npt.NDArray[np.bool_]:
    """The pixels (h, w) around which, over `CORRELATION_PX`, two grey pictures agree at `flat_db` of the policy."""
    difference = cv2.absdiff(target_HW, warped_HW).astype(np.float32)
    error = cv2.boxFilter(difference * difference, -1, (CORRELATION_PX, CORRELATION_PX))
    near: npt.NDArray[np.bool_] = error < 255**2 * 10 ** (-POLICY.flat_db / 10)
    return near


def shown_share(target_HW: GreyPicture, warped: Warped) -> float:
    """The share of a grey target's detail, 0..1, that a warped grey reference shows, uint8 (h, w) both.

    Detail is what is left of squares of `CORRELATION_PX` without their means; it counts by its logarithm, as bits do.
    """
    ours, theirs = target_HW.astype(np.float32), warped.pixels.astype(np.float32)
    size = CORRELATION_PX, CORRELATION_PX
    variance = np.maximum(cv2.boxFilter(ours * ours, -1, size) - np.square(cv2.boxFilter(ours, -1, size)), 0)
    error = cv2.boxFilter(np.square(ours - theirs), -1, size)
    detail, missed = (np.log2(1 + value / POLICY.coded_error) for value in (variance, error))
    shown = np.maximum(detail - missed, 0)[warped.inside].sum()
    return float(shown / max(float(detail.sum()), 1e-9))


def is_same_scene(target_HW: GreyPicture, warped_HW: GreyPicture, covered: npt.NDArray[np.bool_]) -> bool:
    """Whether a warped reference covers enough of a target, and means over squares correlate there (`POLICY`).

    Both are grey, uint8 (h, w); `covered` is bool (h, w).
    """
    if covered.mean() < POLICY.scene_coverage:
        return False
    share = _coarse(covered.astype(np.float32))
    ours, theirs = (_coarse((grey * covered).astype(np.float32)) for grey in (target_HW, warped_HW))
    is_covered = share > 0.5
    if is_covered.sum() < 4:
        return False
    ours, theirs = ours[is_covered] / share[is_covered], theirs[is_covered] / share[is_covered]
    ours, theirs = ours - ours.mean(), theirs - theirs.mean()
    return float(ours @ theirs) > POLICY.scene_correlation * float(np.linalg.norm(ours) * np.linalg.norm(theirs)) > 0


def fit_brightness(target_HW3: Picture, warped: Warped) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Gains in 1/64 and offsets in levels, of R, G, B, that fit a warped reference to the target.

    Least squares over means of squares, in which noise does not lower the gain. The fifth with the largest errors is
    left out, because it may show something else.
    """
    share = _coarse(warped.inside.astype(np.float32))
    is_covered = share > 0.99
    gains, offsets = [], []
    for colour in range(3):
        ours, theirs = (_coarse(p[:, :, colour].astype(np.float32))[is_covered] for p in (target_HW3, warped.pixels))
        gain, offset = 1.0, 0.0
        for _ in range(3):
            distance = np.abs(gain * theirs + offset - ours)
            is_near = distance <= np.quantile(distance, 0.8) if distance.size else distance > 0
            x, y = theirs[is_near], ours[is_near]
            if x.size < 16 or x.var() < 1.0:
                break
            gain = float(((x - x.mean()) * (y - y.mean())).mean() / x.var())
            offset = float(y.mean() - gain * x.mean())
        gains.append(min(max(round(gain * (1 << GAIN_BITS)), 1), 255))
        offsets.append(min(max(round(offset), -128), 127))
    return (gains[0], gains[1], gains[2]), (offsets[0], offsets[1], offsets[2])


def _coarse(values_HW: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Means over squares of about `CORRELATION_PX`, at least one along each side."""
    height, width = values_HW.shape
    size = max(1, width // CORRELATION_PX), max(1, height // CORRELATION_PX)
    return cv2.resize(values_HW, size, interpolation=cv2.INTER_AREA).astype(np.float32)


def decibels(mean_square: float) -> float:
    """The PSNR in dB of a mean squared error in levels^2, at most 99."""
    return 99.0 if mean_square < 255**2 * 10**-9.9 else 10 * float(np.log10(255**2 / mean_square))
