"""Which pictures of a collection become key pictures, how much finer each is coded, and what refers to what.

A key picture is coded finer than was asked for, which costs bytes; each picture that shows the same place then needs
fewer. Both are measured, not guessed: a trial codes a few pictures of the collection as keys and beside keys, for each
of `OFFSETS`. From that and from what pictures show of one another (`overlaps.py`), `choose` takes keys one by one, each
with the offset that suits it, as long as each saves more than it costs, and then puts back or exchanges what others
made superfluous. Costs are rate + lambda * distortion, in bits, at the quality that was asked for.

With three levels a picture that is coded beside keys may be a key for others itself, a finer one than asked for too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from clc.archive.packing.overlaps import Seen

OFFSETS = (0.0, 20.0, 40.0)
"""Units of quality by which key pictures are finer than what was asked for, in the trial."""

STEPS = 9
"""Offsets between the least and the largest of the trial that are chosen from; between these it is interpolated."""

TRIALS = 3
"""Key pictures, each with one picture beside it, that are coded to learn what references are worth."""

MOST_REFINED = 1_000
"""Pictures up to which chosen keys are exchanged for others afterwards; beyond, that takes too long."""

_USUAL_SAVING, _USUAL_PENALTY = 0.9, 0.5
_ROUNDS = 3

Costs = npt.NDArray[np.float64]


class Measured(NamedTuple):
    """What a trial found for one offset.

    `penalty` is what coding a picture finer adds to its cost, over its cost alone. `saving` is the share of its cost
    that a picture saves beside a key that shows all of it. `log_bytes_per_db` is by how much the natural logarithm of
    a picture's size grows with each dB, 0 where that was not told.
    """

    offset: float
    penalty: float
    saving: float
    log_bytes_per_db: float = 0.0


@dataclass(frozen=True)
class Key:
    """A key picture: its index, by how many units of quality it is finer, and how many levels of keys are above it."""

    index: int
    offset: float
    level: int = 0


@dataclass(frozen=True)
class KeyPlan:
    """The key pictures in order of index, and the share of all cost that they should save."""

    keys: tuple[Key, ...] = ()
    expected: float = 0.0


def pairs_to_try(seen: Seen, costs: Costs) -> list[tuple[int, int]]:
    """Up to `TRIALS` pairs (picture, key): of the keys that look best, the best, the median and the worst one."""
    keys = [key.index for key in choose(seen, costs, [Measured(0.0, _USUAL_PENALTY, _USUAL_SAVING)]).keys]
    pairs = [pair for key in keys if (pair := _median_pair(seen, key, keys)) is not None]
    if not pairs and len(seen.target):
        best = int(seen.share.argmax())
        return [(int(seen.target[best]), int(seen.reference[best]))]
    pairs.sort(key=lambda pair: -seen.of_pair(*pair))
    places = np.unique(np.linspace(0, len(pairs) - 1, min(TRIALS, len(pairs))).round().astype(int))
    return [pairs[place] for place in places]


def between(measured: Sequence[Measured]) -> list[Measured]:
    """What the offsets between those of a trial would give, by parabolas through three, or lines through two."""
    if len(measured) < 2:
        return list(measured)
    known = np.array([one.offset for one in measured])
    degree = min(2, len(measured) - 1)
    penalty, saving = (np.polyfit(known, [one[field] for one in measured], degree) for field in (1, 2))
    offsets = np.linspace(known.min(), known.max(), STEPS)
    penalties, savings = np.maximum(np.polyval(penalty, offsets), 0.0), np.polyval(saving, offsets)
    return [Measured(float(a), float(b), float(c)) for a, b, c in zip(offsets, penalties, savings, strict=True)]


def choose(seen: Seen, costs: Costs, offered: Sequence[Measured], count: int | None = None, levels: int = 2) -> KeyPlan:
    """The keys, each with one of the offsets `offered`, with which all pictures together should cost least.

    `costs` (N,) are those of the pictures alone; `count` is how many keys to take, None for as many as pay. No keys are
    chosen where none pay, or where there is nothing offered.
    """
    if not offered or not len(seen.target) or levels < 2:
        return KeyPlan()
    choice = _Choice(seen, costs, offered, levels)
    while count is None or len(choice.keys) < count:
        if not choice.add_best(even_at_a_loss=count is not None):
            break
    if count is None and len(costs) <= MOST_REFINED:
        choice.refine()
    chosen = sorted(choice.keys.items())
    keys = [Key(index, offered[place].offset, level) for index, (place, level) in chosen]
    return KeyPlan(tuple(keys), 1.0 - choice.total() / max(float(costs.sum()), 1.0))


class _Choice:
    """Keys that are chosen: by index, the place of the offset and the level."""

    def __init__(self, seen: Seen, costs: Costs, offered: Sequence[Measured], levels: int) -> None:
        self.seen, self.costs, self.levels = seen, costs, levels
        self.saving = np.clip([one.saving for one in offered], 0.0, None)
        self.penalty = np.array([one.penalty for one in offered])
        self.keys: dict[int, tuple[int, int]] = {}
        order = np.argsort(seen.reference, kind="stable")
        edges = np.searchsorted(seen.reference[order], np.arange(len(costs) + 1))
        self._pairs = [order[start:end] for start, end in pairwise(edges)]

    def shown(self, to_level: int, keys: dict[int, tuple[int, int]]) -> npt.NDArray[np.float64]:
        """(N, cells): what keys above a level save of each picture, by cells, as a share of its cost."""
        best = np.zeros((len(self.costs), self.seen.cells.shape[1]))
        for index, (place, level) in keys.items():
            if level < to_level:
                pairs = self._pairs[index]
                targets = self.seen.target[pairs]
                best[targets] = np.maximum(best[targets], self.saving[place] * self.seen.cells[pairs])
        return best

    def total(self, keys: dict[int, tuple[int, int]] | None = None) -> float:
        """What all pictures cost together."""
        keys = self.keys if keys is None else keys
        left = 1.0 - np.minimum(self.shown(self.levels, keys).sum(axis=1), 1.0)
        for index, (place, level) in keys.items():
            above = self.shown(level, keys)[index].sum() if level else 0.0
            left[index] = (1.0 + self.penalty[place]) * (1.0 - min(above, 1.0))
        return float((left * self.costs).sum())

    def add_best(self, *, even_at_a_loss: bool = False) -> bool:
        """Adds the key that saves most; False where none does."""
        best = self._best(self.keys)
        if best is None or (best[0] <= 0 and not even_at_a_loss):
            return False
        _, index, place, level = best
        self.keys[index] = (place, level)
        return True

    def refine(self) -> None:
        """Takes each key away, and puts back the best one instead, while that saves anything."""
        for _ in range(_ROUNDS):
            before = self.total()
            for index in list(self.keys):
                others = {one: told for one, told in self.keys.items() if one != index}
                best = self._best(others)
                candidates = [self.keys, others]
                if best is not None:
                    candidates.append({**others, best[1]: (best[2], best[3])})
                self.keys = min(candidates, key=self.total)
            if self.total() >= before * (1 - 1e-9):
                return

    def _best(self, keys: dict[int, tuple[int, int]]) -> tuple[float, int, int, int] | None:
        """What the best further key saves, its index, the place of its offset, and its level."""
        found: list[tuple[float, int, int, int]] = []
        for level in range(self.levels - 1):
            below = self.shown(self.levels, keys)
            above = np.minimum(self.shown(level, keys).sum(axis=1), 1.0) if level else np.zeros(len(self.costs))
            if level and not keys:
                continue
            is_free = np.ones(len(self.costs), dtype=np.bool_)
            is_free[list(keys)] = False
            saved_so_far = np.minimum(below.sum(axis=1), 1.0)
            for place, (saving, penalty) in enumerate(zip(self.saving, self.penalty, strict=True)):
                gains = np.maximum(saving * self.seen.cells - below[self.seen.target], 0.0).sum(axis=1)
                gains *= self.costs[self.seen.target] * is_free[self.seen.target]
                gained = np.bincount(self.seen.reference, gains, minlength=len(self.costs))
                # A key is coded beside those above it alone, so what others saved of it is lost, and it is finer.
                lost = ((1.0 + penalty) * (1.0 - above) - (1.0 - saved_so_far)) * self.costs
                net = np.where(is_free, gained - lost, -np.inf)
                index = int(net.argmax())
                if np.isfinite(net[index]):
                    found.append((float(net[index]), index, place, level))
        return max(found, default=None, key=lambda one: one[0])


def _median_pair(seen: Seen, key: int, keys: Sequence[int]) -> tuple[int, int] | None:
    """Of the pictures for which `key` is the best of all keys, the one in the middle by what it shows of them."""
    best: dict[int, tuple[float, int]] = {}
    for target, reference, share in zip(seen.target, seen.reference, seen.share, strict=True):
        if int(reference) in keys and int(target) not in keys:
            best[int(target)] = max(best.get(int(target), (0.0, -1)), (float(share), int(reference)))
    served = sorted((share, target) for target, (share, reference) in best.items() if reference == key)
    return (served[len(served) // 2][1], key) if served else None
