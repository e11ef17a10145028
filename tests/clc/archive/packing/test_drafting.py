"""Drafts of an archive, with an executor that computes sizes instead of coding pictures."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clc.archive.packed import PackOptions, Progress
from clc.archive.packing.drafting import Draft, Drafter
from clc.archive.packing.overlaps import GRID
from clc.archive.packing.tasks import Alone, Call, Job
from clc.archive.sources import SourceFile
from clc.archive.work import Remembered, WorkFolder
from clc.errors import InputError

CELLS = GRID**2
JOB = Job("", "", "cpu", 5, None)


class Computed:
    """Pictures of which the first ones are alike: beside another one of them a picture costs a share of its cost.

    `saving` is that share where a key is fine, `penalty` what a key costs more by 20 units of quality. `true_saving` is
    what pictures save that are no part of the trial.
    """

    def __init__(self, alike: int, saving: float = 0.6, penalty: float = 0.3, true_saving: float | None = None) -> None:
        self.alike, self.saving, self.penalty = alike, saving, penalty
        self.true_saving = saving if true_saving is None else true_saving
        self.broken: set[int] = set()
        self.calls: list[Call] = []

    def run(self, job: Job, calls: Iterable[Call]) -> Iterator[Any]:
        for call in calls:
            self.calls.append(call)
            yield getattr(self, call.what)(*call.given)

    def alone(self, source: SourceFile, quality_q6: int) -> Alone:
        if source.index in self.broken:
            return Alone(None, f"{source.name}: is broken")
        coded = coded_picture(f"{source.index}a", quality_q6, 1000.0)
        return Alone(coded, losses=("depth",) if source.index == 1 else (), fingerprint=np.zeros(4, np.float32))

    def overlaps(self, target: SourceFile, others: Iterable[SourceFile]) -> list[tuple[int, Any]]:
        cells = np.full(CELLS, 1 / CELLS, np.float32)
        return [(one.index, cells) for one in others if max(one.index, target.index) < self.alike]

    def key(self, source: SourceFile, alone: Remembered, quality_q6: int, references: Any, needed: Any) -> Remembered:
        finer = (quality_q6 - alone.quality_q6) / (20 * 64)
        beside = (1 - self.true_saving) if references else 1.0
        name = f"{source.index}k{len(references)}"
        coded = coded_picture(name, quality_q6, 1000.0 * (1 + self.penalty * finer) * beside)
        return replace(coded, streams=tuple(one.id for one in references), pixels_sha256="ab" * 32)

    def beside(self, source: SourceFile, alone: Remembered, references: Any, needed: Any, effort: int) -> Remembered:
        assert {one for reference in references for one in reference.streams} <= {one.id for one in needed}
        is_trial = effort < 5
        share = 1 - (self.saving if is_trial else self.true_saving)
        if share >= 1:
            return alone
        coded = coded_picture(f"{source.index}b", alone.quality_q6, 1000.0 * share)
        return replace(coded, streams=(references[0].id,))


def coded_picture(name: str, quality_q6: int, cost: float) -> Remembered:
    stream = f"{name}-{quality_q6}".encode().ljust(8, b".")
    return Remembered(Path(name), round(cost), 100, stream, (), quality_q6, 30.0 + quality_q6 / 640, cost)


def draft_of(tmp_path: Path, executor: Computed, options: PackOptions, count: int = 6) -> Draft:
    files = [SourceFile(index, tmp_path / f"{index}.png", f"{index}.png", "") for index in range(count)]
    (tmp_path / ".packing").mkdir()
    drafter = Drafter(files, WorkFolder(tmp_path), JOB, executor, options, lambda progress: None)
    return drafter.draft(1920)


def test_what_is_alike_is_coded_beside_one_key(tmp_path: Path) -> None:
    draft = draft_of(tmp_path, Computed(alike=4), PackOptions())
    (key,) = draft.keys
    assert key.index in range(4)
    key_id = draft.coded[key.index].id
    assert all(draft.coded[one].streams == (key_id,) for one in range(4) if one != key.index)
    assert all(draft.coded[one] == draft.alone[one] for one in (4, 5))
    assert draft.losses == {1: ("depth",)}


def test_keys_that_do_not_pay_in_the_end_are_none(tmp_path: Path) -> None:
    """The trial promises savings that the other pictures do not have."""
    draft = draft_of(tmp_path, Computed(alike=4, true_saving=0.0), PackOptions())
    assert draft.keys == ()
    assert draft.coded == draft.alone


def test_keys_that_were_asked_for_stay(tmp_path: Path) -> None:
    draft = draft_of(tmp_path, Computed(alike=4, true_saving=0.0), PackOptions(keys=1))
    assert len(draft.keys) == 1


def test_dear_references_are_not_made_finer(tmp_path: Path) -> None:
    """Beside any key the saving is the same, so a finer one only costs more."""
    draft = draft_of(tmp_path, Computed(alike=6), PackOptions())
    assert [key.offset for key in draft.keys] == [0.0]


def test_no_key_is_said_to_be_finer_than_the_scale_goes(tmp_path: Path) -> None:
    executor = Computed(alike=6, penalty=0.0)
    files = [SourceFile(index, tmp_path / f"{index}.png", f"{index}.png", "") for index in range(6)]
    (tmp_path / ".packing").mkdir()
    drafter = Drafter(files, WorkFolder(tmp_path), JOB, executor, PackOptions(quality=95.0), lambda progress: None)
    drafter.draft(95 * 64)
    tried = {call.given[2] - 95 * 64 for call in executor.calls if call.what == "key"}
    assert {0, 5 * 64} <= tried <= set(range(5 * 64 + 1))


def test_what_cannot_be_read_costs_no_other_its_turn(tmp_path: Path) -> None:
    executor = Computed(alike=6)
    executor.broken = {0, 3}
    draft = draft_of(tmp_path, executor, PackOptions())
    assert draft.failed == {0: "0.png: is broken", 3: "3.png: is broken"}
    assert sorted(draft.coded) == [1, 2, 4, 5]
    assert len(draft.keys) == 1


def test_a_folder_without_a_readable_picture_is_refused(tmp_path: Path) -> None:
    executor = Computed(alike=6)
    executor.broken = set(range(6))
    with pytest.raises(InputError, match=r"none of 6 pictures could be read; first 0\.png: is broken"):
        draft_of(tmp_path, executor, PackOptions())


def test_a_second_draft_keeps_the_keys_and_compares_nothing_again(tmp_path: Path) -> None:
    executor = Computed(alike=4)
    files = [SourceFile(index, tmp_path / f"{index}.png", f"{index}.png", "") for index in range(6)]
    (tmp_path / ".packing").mkdir()
    told: list[Progress] = []
    drafter = Drafter(files, WorkFolder(tmp_path), JOB, executor, PackOptions(), told.append)
    first = drafter.draft(1920)
    executor.calls.clear()
    second = drafter.draft(2560, first)
    assert second.keys == first.keys
    assert "overlaps" not in {call.what for call in executor.calls}
    assert {one.step for one in told} >= {"alone", "comparing", "trial of keys", "key pictures", "coding"}
    assert all(1 <= one.done <= one.of for one in told)
