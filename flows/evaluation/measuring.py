"""The rows of an evaluation, a stage for each picture: what was stopped goes on, and nothing is measured twice.

`flows.evaluate` calls `measure_codec`, `measure_baselines` and `measure_overfitted`. A picture's rows are kept under
its pixels, the codec and its ladder, so that another evaluation of the same picture uses them again, in whatever
company it stands.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clc.evaluation.coders import TEST, Coder
from clc.evaluation.measure import (
    FAILED,
    NATURAL,
    PAIR,
    PictureUnderTest,
    Row,
    evaluate,
    rows_from_table,
    rows_to_table,
)
from clc.evaluation.overfitted import OverfittedCoder
from clc.evaluation.perceptual import PerceptualMeasures
from clc.evaluation.picture_plan import PicturePlan, measure_plan
from clc.evaluation.summary import versions
from flows.codec_modules import CODEC_MODULES
from flows.evaluation_subject import Subject
from flows.runtime.dask_cluster import dask_client, in_order
from flows.runtime.progress import counted
from flows.runtime.stage import run_stage, stage_key
from flows.runtime.workspace import Workspace
from storage.manifest import MANIFEST_NAME
from storage.tables import read_table, write_table

_ROW_MODULES = (
    "clc.evaluation.baselines",
    "clc.evaluation.coders",
    "clc.evaluation.measure",
    "clc.evaluation.metrics",
    "clc.evaluation.peak_memory",
    "clc.evaluation.perceptual",
    "clc.evaluation.scales",
)

BASELINE_MODULES = (*_ROW_MODULES, "clc.limits", "clc.pictures", "storage.digest")
"""The source text that decides what measure-baselines makes: what else changes does not measure JPEG again."""

CODEC_ROW_MODULES = (*CODEC_MODULES, *_ROW_MODULES, "clc.evaluation.picture_plan", "storage.blobs")
"""The same for measure-codec."""

OVERFITTED_ROW_MODULES = (
    *BASELINE_MODULES,
    "clc.bitstream",
    "clc.bundle.identity",
    "clc.bundle.released",
    "clc.codec.beside",
    "clc.codec.buffers",
    "clc.codec.effort",
    "clc.codec.info",
    "clc.codec.overfitted",
    "clc.evaluation.overfitted",
    "clc.exact",
    "clc.overfitted",
    "clc.quality",
)
"""The same for measure-overfitted."""

ROWS = "rows.parquet"


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """Where rows are kept, of what, with which measures beside those that are always taken, and by whom.

    One worker is this process while nothing else runs, so that its timings hold. More are the processes of a local Dask
    cluster, or those of `scheduler`; their timings are those of a busy machine, and kept apart from the others.
    """

    workspace: Workspace
    subject: Subject
    perceptual: PerceptualMeasures
    overfitted: OverfittedCoder | None = None
    workers: int = 1
    scheduler: str | None = None

    @property
    def is_busy(self) -> bool:
        """Whether several pictures are in work at a time."""
        return self.workers > 1 or self.scheduler is not None

    def pictures(self) -> list[PictureUnderTest]:
        """Return the pictures of the subject; those of its sets that cannot be read fail when they are loaded."""
        return self.subject.pictures(self.workspace.blobs)


def measure_codec(measuring: Measuring) -> list[Row]:
    """Measure the codec on natural pictures, and here, beside its twin and without, on the pair."""
    subject, pictures = measuring.subject, measuring.pictures()
    natural = [picture for picture in pictures if picture.row == NATURAL]
    pair = [picture for picture in pictures if picture.row == PAIR]
    stages = [_Stage.of_codec(measuring, picture) for picture in natural]
    rows: list[Row] = []
    with counted(f"measuring {TEST}", len(pictures)) as one_more:
        if measuring.is_busy:
            waiting = [one for one in stages if one.blob is not None and not one.is_finished]
            for stage, found in zip(waiting, _by_workers(measuring, waiting), strict=True):
                stage.keep(found)
                one_more()
        for one in stages:
            if one.kept is None:
                one_more()
            rows += one.rows()
        if pair:
            with tempfile.TemporaryDirectory(prefix="clc-pair-") as scratch:
                coders = subject.pair_coders(measuring.workspace.blobs, Path(scratch) / "bundle")
                perceptual = measuring.perceptual.available
                rows += evaluate(coders, pair, perceptual=perceptual, on_picture=lambda _: one_more())
    return rows


def measure_baselines(measuring: Measuring, baselines: Sequence[Coder]) -> list[Row]:
    """Measure the baselines, a picture a core, once for all bundles that are evaluated on the same pictures."""
    stages = [_Stage.of_baselines(measuring, picture, baselines) for picture in measuring.pictures()]
    rows: list[Row] = []
    with (
        counted(f"measuring {len(baselines)} other formats", len(stages)) as one_more,
        ThreadPoolExecutor(os.cpu_count() or 1) as pool,
    ):
        for found in pool.map(_Stage.rows, stages):
            rows += found
            one_more()
    return rows


def measure_overfitted(measuring: Measuring) -> list[Row]:
    """Measure overfitted streams one picture after the other, with nothing else at work; none without an autoencoder.

    A fit takes seconds to minutes, so each picture's rows are kept for all bundles that are evaluated on it.
    """
    coder = measuring.overfitted
    if coder is None:
        return []
    stages = [_Stage.of_overfitted(measuring, picture, coder) for picture in measuring.pictures()]
    rows: list[Row] = []
    with counted(f"fitting {len(coder.qualities)} functions to each picture", len(stages)) as one_more:
        for stage in stages:
            rows += stage.rows()
            one_more()
    return rows


class _FailedRows(Exception):
    """Rows of which one failed: the stage keeps nothing, for memory may have been short; the next run tries again."""

    def __init__(self, rows: list[Row]) -> None:
        super().__init__()
        self.rows = rows


@dataclass(kw_only=True)
class _Stage:
    """The stage that holds the rows of one picture; `blob` is None for a picture that cannot be read."""

    measuring: Measuring
    name: str
    picture: PictureUnderTest
    blob: str | None
    coders: Sequence[Coder]
    inputs: Mapping[str, str]
    modules: Sequence[str]
    is_alone: bool
    kept: list[Row] | None = None

    @classmethod
    def of_codec(cls, measuring: Measuring, picture: PictureUnderTest) -> "_Stage":
        """Return the stage of the codec under test; rows of a busy machine are others than those of a quiet one."""
        subject = measuring.subject
        return cls(
            measuring=measuring,
            name="measure-codec",
            picture=picture,
            blob=subject.blob_of(picture.item_id),
            coders=subject.coders[:1],
            inputs={"bundle": subject.bundle_id, "machine": "busy" if measuring.is_busy else "quiet"},
            modules=CODEC_ROW_MODULES,
            is_alone=True,
        )

    @classmethod
    def of_baselines(cls, measuring: Measuring, picture: PictureUnderTest, baselines: Sequence[Coder]) -> "_Stage":
        """Return the stage of the baselines."""
        return cls(
            measuring=measuring,
            name="measure-baselines",
            picture=picture,
            blob=measuring.subject.blob_of(picture.item_id),
            coders=baselines,
            inputs={},
            modules=BASELINE_MODULES,
            is_alone=False,
        )

    @classmethod
    def of_overfitted(cls, measuring: Measuring, picture: PictureUnderTest, coder: OverfittedCoder) -> "_Stage":
        """Return the stage of overfitted streams, whatever the bundle."""
        return cls(
            measuring=measuring,
            name="measure-overfitted",
            picture=picture,
            blob=measuring.subject.blob_of(picture.item_id),
            coders=[coder],
            inputs={"autoencoder": coder.digest},
            modules=OVERFITTED_ROW_MODULES,
            is_alone=True,
        )

    @property
    def is_finished(self) -> bool:
        """Whether an earlier run kept the rows."""
        key = stage_key(self.name, inputs=self._inputs, config=self._config, modules=self.modules)
        return (self.measuring.workspace.stages / self.name / key / MANIFEST_NAME).is_file()

    def keep(self, rows: list[Row]) -> None:
        """Keep rows that a worker measured, as if this process had."""
        self.kept = rows
        self.kept = self.rows()

    def rows(self) -> list[Row]:
        """Return the rows: those that are kept, else measured now."""
        if self.blob is None:
            return evaluate(self.coders, [self.picture])
        try:
            result = run_stage(
                self.measuring.workspace,
                self.name,
                inputs=self._inputs,
                config=self._config,
                modules=self.modules,
                body=self._write,
                is_shown=False,
            )
        except _FailedRows as failed:
            return failed.rows
        found = rows_from_table(read_table(result.directory / ROWS))
        # The same pixels may have another name here, and stand in another part.
        one = self.picture
        return [replace(row, item_id=one.item_id, name=one.name, row=one.row) for row in found]

    def _write(self, directory: Path) -> dict[str, Any]:
        perceptual = self.measuring.perceptual.available
        rows = self.kept or evaluate(self.coders, [self.picture], perceptual=perceptual, is_alone=self.is_alone)
        if any(row.status == FAILED for row in rows):
            raise _FailedRows(rows)
        write_table(directory / ROWS, rows_to_table(rows))
        return {"rows": len(rows)}

    @property
    def _inputs(self) -> dict[str, str]:
        return {**self.inputs, "picture": self.blob or ""}

    @property
    def _config(self) -> dict[str, Any]:
        return {
            "settings": {one.name: [one.settings, list(one.qualities), one.references] for one in self.coders},
            "measures": sorted(self.measuring.perceptual.available),
            "versions": versions(),
        }


def _by_workers(measuring: Measuring, stages: Sequence[_Stage]) -> Iterator[list[Row]]:
    """Yield the rows of pictures in their order, measured by the workers of a cluster."""
    if not stages:
        return
    subject, coder = measuring.subject, measuring.subject.coders[0]
    plans = [
        PicturePlan(
            item_id=one.picture.item_id,
            name=one.picture.name,
            blob=one.blob or "",
            blobs_root=measuring.workspace.blobs.root,
            bundle=subject.folder,
            bundle_id=subject.bundle_id,
            settings=coder.settings,
            qualities=coder.qualities,
            perceptual=tuple(sorted(measuring.perceptual.available)),
        )
        for one in stages
    ]
    with dask_client(min(measuring.workers, len(plans)), measuring.scheduler) as client:
        yield from in_order(client, measure_plan, plans, lambda plan: plan.name)
