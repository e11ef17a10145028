"""The flow `evaluate-codec`: a bundle against JPEG, WebP and AVIF on the evaluation pictures, with real files.

It refuses pictures that the dictionary or the training has seen, measures every codec in the same way, and leaves rows,
a summary, a plot and a report. What is known on purpose, the pair, stands on its own row and never in the means.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import flow
from rich.console import Console
from rich.progress import Progress

from clc.errors import InputError
from clc.evaluation.coders import TEST, WITHOUT_REFERENCES, BaselineSet, Coder, find_baselines
from clc.evaluation.curves import Comparison, compare
from clc.evaluation.measure import FAILED, NATURAL, PAIR, Item, Row, evaluate, rows_from_table, rows_to_table
from clc.evaluation.plot import DARK, LIGHT, draw_rd
from clc.evaluation.report import TEMPLATE, Report, quality_near, render, telling_pictures
from clc.evaluation.side_by_side import SideBySide, side_by_side
from clc.evaluation.summary import JPEG, summarise, versions
from flows.evaluation_subject import Subject, find_bundle, make_subject
from flows.leakage import refuse_leaks
from flows.runtime.stage import StageResult, resolve, run_stage
from flows.runtime.tracking import Evaluation, Server, log_evaluation
from flows.runtime.workspace import Workspace
from storage.atomic import write_bytes
from storage.digest import digest_json, sha256_file
from storage.tables import read_table, write_table

logger = logging.getLogger(__name__)

QUALITIES = (0.0, 25.0, 50.0, 75.0, 100.0)
TELLING_BPP = 0.3
"""Rate at which the report shows pictures side by side: low enough to see what each codec gives up."""

_LINE_EVERY_S = 15.0


@flow(name="evaluate-codec")
def evaluate_codec(
    ingest: str = "latest",
    bundle: str = "latest",
    qualities: tuple[float, ...] = QUALITIES,
    most_pictures: int = 64,
) -> str:
    """Measure a bundle against JPEG, WebP and AVIF on the evaluation part of an ingest.

    Args:
        ingest: Key of ingest-images, or "latest".
        bundle: The codec: a key of train-codec, "latest", "shipped", or a bundle folder.
        qualities: Qualities of the codec, 0 to 100; a BD-rate takes four at least.
        most_pictures: Evaluate no more pictures of either row than this; which ones is arbitrary but always the same.

    Returns:
        The key of the finished stage. Its folder holds rows.parquet, summary.json, rd.png and report.html.
    """
    ladder = _checked_qualities(qualities)
    if most_pictures < 1:
        raise InputError(f"most_pictures is {most_pictures}; at least one picture is needed")
    workspace = Workspace.from_environment()
    pictures = resolve(workspace, "ingest-images", ingest)
    folder = find_bundle(workspace, bundle)
    subject = make_subject(workspace, pictures, folder, ladder, most_pictures)
    result = run_stage(
        workspace,
        "evaluate-codec",
        inputs={"ingest": pictures.key, "bundle": subject.bundle_id, "template": sha256_file(TEMPLATE)},
        config={"qualities": list(ladder), "most_pictures": most_pictures, "versions": versions()},
        modules=["clc", "flows.evaluate", "flows.evaluation_subject", "flows.leakage"],
        body=lambda directory: _measure(workspace, pictures, subject, directory),
    )
    if not result.reused:
        _log(workspace, subject, result)
    return result.key


def _checked_qualities(qualities: Sequence[float]) -> tuple[float, ...]:
    ladder = tuple(sorted({float(quality) for quality in qualities}))
    if not ladder or not all(0.0 <= quality <= 100.0 for quality in ladder):
        raise InputError(f"qualities must be numbers from 0 to 100, at least one; these are {list(qualities)}")
    return ladder


def _measure(workspace: Workspace, pictures: StageResult, subject: Subject, directory: Path) -> dict[str, Any]:
    """Refuse leaks, measure, compare, draw, write; the body of the stage."""
    refuse_leaks(workspace.blobs, subject.items, subject.known)
    baselines = find_baselines()
    for name, reason in baselines.missing.items():
        logger.warning("baseline_missing name=%s reason=%r", name, reason)
    items = subject.load_items(workspace.blobs)
    rows = [*_measure_codec(subject, items), *_measure_baselines(workspace, pictures, subject, items, baselines)]
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
    write_bytes(directory / "report.html", _report(subject, rows, comparisons, baselines, items).encode())
    return summary


def _measure_codec(subject: Subject, items: Sequence[Item]) -> list[Row]:
    """Measure the codec alone on the machine, so that its timings mean something; the pair without references too."""
    with _progress(f"measuring {TEST}", len(items)) as on_item:
        natural = [item for item in items if item.row == NATURAL]
        pair = [item for item in items if item.row == PAIR]
        return [
            *evaluate(subject.coders[:1], natural, on_item=on_item),
            *evaluate(subject.coders, pair, on_item=on_item),
        ]


def _measure_baselines(
    workspace: Workspace, pictures: StageResult, subject: Subject, items: Sequence[Item], baselines: BaselineSet
) -> list[Row]:
    """Measure the baselines, once for all bundles that are evaluated on the same pictures with the same libraries."""

    def body(directory: Path) -> dict[str, Any]:
        with _progress("measuring " + ", ".join(one.name for one in baselines.available), len(items)) as on_item:
            rows = evaluate(baselines.available, items, workers=os.cpu_count() or 1, on_item=on_item)
        write_table(directory / "rows.parquet", rows_to_table(rows))
        return {"rows": len(rows)}

    result = run_stage(
        workspace,
        "measure-baselines",
        inputs={"ingest": pictures.key, "items": digest_json([item.blob for item in subject.items])},
        config={"settings": {one.name: [one.settings, list(one.qualities)] for one in baselines.available}},
        modules=["clc.evaluation.coders", "clc.evaluation.measure", "clc.evaluation.metrics", "clc.pictures.images"],
        body=body,
    )
    return rows_from_table(read_table(result.directory / "rows.parquet"))


def _report(
    subject: Subject,
    rows: Sequence[Row],
    comparisons: Sequence[Comparison],
    baselines: BaselineSet,
    items: Sequence[Item],
) -> str:
    facts = {"bundle": subject.bundle_id, "pictures from": subject.dataset}
    if subject.left_over:
        facts["not evaluated"] = f"{subject.left_over} further pictures, beyond the limit"
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
            side_by_sides=_side_by_sides(subject, rows, baselines, items),
        )
    )


def _side_by_sides(
    subject: Subject, rows: Sequence[Row], baselines: BaselineSet, items: Sequence[Item]
) -> list[SideBySide]:
    by_id = {item.item_id: item for item in items}
    test, shown = subject.coders[0], []
    for item_id in telling_pictures(rows, TEST, JPEG):
        quality = quality_near(rows, TEST, item_id, TELLING_BPP)
        if quality is not None:
            item = by_id[item_id]
            shown.append(side_by_side(item.name, item.load(), test, quality, baselines.available))
    return shown


def _log(workspace: Workspace, subject: Subject, result: StageResult) -> None:
    rows = rows_from_table(read_table(result.directory / "rows.parquet"))
    files = [result.directory / name for name in ("rd.png", "report.html", "rows.parquet")]
    params: Mapping[str, str] = {"bundle": subject.bundle_id, "stage_key": result.key}
    for comparison in (compare(rows, NATURAL), compare(rows, PAIR)):
        if comparison.curves:
            dataset = subject.dataset if comparison.row == NATURAL else f"{subject.dataset}, {comparison.row}"
            log_evaluation(Server.of(workspace), Evaluation(dataset, TEST, comparison, params, files))


@contextmanager
def _progress(description: str, total: int) -> Iterator[Callable[[Item], None]]:
    """Yield what to call after each picture: a bar on a terminal, a line now and then elsewhere."""
    console = Console(stderr=True)
    done, spoken_at = 0, time.monotonic()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(description, total=total)

        def on_item(item: Item) -> None:
            nonlocal done, spoken_at
            done += 1
            progress.update(bar, completed=done)
            if not console.is_terminal and time.monotonic() - spoken_at > _LINE_EVERY_S:
                logger.info("progress what=%r done=%d of=%d", description, done, total)
                spoken_at = time.monotonic()

        yield on_item
