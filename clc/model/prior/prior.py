"""The prior of the latents: hyper synthesis h_s, slices with a checkerboard, conditional latent synthesis (CLS).

    z_hat -- h_s --+-- h --+---------------------------+
    quality -------+       |                           |
                           CLM with tokens -- a -------+-- slice i, phase by phase --> mean (q6), scale index (0..63)
                              |                        |
                           slices < i, phases before --+
                                                       |
    warped reference -- Fusion -- r, features ---------+

    p_hat, where a model has a self-generated prior -- structure --> h and every slice

One function, `Prior.slice_parameters`, makes the mean and the scale of a slice for training, encoding and decoding
(CLC Eq. 7 and 8; the paper's entropy model does not see the references, ours does). CLS (Eq. 5 and 6) is the form of
the mean: alpha * mu_h + (1 - alpha) * y_a with alpha from the features of both, or mu_h alone without CLS; where a
reference is aligned, the mean then moves towards its latents r. Built from `clc.exact.layers` only.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from clc.exact.checkerboard import PHASES, TWO_PHASES, Phase
from clc.exact.layers import GridConv2d, GridTable
from clc.model.config import ModelConfig
from clc.model.prior.conditioners import make_conditioner
from clc.model.prior.fusion import Fusion
from clc.model.prior.hyperprior import HyperSynthesis
from clc.model.prior.self_generated import STRUCTURE, SelfGenerated
from clc.model.prior.slices import Context, SliceBase, SliceNet, SliceParameters, SliceWidths
from clc.quality import MAX_QUALITY_Q6
from clc.references.aligned import AlignedLatents


class Prior(nn.Module):
    """p(y_hat | z_hat, quality, references): hyper features, conditioner and one `SliceNet` for each slice.

    The conditioner is the attribute `matching`, after CLM. `base_reach` is the reach of `slice_base` in latents.
    """

    def __init__(self, config: ModelConfig, *, is_exact: bool = False) -> None:
        super().__init__()
        slices, features = config.slices, config.features
        structure = STRUCTURE if config.self_prior else 0
        self.slices, self.is_exact = slices, is_exact
        self.levels = GridTable(config.knots, features, spread=0.1, is_exact=is_exact)
        self.h_s = HyperSynthesis(config.hyper, 96, features, structure, is_exact=is_exact)
        self.matching = make_conditioner(config, is_exact=is_exact)
        self.refresh_before = config.refresh_before if config.before_refresh else 0
        self.fusion = Fusion(sum(slices), config.aligned, config.knots, is_exact=is_exact)
        conditioning = config.conditioning
        is_synthesised = config.synthesis and conditioning > 0
        nets, before = [], 0
        for index, channels in enumerate(slices):
            phases = TWO_PHASES if index else PHASES[config.first_phases]
            inputs = SliceWidths(features, conditioning, before, channels, config.aligned, is_synthesised)
            widths = inputs._replace(phases=phases, blocks=config.context_blocks, structure=structure)
            nets.append(SliceNet(widths, config.context, is_exact=is_exact))
            before += channels
        self.nets = nn.ModuleList(nets)
        self.base_reach = 1 + config.context_blocks
        self.self_generated = (
            SelfGenerated(config.self_prior, config.knots, is_exact=is_exact) if config.self_prior else None
        )

    def hyper_features(self, z_hat: Tensor, quality_q6_B: Tensor, structure: Tensor | None = None) -> Tensor:
        """z_hat (B, Z, h/4, w/4) and quality (int64 (B,), 64 units a quality step) -> h (B, C, h, w).

        `structure` (B, S, h, w) is what `self_generated` makes of p_hat, where the model has it.
        """
        return self.h_s(z_hat, self.levels.interpolate(quality_q6_B, MAX_QUALITY_Q6), structure)

    def context(
        self,
        h: Tensor,
        tokens_BNT: Tensor,
        present_B: Tensor | None = None,
        reference: AlignedLatents | None = None,
        structure: Tensor | None = None,
    ) -> Context:
        """The context of the first slice: hyper features, tokens (B, N, T), an aligned reference, the structure."""
        memory = self.matching.remember(tokens_BNT, present_B)
        return Context(h, self.matching(h, memory), reference, memory, structure)

    def refreshed(self, index: int, context: Context, decoded: list[Tensor]) -> Context:
        """The context of slice `index`: the same, or with a new `a` where the conditioner is asked once more."""
        if not self.asks_again_before(index):
            return context
        return context._replace(a=self.matching(context.h, context.memory, decoded))

    def asks_again_before(self, index: int) -> bool:
        """Whether the conditioner is asked once more before slice `index`, with the slices decoded by then."""
        return self.refresh_before > 0 and index == self.refresh_before

    def inverse_step(self, quality_q6_B: Tensor) -> Tensor:
        """1 / step (B, M, 1, 1) as the exact path has it, see `Fusion.inverse_step`."""
        return self.fusion.inverse_step(quality_q6_B, MAX_QUALITY_Q6)

    def slice_base(self, index: int, context: Context, decoded: list[Tensor]) -> SliceBase:
        """The shared features of slice `index`, from the context and the latents of the slices before it."""
        errors = []
        if context.reference is not None:
            references = context.reference.r.split(self.slices, dim=1)
            errors = [y_hat - r for y_hat, r in zip(decoded, references, strict=False)]
        return self._net(index).base(context, decoded, self._reference(index, context), errors)

    def slice_parameters(
        self, index: int, phase: int, base: SliceBase, first: Tensor | None, context: Context
    ) -> SliceParameters:
        """Mean and scale level of slice `index` in phase number `phase`, for training, encoding and decoding alike.

        `first` holds what the phases before decoded (`clc.exact.checkerboard.decoded_anchors`); see
        `SliceNet.slice_parameters`.
        """
        return self._net(index).slice_parameters(context, phase, base, self._reference(index, context), first)

    def phases(self, index: int) -> tuple[Phase, ...]:
        """The phases in which slice `index` is coded."""
        return self._net(index).phases

    def trust_biases(self) -> list[Tensor]:
        """The biases (C,) from which the trust of every slice and phase in an aligned reference starts."""
        layers = [layer for index in range(len(self.slices)) for layer in self._net(index).fusion.trust]
        return [cast("GridConv2d", layer).bias for layer in layers]

    def linear_path(self) -> GridConv2d:
        """The 1x1 convolution (768 -> M) from a warped reference to r, as `Analysis.linear_path` is from x to y."""
        return self.fusion.klt

    def start_as_constant(self, first: int) -> None:
        """`SliceNet.start_as_constant` for the slices from number `first` on."""
        for index in range(first, len(self.slices)):
            self._net(index).start_as_constant()

    def _reference(self, index: int, context: Context) -> Tensor | None:
        return None if context.reference is None else context.reference.r.split(self.slices, dim=1)[index]

    def _net(self, index: int) -> SliceNet:
        return cast("SliceNet", self.nets[index])
