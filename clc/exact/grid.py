"""Elementwise functions on grids: numbers that are integer multiples of a power of two, carried in floating point.

`clc.exact.layers` and `clc.model.prior` call them. With `is_exact` they take and return float64 on a grid, and give the
same bits on every machine: scaling by a power of two, `floor`, `clamp` and sums below 2**53 units are exact in IEEE
arithmetic. Without it they are the float32 functions that training sees, with gradients and no rounding. Shapes are
kept.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

ACTIVATION_BITS, ACTIVATION_LIMIT = 10, 32.0
"""Activations are multiples of 2**-ACTIVATION_BITS within +-ACTIVATION_LIMIT: the *activation grid*."""

MEAN_BITS, MEAN_LIMIT = 6, 4096.0
"""Means of latents, in symbol units, are multiples of 2**-MEAN_BITS within +-MEAN_LIMIT: the *grid of means*."""

BLOCK = 1 << 15
"""Float64 values a thread works on at once (256 KiB), so that the sums and their addends stay in a core's cache."""


def snap(x: Tensor, bits: int = ACTIVATION_BITS, limit: float = ACTIVATION_LIMIT, *, is_exact: bool) -> Tensor:
    """Clamps `x` to +-`limit` and, in exact arithmetic, rounds it to multiples of 2**-`bits` (ties upwards)."""
    if not is_exact:
        return F.hardtanh(x, -limit, limit)  # as clamp, but its gradient takes one pass instead of four
    return _to_grid_((x * float(1 << bits)).add_(0.5), bits, -limit, limit)


def activate(x: Tensor, *, is_exact: bool) -> Tensor:
    """Leaky ReLU with slope 1/8, a power of two: max(x, x/8), on the activation grid."""
    if not is_exact:
        return snap(F.leaky_relu(x, 0.125), is_exact=False)
    scale = float(1 << ACTIVATION_BITS)
    return _to_grid_(F.leaky_relu(x, 0.125).mul_(scale).add_(0.5), ACTIVATION_BITS, -ACTIVATION_LIMIT, ACTIVATION_LIMIT)


def residual(x: Tensor, y: Tensor, *, is_exact: bool) -> Tensor:
    """x + y, clamped to +-`ACTIVATION_LIMIT`; `x`, `y` (one shape) and the sum lie on the activation grid."""
    if not is_exact:
        return snap(x + y, is_exact=False)
    return (x + y).clamp_(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)


def share(x: Tensor, middle: float, *, is_exact: bool) -> Tensor:
    """A piecewise-linear sigmoid: x/4 + `middle`, clamped to 0..1; `x`, `middle` and result on the activation grid."""
    if not is_exact:
        return (x * 0.25 + middle).clamp(0.0, 1.0)  # with a gradient at the edge, where shares may start
    scale = float(1 << ACTIVATION_BITS)
    return _to_grid_((x * (0.25 * scale)).add_(middle * scale + 0.5), ACTIVATION_BITS, 0.0, 1.0)


def mix(x: Tensor, y: Tensor, weight: Tensor, *, is_exact: bool) -> Tensor:
    """Linear interpolation x + `weight` (y - x), on the grid of means; `weight` is an activation within 0..1."""
    if not is_exact:
        return snap(x + weight * (y - x), MEAN_BITS, MEAN_LIMIT, is_exact=False)
    scale = float(1 << MEAN_BITS)
    mixed = (y - x).mul_(weight).add_(x).mul_(scale).add_(0.5)
    return _to_grid_(mixed, MEAN_BITS, -MEAN_LIMIT, MEAN_LIMIT)


def compand(x: Tensor, *, is_exact: bool) -> Tensor:
    """Compresses the range of latents, as asinh does: odd, slope 1 up to 2, 1/4 up to 16, 1/32 beyond.

    Latents span four orders of magnitude, and networks learn best from inputs near one. Slopes that are powers of two
    keep it exact. The result is on the activation grid; |x| > 864 is clamped.
    """
    # A sum of three clamped lines: fewer passes over memory than the minimum of three.
    if not is_exact:
        bent = F.hardtanh(x, -2.0, 2.0) * 0.75 + F.hardtanh(x, -16.0, 16.0) * 0.21875 + x * 0.03125
        return snap(bent, is_exact=False)
    scale = float(1 << ACTIVATION_BITS)
    bent = x.clamp(-2.0, 2.0).mul_(0.75 * scale).add_(x.clamp(-16.0, 16.0), alpha=0.21875 * scale)
    bent = bent.add_(x, alpha=0.03125 * scale).add_(0.5)
    return _to_grid_(bent, ACTIVATION_BITS, -ACTIVATION_LIMIT, ACTIVATION_LIMIT)


def _to_grid_(units: Tensor, bits: int, low: float, high: float) -> Tensor:
    """Rounds in place: values in units of 2**-`bits`, 1/2 already added, to multiples of it within `low`..`high`."""
    return units.floor_().mul_(2.0**-bits).clamp_(low, high)
