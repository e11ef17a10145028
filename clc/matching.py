"""Conditional latent matching (CLM, CLC section 3.3): from dictionary tokens to a reference feature at every position.

    h (hyper features) --query--+
                                softmax(q k / t) v = y_m --+
    tokens of M references -k,v-+                          +-- F_a([h, y_m]) = a
    learned tokens -------------+

The paper computes its queries from y, which a decoder does not have. Ours come from h, which both sides have, so the
result may enter the prior; it does, and therefore everything here is exact (`clc.exact`). A few learned tokens stand
beside those of the references, so that the same path serves a picture without references.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

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


class Matching(nn.Module):
    """CLM: h (B, C, h, w) and tokens (B, N, T) -> a (B, A, h, w), on the activation grid."""

    def __init__(self, hyper: int, token: int, reference: int, *, learned: int = 16, is_exact: bool = False) -> None:
        super().__init__()
        self.is_exact = is_exact
        self.learned = GridTable(learned, token, spread=1.0, is_exact=is_exact)
        self.query = GridConv2d(hyper, 32, is_exact=is_exact)
        self.key = GridConv2d(token, 32, is_exact=is_exact)
        self.value = GridConv2d(token, reference, is_exact=is_exact)
        self.softmax = GridSoftmax(is_exact=is_exact)
        self.enter = GridConv2d(hyper + reference, reference, is_exact=is_exact)
        self.spatial = GridConv2d(reference, reference, 3, groups=reference, is_exact=is_exact)
        self.leave = GridConv2d(reference, reference, is_exact=is_exact)

    def forward(self, h: Tensor, tokens_BNT: Tensor, present_B: Tensor | None = None) -> Tensor:
        """Attends over the learned tokens and `tokens_BNT` (N may be 0), then aligns (F_a).

        `present_B` (bool, training only) hides the references of single pictures of a batch.
        """
        y_m = self._attend(h, tokens_BNT, present_B)
        mixed = activate(self.enter(torch.cat([h, y_m], dim=1)), is_exact=self.is_exact)
        mixed = snap(mixed + activate(self.spatial(mixed), is_exact=self.is_exact), is_exact=self.is_exact)
        return self.leave(mixed)

    def _attend(self, h: Tensor, tokens_BNT: Tensor, present_B: Tensor | None) -> Tensor:
        batch, _, height, width = h.shape
        learned = self.learned.values.expand(batch, -1, -1)
        tokens = torch.cat([learned, tokens_BNT.to(learned.dtype)], dim=1).transpose(1, 2)[..., None]
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
        return snap(y_m, is_exact=self.is_exact)
