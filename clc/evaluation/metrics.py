"""How far a decoded picture is from its original: PSNR, SSIM and MS-SSIM of 8-bit pictures.

`clc.evaluation.measure` calls it for every decoded picture, so the figures follow the convention of the published
curves: PSNR from one mean squared error over all pixels and channels of RGB, SSIM and MS-SSIM as a ratio in 0..1
averaged over the channels of RGB. What eyes were asked is in `clc.evaluation.perceptual`.
"""

import math

import numpy as np
import torch
from pytorch_msssim import ms_ssim as _ms_ssim_BCHW
from pytorch_msssim import ssim as _ssim_BCHW

from clc.errors import InputError
from clc.pictures.picture import Picture, check_picture

PEAK = 255.0
SMALLEST_SIDE_PX = 161
"""MS-SSIM halves the picture four times and slides an 11 px window over the result, hence (11 - 1) * 2**4 + 1."""

SSIM_WINDOW_PX = 11

_YCBCR_33 = np.array(
    [[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]], np.float64
)
"""JPEG's: BT.601, full range. Only differences are taken, so the offset of Cb and Cr does not matter."""

_YCBCR_WEIGHTS = np.array([6, 1, 1]) / 8


def psnr_db(a_HW3: Picture, b_HW3: Picture) -> float:
    """Peak signal-to-noise ratio of two uint8 (H, W, 3) pictures in dB; infinite when they are equal.

    The squared error is summed in integers, so the figure does not depend on the machine.

    Raises:
        InputError: if a picture is not uint8 (H, W, 3), or the shapes differ.
    """
    _check_pair(a_HW3, b_HW3)
    difference = a_HW3.astype(np.int32) - b_HW3.astype(np.int32)
    squared_error = int(np.sum(difference * difference, dtype=np.int64))
    if squared_error == 0:
        return math.inf
    return 10.0 * math.log10(PEAK * PEAK * a_HW3.size / squared_error)


def psnr_ycbcr_db(a_HW3: Picture, b_HW3: Picture) -> float:
    """PSNR of two uint8 (H, W, 3) pictures in YCbCr, in dB: the squared errors of Y, Cb, Cr are weighted 6 : 1 : 1.

    YCbCr is JPEG's (BT.601, full range), not rounded and not subsampled. Infinite when the pictures are equal; raises
    what `psnr_db` raises.
    """
    _check_pair(a_HW3, b_HW3)
    difference = a_HW3.astype(np.float64) - b_HW3
    # One 3x3 matrix of sums of products says all that the planes' errors need, without the planes.
    flat_N3 = difference.reshape(-1, 3)
    squares_33 = flat_N3.T @ flat_N3 / len(flat_N3)
    errors_3 = np.einsum("pc,cd,pd->p", _YCBCR_33, squares_33, _YCBCR_33)
    error = float(_YCBCR_WEIGHTS @ errors_3)
    return math.inf if not squares_33.any() else 10.0 * math.log10(PEAK * PEAK / error)


def ssim(a_HW3: Picture, b_HW3: Picture) -> float:
    """Structural similarity of two uint8 (H, W, 3) pictures, a Gaussian window of 11 px, as a ratio up to 1.

    Pictures with a side below the window give nan; raises what `psnr_db` raises.
    """
    _check_pair(a_HW3, b_HW3)
    if min(a_HW3.shape[:2]) < SSIM_WINDOW_PX:
        return math.nan
    with torch.inference_mode():
        return float(_ssim_BCHW(_to_tensor_BCHW(a_HW3), _to_tensor_BCHW(b_HW3), data_range=PEAK))


def ms_ssim(a_HW3: Picture, b_HW3: Picture) -> float:
    """Multi-scale structural similarity of two uint8 (H, W, 3) pictures, five scales, as a ratio in 0..1.

    Pictures with a side below `SMALLEST_SIDE_PX` give nan: with fewer scales the figure would be another one under the
    same name.

    Raises:
        InputError: if a picture is not uint8 (H, W, 3), or the shapes differ.
    """
    _check_pair(a_HW3, b_HW3)
    if min(a_HW3.shape[:2]) < SMALLEST_SIDE_PX:
        return math.nan
    with torch.inference_mode():
        return float(_ms_ssim_BCHW(_to_tensor_BCHW(a_HW3), _to_tensor_BCHW(b_HW3), data_range=PEAK))


def bits_per_pixel(size_bytes: int, image_HW3: Picture) -> float:
    """Rate of a file of `size_bytes` bytes, headers and all, in bits for each pixel of the picture it holds."""
    return 8.0 * size_bytes / (image_HW3.shape[0] * image_HW3.shape[1])


def _to_tensor_BCHW(image_HW3: Picture) -> torch.Tensor:
    return torch.from_numpy(image_HW3.transpose(2, 0, 1).astype(np.float32))[None]


def _check_pair(a_HW3: Picture, b_HW3: Picture) -> None:
    for image in (a_HW3, b_HW3):
        check_picture(image, "a picture to compare")
    if a_HW3.shape != b_HW3.shape:
        raise InputError(f"pictures of different size cannot be compared: {a_HW3.shape} and {b_HW3.shape}")
