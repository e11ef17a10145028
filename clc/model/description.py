"""The map of a picture's latents that retrieval pools: training, export and encoding share it.

The encoder alone retrieves, and its result travels in the stream, so this is ordinary float code.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clc.exact.grid import compand

SIGNED_CHANNELS = 16
FEATURE_CHANNELS = 64


def analysis_features(scaled_BMhw: Tensor) -> Tensor:
    """Latents over their middle step (B, M, h, w) -> features (B, 64, h, w).

    Low components keep their sign (colour, brightness, direction), higher ones count by magnitude (texture).
    """
    bent = compand(scaled_BMhw[:, :FEATURE_CHANNELS], is_exact=False)
    return torch.cat([bent[:, :SIGNED_CHANNELS], bent[:, SIGNED_CHANNELS:].abs()], dim=1)
