"""An estimate of the bits that a picture takes beside a reference, block by block. Encoder only.

`clc.references.registration` and `clc.references.region_search` compare ways to align a reference with it, because
coding the picture with each takes a second. A transform coder spends about log2(|c| / step) bits on each coefficient c
that exceeds its step, so that a block takes the sum of log2(1 + c^2 / step^2) / 2 over its 16x16 cosine transform:
that of the picture itself without a reference, that of the difference beside one. Squared error alone favours whatever
blurs the reference, which loses the detail that the codec copies for nothing.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from clc.pictures.picture import Picture
from clc.references.policy import POLICY
from clc.references.warp import Warped

BLOCK_PX = 16
"""Side of the blocks: that which one latent stands for."""

Bits = npt.NDArray[np.float32]

# Rows: lightness and two differences of colours, all of length 1, so that a squared error stays what it is.
_OPPONENT = np.array([[3**-0.5] * 3, [2**-0.5, 0, -(2**-0.5)], [-(6**-0.5), 2 * 6**-0.5, -(6**-0.5)]], np.float32)
_FACTORS = 4  # of a product, below (2**21)**4, for one logarithm


class BlockBits:
    """The estimate for one target, uint8 (H, W, 3); blocks are (rows, columns), those at the edge are cut.

    `alone` float32 (rows, columns) are the bits of each block without a reference.
    """

    def __init__(self, target_HW3: Picture) -> None:
        self._target = target_HW3.astype(np.float32)
        self.alone = _bits(self._target, has_mean=False)

    def beside(self, warped: Warped) -> Bits:
        """The bits of each block beside a reference, float32 (rows, columns); as alone where it does not cover."""
        share = shares(warped.inside)
        difference = self._target - warped.pixels
        if not warped.inside.all():
            difference[~warped.inside] = 0
        bits: Bits = _bits(difference) + (1 - share) * self.alone
        return bits


def shares(mask_HW: npt.NDArray[np.bool_]) -> Bits:
    """The share of each block, 0..1, where a mask is true: float32 (rows, columns)."""
    whole = _whole_blocks(mask_HW.astype(np.float32), cv2.BORDER_REPLICATE)
    size = whole.shape[1] // BLOCK_PX, whole.shape[0] // BLOCK_PX
    return cv2.resize(whole, size, interpolation=cv2.INTER_AREA).astype(np.float32)


def _whole_blocks(values: npt.NDArray[np.float32], border: int) -> npt.NDArray[np.float32]:
    height, width = values.shape[:2]
    return cv2.copyMakeBorder(values, 0, -height % BLOCK_PX, 0, -width % BLOCK_PX, border).astype(np.float32)


def _cosines() -> npt.NDArray[np.float32]:
    """The orthonormal cosine transform of `BLOCK_PX` values, rows by frequency."""
    n = np.arange(BLOCK_PX)
    rows = np.cos(np.pi / BLOCK_PX * (n + 0.5) * n[:, None]) * (2 / BLOCK_PX) ** 0.5
    rows[0] *= 0.5**0.5
    cosines: npt.NDArray[np.float32] = rows.astype(np.float32)
    return cosines


_COSINES = _cosines()


def _bits(values_HW3: npt.NDArray[np.float32], *, has_mean: bool = True) -> Bits:
    """The bits of each block of a picture; without `has_mean` its mean costs nothing, because neighbours tell it."""
    opponent = cv2.transform(values_HW3, _OPPONENT).astype(np.float32, copy=False)
    planes = _whole_blocks(opponent, cv2.BORDER_REPLICATE).transpose(2, 0, 1)
    _, height, width = planes.shape
    rows, columns = height // BLOCK_PX, width // BLOCK_PX
    across = np.ascontiguousarray(planes).reshape(-1, BLOCK_PX) @ _COSINES.T
    both = _COSINES @ across.reshape(3 * rows, BLOCK_PX, width)
    if not has_mean:
        both[:, 0, ::BLOCK_PX] = 0
    np.multiply(both, both, out=both)
    both *= 1 / POLICY.coded_error
    both += 1
    products = both.reshape(3 * rows, BLOCK_PX // _FACTORS, _FACTORS, width).prod(axis=2)
    logarithms = np.log2(products).reshape(3, rows, -1, columns, BLOCK_PX)
    bits: Bits = logarithms.sum(axis=(0, 2, 4)) / 2
    return bits
