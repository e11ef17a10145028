"""All pictures of a collection coded at one quality, in the work folder: a draft of the archive.

    every picture alone -> what they show of one another -> a trial -> keys -> the others beside them -> keys that pay

Each picture is first coded alone: that is what it costs where no reference helps, and its PSNR is the floor for what it
gets. Keys are chosen by measured cost (`planning.py`) and coded finer; every other picture is coded beside the keys
that show most of it, and alone where that costs less. At the end a key that its pictures did not pay for is none any
more. So a collection without anything in common costs what its pictures cost alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from clc.archive.packed import PackOptions, Progress
from clc.archive.packing.executors import Executor
from clc.archive.packing.overlaps import Seen, to_compare
from clc.archive.packing.planning import OFFSETS, Key, Measured, between, choose, pairs_to_try
from clc.archive.packing.tasks import Alone, Call, Job
from clc.archive.sources import SourceFile
from clc.archive.work import Remembered, WorkFolder
from clc.errors import InputError
from clc.quality import MAX_QUALITY_Q6, from_q6, to_q6
from storage.atomic import write_bytes

CANDIDATES = 6
"""Key pictures against which a picture is registered, those that show most of it first."""

TRIAL_EFFORT = 3
"""For pictures beside others in a trial: what it tells of savings is nearly the same, in half the time."""

PRUNINGS = 3
"""How often keys that do not pay are looked for."""

_LEAST_DB = 0.2
"""Between a picture and the same one finer, for their sizes to tell what a dB costs."""

Watch = Callable[[Progress], None]


@dataclass(frozen=True)
class Draft:
    """All pictures at one quality, by their indexes among the sources.

    `alone` are the pictures without references at the quality that was asked for, `coded` those that go into the
    archive, `keys` the key pictures. `failed` could not be read, by index with the reason; `losses` are what reading
    lost. `log_bytes_per_db` as in `Measured`.
    """

    quality_q6: int
    alone: Mapping[int, Remembered]
    coded: Mapping[int, Remembered]
    keys: tuple[Key, ...]
    failed: Mapping[int, str]
    losses: Mapping[int, tuple[str, ...]]
    log_bytes_per_db: float


@dataclass
class _Read:
    """What the first step found."""

    alone: dict[int, Remembered] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    losses: dict[int, tuple[str, ...]] = field(default_factory=dict)
    fingerprints: list[Any] = field(default_factory=list)


class Drafter:
    """Makes drafts of one collection at several qualities; what they have in common is found once."""

    def __init__(
        self,
        files: Sequence[SourceFile],
        work: WorkFolder,
        job: Job,
        executor: Executor,
        options: PackOptions,
        watch: Watch,
    ) -> None:
        self._files, self._work, self._job, self._options = files, work, job, options
        self._executor, self._watch = executor, watch
        self._seen: Seen | None = None
        self._places: dict[int, int] = {}

    def draft(self, quality_q6: int, plan: Draft | None = None) -> Draft:
        """All pictures at a quality in 1/64; with the keys of another draft, if one is given.

        Raises `InputError` where no picture can be read.
        """
        read = self._alone(quality_q6)
        good = sorted(read.alone)
        self._places = {index: place for place, index in enumerate(good)}
        if plan is None:
            keys, slope = self._plan(quality_q6, good, read)
        else:
            keys, slope = plan.keys, plan.log_bytes_per_db
        coded, keys = self._coded(quality_q6, good, read.alone, keys)
        return Draft(quality_q6, read.alone, coded, keys, read.failed, read.losses, slope)

    def alone(self, quality_q6: int, indexes: Iterable[int]) -> list[Remembered]:
        """Some pictures coded alone; those that cannot be read are left out."""
        calls = [Call("alone", (self._files[index], quality_q6)) for index in indexes]
        return [one.coded for one in self._run("sample", calls) if one.coded is not None]

    def _run(self, step: str, calls: Sequence[Call]) -> Iterator[Any]:
        source_bytes = size = 0
        for done, found in enumerate(self._executor.run(self._job, calls)):
            one = found.coded if isinstance(found, Alone) else found
            if isinstance(one, Remembered) and step in ("alone", "coding"):
                source_bytes += self._bytes_of(calls[done].given[0])
                size += one.size
            self._watch(Progress(step, done + 1, len(calls), source_bytes, size))
            yield found

    def _alone(self, quality_q6: int) -> _Read:
        read = _Read()
        calls = [Call("alone", (file, quality_q6)) for file in self._files]
        for file, found in zip(self._files, self._run("alone", calls), strict=True):
            if found.coded is None:
                read.failed[file.index] = found.problem
                continue
            read.alone[file.index] = found.coded
            read.fingerprints.append(found.fingerprint)
            if found.losses:
                read.losses[file.index] = found.losses
        if not read.alone:
            first = next(iter(read.failed.values()))
            raise InputError(f"none of {len(read.failed)} pictures could be read; first {first}")
        return read

    def _plan(self, quality_q6: int, good: Sequence[int], read: _Read) -> tuple[tuple[Key, ...], float]:
        """The keys, by index among the sources, from a trial at this quality."""
        options = self._options
        if options.levels == 1 or options.keys == 0 or len(good) < 2:
            return (), 0.0
        seen = self._overlaps(good, read)
        costs = np.array([read.alone[index].cost for index in good])
        measured = self._trial(quality_q6, [(good[a], good[b]) for a, b in pairs_to_try(seen, costs)], read.alone)
        found = choose(seen, costs, between(measured), options.keys, options.levels)
        slopes = [one.log_bytes_per_db for one in measured if one.log_bytes_per_db]
        keys = tuple(replace(key, index=good[key.index]) for key in found.keys)
        return keys, float(np.mean(slopes)) if slopes else 0.0

    def _overlaps(self, good: Sequence[int], read: _Read) -> Seen:
        """What the pictures that could be read show of one another, by their places among these."""
        if self._seen is None:
            record = self._work.path / "overlaps.npz"
            if not record.exists():
                others = to_compare(np.stack(read.fingerprints))
                calls = [
                    Call("overlaps", (self._files[index], tuple(self._files[good[other]] for other in others[number])))
                    for number, index in enumerate(good)
                ]
                found = self._run("comparing", calls)
                write_bytes(
                    record, Seen.of([[(self._places[one], cells) for one, cells in of] for of in found]).to_bytes()
                )
            self._seen = Seen.from_bytes(record.read_bytes())
        return self._seen

    def _trial(
        self, quality_q6: int, pairs: Sequence[tuple[int, int]], alone: Mapping[int, Remembered]
    ) -> list[Measured]:
        """What keys cost and save, for each of `OFFSETS` that the scale has room for, from pairs (picture, key)."""
        most = from_q6(MAX_QUALITY_Q6 - quality_q6)
        offsets = sorted({min(offset, most) for offset in OFFSETS}) if pairs else []
        tried = [(offset, target, key) for offset in offsets for target, key in pairs]
        calls = [self._key_call(Key(key, offset), alone[key], ()) for offset, _, key in tried]
        keys = list(self._run("trial of keys", calls))
        calls = [
            Call("beside", (self._files[target], alone[target], (key,), (), min(TRIAL_EFFORT, self._options.effort)))
            for (_, target, _), key in zip(tried, keys, strict=True)
        ]
        found = list(zip(tried, keys, self._run("trial beside keys", calls), strict=True))
        measured = []
        for offset in offsets:
            of_offset = [(target, key, coded, beside) for (one, target, key), coded, beside in found if one == offset]
            penalty = [coded.cost / alone[key].cost - 1.0 for _, key, coded, _ in of_offset]
            saved = [1.0 - beside.cost / alone[target].cost for target, _, _, beside in of_offset]
            shares = [self._share(target, key) for target, key, _, _ in of_offset]
            grown = [math.log(coded.size / alone[key].size) for _, key, coded, _ in of_offset]
            gained_db = sum(coded.psnr_db - alone[key].psnr_db for _, key, coded, _ in of_offset)
            slope = sum(grown) / gained_db if gained_db > _LEAST_DB * len(of_offset) else 0.0
            measured.append(Measured(offset, float(np.mean(penalty)), sum(saved) / max(sum(shares), 1e-9), slope))
        return measured

    def _share(self, target: int, reference: int) -> float:
        return self._seen.of_pair(self._places[target], self._places[reference]) if self._seen is not None else 0.0

    def _coded(
        self, quality_q6: int, good: Sequence[int], alone: Mapping[int, Remembered], keys: tuple[Key, ...]
    ) -> tuple[dict[int, Remembered], tuple[Key, ...]]:
        """All pictures beside the keys, and the keys that pay."""
        for left in reversed(range(PRUNINGS + 1)):
            coded = self._beside(quality_q6, good, alone, keys)
            kept = keys if self._options.keys is not None else _that_pay(keys, coded, alone)
            if kept == keys:
                return coded, keys
            keys = kept if left else ()
        return self._beside(quality_q6, good, alone, ()), ()

    def _beside(
        self, quality_q6: int, good: Sequence[int], alone: Mapping[int, Remembered], keys: tuple[Key, ...]
    ) -> dict[int, Remembered]:
        coded: dict[int, Remembered] = {}
        for level in sorted({key.level for key in keys}):
            above = [key for key in keys if key.level < level]
            here = [key for key in keys if key.level == level]
            calls = [
                self._key_call(key, alone[key.index], self._candidates(key.index, above, coded), coded) for key in here
            ]
            coded.update(zip((key.index for key in here), self._run("key pictures", calls), strict=True))
        others = [index for index in good if index not in coded]
        given = {index: self._candidates(index, keys, coded) for index in others}
        beside = [index for index in others if given[index]]
        calls = [
            Call(
                "beside",
                (
                    self._files[index],
                    alone[index],
                    given[index],
                    _needed(given[index], coded.values()),
                    self._options.effort,
                ),
            )
            for index in beside
        ]
        found = dict(zip(beside, self._run("coding", calls), strict=True))
        return {**coded, **{index: found.get(index, alone[index]) for index in others}}

    def _key_call(
        self,
        key: Key,
        alone: Remembered,
        references: tuple[Remembered, ...],
        coded: Mapping[int, Remembered] | None = None,
    ) -> Call:
        quality_q6 = min(MAX_QUALITY_Q6, alone.quality_q6 + to_q6(key.offset))
        needed = _needed(references, (coded or {}).values())
        return Call("key", (self._files[key.index], alone, quality_q6, references, needed))

    def _candidates(self, index: int, keys: Sequence[Key], coded: Mapping[int, Remembered]) -> tuple[Remembered, ...]:
        """The keys to code a picture beside: each is the one that shows most of what those before it do not."""
        if self._seen is None or not keys:
            return ()
        by_reference = self._seen.shown_in(self._places[index])
        shown = {key.index: by_reference.get(self._places[key.index]) for key in keys}
        left = {key: cells for key, cells in shown.items() if cells is not None}
        chosen: list[int] = []
        best = np.zeros(self._seen.cells.shape[1])
        while left and len(chosen) < CANDIDATES:
            added = {key: float(np.maximum(cells - best, 0.0).sum()) for key, cells in left.items()}
            key = max(added, key=lambda one: (added[one], float(left[one].sum())))
            best = np.maximum(best, left.pop(key))
            chosen.append(key)
        return tuple(coded[key] for key in chosen)

    def _bytes_of(self, file: SourceFile) -> int:
        try:
            return file.path.stat().st_size
        except OSError:
            return 0


def _needed(references: Sequence[Remembered], known: Iterable[Remembered]) -> tuple[Remembered, ...]:
    """The streams that `references` refer to, and so on."""
    by_id, found = {one.id: one for one in known}, dict[bytes, Remembered]()
    wanted = [one for reference in references for one in reference.streams]
    while wanted:
        one = by_id[wanted.pop()]
        if one.id not in found:
            found[one.id] = one
            wanted += one.streams
    return tuple(found.values())


def _that_pay(
    keys: tuple[Key, ...], coded: Mapping[int, Remembered], alone: Mapping[int, Remembered]
) -> tuple[Key, ...]:
    """The keys of which the pictures beside them saved more than being a key costs.

    A picture's saving is shared equally by the keys that it refers to.
    """
    saved = {coded[key.index].id: 0.0 for key in keys}
    for index, picture in coded.items():
        for one in picture.streams:
            saved[one] += max(0.0, alone[index].cost - picture.cost) / len(picture.streams)
    return tuple(key for key in keys if saved[coded[key.index].id] > coded[key.index].cost - alone[key.index].cost)
