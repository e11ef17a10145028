"""Which pictures of a collection become key pictures, and how much finer they are coded.

A key picture is coded finer than was asked for, which costs bytes; each picture that shows the same place then needs
fewer. Both are measured, not guessed: `trial` codes a few pictures of the collection as keys and beside keys, for each
of `OFFSETS`. From that and from how far pictures cover one another, `choose` takes keys one by one as long as each
saves more than it costs. Costs are rate + lambda * distortion, in bits, at the quality that was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from clc.references.policy import POLICY
from clc.references.registration import Located, Registrar, find_keypoints

OFFSETS = (0.0, 15.0, 35.0)
"""Units of quality by which key pictures may be finer than what was asked for."""

TRIALS = 3
"""Key pictures, each with one picture beside it, that are coded to learn what references are worth."""

ALL_PAIRS = 400
"""Pictures up to which all pairs are registered; of larger collections each with its `NEIGHBOURS` by name."""
NEIGHBOURS = 24

_USUAL_SAVING, _USUAL_PENALTY = 0.7, 0.5

Costs = npt.NDArray[np.float64]


class Overlaps(NamedTuple):
    """`worth[i, k]`, 0..1: how much of picture i picture k shows, less where they agree badly there; 0 for itself."""

    worth: Costs


class Measured(NamedTuple):
    """What a trial found for one offset.

    `penalty` is what coding a picture finer adds to its cost, over its cost alone. `saving` is the share of its cost
    that a picture saves beside a key that is worth 1 to it. `log_bytes_per_db` as in `KeyPlan`, 0 where it is not told.
    """

    offset: float
    penalty: float
    saving: float
    log_bytes_per_db: float = 0.0


@dataclass(frozen=True)
class KeyPlan:
    """The indexes of the key pictures, the offset of their quality, and the share of all cost that they should save.

    `log_bytes_per_db` is by how much the natural logarithm of a picture's size grows with each dB, as the trial found.
    """

    keys: tuple[int, ...] = ()
    offset: float = 0.0
    expected: float = 0.0
    log_bytes_per_db: float = 0.0


def find_overlaps(registrar: Registrar, read: Callable[[int], npt.NDArray[np.uint8]], count: int) -> Overlaps:
    """How much each of `count` pictures shows of each other, by their homographies; `registrar` reads by index."""
    worth = np.zeros((count, count))
    for target in range(count):
        reach = range(count) if count <= ALL_PAIRS else range(target - NEIGHBOURS, target + NEIGHBOURS + 1)
        others = [one for one in reach if 0 <= one < count and one != target]
        found = registrar.locate(find_keypoints(read(target)), others)
        for other, located in zip(others, found, strict=True):
            if located is not None and located.coverage >= POLICY.added_coverage:
                worth[target, other] = worth_of(located)
    return Overlaps(worth)


def worth_of(located: Located) -> float:
    """How much of a picture another one shows, 0..1, less where they agree badly there."""
    return located.coverage * _trust(located.psnr_db)


def pairs_to_try(overlaps: Overlaps, costs: Costs) -> list[tuple[int, int]]:
    """Up to `TRIALS` pairs (picture, key): of the keys that look best, the best, the median and the worst one."""
    keys = choose(overlaps, costs, [Measured(0.0, _USUAL_PENALTY, _USUAL_SAVING)]).keys
    pairs = [pair for key in keys if (pair := _median_pair(overlaps, key, keys)) is not None]
    if not pairs:
        best = np.unravel_index(int(overlaps.worth.argmax()), overlaps.worth.shape)
        return [(int(best[0]), int(best[1]))] if overlaps.worth.any() else []
    pairs.sort(key=lambda pair: -overlaps.worth[pair])
    places = np.unique(np.linspace(0, len(pairs) - 1, min(TRIALS, len(pairs))).round().astype(int))
    return [pairs[place] for place in places]


def choose(overlaps: Overlaps, costs: Costs, measured: Sequence[Measured], count: int | None = None) -> KeyPlan:
    """The keys, and of the offsets measured the one, with which all pictures together should cost least.

    `costs` are those of the pictures alone; `count` is how many keys to take, None for as many as pay. No keys are
    chosen where none pay.
    """
    best = KeyPlan()
    for one in measured:
        plan = _greedy(overlaps.worth, costs, one, count)
        if plan.keys and (plan.expected > best.expected or (count and not best.keys)):
            best = plan
    return best


def _greedy(worth: Costs, costs: Costs, measured: Measured, count: int | None) -> KeyPlan:
    saved = measured.saving * worth * costs[:, None]
    penalty = measured.penalty * costs
    keys: list[int] = []
    best, total = np.zeros(len(costs)), 0.0
    while len(keys) < (len(costs) if count is None else min(count, len(costs))):
        gains = np.maximum(saved - best[:, None], 0.0)
        gains[keys] = 0.0
        np.fill_diagonal(gains, 0.0)
        # A picture that becomes a key is coded without references, so what it saved so far is lost.
        net = gains.sum(axis=0) - penalty - best
        net[keys] = -np.inf
        key = int(net.argmax())
        if net[key] <= 0 and count is None:
            break
        total += float(net[key])
        keys.append(key)
        best = np.maximum(best, saved[:, key])
        best[keys] = 0.0
    return KeyPlan(tuple(sorted(keys)), measured.offset, total / max(float(costs.sum()), 1.0))


def _median_pair(overlaps: Overlaps, key: int, keys: Sequence[int]) -> tuple[int, int] | None:
    """Of the pictures for which `key` is the best of all keys, the one in the middle by worth."""
    nearest = overlaps.worth[:, list(keys)].argmax(axis=1)
    served = [
        one
        for one in range(len(nearest))
        if keys[int(nearest[one])] == key and one not in keys and overlaps.worth[one, key] > 0
    ]
    served.sort(key=lambda one: overlaps.worth[one, key])
    return (served[len(served) // 2], key) if served else None


def _trust(psnr_db: float) -> float:
    """0 for a reference that agrees no better than a flat one, 1 from 10 dB above that."""
    return min(1.0, max(0.0, (psnr_db - POLICY.flat_db + 5.0) / 10.0))
