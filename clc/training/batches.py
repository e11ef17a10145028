"""The batches of a training run: crops with their references, qualities and noise.

The contract: a batch is a function of the run's seed, the batch's number and the process's rank alone. So a resumed run
draws what the uninterrupted one would have drawn, without any state to keep, and threads may draw batches ahead, in any
order, while a GPU is busy. Called by `clc.training.trainer`, which takes one batch after the other.
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
from clc.training.pairs import Crops, PairSampler

AHEAD_PER_WORKER = 2
"""Batches that are drawn ahead for each thread."""


class TrainingBatch(NamedTuple):
    """All that one step trains on.

    `quality_q6` int64 (B,) is the quality of each crop, in 1/64. `has_tokens` bool (B,) says which crops may see the
    tokens of dictionary entries. `noise_seed` seeds the generator of the noise that stands
    for rounding.
    """

    crops: Crops
    quality_q6: Tensor
    has_tokens: Tensor
    noise_seed: int

    def to(self, device: torch.device) -> TrainingBatch:
        """The batch on another device."""
        aligned = self.crops.aligned
        if aligned is not None:
            aligned = AlignedPixels(*(part.to(device, non_blocking=True) for part in aligned))
        crops = Crops(self.crops.x.to(device, non_blocking=True), self.crops.photos, aligned)
        return TrainingBatch(crops, self.quality_q6.to(device), self.has_tokens.to(device), self.noise_seed)


class BatchSource:
    """Draws batches by their number: when they are asked for or, with `config.workers` threads, ahead.

    Whether a batch has aligned references does not depend on the rank: all processes of a run then take as long for a
    step, and none waits for another.
    """

    def __init__(self, config: TrainingConfig, sampler: PairSampler, rank: int) -> None:
        self._config, self._sampler, self._rank = config, sampler, rank
        self._pool = ThreadPoolExecutor(config.workers) if config.workers else None
        self._pending: dict[int, Future[TrainingBatch]] = {}

    def draw(self, number: int, crop_px: int) -> TrainingBatch:
        """The batch of this number, of as many crops of `crop_px` by `crop_px` as `batch_px` allows, one at least."""
        config = self._config
        is_aligned = np.random.default_rng([config.seed, number]).random() < config.aligned_share
        rng = np.random.default_rng([config.seed, number, self._rank])
        count = max(1, config.batch_px // crop_px**2)
        crops = self._sampler.sample(rng, count, crop_px, is_aligned=is_aligned)
        quality = torch.from_numpy(_spread_qualities(rng, count))
        has_tokens = torch.from_numpy(rng.random(count) < config.reference_share)
        return TrainingBatch(crops, quality, has_tokens, int(rng.integers(1 << 31)))

    def take(self, number: int, crop_px: Callable[[int], int]) -> TrainingBatch:
        """The batch of this number, and with threads the next ones begun.

        `crop_px(n)` is the side of the crops, in px, of the batch `n` later.
        """
        if self._pool is None:
            return self.draw(number, crop_px(0))
        for ahead in range(self._config.workers * AHEAD_PER_WORKER):
            if number + ahead not in self._pending:
                self._pending[number + ahead] = self._pool.submit(self.draw, number + ahead, crop_px(ahead))
        return self._pending.pop(number).result()

    def close(self) -> None:
        """Ends the threads and drops the batches drawn ahead."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._pending.clear()


def _spread_qualities(rng: np.random.Generator, count: int) -> npt.NDArray[np.int64]:
    """Qualities, in 1/64: one from each of `count` equal parts of the range, in random order.

    A batch of two large crops would else often have two high or two low rates, and a noisier gradient.
    """
    shares = (rng.permutation(count) + rng.random(count)) / count
    return np.minimum(shares * (MAX_QUALITY_Q6 + 1), MAX_QUALITY_Q6).astype(np.int64)
