"""Functions on grids: numbers that are integer multiples of a power of two, carried in floating point."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

ACTIVATION_BITS = 10
ACTIVATION_LIMIT = 32.0
MEAN_BITS = 6
MEAN_LIMIT = 4096.0
BLOCK = 1 << 15
"""Values of float64 for each thread that stay in the cache of a core together with what is added to them."""


def snap(x: Tensor, bits: int = ACTIVATION_BITS, limit: float = ACTIVATION_LIMIT, *, is_exact: bool) -> Tensor:
    """Clamps `x` to +-`limit` and, in exact arithmetic, rounds it to multiples of 2**-bits (ties upwards).

    Shape and dtype are kept. Scaling by a power of two and `floor` are exact in IEEE arithmetic.
    """
    if not is_exact:
        return F.hardtanh(x, -limit, limit)  # as clamp, but its gradient takes one pass instead of four
    return _to_grid_((x * float(1 << bits)).add_(0.5), bits, -limit, limit)


def activate(x: Tensor, *, is_exact: bool) -> Tensor:
    """Leaky rectifier with slope 1/8, a power of two: max(x, x/8)."""
    if not is_exact:
        return snap(F.leaky_relu(x, 0.125), is_exact=False)
    scale = float(1 << ACTIVATION_BITS)
    return _to_grid_(F.leaky_relu(x, 0.125).mul_(scale).add_(0.5), ACTIVATION_BITS, -ACTIVATION_LIMIT, ACTIVATION_LIMIT)


def residual(x: Tensor, y: Tensor, *, is_exact: bool) -> Tensor:
    """x + y within +-`ACTIVATION_LIMIT`; both (one shape) lie on the activation grid, and so does their sum."""
    if not is_exact:
        return snap(x + y, is_exact=False)
    return (x + y).clamp_(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)


def share(x: Tensor, middle: float, *, is_exact: bool) -> Tensor:
    """A share, 0 to 1, from an activation: x/4 + `middle`, clamped, on the activation grid; `middle` lies on it too."""
    if not is_exact:
        return (x * 0.25 + middle).clamp(0.0, 1.0)  # with a gradient at the edge, where shares may start
    scale = float(1 << ACTIVATION_BITS)
    return _to_grid_((x * (0.25 * scale)).add_(middle * scale + 0.5), ACTIVATION_BITS, 0.0, 1.0)


def mix(x: Tensor, y: Tensor, weight: Tensor, *, is_exact: bool) -> Tensor:
    """A mean between two: x + `weight` (y - x) on the grid of means, `weight` an activation of 0 to 1."""
    if not is_exact:
        return snap(x + weight * (y - x), MEAN_BITS, MEAN_LIMIT, is_exact=False)
    scale = float(1 << MEAN_BITS)
    mixed = (y - x).mul_(weight).add_(x).mul_(scale).add_(0.5)
    return _to_grid_(mixed, MEAN_BITS, -MEAN_LIMIT, MEAN_LIMIT)


def compand(x: Tensor, *, is_exact: bool) -> Tensor:
    """Piecewise-linear stand-in for asinh: slope 1 up to 2, 1/4 up to 16, 1/32 beyond; odd; |x| <= 864 fits the grid.

    Latents span four orders of magnitude, networks like inputs near one; powers of two as slopes keep it exact.
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
    """Ends a rounding in place: from values in units of 2**-bits with 1/2 added, to a grid between `low` and `high`."""
    return units.floor_().mul_(2.0**-bits).clamp_(low, high)
