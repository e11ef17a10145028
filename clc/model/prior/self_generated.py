"""A self-generated prior: a few latents of the picture itself, coded before all others, and what they tell these.

    p_hat * step(quality) -- compand -- 3x3 -- shuffle to 1/16 -- depthwise 3x3 -- 1x1 -- structure

p holds the coarse structure of a picture: `SELF_PRIOR_STRIDE` px apart, four channels or so (Zhao et al., DCIC-sgp,
arXiv 2510.24437, of which only the abstract was at hand: the design is this project's, see
`docs/adr/019-a-self-generated-prior.md`). The encoder makes p (`clc.model.transforms.self_generated`) and codes it
first. Its features, here called the structure, then enter h and every slice, through further inputs of layers that are
there anyway, whose weights start at zero. They do so beside a dictionary and beside aligned references, and therefore
this is no `Conditioner`: those make a from h, and the structure has to be there before h is. g_a and g_s see it, too.

All of it enters the prior and is therefore exact (`clc.exact.layers`).

Shapes: B pictures, P latents of the prior at 1/32, h = H/16, w = W/16, `STRUCTURE` features.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from clc.exact.functions import GridExp2
from clc.exact.grid import ACTIVATION_BITS, MEAN_LIMIT, activate, compand, residual, snap
from clc.exact.layers import GridConv2d, GridTable
from clc.quality import MAX_QUALITY_Q6

SELF_PRIOR_STRIDE = 32
"""The distance of two values of p, in px: half the resolution of the latents."""
STRUCTURE = 64
"""The channels of the structure."""
WIDTH = 96


class SelfGenerated(nn.Module):
    """p_hat (B, P, h/2, w/2) -> structure (B, `STRUCTURE`, h, w); h and w are even.

    `log_step` holds the steps by which p is rounded, log2, for each rate level. They start at one unit of the KLT of
    `clc.training.klt_start.start_self_prior`.
    """

    def __init__(self, latents: int, knots: int, *, is_exact: bool = False) -> None:
        super().__init__()
        self.latents, self.is_exact = latents, is_exact
        self.log_step = GridTable(knots, latents, is_exact=is_exact)
        self.exp2 = GridExp2(is_exact=is_exact)
        self.enter = GridConv2d(latents, WIDTH, 3, is_exact=is_exact)
        self.to_full = GridConv2d(WIDTH, 4 * STRUCTURE, is_exact=is_exact)
        self.spatial = GridConv2d(STRUCTURE, STRUCTURE, 3, groups=STRUCTURE, is_exact=is_exact)
        self.leave = GridConv2d(STRUCTURE, STRUCTURE, is_exact=is_exact)

    def step(self, quality_q6_B: Tensor) -> Tensor:
        """The steps of p (B, P, 1, 1): two to the power of an interpolated table, and so exact."""
        step: Tensor = self.exp2(self.log_step.interpolate(quality_q6_B, MAX_QUALITY_Q6))
        return step[:, :, None, None]

    def forward(self, p_hat: Tensor, quality_q6_B: Tensor) -> Tensor:
        """From rounded latents, over their step, to the structure."""
        is_exact = self.is_exact
        # A symbol times a step has 36 bits; on a grid again, sums of it are the same in any order.
        p = snap(p_hat * self.step(quality_q6_B), ACTIVATION_BITS, MEAN_LIMIT, is_exact=is_exact)
        u = self.enter.activated(compand(p, is_exact=is_exact))
        u = activate(F.pixel_shuffle(self.to_full(u), 2), is_exact=is_exact)
        u = residual(u, self.spatial.activated(u), is_exact=is_exact)
        return self.leave.activated(u)
