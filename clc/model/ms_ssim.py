"""MS-SSIM that gradients pass through, written with torch alone, so that a bare training worker has it.

The figure is the one that `clc.evaluation.metrics.ms_ssim` reports: five scales, an 11 px Gaussian window of sigma 1.5
without padding, the weights of Wang, Simoncelli and Bovik (2003). Called by `clc.model.objective`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW_PX, WINDOW_SIGMA = 11, 1.5
K1, K2 = 0.01, 0.03
LEAST = 1e-4
"""A similarity is at least this before its root is taken: the gradient of the root at 0 is infinite."""


def ms_ssim(a_BCHW: Tensor, b_BCHW: Tensor) -> Tensor:
    """Multi-scale structural similarity (B,) of pictures in 0..1, averaged over channels; sides of 161 px or more."""
    a, b = a_BCHW.float(), b_BCHW.float()
    result = torch.ones(a.shape[:2], device=a.device)
    for scale, weight in enumerate(WEIGHTS):
        if scale:
            a, b = _halved(a), _halved(b)
        whole, contrast = _similarity(a, b)
        is_last = scale == len(WEIGHTS) - 1
        result = result * (whole if is_last else contrast).clamp_min(LEAST) ** weight
    return result.mean(dim=1)


def _similarity(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM and its contrast and structure term alone, (B, C) each."""
    mu_a, mu_b, aa, bb, ab = _windowed(torch.stack([a, b, a * a, b * b, a * b]))
    c1, c2 = K1**2, K2**2
    contrast = (2.0 * (ab - mu_a * mu_b) + c2) / (aa - mu_a.square() + bb - mu_b.square() + c2)
    luminance = (2.0 * mu_a * mu_b + c1) / (mu_a.square() + mu_b.square() + c1)
    return (luminance * contrast).mean(dim=(2, 3)), contrast.mean(dim=(2, 3))


def _windowed(x_NBCHW: Tensor) -> Tensor:
    """Means under the Gaussian window, which is applied to rows and columns in turn."""
    places = torch.arange(WINDOW_PX, device=x_NBCHW.device, dtype=torch.float32) - WINDOW_PX // 2
    window = torch.exp(-places.square() / (2.0 * WINDOW_SIGMA**2))
    window = (window / window.sum()).view(1, 1, 1, -1)
    planes = x_NBCHW.flatten(0, 2)[:, None]
    planes = F.conv2d(F.conv2d(planes, window), window.transpose(2, 3))
    return planes[:, 0].unflatten(0, x_NBCHW.shape[:3])


def _halved(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 2, padding=(x.shape[2] % 2, x.shape[3] % 2))
