"""A training run: its state, one step of it, and its validation.

`clc.training.train` builds a `Trainer`, `clc.training.loop` runs it until its budget ends, `clc.training.checkpoint`
writes its state and reads it. The result of a run is the moving average of the parameters, as it was when it validated
best: a collection of a few pictures is soon overfitted, so that the last average need not be the best.

The contract: on a CPU, with a budget of steps, a run is to the bit a function of its configuration, its pictures and
its number of threads, and goes on from its state as if it had not been interrupted.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from clc.errors import ClcError, InputError
from clc.model.model import Model
from clc.model.objective import LATENTS, MSE, rate_distortion_loss
from clc.quality import MIDDLE_QUALITY_Q6, from_q6
from clc.training.acceleration import prepare
from clc.training.batches import BatchSource, TrainingBatch
from clc.training.config import TrainingConfig
from clc.training.data import CropSampler, PictureSet
from clc.training.distributed import ALONE, Ranks
from clc.training.klt_start import (
    klt_basis,
    linear_layers,
    spread_hyper_latents,
    start_from_klt,
    start_self_prior,
)
from clc.training.pairs import Pair, PairSampler, split_pairs
from clc.training.reference_bank import ReferenceBank
from clc.training.run_folder import Best, forget_best
from clc.training.validation import HeldOut

logger = logging.getLogger(__name__)

MAX_BAD_STEPS = 3
"""Non-finite gradients that end a run."""
HELD_OUT_SEED = 0
"""The seed of the choice of held-out pictures, not the run's: runs of different seeds hold out the same pictures."""
AS_GOOD = 0.001
"""By how much, as a share, the loss of weights nearer to the start may be larger for these to be kept."""
FIGURES = ("loss", "bpp", "psnr_db", "z_bpp", "grad_norm")
"""The figures of a step, means over the batch; with a self-generated prior, its `p_bpp` stands before the last one."""


class Position(NamedTuple):
    """How far a run is: steps made, batches drawn, minutes used, and over how many steps the bits of z are phased in.

    More batches than steps are drawn, for a batch with a non-finite gradient makes no step.
    """

    step: int
    batches: int
    minutes: float
    hyper_warmup_steps: int


@dataclass(frozen=True, kw_only=True)
class TrainerState:
    """All that a `Trainer` needs to go on as if it had not been interrupted.

    `parameters`, `average` (their moving average) and `start` (the weights that the run began with, empty without a
    `start_share`) are float32 tensors by the names of the model's parameters; so are the tensors of AdamW in
    `moments`, for those parameters that were trained. `bank_g_a` is the state dict of the g_a by which the dictionary
    entries were last described, and `bank_step` (1, M, 1, 1) the quantisation steps of the middle quality of then.
    """

    parameters: dict[str, Tensor]
    average: dict[str, Tensor]
    start: dict[str, Tensor]
    moments: dict[str, dict[str, Tensor]]
    bank_g_a: dict[str, Tensor]
    bank_step: Tensor
    position: Position
    log: list[dict[str, Any]]
    best: Best | None


class Trainer:
    """One training run: its model, data, optimiser, moving average and best weights so far, and the step on a batch."""

    def __init__(
        self,
        config: TrainingConfig,
        data: PictureSet,
        entries: PictureSet,
        out: Path,
        pairs: Sequence[Pair] = (),
        *,
        ranks: Ranks = ALONE,
    ) -> None:
        self.config, self.out, self.ranks = config, out, ranks
        self.device = torch.device(config.device)
        torch.manual_seed(config.seed)
        held_out = min(config.held_out, max(1, len(data) // 8))
        self.training, apart = data.split(held_out, np.random.default_rng(HELD_OUT_SEED))
        kept_pairs, pairs_apart = split_pairs(pairs, set(apart.photos) - set(self.training.photos))
        self.held_out = HeldOut.of(apart, pairs_apart[: config.held_out], self.device)
        crops = CropSampler(self.training, config.rescaled_share)
        self.source = BatchSource(config, PairSampler(crops, kept_pairs, config.real_share), ranks.rank)
        self.model = prepare(Model(config.model), config)
        self._freeze_all_but(config.only)
        self.noise = torch.Generator(self.device)
        self.bank = make_bank(entries, config.model.references)
        self.step, self.batches, self.minutes, self.bad_steps = 0, 0, 0.0, 0
        self.hyper_warmup_steps = 0
        self.log: list[dict[str, Any]] = []
        self.ema: dict[str, Tensor] = {}
        self.start: dict[str, Tensor] = {}
        self.best: Best | None = None
        self.bank_g_a: dict[str, Tensor] = {}
        self.bank_step = torch.empty(0)
        self.optimiser = self._optimiser()

    def _freeze_all_but(self, only: str) -> None:
        """Trains no parameter whose name does not begin with `only`.

        A prefix of names, because it is the user who chooses, and may choose any part of the model.
        """
        for name, parameter in self.model.named_parameters():
            if not name.startswith(only):
                parameter.requires_grad_(False)
        if not any(parameter.requires_grad for parameter in self.model.parameters()):
            raise InputError(f"no parameter of the model begins with {only!r}: nothing would be trained")

    def _optimiser(self) -> torch.optim.AdamW:
        """AdamW with two groups: the linear paths, second, have a lower learning rate than all other parameters."""
        linear = {parameter for layer in linear_layers(self.model) for parameter in layer.parameters()}
        groups: dict[bool, list[Tensor]] = {False: [], True: []}
        for parameter in self.model.parameters():
            if parameter.requires_grad:
                groups[parameter in linear].append(parameter)
        peak = self.config.learning_rate
        self.peaks = [peak, peak * self.config.linear_rate_factor]
        described = [{"params": part, "lr": rate} for part, rate in zip(groups.values(), self.peaks, strict=True)]
        return torch.optim.AdamW(described, betas=(0.9, 0.99), weight_decay=0.0, fused=True)

    def start_fresh(self) -> None:
        """Starts from random weights and the KLT of the training pictures."""
        rng = np.random.default_rng(self.config.seed)
        basis = klt_basis(self.training.pictures, self.config.model.latents, rng)
        start_from_klt(self.model, basis.to(self.device))
        if self.model.self_prior is not None:
            start_self_prior(self.model, self.training.pictures, rng)
        spread_hyper_latents(self.model, self.held_out.crops)
        self.hyper_warmup_steps = self.config.hyper_warmup_steps
        self._begin()

    def start_from(self, weights: dict[str, Tensor]) -> None:
        """Starts from the state dict of a model of the same configuration, and validates it: it may remain the best.

        Raises `InputError` for weights of another configuration.
        """
        try:
            self.model.load_state_dict(weights, strict=True)
        except RuntimeError as error:
            raise InputError(f"the start weights do not fit the model configuration: {error}") from error
        if self.config.start_share:
            self.start = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        self._begin()
        if self.ranks.is_first:
            self.validate()

    def _begin(self) -> None:
        self.ranks.spread(parameter.detach() for parameter in self.model.parameters())
        self.ema = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        if self.ranks.is_first:
            forget_best(self.out)

    def state(self) -> TrainerState:
        """The state of the run. Its tensors are the trainer's own, not copies: the next step changes them."""
        parameters = dict(self.model.named_parameters())
        return TrainerState(
            parameters={name: parameter.detach() for name, parameter in parameters.items()},
            average=self.ema,
            start=self.start,
            moments={name: kept for name, one in parameters.items() if (kept := self.optimiser.state.get(one))},
            bank_g_a=self.bank_g_a,
            bank_step=self.bank_step,
            position=Position(self.step, self.batches, self.minutes, self.hyper_warmup_steps),
            log=self.log,
            best=self.best,
        )

    def load_state(self, state: TrainerState) -> None:
        """Goes on from `state`, that of a run with the same model and pictures; takes its tensors over, without copies.

        Raises `KeyError` or `RuntimeError` for the state of another model, and leaves the trainer half changed then.
        """
        self.copy_parameters(state.parameters)
        # In the order of the parameters, which `_update_average` relies on.
        self.ema = {name: state.average[name] for name, _ in self.model.named_parameters()}
        self.start, self.log, self.best = state.start, state.log, state.best
        for name, parameter in self.model.named_parameters():
            if name in state.moments:
                self.optimiser.state[parameter] = state.moments[name]
        self.step, self.batches, self.minutes, self.hyper_warmup_steps = state.position
        g_a = copy.deepcopy(self.model.g_a)
        g_a.load_state_dict(state.bank_g_a)
        self.bank_g_a, self.bank_step = state.bank_g_a, state.bank_step
        self.bank.refresh(g_a, state.bank_step)

    def progress(self, ahead: int = 0) -> float:
        """The share of the budget that is used, 0..1; with a budget of steps, `ahead` steps later."""
        share = self.minutes / self.config.minutes
        return min(1.0, max(share, (self.step + ahead) / self.config.steps if self.config.steps else 0.0))

    def train_step(self) -> dict[str, float]:
        """Makes one step on the next batch and returns its `FIGURES`, and `pictures`, how many crops it had.

        A non-finite gradient changes nothing; the third raises `ClcError`.
        """
        batch = self.source.take(self.batches, lambda ahead: self.config.crop_px(self.progress(ahead)))
        self.batches += 1
        return self.learn(batch)

    def learn(self, batch: TrainingBatch) -> dict[str, float]:
        """Makes one step on the given batch; see `train_step`."""
        config, progress = self.config, self.progress()
        for group, peak in zip(self.optimiser.param_groups, self.peaks, strict=True):
            group["lr"] = peak * config.rate_factor(progress, self.step)
        if self.step % config.refresh_steps == 0:
            self.refresh_bank()
        (x, photos, aligned), quality, has_tokens, noise_seed = batch.to(self.device)
        self.noise.manual_seed(noise_seed)
        generated = self.model.generate_prior(x, quality, self.noise)
        y = self.model.analysis(x, aligned, generated)
        tokens = self._tokens(y, photos)
        is_synthesised = config.objective != LATENTS
        result = self.model(
            y,
            quality,
            tokens,
            has_tokens,
            aligned=aligned,
            generator=self.noise,
            is_synthesised=is_synthesised,
            generated=generated,
        )
        charged = min(1.0, 0.05 + self.step / max(1, self.hyper_warmup_steps))
        result = result._replace(z_bits=result.z_bits * charged)
        if generated is not None:
            result = result._replace(p_bits=generated.bits * config.self_prior_charge(self.step))
        loss = rate_distortion_loss(result, x, from_q6(quality), config.objective)
        self.optimiser.zero_grad(set_to_none=True)
        loss.total.backward()
        self.ranks.average_gradients(self.model.parameters())
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        psnr = -10.0 * torch.log10(loss.mse.clamp_min(1e-9)).mean()
        z_bpp = result.z_bits.mean() / (charged * x.shape[-1] ** 2)
        # All figures in one transfer: a step waits for the GPU once.
        told = [loss.total, loss.bpp.mean(), psnr, z_bpp, norm]
        if generated is not None:
            told.insert(-1, generated.bits.mean() / x.shape[-1] ** 2)
        found = torch.stack(told).detach().tolist()
        if np.isfinite(found[-1]):
            self.optimiser.step()
            self._update_average()
            self.step += 1
        else:
            self._count_bad_step(photos)
        names = FIGURES if generated is None else (*FIGURES[:-1], "p_bpp", FIGURES[-1])
        return {**dict(zip(names, found, strict=True)), "pictures": float(len(x))}

    def refresh_bank(self) -> None:
        """Refreshes the bank by the current g_a, of which a copy is kept for `state`."""
        self.bank_g_a = {name: value.detach().clone() for name, value in self.model.g_a.state_dict().items()}
        self.bank_step = self._middle_step().clone()
        self.bank.refresh(self.model.g_a, self.bank_step)

    def _middle_step(self) -> Tensor:
        return self.model.gains.step(torch.tensor([MIDDLE_QUALITY_Q6], device=self.device)).detach()

    def _tokens(self, y: Tensor, photos: list[str]) -> Tensor:
        analyse = None if self.config.model.cache else lambda x: self.model.analysis(x) / self._middle_step()
        found = self.bank.find(y.detach() / self._middle_step(), photos, self.config.model.references, analyse)
        batch, count = found.shape[:2]
        return self.model.compress_tokens(found.flatten(0, 1)).reshape(batch, count * 64, -1)

    def _count_bad_step(self, photos: list[str]) -> None:
        self.bad_steps += 1
        logger.warning("non-finite gradient step=%d photos=%s", self.step, ",".join(photos))
        if self.bad_steps >= MAX_BAD_STEPS:
            raise ClcError(
                f"training stopped at step {self.step}: three non-finite gradients, the last with {', '.join(photos)}; "
                f"the last good weights are in {self.out}; go on with a lower learning rate"
            )

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.config.ema, (1.0 + self.step) / (10.0 + self.step))
        averages = list(self.ema.values())
        torch._foreach_lerp_(averages, [p.detach() for p in self.model.parameters()], 1.0 - decay)

    def validate(self) -> dict[str, Any]:
        """Measures the averaged weights on the held-out pictures; keeps them as `best` if none before were better.

        Returns the figures of `HeldOut.measure`. With a `start_share`, weights nearer to the start by this share are
        measured, too, and preferred unless they are worse by more than `AS_GOOD`. Weights between those before and
        after a fine-tuning are better on pictures unlike those of the fine-tuning (Wortsman et al., "Robust fine-tuning
        of zero-shot models", CVPR 2022), and there may be no such picture among the few held-out ones.
        """
        figures, share = self._measured(0.0), 0.0
        if self.start and self.step:
            nearer = self._measured(self.config.start_share)
            if nearer["validation_loss"] <= (1.0 + AS_GOOD) * figures["validation_loss"]:
                figures, share = {**nearer, "start_share": self.config.start_share}, self.config.start_share
        loss = figures["validation_loss"]
        if math.isfinite(loss) and (self.best is None or loss <= self.best.loss):
            self.best = Best(self.step, loss, self.average_on_cpu(share))
        return figures

    def _measured(self, start_share: float) -> dict[str, Any]:
        with self.averaged(start_share) as model:
            return self.held_out.measure(model, MSE if self.config.objective == LATENTS else self.config.objective)

    @contextmanager
    def averaged(self, start_share: float = 0.0) -> Iterator[Model]:
        """The model in evaluation, in float32, with the parameters of `average_state`, for the time of the context."""
        kept = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        precision = self.model.low_precision
        self.copy_parameters(self._averages(start_share))
        self.model.low_precision = None
        try:
            yield self.model.eval()
        finally:
            self.model.train()
            self.model.low_precision = precision
            self.copy_parameters(kept)

    @torch.no_grad()
    def copy_parameters(self, values: dict[str, Tensor]) -> None:
        """Copies values into the parameters of the model, by name. Raises `KeyError` for a missing one."""
        for name, parameter in self.model.named_parameters():
            parameter.copy_(values[name])

    def average_state(self, start_share: float = 0.0) -> dict[str, Tensor]:
        """The state dict of the model with the moving averages of its parameters.

        With `start_share`, they are moved by this share of the way back to the weights that the run started from.
        """
        return {**self.model.state_dict(), **self._averages(start_share)}

    def _averages(self, start_share: float) -> dict[str, Tensor]:
        if not start_share:
            return self.ema
        return {name: torch.lerp(average, self.start[name], start_share) for name, average in self.ema.items()}

    def average_on_cpu(self, start_share: float = 0.0) -> dict[str, Tensor]:
        """A copy of `average_state` on the CPU."""
        return {name: value.detach().to("cpu", copy=True) for name, value in self.average_state(start_share).items()}


def make_bank(entries: PictureSet, references: int) -> ReferenceBank:
    """The bank of dictionary patches, uint8 (256, 256, 3) each.

    Raises `InputError` for fewer of them than the `references` that a crop is given.
    """
    if len(entries) < references:
        raise InputError(
            f"the dictionary for training holds {len(entries)} entries, and the model looks at {references} at a time; "
            "give more pictures of 256 px or more, or build a larger dictionary"
        )
    stacked = torch.from_numpy(np.stack(entries.pictures)).permute(0, 3, 1, 2)
    return ReferenceBank(stacked, list(entries.photos))
