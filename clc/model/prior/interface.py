"""What every conditioner offers: from hyper features and the tokens of references to features a.

`clc.model.prior.matching` (CLM) is the conditioner `dictionary`; `none` gives nothing. Another one, such as a prior
that a model generates for itself, needs a class and a line in `clc.model.prior.conditioners`.

Shapes: B pictures, h and w rows and columns of latents, N tokens of T values, A features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn


class Memory(NamedTuple):
    """The tokens that a picture may attend to, learned ones first: the KV-cache of one walk.

    `keys` (B, 32, N), `values` (B, N, A); `hidden` bool (B, 1, N) or None: tokens that a picture of a training batch
    may not see; `is_known` (B, 1, 1, 1) or None: 0 for pictures that may see no token at all.
    """

    keys: Tensor
    values: Tensor
    hidden: Tensor | None = None
    is_known: Tensor | None = None


class Conditioner(nn.Module, ABC):
    """What the latents are conditioned on beside z: h (B, C, h, w) and tokens (B, N, T) -> a (B, A, h, w).

    A decoder runs it before the first latent, and once more where `ModelConfig.refresh_before` says so, with the
    latents decoded by then: it sees only what both sides have, and it is exact.
    """

    @abstractmethod
    def remember(self, tokens_BNT: Tensor, present_B: Tensor | None = None) -> Memory | None:
        """Keys and values of the references' tokens (N may be 0), None where there is nothing to attend to.

        `present_B` (bool, training only) hides the references of single pictures of a batch.
        """

    @abstractmethod
    def forward(self, h: Tensor, memory: Memory | None, decoded: list[Tensor] | None = None) -> Tensor:
        """From hyper features, memory and the slices `decoded` so far to features a, on the activation grid."""


class NoConditioner(Conditioner):
    """The conditioner `none`: a has no channels, whatever the references are."""

    def remember(self, tokens_BNT: Tensor, present_B: Tensor | None = None) -> Memory | None:
        """Returns None."""
        del tokens_BNT, present_B
        return None

    def forward(self, h: Tensor, memory: Memory | None, decoded: list[Tensor] | None = None) -> Tensor:
        """Returns (B, 0, h, w)."""
        del memory, decoded
        return h[:, :0]
