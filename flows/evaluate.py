"""The flow `evaluate-codec`: a bundle against JPEG, WebP and AVIF on the evaluation pictures, with real files.

Where an autoencoder is named, overfitted streams stand beside them as one codec more.

It refuses pictures that the dictionary or the training has seen, measures every codec in the same way, and writes rows,
a summary, a plot and a report. The pair (two views of one scene, of which the dictionary holds one on purpose) is
coded beside its twin as a key picture; it is reported apart and enters no mean of the other pictures.
"""

import json
import logging
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from prefect import flow

from clc.errors import InputError
from clc.evaluation.coders import QUICK, TEST, BaselineSet, find_baselines
from clc.evaluation.curves import compare
from clc.evaluation.measure import FAILED, NATURAL, PAIR, rows_from_table, rows_to_table
from clc.evaluation.overfitted import OverfittedCoder
from clc.evaluation.perceptual import FAST, PERCEPTUAL, find_perceptual, measures_named
from clc.evaluation.plot import LIGHT, draw_rd
from clc.evaluation.published import PUBLISHED, Published, shown_curves
from clc.evaluation.report.report import SCRIPTS, TEMPLATE
from clc.evaluation.summary import describe_bd_rate, summarise, versions
from clc.pages.page import FRAME
from flows.codec_modules import CODEC_MODULES
from flows.evaluation.measuring import Measuring, measure_baselines, measure_codec, measure_overfitted
from flows.evaluation.picture_sets import read_picture_set
from flows.evaluation.report import published_rates, report_page, tracked_pictures
from flows.evaluation_page import bd_rate_table, show_evaluation
from flows.evaluation_subject import find_bundle, make_subject
from flows.leakage import refuse_leaks
from flows.runtime.failing import saying_why
from flows.runtime.mlflow_session import Data, Server
from flows.runtime.names import run_name
from flows.runtime.parameters import Count
from flows.runtime.stage import StageResult, finished_keys, resolve, run_stage
from flows.runtime.tracking import Evaluation, log_evaluation
from flows.runtime.workspace import Workspace
from storage.atomic import write_bytes
from storage.digest import digest_json, sha256_file
from storage.tables import read_table, write_table

logger = logging.getLogger(__name__)

MODULES = (
    *CODEC_MODULES,
    "clc.bundle.extend",
    "clc.codec.overfitted",
    "clc.collection.patches",
    "clc.evaluation",
    "clc.overfitted",
    "clc.pages",
    "clc.version",
    "flows.evaluate",
    "flows.evaluation",
    "flows.evaluation_subject",
    "flows.items",
    "flows.leakage",
    "storage.blobs",
    "storage.names",
    "storage.tables",
)
"""The source text that decides what this stage makes."""
QUALITIES = (0.0, 25.0, 50.0, 75.0, 100.0)


@flow(name="evaluate-codec", flow_run_name=run_name("evaluate-codec of {bundle} on {pictures}", pictures="the ingest"))
@saying_why
def evaluate_codec(
    ingest: str = "latest",
    bundle: str = "latest",
    qualities: tuple[float, ...] = QUALITIES,
    most_pictures: Count = 64,
    baselines: tuple[str, ...] = QUICK,
    pictures: str = "",
    measures: str = FAST,
    overfitted_autoencoder: str = "",
    workers: Count = 1,
    dask_scheduler: str | None = None,
) -> str:
    """Measure a bundle against other formats on whole pictures: the evaluation part of an ingest, or others.

    Each picture's rows are kept as soon as they are measured, so a run that was stopped goes on. A stream that decodes
    to something else than was coded fails the run.

    Args:
        ingest: Key of ingest-images, or "latest"; with `pictures`, there need be none.
        bundle: The codec: a key of train-codec, "latest", "shipped", or a bundle folder.
        qualities: Qualities of the codec, 0 to 100; a BD-rate takes four at least.
        most_pictures: Evaluate no more pictures of either row than this; which ones is arbitrary but always the same.
        baselines: The other formats: jpeg, webp, avif, jpeg-xl, jpeg-2000; hevc and av1 take seconds a picture. One
            that this machine lacks is reported with the reason.
        pictures: Evaluate these instead of the ingest's: a folder, or the name of a set in a folder of `CLC_SETS`
            ("kodak"). Pictures that the dictionary or the training has seen are refused all the same.
        measures: "fast" (PSNR, SSIM, MS-SSIM), or these and "ssimulacra2", "st_lpips" (shift-tolerant LPIPS), with a
            comma between them, or "all". The first takes more than a second a file, the other twice as long.
        overfitted_autoencoder: Folder of a pretrained autoencoder: overfitted streams are measured, too, at four
            qualities. A fit takes about 20 s of a core for 768x512 px, each picture is fitted four times, and the
            three pictures that the report shows some times more.
        workers: Processes that measure the codec; with more than one, timings are those of a busy machine.
        dask_scheduler: Address of a running Dask scheduler; its workers must see the workspace and the bundle under the
            same paths. Without one, more than one worker are a local cluster.

    Returns:
        The key of the finished stage. Its folder holds rows.parquet, summary.json, rd.png and report.html.
    """
    ladder = _checked_qualities(qualities)
    _check(most_pictures, measures, workers)
    others = find_baselines(tuple(dict.fromkeys(baselines)))
    overfitted = _overfitted(overfitted_autoencoder)
    workspace = Workspace.from_environment()
    ingested = _ingested(workspace, ingest, pictures)
    folder = find_bundle(workspace, bundle)
    given = read_picture_set(workspace, pictures) if pictures else None
    subject = make_subject(workspace, ingested, folder, ladder, most_pictures, given)
    # Means over a part of a set are no points beside published ones.
    compared = given.published if given and not subject.left_over and not subject.unreadable else ""
    measuring = Measuring(
        workspace=workspace,
        subject=subject,
        perceptual=find_perceptual(measures_named(measures)),
        overfitted=overfitted,
        workers=workers,
        scheduler=dask_scheduler,
    )
    result = run_stage(
        workspace,
        "evaluate-codec",
        inputs={
            "ingest": ingested.key if ingested else "",
            "bundle": subject.bundle_id,
            "pictures": digest_json(
                [
                    [[item.item_id, item.name, item.blob] for item in subject.items],
                    [list(one) for one in subject.unreadable],
                ]
            ),
            "template": digest_json([sha256_file(path) for path in (TEMPLATE, FRAME, *SCRIPTS)]),
        },
        config={
            "qualities": list(ladder),
            "most_pictures": most_pictures,
            "baselines": {one.name: one.settings for one in others.available} | dict(others.missing),
            "overfitted": [overfitted.settings, overfitted.digest] if overfitted else None,
            "measures": sorted(measuring.perceptual.available),
            "is_busy": measuring.is_busy,
            "versions": versions(),
            "published": [compared, sha256_file(PUBLISHED)] if compared else None,
        },
        modules=MODULES,
        body=lambda directory: _measure(
            measuring,
            others,
            shown_curves(compared) if compared else {},
            _command(measuring, ingested.key if ingested else ingest, most_pictures, baselines, pictures),
            directory,
        ),
    )
    _log(measuring, result)
    show_evaluation(workspace, result)
    return result.key


def _checked_qualities(qualities: Sequence[float]) -> tuple[float, ...]:
    ladder = tuple(sorted({float(quality) for quality in qualities}))
    if not ladder or not all(0.0 <= quality <= 100.0 for quality in ladder):
        raise InputError(f"qualities must be numbers from 0 to 100, at least one; these are {list(qualities)}")
    return ladder


def _ingested(workspace: Workspace, ingest: str, pictures: str) -> StageResult | None:
    """Return the ingest; None where there is none yet and pictures from elsewhere are measured."""
    if pictures and ingest == "latest" and not finished_keys(workspace, "ingest-images"):
        return None
    return resolve(workspace, "ingest-images", ingest)


def _overfitted(autoencoder: str) -> OverfittedCoder | None:
    return OverfittedCoder.load(Path(autoencoder).expanduser().absolute()) if autoencoder else None


def _check(most_pictures: int, measures: str, workers: int) -> None:
    if most_pictures < 1:
        raise InputError(f"most_pictures is {most_pictures}; at least one picture is needed")
    measures_named(measures)
    if workers < 1:
        raise InputError(f"workers is {workers}; at least one is needed")


def _command(measuring: Measuring, ingest: str, most_pictures: int, baselines: Sequence[str], pictures: str) -> str:
    """Return the command that makes the same evaluation again."""
    subject = measuring.subject
    asked = {
        "ingest": ingest,
        "bundle": subject.folder or "shipped",
        "qualities": list(subject.qualities),
        "most_pictures": most_pictures,
        "baselines": json.dumps(list(baselines)),
        "measures": ",".join(key for key in PERCEPTUAL if key in measuring.perceptual.available) or FAST,
        "workers": measuring.workers,
    }
    if pictures:
        asked["pictures"] = pictures
    if measuring.overfitted:
        asked["overfitted_autoencoder"] = measuring.overfitted.codec.autoencoder.folder
    parameters = [part for name, value in asked.items() for part in ("--param", f"{name}={value}")]
    return shlex.join(["prefect", "deployment", "run", "evaluate-codec/evaluate-codec", *parameters])


def _measure(
    measuring: Measuring, baselines: BaselineSet, published: Published, command: str, directory: Path
) -> dict[str, Any]:
    """Refuse leaks, measure, compare, draw, write; the body of the stage."""
    subject = measuring.subject
    refuse_leaks(measuring.workspace.blobs, subject.items, subject.known)
    for name, reason in baselines.missing.items():
        logger.warning("baseline_missing name=%s reason=%r", name, reason)
    rows = [
        *measure_codec(measuring),
        *measure_overfitted(measuring),
        *measure_baselines(measuring, baselines.available),
    ]
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
        "missing_measures": dict(measuring.perceptual.missing),
        "published_bd_rates": [describe_bd_rate(rate) for rate in published_rates(comparisons, published)],
    }
    write_bytes(directory / "summary.json", json.dumps(summary, indent=1).encode())
    write_bytes(directory / "rd.png", draw_rd(comparisons, TEST, LIGHT))
    report = report_page(measuring, rows, comparisons, baselines, published, command)
    write_bytes(directory / "report.html", report.encode())
    return summary


def _log(measuring: Measuring, result: StageResult) -> None:
    """Tell MLflow what it does not know: a run for the natural pictures, and one for the pair, a data set of its own.

    Also of an evaluation that was finished before: that run may have been killed, or MLflow away.
    """
    subject = measuring.subject
    rows = rows_from_table(read_table(result.directory / "rows.parquet"))
    files = [result.directory / name for name in ("rd.png", "report.html", "rows.parquet")]
    params: Mapping[str, str] = {"stage_key": result.key, "ingest": result.manifest.inputs["ingest"]}
    collection = Path(subject.dataset).name
    for comparison in (compare(rows, NATURAL), compare(rows, PAIR)):
        if comparison.curves:
            blobs = [item.blob for item in subject.items if item.row == comparison.row]
            name = collection if comparison.row == NATURAL else f"{collection}, {comparison.row}"
            shown = partial(tracked_pictures, measuring) if comparison.row == NATURAL else tuple
            summary = result.manifest.summary
            note = bd_rate_table(summary if comparison.row == NATURAL else summary["pair"])
            data = Data(name, digest_json(blobs)[:32], subject.dataset, len(blobs))
            log_evaluation(
                Server.of(measuring.workspace),
                Evaluation(subject.bundle_id, result.key, data, TEST, comparison, params, files, shown, note),
            )
