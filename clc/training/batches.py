"""The batches of a training run: which crops, references and qualities the batch of a given number has.

A batch is a function of the run's seed, its number and the process's rank alone. So a resumed run draws what the
uninterrupted one would have drawn, without any state to keep; and batches may be drawn ahead by threads, in any order,
while a GPU is busy. `clc.training.trainer` takes them one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clc.quality import MAX_QUALITY_Q6
from clc.references.aligned import AlignedPixels
from clc.training.config import TrainingConfig
from clc.training.pairs import Batch, PairSampler

AHEAD_PER_WORKER = 2


class TrainingBatch(NamedTuple):
    """`seen`: crops with their references; `quality_q6` (B,) int64; `has_tokens` (B,) bool; `noise_seed`."""

    seen: Batch
    quality_q6: Tensor
    has_tokens: Tensor
    noise_seed: int

    def to(self, device: torch.device) -> TrainingBatch:
        """The same on another device."""
        aligned = self.seen.aligned
        if aligned is not None:
            aligned = AlignedPixels(*(part.to(device, non_blocking=True) for part in aligned))
        seen = Batch(self.seen.x.to(device, non_blocking=True), self.seen.photos, aligned)
        return TrainingBatch(seen, self.quality_q6.to(device), self.has_tokens.to(device), self.noise_seed)


class BatchSource:
    """Batches by their number, drawn when they are asked for or, with `config.workers` threads, before.

    All processes of a run decide alike whether a batch has references, so that none waits for another.
    """

    def __init__(self, config: TrainingConfig, sampler: PairSampler, rank: int) -> None:
        self._config, self._sampler, self._rank = config, sampler, rank
        self._pool = ThreadPoolExecutor(config.workers) if config.workers else None
        self._pending: dict[int, Future[TrainingBatch]] = {}

    def draw(self, number: int, crop_px: int) -> TrainingBatch:
        """The batch of this number, of as many crops as `batch_px` allows."""
        config = self._config
        is_aligned = np.random.default_rng([config.seed, number]).random() < config.aligned_share
        rng = np.random.default_rng([config.seed, number, self._rank])
        count = max(1, config.batch_px // crop_px**2)
        seen = self._sampler.sample(rng, count, crop_px, is_aligned=is_aligned)
        quality = torch.from_numpy(_spread_qualities(rng, count))
        has_tokens = torch.from_numpy(rng.random(count) < config.reference_share)
        return TrainingBatch(seen, quality, has_tokens, int(rng.integers(1 << 31)))

    def take(self, number: int, crop_px: Callable[[int], int]) -> TrainingBatch:
        """The batch of this number; `crop_px(n)` says how large crops are `n` batches later, for drawing ahead."""
        if self._pool is None:
            return self.draw(number, crop_px(0))
        for ahead in range(self._config.workers * AHEAD_PER_WORKER):
            if number + ahead not in self._pending:
                self._pending[number + ahead] = self._pool.submit(self.draw, number + ahead, crop_px(ahead))
        return self._pending.pop(number).result()

    def close(self) -> None:
        """Ends the threads; what they drew ahead is dropped."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._pending.clear()


def _spread_qualities(rng: np.random.Generator, count: int) -> npt.NDArray[np.int64]:
    """One quality (in 1/64) from each of `count` equal parts of the range, in random order.

    A batch of two large crops would else often be of two high or two low rates, and its gradient that much noisier.
    """
    shares = (rng.permutation(count) + rng.random(count)) / count
    return np.minimum(shares * (MAX_QUALITY_Q6 + 1), MAX_QUALITY_Q6).astype(np.int64)
