"""Window attention, as Swin transformers have it: the attention half of a TCM block.

A map is cut into windows; positions attend within their window, with a learned bias for each relative position (Liu
et al., "Swin Transformer", ICCV 2021, sections 3.2 and Eq. 4). A shifted block cuts half a window aside. Maps of any
size are padded to whole windows; what is padding, or came round the edge by the shift, is hidden from the rest.

Shapes: B pictures, C channels, (H, W) the map, P x P positions in a window, n windows.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WINDOWS_AT_ONCE = 256
PADDING = -1


class SwinBlock(nn.Module):
    """Normalise, attend in windows, normalise, a network of two layers, each with a residual: (B, C, H, W) kept."""

    def __init__(self, channels: int, head_width: int, window: int, *, is_shifted: bool) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(channels)
        self.attention = WindowAttention(channels, head_width, window, is_shifted=is_shifted)
        self.before_network = nn.LayerNorm(channels)
        self.widen = nn.Linear(channels, 4 * channels)
        self.narrow = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """One block."""
        x_BHWC = x.permute(0, 2, 3, 1)
        x_BHWC = x_BHWC + self.attention(self.before_attention(x_BHWC))
        x_BHWC = x_BHWC + self.narrow(F.gelu(self.widen(self.before_network(x_BHWC))))
        return x_BHWC.permute(0, 3, 1, 2)


class WindowAttention(nn.Module):
    """Self-attention within windows of P x P positions of a map (B, H, W, C).

    The channels are split into heads of `head_width`, or one head where there are fewer channels.
    """

    places: Tensor

    def __init__(self, channels: int, head_width: int, window: int, *, is_shifted: bool) -> None:
        super().__init__()
        self.window, self.shift = window, window // 2 if is_shifted else 0
        self.heads = max(1, channels // head_width)
        self.enter = nn.Linear(channels, 3 * channels)
        self.leave = nn.Linear(channels, channels)
        self.bias = nn.Parameter(torch.randn(self.heads, (2 * window - 1) ** 2) * 0.02)
        self.register_buffer("places", relative_places(window), persistent=False)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        """Attends; every picture and window by itself."""
        batch, height, width, channels = x_BHWC.shape
        size = self.window
        padded = F.pad(x_BHWC, (0, 0, 0, -width % size, 0, -height % size))
        rows, columns = padded.shape[1] // size, padded.shape[2] // size
        shifted = torch.roll(padded, (-self.shift, -self.shift), dims=(1, 2))
        grid = shifted.reshape(batch, rows, size, columns, size, channels)
        tokens = grid.transpose(2, 3).reshape(-1, size**2, channels)
        regions = self._regions(height, width, x_BHWC.device)
        if regions is not None:
            regions = regions.repeat(batch, 1)
        parts = []
        for start in range(0, len(tokens), WINDOWS_AT_ONCE):
            chunk = slice(start, start + WINDOWS_AT_ONCE)
            parts.append(self._attend(tokens[chunk], None if regions is None else regions[chunk]))
        grid = torch.cat(parts).reshape(batch, rows, columns, size, size, channels).transpose(2, 3)
        whole = torch.roll(grid.reshape(padded.shape), (self.shift, self.shift), dims=(1, 2))
        return whole[:, :height, :width]

    def _attend(self, tokens_nPC: Tensor, regions_nP: Tensor | None) -> Tensor:
        count, positions, channels = tokens_nPC.shape
        split = self.enter(tokens_nPC).reshape(count, positions, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        bias = self.bias[:, self.places][None]
        if regions_nP is not None:
            hidden = regions_nP[:, :, None] != regions_nP[:, None, :]
            bias = bias.expand(count, -1, -1, -1).masked_fill(hidden[:, None], -torch.inf)
        seen = F.scaled_dot_product_attention(split[0], split[1], split[2], attn_mask=bias)
        attended: Tensor = self.leave(seen.transpose(1, 2).reshape(count, positions, channels))
        return attended

    def _regions(self, height: int, width: int, device: torch.device) -> Tensor | None:
        """The region of each position, int64 (n, P*P): only equal ones see each other. None where there is but one."""
        if not self.shift and height % self.window == 0 and width % self.window == 0:
            return None
        down, right = (self._along(side, device) for side in (height, width))
        is_padding = (down[:, None] == PADDING) | (right[None] == PADDING)
        regions = torch.where(is_padding, PADDING, 2 * down[:, None] + right[None])
        rows, columns = len(down) // self.window, len(right) // self.window
        return regions.reshape(rows, self.window, columns, self.window).transpose(1, 2).reshape(rows * columns, -1)

    def _along(self, side: int, device: torch.device) -> Tensor:
        """One side of the padded and shifted map: 0, 1 for what came round the edge, `PADDING`."""
        place = torch.arange(side + -side % self.window, device=device)
        regions = torch.where(place >= side, PADDING, (place < self.shift).long())
        return torch.roll(regions, -self.shift)


def relative_places(window: int) -> Tensor:
    """Which of the (2 P - 1)**2 displacements lies between each pair of positions of a window: int64 (P*P, P*P)."""
    place = torch.arange(window)
    rows, columns = place.repeat_interleave(window), place.repeat(window)
    down = rows[:, None] - rows[None] + window - 1
    right = columns[:, None] - columns[None] + window - 1
    return down * (2 * window - 1) + right
