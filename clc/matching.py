"""Conditional latent matching (CLM, CLC section 3.3): from dictionary tokens to a reference feature at every position.

    h (hyper features) --query--+
                                softmax(q k / t) v = y_m --+
    tokens of M references -k,v-+                          +-- F_a([h, y_m]) = a
    learned tokens -------------+

The paper computes its queries from y, which a decoder does not have. Ours come from h, which both sides have, so the
result may enter the prior; it does, and therefore everything here is exact (`clc.exact`). A few learned tokens stand
beside those of the references, so that the same path serves a picture without references.

`Conditioner` is the interface that the prior knows: from h and the tokens of references to a. CLM is the conditioner
`dictionary`; `none` gives nothing. Another one, such as a prior that a model generates for itself, needs a class here
and a line in `make_conditioner`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from clc.configuration import ModelConfig
from clc.exact import (
    ACTIVATION_BITS,
    ACTIVATION_LIMIT,
    LOGIT_BITS,
    GridConv2d,
    GridSoftmax,
    GridTable,
    activate,
    snap,
)

TOKEN_BITS = 4
TOKEN_LIMIT = 127 / 2**TOKEN_BITS
TOKENS_PER_ENTRY = 64
POSITIONS_AT_ONCE = 8192


class TokenCompression(nn.Module):
    """C (CLC Eq. 2): companded latents of a dictionary entry (B, M, 16, 16) -> 64 tokens (B, 64, T), for int8 in q4.

    Float: it runs at export, once for each entry; what the bundle holds is its rounded result.
    """

    def __init__(self, latents: int, token: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(latents, token, 2, stride=2)

    def forward(self, y_BMhw: Tensor) -> Tensor:
        """Tokens within +-`TOKEN_LIMIT`, rounded to the grid of the stored int8 (gradients pass straight through)."""
        tokens = self.project(y_BMhw).clamp(-TOKEN_LIMIT, TOKEN_LIMIT).flatten(2).transpose(1, 2)
        rounded = torch.round(tokens * 2**TOKEN_BITS) / 2**TOKEN_BITS
        return tokens + (rounded - tokens).detach()


class Conditioner(nn.Module, ABC):
    """What the latents are conditioned on beside z: h (B, C, h, w) and tokens (B, N, T) -> a (B, A, h, w).

    A decoder runs it before the first latent, so it sees only what both sides have by then, and it is exact.
    """

    @abstractmethod
    def forward(self, h: Tensor, tokens_BNT: Tensor, present_B: Tensor | None = None) -> Tensor:
        """From hyper features and the tokens of references (N may be 0) to features a, on the activation grid.

        `present_B` (bool, training only) hides the references of single pictures of a batch.
        """


class NoConditioner(Conditioner):
    """The conditioner `none`: a has no channels, whatever the references are."""

    def forward(self, h: Tensor, tokens_BNT: Tensor, present_B: Tensor | None = None) -> Tensor:
        """Returns (B, 0, h, w)."""
        del tokens_BNT, present_B
        return h[:, :0]


class Aligned(Conditioner):
    """A conditioner that ends in the alignment F_a of CLM."""

    is_exact: bool

    def make_alignment(self, inputs: int, reference: int) -> None:
        """Adds the layers of F_a."""
        self.enter = GridConv2d(inputs, reference, is_exact=self.is_exact)
        self.spatial = GridConv2d(reference, reference, 3, groups=reference, is_exact=self.is_exact)
        self.leave = GridConv2d(reference, reference, is_exact=self.is_exact)

    def align(self, known: Tensor) -> Tensor:
        """F_a: what is known at each position (B, .., h, w) -> a (B, A, h, w)."""
        mixed = activate(self.enter(known), is_exact=self.is_exact)
        mixed = snap(mixed + activate(self.spatial(mixed), is_exact=self.is_exact), is_exact=self.is_exact)
        return self.leave(mixed)


class Unmatched(Aligned):
    """The conditioner `dictionary` without CLM: F_a alone, a = F_a(h); tokens change nothing."""

    def __init__(self, hyper: int, reference: int, *, is_exact: bool = False) -> None:
        super().__init__()
        self.is_exact = is_exact
        self.make_alignment(hyper, reference)

    def forward(self, h: Tensor, tokens_BNT: Tensor, present_B: Tensor | None = None) -> Tensor:
        """Aligns h."""
        del tokens_BNT, present_B
        return self.align(h)


class Matching(Aligned):
    """The conditioner `dictionary` with CLM: y_m by attention, then a = F_a([h, y_m]).

    Beside the tokens of references stand `learned` tokens; without those, y_m of a picture without references is 0.
    """

    def __init__(self, hyper: int, token: int, reference: int, *, learned: int = 16, is_exact: bool = False) -> None:
        super().__init__()
        self.is_exact = is_exact
        self.learned = GridTable(learned, token, spread=1.0, is_exact=is_exact) if learned else None
        self.query = GridConv2d(hyper, 32, is_exact=is_exact)
        self.key = GridConv2d(token, 32, is_exact=is_exact)
        self.value = GridConv2d(token, reference, is_exact=is_exact)
        self.softmax = GridSoftmax(is_exact=is_exact)
        self.make_alignment(hyper + reference, reference)

    def forward(self, h: Tensor, tokens_BNT: Tensor, present_B: Tensor | None = None) -> Tensor:
        """Attends over the learned tokens and `tokens_BNT`, then aligns."""
        return self.align(torch.cat([h, self._attend(h, tokens_BNT, present_B)], dim=1))

    def _attend(self, h: Tensor, tokens_BNT: Tensor, present_B: Tensor | None) -> Tensor:
        batch, _, height, width = h.shape
        learned = h.new_zeros(batch, 0, tokens_BNT.shape[2])
        if self.learned is not None:
            learned = self.learned.values.expand(batch, -1, -1)
        elif not tokens_BNT.shape[1]:
            return h.new_zeros(batch, self.value.weight.shape[0], height, width)
        tokens = torch.cat([learned, tokens_BNT.to(h.dtype)], dim=1).transpose(1, 2)[..., None]
        keys = self.key(tokens).squeeze(-1)
        values = self.value(tokens).squeeze(-1).transpose(1, 2)
        queries = self.query(h).flatten(2).transpose(1, 2)
        hidden = None
        if present_B is not None and tokens_BNT.shape[1]:
            hidden = torch.zeros(batch, 1, tokens.shape[2], dtype=torch.bool, device=h.device)
            hidden[~present_B, :, learned.shape[1] :] = True
        parts = []
        for chunk in queries.split(POSITIONS_AT_ONCE, dim=1):
            logits = chunk @ keys / math.sqrt(16.0)
            logits = snap(logits, LOGIT_BITS, ACTIVATION_LIMIT * 2**ACTIVATION_BITS, is_exact=self.is_exact)
            if hidden is not None:
                logits = logits.masked_fill(hidden, -1e4)
            parts.append(self.softmax(logits) @ values)
        y_m = torch.cat(parts, dim=1).transpose(1, 2).reshape(batch, -1, height, width)
        if present_B is not None and self.learned is None:
            y_m = y_m * present_B.to(y_m.dtype)[:, None, None, None]
        return snap(y_m, is_exact=self.is_exact)


def make_conditioner(config: ModelConfig, *, is_exact: bool) -> Conditioner:
    """The conditioner of a model, by `conditioner`, `matching` and `learned_tokens`."""
    if config.conditioner == "none":
        return NoConditioner()
    if not config.matching:
        return Unmatched(config.features, config.reference, is_exact=is_exact)
    learned = config.learned_tokens
    return Matching(config.features, config.token, config.reference, learned=learned, is_exact=is_exact)
