"""The flow `evaluate-codec`: a bundle against other formats on the evaluation pictures, with real files.

It refuses pictures that the dictionary or the training has seen, measures every codec in the same way, and writes rows,
a summary, a plot and a report. The pair (two views of one scene, of which the dictionary holds one on purpose) is
coded beside its twin as a key picture; it is reported apart and enters no mean of the other pictures.
"""

import json
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import flow

from clc.errors import InputError
from clc.evaluation.coders import QUICK, TEST, WITHOUT_REFERENCES, BaselineSet, Coder, find_baselines
from clc.evaluation.curves import Comparison, compare
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
from clc.evaluation.plot import DARK, LIGHT, draw_rd
from clc.evaluation.report import TEMPLATE, Report, quality_near, render, telling_pictures
from clc.evaluation.side_by_side import SideBySide, side_by_side
from clc.evaluation.summary import JPEG, summarise, versions
from clc.pages.page import FRAME
from flows.codec_modules import CODEC_MODULES
from flows.evaluation_page import show_evaluation
from flows.evaluation_subject import Subject, find_bundle, make_subject
from flows.leakage import refuse_leaks
from flows.runtime.mlflow_session import Data, Server
from flows.runtime.progress import counted
from flows.runtime.stage import StageResult, resolve, run_stage
from flows.runtime.tracking import Evaluation, log_evaluation
from flows.runtime.workspace import Workspace
from storage.atomic import write_bytes
from storage.digest import digest_json, sha256_file
from storage.tables import read_table, write_table

logger = logging.getLogger(__name__)

MODULES = (
    *CODEC_MODULES,
    "clc.bundle.extend",
    "clc.evaluation",
    "clc.pages",
    "flows.evaluate",
    "flows.evaluation_subject",
    "flows.items",
    "flows.leakage",
    "storage.blobs",
    "storage.tables",
)
"""The source text that decides what this stage makes."""
BASELINE_MODULES = (
    "clc.evaluation.baselines",
    "clc.evaluation.coders",
    "clc.evaluation.measure",
    "clc.evaluation.metrics",
    "clc.limits",
    "clc.pictures",
    "storage.digest",
)
"""The same for measure-baselines, without this file: what it changes in reports does not measure JPEG again."""

QUALITIES = (0.0, 25.0, 50.0, 75.0, 100.0)
TELLING_BPP = 0.3
"""Rate at which the report shows pictures side by side: low enough to see what each codec gives up."""


@flow(name="evaluate-codec")
def evaluate_codec(
    ingest: str = "latest",
    bundle: str = "latest",
    qualities: tuple[float, ...] = QUALITIES,
    most_pictures: int = 64,
    baselines: tuple[str, ...] = QUICK,
) -> str:
    """Measure a bundle against other formats on the evaluation part of an ingest.

    Args:
        ingest: Key of ingest-images, or "latest".
        bundle: The codec: a key of train-codec, "latest", "shipped", or a bundle folder.
        qualities: Qualities of the codec, 0 to 100; a BD-rate takes four at least.
        most_pictures: Evaluate no more pictures of either row than this; which ones is arbitrary but always the same.
        baselines: The other formats: jpeg, webp, avif, jpeg-xl, jpeg-2000; hevc and av1 take seconds a picture. One
            that this machine lacks is reported with the reason.

    Returns:
        The key of the finished stage. Its folder holds rows.parquet, summary.json, rd.png and report.html.
    """
    ladder = _checked_qualities(qualities)
    if most_pictures < 1:
        raise InputError(f"most_pictures is {most_pictures}; at least one picture is needed")
    others = find_baselines(tuple(dict.fromkeys(baselines)))
    workspace = Workspace.from_environment()
    ingested = resolve(workspace, "ingest-images", ingest)
    folder = find_bundle(workspace, bundle)
    subject = make_subject(workspace, ingested, folder, ladder, most_pictures)
    result = run_stage(
        workspace,
        "evaluate-codec",
        inputs={
            "ingest": ingested.key,
            "bundle": subject.bundle_id,
            "template": digest_json([sha256_file(TEMPLATE), sha256_file(FRAME)]),
        },
        config={
            "qualities": list(ladder),
            "most_pictures": most_pictures,
            "baselines": {one.name: one.settings for one in others.available} | dict(others.missing),
            "versions": versions(),
        },
        modules=MODULES,
        body=lambda directory: _measure(workspace, ingested, subject, others, directory),
    )
    if not result.reused:
        _log(workspace, subject, result)
    show_evaluation(workspace, result)
    return result.key


def _checked_qualities(qualities: Sequence[float]) -> tuple[float, ...]:
    ladder = tuple(sorted({float(quality) for quality in qualities}))
    if not ladder or not all(0.0 <= quality <= 100.0 for quality in ladder):
        raise InputError(f"qualities must be numbers from 0 to 100, at least one; these are {list(qualities)}")
    return ladder


def _measure(
    workspace: Workspace, ingested: StageResult, subject: Subject, baselines: BaselineSet, directory: Path
) -> dict[str, Any]:
    """Refuse leaks, measure, compare, draw, write; the body of the stage."""
    refuse_leaks(workspace.blobs, subject.items, subject.known)
    for name, reason in baselines.missing.items():
        logger.warning("baseline_missing name=%s reason=%r", name, reason)
    pictures = subject.pictures(workspace.blobs)
    rows = [*_measure_codec(workspace, subject, pictures), *_measure_baselines(workspace, ingested, subject, baselines)]
    if all(row.status == FAILED for row in rows if row.codec == TEST):
        raise InputError(f"the codec failed on every picture, first with: {rows[0].reason}")
    comparisons = [one for one in (compare(rows, NATURAL), compare(rows, PAIR)) if one.curves]
    write_table(directory / "rows.parquet", rows_to_table(rows))
    summary = {
        "bundle_id": subject.bundle_id,
        "dataset": subject.dataset,
        "left_over": subject.left_over,
        **summarise(rows, comparisons),
        "missing_baselines": dict(baselines.missing),
    }
    write_bytes(directory / "summary.json", json.dumps(summary, indent=1).encode())
    write_bytes(directory / "rd.png", draw_rd(comparisons, TEST, LIGHT))
    write_bytes(directory / "report.html", _report(subject, rows, comparisons, baselines, pictures).encode())
    return summary


def _measure_codec(workspace: Workspace, subject: Subject, pictures: Sequence[PictureUnderTest]) -> list[Row]:
    """Measure the codec while nothing else runs, so that its timings hold; the pair beside its twin and without."""
    natural = [picture for picture in pictures if picture.row == NATURAL]
    pair = [picture for picture in pictures if picture.row == PAIR]
    with (
        counted(f"measuring {TEST}", len(pictures)) as one_more,
        tempfile.TemporaryDirectory(prefix="clc-pair-") as scratch,
    ):
        rows = evaluate(subject.coders[:1], natural, on_picture=lambda _: one_more())
        if pair:
            coders = subject.pair_coders(workspace.blobs, Path(scratch) / "bundle")
            rows += evaluate(coders, pair, on_picture=lambda _: one_more())
        return rows


def _measure_baselines(
    workspace: Workspace, ingested: StageResult, subject: Subject, baselines: BaselineSet
) -> list[Row]:
    """Measure the baselines, once for all bundles that are evaluated on the same pictures with the same libraries."""

    def body(directory: Path) -> dict[str, Any]:
        pictures = subject.pictures(workspace.blobs)
        with counted(f"measuring {len(baselines.available)} other formats", len(pictures)) as one_more:
            rows = evaluate(baselines.available, pictures, workers=os.cpu_count() or 1, on_picture=lambda _: one_more())
        write_table(directory / "rows.parquet", rows_to_table(rows))
        return {"rows": len(rows)}

    result = run_stage(
        workspace,
        "measure-baselines",
        inputs={"ingest": ingested.key, "items": digest_json([item.blob for item in subject.items])},
        config={"settings": {one.name: [one.settings, list(one.qualities)] for one in baselines.available}},
        modules=BASELINE_MODULES,
        body=body,
    )
    return rows_from_table(read_table(result.directory / "rows.parquet"))


def _report(
    subject: Subject,
    rows: Sequence[Row],
    comparisons: Sequence[Comparison],
    baselines: BaselineSet,
    pictures: Sequence[PictureUnderTest],
) -> str:
    facts = {"bundle": subject.bundle_id, "pictures from": subject.dataset}
    if subject.left_over:
        facts["not evaluated"] = f"{subject.left_over} further pictures, beyond the limit"
    if subject.twins and any(row.row == PAIR for row in rows):
        names = ", ".join(dict.fromkeys(item.photo for item in subject.twins))
        facts["the pair"] = f"coded beside {names} as key pictures, whose own bytes are not counted"
    facts |= {"timings": "the codec alone on the machine, the baselines one picture a core at the same time"}
    coders: list[Coder] = [*subject.coders, *baselines.available]
    return render(
        Report(
            title=f"{TEST} {subject.bundle_id} on {Path(subject.dataset).name}",
            test=TEST,
            without_references=WITHOUT_REFERENCES,
            rows=rows,
            comparisons=comparisons,
            plot_light=draw_rd(comparisons, TEST, LIGHT),
            plot_dark=draw_rd(comparisons, TEST, DARK),
            settings={one.name: one.settings for one in coders},
            missing=baselines.missing,
            facts=facts | versions(),
            side_by_sides=_side_by_sides(subject, rows, baselines, pictures),
        )
    )


def _side_by_sides(
    subject: Subject, rows: Sequence[Row], baselines: BaselineSet, pictures: Sequence[PictureUnderTest]
) -> list[SideBySide]:
    by_id = {picture.item_id: picture for picture in pictures}
    test, shown = subject.coders[0], []
    for item_id in telling_pictures(rows, TEST, JPEG):
        quality = quality_near(rows, TEST, item_id, TELLING_BPP)
        if quality is not None:
            picture = by_id[item_id]
            shown.append(side_by_side(picture.name, picture.load(), test, quality, baselines.available))
    return shown


def _log(workspace: Workspace, subject: Subject, result: StageResult) -> None:
    """Tell MLflow: a run for the natural pictures, and one for the pair, which is a data set of its own."""
    rows = rows_from_table(read_table(result.directory / "rows.parquet"))
    files = [result.directory / name for name in ("rd.png", "report.html", "rows.parquet")]
    params: Mapping[str, str] = {"stage_key": result.key, "ingest": result.manifest.inputs["ingest"]}
    collection = Path(subject.dataset).name
    for comparison in (compare(rows, NATURAL), compare(rows, PAIR)):
        if comparison.curves:
            blobs = [item.blob for item in subject.items if item.row == comparison.row]
            name = collection if comparison.row == NATURAL else f"{collection}, {comparison.row}"
            data = Data(name, digest_json(blobs)[:32], subject.dataset, len(blobs))
            log_evaluation(
                Server.of(workspace),
                Evaluation(subject.bundle_id, result.key, data, TEST, comparison, params, files),
            )
