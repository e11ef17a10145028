"""Training of the codec: one model over all rates, from pictures in memory, within a budget of minutes or steps.

    python -m clc.training --data FOLDER [--data FOLDER ...] --out FOLDER --minutes 60

Imports only torch, numpy, Pillow and safetensors beside the standard library and this package's own modules, so that a
bare worker can run it. What it keeps in its output folder, and how it goes on, is `clc.checkpoint`. Called by
`flows.train` and by the command line above.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from clc.checkpoint import resume_checkpoint, save_checkpoint
from clc.data import CropSampler, PictureSet, centre_crops, random_patches, read_folders
from clc.errors import ClcError, InputError
from clc.fusion import AlignedPixels
from clc.klt import klt_basis, spread_hyper_latents, start_from_klt
from clc.losses import rate_distortion_loss
from clc.model import MIDDLE_QUALITY_Q6, Model, ModelConfig
from clc.pairs import MARGIN_PX, Pair, PairSampler, disturb
from clc.references import ENTRY_PX, ReferenceBank
from clc.validation import rd_points

logger = logging.getLogger(__name__)

MAX_BAD_STEPS = 3
Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """One training run. The budget ends at `minutes` or `steps`, whichever is first; the schedule follows it."""

    minutes: float = 2.0
    steps: int | None = None
    learning_rate: float = 1e-3
    linear_rate_factor: float = 0.1
    warmup_steps: int = 200
    decay_from: float = 0.4
    rounded_from: float = 0.5
    batch_px: int = 8 * 128 * 128
    crops: tuple[tuple[float, int], ...] = ((0.0, 128), (0.65, 256))
    reference_share: float = 0.5
    hyper_warmup_steps: int = 900
    aligned_share: float = 0.5
    real_share: float = 0.5
    refresh_steps: int = 1500
    clip: float = 1.0
    ema: float = 0.999
    held_out: int = 12
    log_s: float = 15.0
    save_s: float = 120.0
    validate_s: float = 300.0
    seed: int = 0
    model: ModelConfig = field(default_factory=ModelConfig)

    def crop_px(self, progress: float) -> int:
        """Side of the crops at a share of the budget, 0..1."""
        return [crop for start, crop in self.crops if progress >= start][-1]

    def rounded_share(self, progress: float) -> float:
        """Share of the rate that is taken from rounded latents, the rest from noisy ones: half, then all."""
        return 0.5 if progress < self.rounded_from else 1.0

    def rate_factor(self, progress: float, step: int) -> float:
        """Factor of the learning rate: warm-up by steps, constant, then linear to zero over the rest of the budget."""
        warm = min(1.0, (step + 1) / self.warmup_steps)
        return warm * min(1.0, max(0.0, (1.0 - progress) / (1.0 - self.decay_from)))


@dataclass(frozen=True)
class TrainingResult:
    """What a run left: the averaged `weights`, steps done, and the lines of its log."""

    weights: dict[str, Tensor]
    steps: int
    log: list[dict[str, Any]]


class Trainer:
    """The state of a run: model, moving average, optimiser, generators, step, minutes used."""

    def __init__(
        self, config: TrainingConfig, data: PictureSet, entries: PictureSet, out: Path, pairs: Sequence[Pair] = ()
    ) -> None:
        self.config, self.out = config, out
        self.sampler_rng = np.random.default_rng(config.seed)
        torch.manual_seed(config.seed)
        held_out = min(config.held_out, max(1, len(data) // 8))
        self.training, apart = data.split(held_out, np.random.default_rng(config.seed))
        self.sampler = PairSampler(CropSampler(self.training), pairs, config.aligned_share, config.real_share)
        self.validation = centre_crops(apart, ENTRY_PX + 2 * MARGIN_PX)
        self.model = Model(config.model)
        self.noise = torch.Generator().manual_seed(config.seed)
        self.bank = make_bank(entries)
        self.step, self.minutes, self.bad_steps = 0, 0.0, 0
        self.hyper_warmup_steps = 0
        self.log: list[dict[str, Any]] = []
        self.ema: dict[str, Tensor] = {}
        self.described_by: dict[str, Tensor] = {}
        self.described_at = torch.empty(0)
        trained = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        linear = [p for name, p in trained if _is_linear_path(name)]
        others = [p for name, p in trained if not _is_linear_path(name)]
        self.groups = [(others, config.learning_rate), (linear, config.learning_rate * config.linear_rate_factor)]
        self.optimiser = torch.optim.AdamW(
            [{"params": group, "lr": rate} for group, rate in self.groups], betas=(0.9, 0.99), weight_decay=0.0
        )

    def start_fresh(self) -> None:
        """Starts from the KLT of the training pictures."""
        basis = klt_basis(self.training.pictures, self.config.model.latents, self.sampler_rng)
        start_from_klt(self.model, basis)
        spread_hyper_latents(self.model, self.validation)
        self.hyper_warmup_steps = self.config.hyper_warmup_steps
        self._reset_average()

    def start_from(self, weights: dict[str, Tensor]) -> None:
        """Starts from the weights of a model of the same configuration."""
        try:
            self.model.load_state_dict(weights, strict=True)
        except RuntimeError as error:
            raise InputError(f"the start weights do not fit the model configuration: {error}") from error
        self._reset_average()

    def _reset_average(self) -> None:
        self.ema = {name: p.detach().clone() for name, p in self.model.named_parameters()}

    def progress(self) -> float:
        """Share of the budget that is used, 0..1."""
        share = self.minutes / self.config.minutes
        return min(1.0, max(share, self.step / self.config.steps if self.config.steps else 0.0))

    def train_step(self) -> dict[str, float]:
        """One step of the optimiser; returns its figures, or raises `ClcError` after three non-finite losses."""
        config, progress = self.config, self.progress()
        for group, (_, rate) in zip(self.optimiser.param_groups, self.groups, strict=True):
            group["lr"] = rate * config.rate_factor(progress, self.step)
        crop = config.crop_px(progress)
        x, photos, aligned = self.sampler.sample(self.sampler_rng, max(1, config.batch_px // crop**2), crop)
        quality = torch.from_numpy(self.sampler_rng.integers(0, 6401, len(photos)))
        present = torch.from_numpy(self.sampler_rng.random(len(photos)) < config.reference_share)
        if self.step % config.refresh_steps == 0:
            self.refresh_bank()
        y = self.model.g_a(x, aligned)
        tokens = self._tokens(y, photos)
        share = config.rounded_share(progress)
        result = self.model(y, quality, tokens, present, aligned=aligned, rounded_share=share, generator=self.noise)
        charged = min(1.0, 0.05 + self.step / max(1, self.hyper_warmup_steps))
        loss = rate_distortion_loss(result._replace(z_bits=result.z_bits * charged), x, quality / 64.0)
        self.optimiser.zero_grad(set_to_none=True)
        loss.total.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip))
        if not np.isfinite(norm):
            self._count_bad_step(photos)
            return {**dict.fromkeys(("loss", "bpp", "psnr_db", "z_bpp"), float("nan")), "grad_norm": norm}
        self.optimiser.step()
        self._update_average()
        self.step += 1
        psnr = -10.0 * torch.log10(loss.mse.detach().clamp_min(1e-9)).mean()
        return {
            "loss": loss.total.item(),
            "bpp": loss.bpp.detach().mean().item(),
            "psnr_db": psnr.item(),
            "z_bpp": result.z_bits.mean().item() / x.shape[-1] ** 2,
            "grad_norm": norm,
        }

    def refresh_bank(self) -> None:
        """Describes the dictionary entries anew, by the current analysis transform, which is remembered."""
        self.described_by = {name: value.detach().clone() for name, value in self.model.g_a.state_dict().items()}
        self.described_at = self._middle_step().clone()
        self.bank.refresh(self.model.g_a, self.described_at)

    def restore_bank(self, described_by: dict[str, Tensor], described_at: Tensor) -> None:
        """Describes the entries as an earlier `refresh_bank` did, from what that remembered."""
        g_a = copy.deepcopy(self.model.g_a)
        g_a.load_state_dict(described_by)
        self.described_by, self.described_at = described_by, described_at
        self.bank.refresh(g_a, described_at)

    def _middle_step(self) -> Tensor:
        return self.model.gains.step(torch.tensor([MIDDLE_QUALITY_Q6])).detach()

    def _tokens(self, y: Tensor, photos: list[str]) -> Tensor:
        anew = None if self.config.model.cache else lambda x: self.model.g_a(x) / self._middle_step()
        found = self.bank.find(y.detach() / self._middle_step(), photos, self.config.model.references, anew)
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

    @torch.no_grad()
    def validate(self) -> dict[str, list[float]]:
        """bpp and PSNR (dB) of the averaged weights on held-out crops at five qualities, no tokens.

        Once without references, once with the same synthetic ones each time.
        """
        kept = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        self.copy_parameters(self.ema)
        middle = self.validation[:, :, MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
        levels, inside = disturb(self.validation.float(), np.random.default_rng(1))
        aligned = AlignedPixels(levels, inside, torch.ones(len(levels), 1, 1, 1))
        rates, psnrs = rd_points(self.model, middle, None)
        rates_aligned, psnrs_aligned = rd_points(self.model, middle, aligned)
        self.copy_parameters(kept)
        return {
            "validation_bpp": rates,
            "validation_psnr_db": psnrs,
            "aligned_bpp": rates_aligned,
            "aligned_psnr_db": psnrs_aligned,
        }

    @torch.no_grad()
    def copy_parameters(self, values: dict[str, Tensor]) -> None:
        """Sets the parameters of the model by name."""
        for name, parameter in self.model.named_parameters():
            parameter.copy_(values[name])

    def average_state(self) -> dict[str, Tensor]:
        """The state dict of the model with its parameters replaced by their moving averages."""
        return {**self.model.state_dict(), **self.ema}

    def run(self, report: Report) -> TrainingResult:
        """Trains to the end of the budget, logging, validating and saving as it goes."""
        before, began = self.minutes, time.monotonic()
        logged = saved = validated = began
        recent: list[dict[str, float]] = []
        while self.progress() < 1.0:
            recent.append(self.train_step())
            now = time.monotonic()
            self.minutes = before + (now - began) / 60.0
            if now - logged >= self.config.log_s:
                self._note(recent, now - logged, report)
                recent, logged = [], now
            if now - validated >= self.config.validate_s:
                self._note_line(self.validate(), report)
                validated = time.monotonic()
            if now - saved >= self.config.save_s:
                save_checkpoint(self, self.out)
                saved = time.monotonic()
        if recent:
            self._note(recent, max(1e-3, time.monotonic() - logged), report)
        self._note_line(self.validate(), report)
        save_checkpoint(self, self.out)
        return TrainingResult(self.average_state(), self.step, self.log)

    def _note(self, recent: list[dict[str, float]], seconds: float, report: Report) -> None:
        means = {key: float(np.mean([line[key] for line in recent])) for key in recent[0]}
        rate = self.optimiser.param_groups[0]["lr"]
        self._note_line({**means, "learning_rate": rate, "steps_per_s": len(recent) / seconds}, report)

    def _note_line(self, figures: dict[str, Any], report: Report) -> None:
        line = {"step": self.step, "minutes": round(self.minutes, 3), **figures}
        self.log.append(line)
        report(line)


def _is_linear_path(name: str) -> bool:
    return ".linear." in name or ".klt." in name


def make_bank(entries: PictureSet) -> ReferenceBank:
    """The training view of dictionary patches, each uint8 (256, 256, 3)."""
    if not len(entries):
        raise InputError("the dictionary for training holds no entry; build one with at least three")
    stacked = torch.from_numpy(np.stack(entries.pictures)).permute(0, 3, 1, 2)
    return ReferenceBank(stacked, list(entries.photos))


def train(
    config: TrainingConfig,
    data: PictureSet,
    entries: PictureSet,
    out: Path,
    *,
    pairs: Sequence[Pair] = (),
    start: dict[str, Tensor] | None = None,
    is_resumed: bool = False,
    report: Report = lambda line: None,
) -> TrainingResult:
    """Trains a model on `data` with the dictionary patches `entries`, into the folder `out`.

    `pairs` are overlapping pictures, registered. `start` gives weights to go on from (a fine-tuning), else the KLT
    start; `is_resumed` continues the run whose files are in `out`. Raises `InputError` on unusable input and `ClcError`
    if the loss stays non-finite.
    """
    trainer = Trainer(config, data, entries, out, pairs)
    if is_resumed:
        resume_checkpoint(trainer, out)
    elif start is not None:
        trainer.start_from(start)
    else:
        trainer.start_fresh()
    return trainer.run(report)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m clc.training", description="Train on folders of pictures.")
    parser.add_argument("--data", type=Path, action="append", required=True, help="folder of pictures (repeatable)")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights, state and log")
    parser.add_argument("--minutes", type=float, default=60.0, help="time budget")
    parser.add_argument("--steps", type=int, help="budget in steps, if reached before the minutes")
    parser.add_argument("--entries", type=int, default=384, help="random dictionary patches to train with")
    parser.add_argument("--start", type=Path, help="weights.safetensors to go on from")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    parser.add_argument("--learning-rate", type=float, default=TrainingConfig.learning_rate)
    parser.add_argument("--overlapping", type=Path, action="append", default=[], help="folder of overlapping pictures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="CPU threads")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    config = replace(
        TrainingConfig(),
        minutes=options.minutes,
        steps=options.steps,
        seed=options.seed,
        learning_rate=options.learning_rate,
    )
    try:
        data = read_folders(options.data)
        entries = random_patches(data, options.entries, ENTRY_PX, options.seed)
        pairs = _pairs(options.overlapping)
        start = load_file(options.start) if options.start else None
        print(f"{len(data)} pictures, {len(pairs)} pairs, {len(entries)} dictionary patches", flush=True)
        print(json.dumps(asdict(config.model)), flush=True)
        train(
            config,
            data,
            entries,
            options.out,
            pairs=pairs,
            start=start,
            is_resumed=options.resume,
            report=lambda line: print(json.dumps(line), flush=True),
        )
    except (ClcError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        torch.set_flush_denormal(False)
    return 0


def _pairs(folders: Sequence[Path]) -> list[Pair]:
    if not folders:
        return []
    # OpenCV is for this alone: a bare worker trains without it.
    from clc.overlaps import find_overlaps, overlapping_pairs

    collections = [read_folders([folder]) for folder in folders]
    return [pair for one in collections for pair in overlapping_pairs(one, find_overlaps(one.pictures))]


if __name__ == "__main__":
    sys.exit(main())
