"""Convolutions and tables whose results are the same bits on every machine; `clc.model.prior` is built from them.

The entropy coder needs the same (mean, scale) pair on both sides, to the last bit. Ordinary convolutions do not give
that: the order of a sum differs between processors, thread counts and versions, and every order rounds differently.
Here every weight and every activation is an integer multiple of a power of two, and every possible partial sum stays
below 2**53 of its unit. Float64 then represents all of them exactly, and any order gives the same result.

Each layer has two arithmetics behind one interface. With ``is_exact=False`` it is an ordinary float32 layer with
parameters to train; with ``is_exact=True`` it holds integers and computes on the grid in float64. The contract: a
network is the same code in both. Exact layers work in place, but only in memory that they allocated, never in their
inputs: beside the products, passes over memory are their cost.

The ledger of grids stands in `clc.exact`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clc.errors import InputError
from clc.exact.checkerboard import CORNER_COLUMNS, CORNER_ROWS, CROSS_COLUMNS, CROSS_ROWS, cornered, crossed
from clc.exact.grid import ACTIVATION_BITS, ACTIVATION_LIMIT, BLOCK, snap

BIAS_BITS = 20
"""Biases are integers times 2**-BIAS_BITS."""

MAX_SHIFT = 20
"""Weights of an output channel are int16 times 2**-shift, with shift from 0 to MAX_SHIFT."""

MANTISSA_BITS = 53
"""Width of the integers that a float64 represents without gaps."""


class GridConv2d(nn.Module):
    """A convolution with odd kernel, stride 1 and zero padding, whose output lies on a grid.

    Input (B, C_in, H, W) on the activation grid, so within +-`ACTIVATION_LIMIT`; output (B, C_out, H, W) in multiples
    of 2**-`bits`, clamped to +-`limit`. `groups` is 1 or `in_channels` (depthwise).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        *,
        groups: int = 1,
        bits: int = ACTIVATION_BITS,
        limit: float = ACTIVATION_LIMIT,
        is_exact: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size, self.groups, self.bits, self.limit, self.is_exact = kernel_size, groups, bits, limit, is_exact
        shape = (out_channels, in_channels // groups, kernel_size, kernel_size)
        if is_exact:
            self.register_buffer("weight", torch.zeros(shape, dtype=torch.float64))
            self.register_buffer("bias", torch.zeros(out_channels, dtype=torch.float64))
        else:
            spread = 1.0 / math.sqrt(shape[1] * kernel_size**2)
            self.weight = nn.Parameter(torch.empty(shape).uniform_(-spread, spread))
            self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, *parts_BCHW: Tensor) -> Tensor:
        """The layer applied to the channels of all parts, concatenated in order; see the class for the ranges."""
        return self._exactly(parts_BCHW, is_activated=False) if self.is_exact else self._in_float(parts_BCHW)

    def activated(self, *parts_BCHW: Tensor) -> Tensor:
        """`clc.exact.grid.activate` of `forward`, the same bits in fewer passes.

        Only for a layer whose output is on the activation grid.
        """
        if self.is_exact:
            return self._exactly(parts_BCHW, is_activated=True)
        return F.leaky_relu(self._in_float(parts_BCHW), 0.125)  # within the limit already

    def from_anchors(self, anchors_BChw: Tensor, colour: int) -> Tensor:
        """A 3x3 layer at the positions of `colour`, from colour 0 of a checkerboard (`clc.exact.checkerboard`).

        Phase planes (B, C_in, h, w/2) -> (B, C_out, h, w/2): `across` for colour 1, `at_corners` for colour 0.
        """
        return self.across(anchors_BChw) if colour else self.at_corners(anchors_BChw)

    def across(self, anchors_BChw: Tensor) -> Tensor:
        """A 3x3 layer at the positions of colour 1, where colour 0 is decoded and colour 1 is 0; four taps count."""
        return self._of_taps(self.weight[:, :, CROSS_ROWS, CROSS_COLUMNS], crossed(anchors_BChw))

    def at_corners(self, anchors_BChw: Tensor) -> Tensor:
        """The four corner taps of a 3x3 layer at the positions of colour 0."""
        return self._of_taps(self.weight[:, :, CORNER_ROWS, CORNER_COLUMNS], cornered(anchors_BChw))

    def _of_taps(self, weight_OI4: Tensor, around: list[Tensor]) -> Tensor:
        """Four taps, each a matrix (C_out, C_in), times the four phase planes `around` that they read, summed up."""
        taps = weight_OI4.unbind(2)
        if self.is_exact:
            pictures = [self._summed(taps, parts, is_activated=False) for parts in zip(*around, strict=True)]
            return _joined([picture[None] for picture in pictures], dim=0)
        y = F.conv2d(torch.cat(around, dim=1), torch.cat(taps, dim=1)[..., None, None], self.bias)
        return F.hardtanh(y, -self.limit, self.limit)

    def _in_float(self, parts: tuple[Tensor, ...]) -> Tensor:
        y = F.conv2d(_joined(parts), self.weight, self.bias, padding=self.kernel_size // 2, groups=self.groups)
        return F.hardtanh(y, -self.limit, self.limit)

    def _exactly(self, parts: tuple[Tensor, ...], *, is_activated: bool) -> Tensor:
        if self.kernel_size == 1:
            weights = torch.split(self.weight.flatten(1), [part.shape[1] for part in parts], dim=1)
            pictures = [self._summed(weights, of_one, is_activated=is_activated) for of_one in zip(*parts, strict=True)]
            return _joined([picture[None] for picture in pictures], dim=0)
        x = _joined(parts)
        y = x.new_empty(x.shape[0], self.weight.shape[0], *x.shape[2:])
        sum_up = self._depthwise if self.groups > 1 else self._dense
        for x_CHW, y_CHW in zip(x, y, strict=True):
            for sums, out in sum_up(x_CHW, y_CHW):
                rounded = self._rounded_(sums, is_activated)
                out.copy_(rounded.view(len(out), out.shape[1], -1)[..., : out.shape[2]])
        return y

    def _rounded_(self, units: Tensor, is_activated: bool) -> Tensor:
        """Rounds, clamps and activates (`is_activated`) in place; sums are in units of 2**-bits with 1/2 added."""
        largest = self.limit * (1 << self.bits)
        units.floor_().clamp_(-largest, largest)
        if is_activated:
            F.leaky_relu(units, 0.125, inplace=True).add_(0.5).floor_()
        return units.mul_(2.0**-self.bits)

    def _scaled(self) -> tuple[float, Tensor]:
        """The scale 2**bits of the sums, and their start (C_out, 1): the bias, and 1/2 for rounding by `floor`.

        Scaling by a power of two is exact, before a sum as well as after it.
        """
        scale = float(1 << self.bits)
        return scale, (self.bias * scale + 0.5)[:, None]

    def _summed(self, weights: Sequence[Tensor], parts: Sequence[Tensor], *, is_activated: bool) -> Tensor:
        """A 1x1 convolution: matrices (C_out, C) times their parts (C, H, W), summed up to (C_out, H, W)."""
        scale, start = self._scaled()
        sums = torch.addmm(start, weights[0], parts[0].flatten(1), alpha=scale)
        for weight, part in zip(weights[1:], parts[1:], strict=True):
            sums.addmm_(weight, part.flatten(1), alpha=scale)
        return self._rounded_(sums, is_activated).view(-1, *parts[0].shape[1:])

    def _dense(self, x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """The sums of all channels of one picture, rows padded, and the output that they are for."""
        scale, start = self._scaled()
        flat, offsets, length = self._padded(x)
        weights = [weight.contiguous() for weight in self.weight.flatten(2).unbind(2)]
        sums = torch.addmm(start, weights[0], flat[:, :length], alpha=scale)
        for weight, offset in zip(weights[1:], offsets[1:], strict=True):
            sums.addmm_(weight, flat[:, offset : offset + length], alpha=scale)
        yield sums, y

    def _depthwise(self, x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """As `_dense`, by blocks of channels that stay in the cache."""
        scale, start = self._scaled()
        weights = (self.weight * scale).flatten(1)
        size = max(1, BLOCK * torch.get_num_threads() // y[0].numel())
        blocks = zip(*(torch.split(whole, size) for whole in (x, y, weights, start)), strict=True)
        for x_block, out, weight, start_block in blocks:
            flat, offsets, length = self._padded(x_block)
            taps = torch.split(weight, 1, dim=1)
            sums = torch.addcmul(start_block, flat[:, :length], taps[0])
            for tap, offset in zip(taps[1:], offsets[1:], strict=True):
                sums.addcmul_(flat[:, offset : offset + length], tap)
            yield sums, out

    def _padded(self, x: Tensor) -> tuple[Tensor, list[int], int]:
        """A picture's padded rows end to end (C, ..), the offset of each tap in them, and the length of a run.

        On rows laid end to end, a convolution is a sum of shifted runs; outputs in the padding are dropped later.
        """
        channels, height, width = x.shape
        pad = self.kernel_size // 2
        stride = width + 2 * pad
        padded = x.new_zeros(channels, height + 2 * pad + 1, stride)
        padded[:, pad : pad + height, pad : pad + width] = x
        offsets = [i * stride + j for i in range(self.kernel_size) for j in range(self.kernel_size)]
        return padded.flatten(1), offsets, height * stride

    def export(self) -> dict[str, Tensor]:
        """As integers: `weight` int16 (out, in/groups, k, k), `shift` int8 (out,), `bias` int32 (out,) in q20."""
        weight = self.weight.detach().double().cpu()
        peak = weight.abs().amax(dim=(1, 2, 3)).clamp_min(2.0**-40)
        shift = torch.floor(torch.log2(32767.0 / peak)).clamp(0, MAX_SHIFT)
        integers = torch.round(weight * torch.exp2(shift)[:, None, None, None]).clamp(-32767, 32767)
        bias = torch.round(self.bias.detach().double().cpu() * 2.0**BIAS_BITS)
        return {"weight": integers.to(torch.int16), "shift": shift.to(torch.int8), "bias": bias.to(torch.int32)}

    def load_integers(self, weight: Tensor, shift: Tensor, bias: Tensor) -> None:
        """Takes the integers of `export`, in either arithmetic; `InputError` if they break a bound or the shape."""
        if weight.shape != self.weight.shape or shift.shape != (weight.shape[0],) or bias.shape != shift.shape:
            raise InputError(f"exact layer of shape {tuple(self.weight.shape)} was given {tuple(weight.shape)}")
        if bool((shift < 0).any()) or bool((shift > MAX_SHIFT).any()):
            raise InputError(f"exact layer: a shift lies outside 0..{MAX_SHIFT}")
        if sum_bound_bits(weight, shift, bias) > MANTISSA_BITS:
            raise InputError("exact layer: a partial sum could exceed 2**53, the result would not be exact")
        with torch.no_grad():
            self.weight.copy_(weight.double() * torch.exp2(-shift.double())[:, None, None, None])
            self.bias.copy_(bias.double() * 2.0**-BIAS_BITS)


def from_zero(layer: GridConv2d) -> GridConv2d:
    """Sets the weights of a fresh layer to 0, so that its output starts at 0 (its bias is 0 too), and returns it."""
    with torch.no_grad():
        layer.weight.zero_()
    return layer


def ignoring_last(layer: GridConv2d, inputs: int) -> GridConv2d:
    """Sets the weights of a fresh layer for its last `inputs` channels to 0: it starts without them. Returns it."""
    if inputs:
        with torch.no_grad():
            layer.weight[:, -inputs:].zero_()
    return layer


def sum_bound_bits(weight: Tensor, shift: Tensor, bias: Tensor) -> float:
    """Bits of the largest possible partial sum of a `GridConv2d`, in its own unit; up to 53 the layer is exact.

    `weight` int16 (out, in/groups, k, k), `shift` int8 (out,), `bias` int32 (out,) as `GridConv2d.export` makes them.
    The unit of a channel is 2**-max(20, 10 + shift). Inputs reach +-32; one more bit is kept for the 1/2 of rounding.
    """
    gain = weight.double().abs().sum(dim=(1, 2, 3)) * torch.exp2(-shift.double())
    peak = gain * ACTIVATION_LIMIT + bias.double().abs() * 2.0**-BIAS_BITS
    unit_bits = torch.clamp(ACTIVATION_BITS + shift.double(), min=BIAS_BITS)
    return float((torch.log2(peak.clamp_min(1.0)) + unit_bits).max()) + 1.0


def _joined(parts: Sequence[Tensor], dim: int = 1) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=dim)


class GridTable(nn.Module):
    """A learned table (rows, columns) of activations: vectors or log gains by quality, learned tokens.

    `spread` is the standard deviation of the initial values.
    """

    def __init__(self, rows: int, columns: int, *, spread: float = 0.0, is_exact: bool = False) -> None:
        super().__init__()
        self.is_exact = is_exact
        if is_exact:
            self.register_buffer("values", torch.zeros(rows, columns, dtype=torch.float64))
        else:
            self.values = nn.Parameter(torch.randn(rows, columns) * spread)

    def export(self) -> dict[str, Tensor]:
        """The table as integers: `values` int32 (rows, columns), q10."""
        values = self.values.detach().double().cpu().clamp(-ACTIVATION_LIMIT, ACTIVATION_LIMIT)
        return {"values": torch.round(values * 2.0**ACTIVATION_BITS).to(torch.int32)}

    def load_integers(self, values: Tensor) -> None:
        """Takes the integers of `export`; raises `InputError` on another shape or a value outside the grid."""
        if values.shape != self.values.shape or int(values.abs().max()) > ACTIVATION_LIMIT * 2**ACTIVATION_BITS:
            raise InputError(f"exact table of shape {tuple(self.values.shape)} was given {tuple(values.shape)}")
        with torch.no_grad():
            self.values.copy_(values.double() * 2.0**-ACTIVATION_BITS)

    def interpolate(self, quality_q6_B: Tensor, top_q6: int) -> Tensor:
        """Rows at a quality, piecewise linear: int64 (B,) of 0..`top_q6` -> (B, columns) on the activation grid.

        The rows are knots at equal distances, the first at 0, the last at `top_q6`. Exact: the numerator is an integer
        combination, and IEEE division rounds correctly.
        """
        spacing = top_q6 // (self.values.shape[0] - 1)
        knot = torch.div(quality_q6_B, spacing, rounding_mode="floor").clamp(0, self.values.shape[0] - 2)
        rest = (quality_q6_B - knot * spacing).to(self.values.dtype)[:, None]
        mixed = (self.values[knot] * (spacing - rest) + self.values[knot + 1] * rest) / spacing
        return snap(mixed, is_exact=self.is_exact)
