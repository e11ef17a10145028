"""Conditional latent matching (CLM, CLC section 3.3): from dictionary tokens to a reference feature at every position.

    h (hyper features) -------query--+
    slices decoded so far ----query--+
                                     softmax(q k / t) v = y_m --+
    tokens of M references ----k, v--+                          +-- F_a([h, y_m]) = a
    learned tokens ------------k, v--+

The paper computes its queries from y, which a decoder does not have. Ours come from h, which both sides have, and once
more, when a few slices are decoded, from these too. So the result may enter the prior; it does, and therefore
everything here is exact (`clc.exact.layers`). Keys and values are made once for a picture (CLC Eq. 1). A few learned
tokens stand beside those of the references, so that the same path serves a picture without references.

The interface is `clc.model.prior.interface.Conditioner`; CLM is the conditioner `dictionary`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clc.exact.functions import LOGIT_BITS, GridSoftmax
from clc.exact.grid import ACTIVATION_BITS, ACTIVATION_LIMIT, compand, snap
from clc.exact.layers import GridConv2d, GridTable, from_zero
from clc.model.config import ModelConfig
from clc.model.prior.interface import Conditioner, Memory

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


class WithAlignmentNet(Conditioner):
    """A conditioner that ends in F_a, the paper's alignment of features (nothing of `clc.bitstream.alignment`).

    F_a works at the resolution of the latents and, with two scales, at half of it; h and w are even.
    """

    is_exact: bool

    def make_alignment_net(self, inputs: int, config: ModelConfig) -> None:
        """Adds the layers of F_a; those of the half scale start at zero."""
        width, is_exact = config.conditioning_width, self.is_exact
        self.enter = GridConv2d(inputs, width, is_exact=is_exact)
        self.spatial = GridConv2d(width, width, 3, groups=width, is_exact=is_exact)
        self.leave = GridConv2d(width, width, is_exact=is_exact)
        self.coarse, self.coarse_leave = None, None
        if config.alignment_scales == 2:
            self.coarse = GridConv2d(width, width, 3, groups=width, is_exact=is_exact)
            self.coarse_leave = from_zero(GridConv2d(width, width, is_exact=is_exact))

    def alignment_net(self, known: Tensor) -> Tensor:
        """F_a: from the features known at each position (B, .., h, w) to a (B, A, h, w)."""
        is_exact = self.is_exact
        mixed = self.enter.activated(known)
        near = mixed + self.spatial.activated(mixed)
        if self.coarse is not None and self.coarse_leave is not None:
            # The mean of four numbers of a grid is exact in any order; snapping brings it back onto the grid.
            half = snap(F.avg_pool2d(mixed, 2), is_exact=is_exact)
            far = self.coarse_leave(self.coarse.activated(half))
            near = near + F.interpolate(far, scale_factor=2.0, mode="nearest")
        return self.leave(snap(near, is_exact=is_exact))


class Unmatched(WithAlignmentNet):
    """The conditioner `dictionary` without CLM: F_a alone, a = F_a(h); tokens change nothing."""

    def __init__(self, config: ModelConfig, *, is_exact: bool = False) -> None:
        super().__init__()
        self.is_exact = is_exact
        self.make_alignment_net(config.features, config)

    def remember(self, tokens_BNT: Tensor, present_B: Tensor | None = None) -> Memory | None:
        """Returns None."""
        del tokens_BNT, present_B
        return None

    def forward(self, h: Tensor, memory: Memory | None, decoded: list[Tensor] | None = None) -> Tensor:
        """Runs F_a on h alone."""
        del memory, decoded
        return self.alignment_net(h)


class Matching(WithAlignmentNet):
    """The conditioner `dictionary` with CLM: y_m by attention, then a = F_a([h, y_m]).

    Beside the tokens of references stand learned tokens; without those, y_m of a picture without references is 0.
    """

    def __init__(self, config: ModelConfig, *, is_exact: bool = False) -> None:
        super().__init__()
        self.is_exact, self.width = is_exact, config.conditioning_width
        learned, token = config.learned_tokens, config.token
        self.learned = GridTable(learned, token, spread=1.0, is_exact=is_exact) if learned else None
        self.query = GridConv2d(config.features, 32, is_exact=is_exact)
        self.key = GridConv2d(token, 32, is_exact=is_exact)
        self.value = GridConv2d(token, self.width, is_exact=is_exact)
        self.softmax = GridSoftmax(is_exact=is_exact)
        self.make_alignment_net(config.features + self.width, config)
        known = config.before_refresh
        self.query_decoded = from_zero(GridConv2d(known, 32, is_exact=is_exact)) if known else None

    def remember(self, tokens_BNT: Tensor, present_B: Tensor | None = None) -> Memory | None:
        """Keys and values of the learned tokens and `tokens_BNT`."""
        batch, given = tokens_BNT.shape[:2]
        learned = tokens_BNT.new_zeros(batch, 0, tokens_BNT.shape[2])
        if self.learned is not None:
            learned = self.learned.values.expand(batch, -1, -1)
        elif not given:
            return None
        tokens = torch.cat([learned, tokens_BNT.to(self.key.weight.dtype)], dim=1).transpose(1, 2)[..., None]
        keys = self.key(tokens).squeeze(-1)
        values = self.value(tokens).squeeze(-1).transpose(1, 2)
        if present_B is None or not given:
            return Memory(keys, values)
        behind_learned = torch.arange(tokens.shape[2], device=tokens.device) >= learned.shape[1]
        hidden = ~present_B[:, None, None] & behind_learned
        is_known = None if self.learned is not None else present_B.to(keys.dtype)[:, None, None, None]
        return Memory(keys, values, hidden, is_known)

    def forward(self, h: Tensor, memory: Memory | None, decoded: list[Tensor] | None = None) -> Tensor:
        """Attends over the memory, then runs F_a."""
        batch, _, height, width = h.shape
        y_m = h.new_zeros(batch, self.width, height, width)
        if memory is not None:
            query = self.query(h)
            if decoded is not None and self.query_decoded is not None:
                latents = torch.cat([compand(y_hat, is_exact=self.is_exact) for y_hat in decoded], dim=1)
                query = snap(query + self.query_decoded(latents), is_exact=self.is_exact)
            y_m = self._attend(query, memory).transpose(1, 2).reshape(batch, -1, height, width)
            if memory.is_known is not None:
                y_m = y_m * memory.is_known
            y_m = snap(y_m, is_exact=self.is_exact)
        return self.alignment_net(torch.cat([h, y_m], dim=1))

    def _attend(self, query_BQhw: Tensor, memory: Memory) -> Tensor:
        parts = []
        for chunk in query_BQhw.flatten(2).transpose(1, 2).split(POSITIONS_AT_ONCE, dim=1):
            logits = chunk @ memory.keys / math.sqrt(16.0)
            logits = snap(logits, LOGIT_BITS, ACTIVATION_LIMIT * 2**ACTIVATION_BITS, is_exact=self.is_exact)
            if memory.hidden is not None:
                logits = logits.masked_fill(memory.hidden, -1e4)
            parts.append(self.softmax(logits) @ memory.values)
        return torch.cat(parts, dim=1)
