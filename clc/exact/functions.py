"""Softmax and powers of two on grids: stored integer tables and correctly rounded divisions.

`clc.model.prior.matching` uses the softmax for attention, `clc.model.prior.fusion` the powers of two for gains. Each
has a float and an exact arithmetic, as the layers of `clc.exact.layers`. `exp` and `exp2` round differently from one
machine to the next, so their tables are computed at export only, stored in the bundle, and never rebuilt when coding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from clc.errors import InputError
from clc.exact.grid import ACTIVATION_BITS, ACTIVATION_LIMIT

LOGIT_BITS = 6
"""Attention logits are multiples of 2**-LOGIT_BITS."""

ATTENTION_BITS = 15
"""Attention weights are multiples of 2**-ATTENTION_BITS."""

EXP_STEPS = 1024
"""Entries of the table of exponentials; a logit this many steps (16.0) below the largest counts as the last entry."""

EXP2_MANTISSA_BITS = 16
"""Fractional bits of the mantissas 2**f, 1 <= 2**f < 2."""


def exp_table() -> Tensor:
    """Return 2**16 * exp(-k/64) for k = 0..1023, rounded, int32 (1024,)."""
    return torch.round(torch.exp(-torch.arange(EXP_STEPS, dtype=torch.float64) / 2**LOGIT_BITS) * 65536).to(torch.int32)


class GridSoftmax(nn.Module):
    """Softmax over the last axis; exact by a stored table of exponentials and an integer division."""

    exponentials: Tensor

    def __init__(self, *, is_exact: bool = False) -> None:
        super().__init__()
        self.is_exact = is_exact
        self.register_buffer("exponentials", exp_table().double(), persistent=False)

    def load_integers(self, exponentials: Tensor) -> None:
        """Takes the stored table, int32 (1024,) between 0 and 65536 with a full first entry, or raises `InputError`."""
        if exponentials.shape != (EXP_STEPS,) or int(exponentials[0]) != 65536 or int(exponentials.min()) < 0:
            raise InputError("the table of exponentials is malformed")
        self.exponentials = exponentials.double().to(self.exponentials.device)

    def forward(self, logits: Tensor) -> Tensor:
        """Weights of the shape of `logits`. In exact arithmetic logits are on q6, weights on q15 with a sum <= 1."""
        if not self.is_exact:
            return torch.softmax(logits, dim=-1)
        below = logits.amax(dim=-1, keepdim=True).sub(logits).mul_(float(1 << LOGIT_BITS))
        masses = self.exponentials[below.clamp_(max=EXP_STEPS - 1).long()]
        scale = 2.0**-ATTENTION_BITS
        return masses.div_(masses.sum(dim=-1, keepdim=True) * scale).floor_().mul_(scale)


def exp2_table() -> Tensor:
    """Return 2**16 * 2**(k/1024) for k = 0..1023, rounded, int32 (1024,)."""
    fractions = torch.arange(1 << ACTIVATION_BITS, dtype=torch.float64) / (1 << ACTIVATION_BITS)
    return torch.round(torch.exp2(fractions) * (1 << EXP2_MANTISSA_BITS)).to(torch.int32)


class GridExp2(nn.Module):
    """2**x for x on the activation grid, |x| <= 32: a stored mantissa of 17 bits times a power of two."""

    mantissas: Tensor
    powers: Tensor

    def __init__(self, *, is_exact: bool = False) -> None:
        super().__init__()
        self.is_exact = is_exact
        exponents = range(-int(ACTIVATION_LIMIT), int(ACTIVATION_LIMIT) + 1)
        self.register_buffer("mantissas", exp2_table().double(), persistent=False)
        self.register_buffer("powers", torch.tensor([2.0**k for k in exponents], dtype=torch.float64), persistent=False)

    def load_integers(self, mantissas: Tensor) -> None:
        """Takes the stored table, int32 (1024,) rising from 65536 to below 131072, or raises `InputError`."""
        rises = mantissas.shape == self.mantissas.shape and bool((mantissas[1:] >= mantissas[:-1]).all())
        one = 1 << EXP2_MANTISSA_BITS
        if not rises or int(mantissas[0]) != one or int(mantissas[-1]) >= 2 * one:
            raise InputError("the table of powers of two is malformed")
        self.mantissas = mantissas.double().to(self.mantissas.device)

    def forward(self, x: Tensor) -> Tensor:
        """2**x, of the shape of `x`; multiples of 2**-48 in exact arithmetic."""
        if not self.is_exact:
            return torch.exp2(x)
        whole = torch.floor(x)
        index = ((x - whole) * (1 << ACTIVATION_BITS)).long()
        power = self.powers[(whole + ACTIVATION_LIMIT).long()]
        return self.mantissas[index] / (1 << EXP2_MANTISSA_BITS) * power
