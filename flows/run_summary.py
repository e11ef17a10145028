"""What a run of `retrain` came to: kept as JSON in the workspace, and shown as tables at the end of the command."""

import json
import logging
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from clc.bundle.serving import Verdict
from clc.evaluation.coders import TEST, WITHOUT_REFERENCES
from clc.evaluation.curves import CodecCurve, Comparison, compare
from clc.evaluation.measure import NATURAL, PAIR, Row, rows_from_table
from clc.evaluation.report.report import with_verdict
from clc.pictures.folders import passed_over_text
from flows.runtime.stage import StageResult
from flows.runtime.workspace import Workspace
from flows.service.promotion import bundle_in_service
from storage.atomic import write_bytes
from storage.errors import StorageError
from storage.regular import read_regular
from storage.tables import read_table

logger = logging.getLogger(__name__)

_FILE = "last-run.json"
_REPORT = "report.html"
_JPEG = "jpeg"
_ROW_TITLES = {
    NATURAL: "pictures that no other part holds",
    PAIR: "pictures of the pair: another view of the scene is a key picture",
}


@dataclass(frozen=True)
class StageOutcome:
    """One stage of a run: its folder (absolute), whether it was used again, and the summary of its manifest."""

    stage: str
    key: str
    directory: str
    is_reused: bool
    summary: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """The stages of one run in order, the evaluation of the bundle that was in service before, and the verdict."""

    started_utc: str
    stages: tuple[StageOutcome, ...]
    service: StageOutcome
    verdict: Verdict

    @classmethod
    def of(
        cls, started_utc: str, results: Mapping[str, StageResult], service: StageResult, verdict: Verdict
    ) -> "Outcome":
        """Put together what `retrain` knows; a stage older than `started_utc` was used again."""
        stages = tuple(_stage_outcome(result, started_utc) for result in results.values())
        return cls(started_utc, stages, _stage_outcome(service, started_utc), verdict)

    def directory(self, stage: str) -> Path:
        """Return the folder of one of the run's stages."""
        return next(Path(one.directory) for one in self.stages if one.stage == stage)

    def summary(self, stage: str) -> Mapping[str, Any]:
        """Return the summary of one of the run's stages."""
        return next(one.summary for one in self.stages if one.stage == stage)


def write_outcome(workspace: Workspace, outcome: Outcome) -> None:
    """Keep the outcome of the last run in `service/last-run.json`."""
    write_bytes(workspace.service / _FILE, json.dumps(asdict(outcome), indent=1).encode())


def write_decided_report(workspace: Workspace, outcome: Outcome) -> None:
    """Write the report of the new codec once more, with the verdict at its top: `service/report.html`.

    The pages of a finished stage never change, so the one in the stage's folder knows nothing of it. A report that
    cannot be read costs no promotion: a warning says so.
    """
    path = outcome.directory("evaluate-codec") / _REPORT
    try:
        report = path.read_text(encoding="utf-8")
    except OSError as error:
        logger.warning("report_missing path=%s reason=%s", path, error.strerror)
        return
    decided = f"{outcome.verdict.sentence} In service now: {bundle_in_service(workspace)}"
    write_bytes(workspace.service / _REPORT, with_verdict(report, decided).encode())


def read_outcome(workspace: Workspace) -> Outcome:
    """Return the outcome of the last run; `StorageError` when there is none or it is damaged."""
    path = workspace.service / _FILE
    try:
        fields = json.loads(read_regular(path))
        stages = tuple(StageOutcome(**one) for one in fields["stages"])
        return Outcome(fields["started_utc"], stages, StageOutcome(**fields["service"]), Verdict(**fields["verdict"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path} is missing or damaged; run the flow retrain again") from error


def finished_utc(workspace: Workspace) -> datetime | None:
    """Return when a run of `retrain` finished last, whether or not it promoted; None where none did."""
    try:
        return datetime.fromtimestamp((workspace.service / _FILE).stat().st_mtime, UTC)
    except OSError:
        return None


def show_outcome(console: Console, workspace: Workspace, outcome: Outcome) -> None:
    """Print the results, what was made and where, the verdict, and the commands to type next."""
    rows = rows_from_table(read_table(outcome.directory("evaluate-codec") / "rows.parquet"))
    console.print()
    for kind in (NATURAL, PAIR):
        if any(row.row == kind for row in rows):
            console.print(_results(rows, kind))
    for line in pair_lines(rows):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    console.print(_stages(outcome))
    for line in left_out_lines(outcome.summary("ingest-images")):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    console.print(outcome.verdict.sentence, highlight=False, soft_wrap=True, markup=False)
    _print_next(console, workspace, outcome)


def pair_lines(rows: Sequence[Row]) -> list[str]:
    """Say what the pair gained by its twin as a key picture, or why that is not known; nothing where there is none."""
    rate = compare(rows, PAIR).bd_rate(TEST, WITHOUT_REFERENCES)
    if rate is None:
        return []
    gained = f"not known what it saves ({rate.reason})" if rate.percent is None else f"{rate.percent:+.1f} % bytes"
    return [
        f"the pair beside its twin as a key picture: {gained} at equal PSNR, against the same codec without "
        "(the key picture's own bytes are not counted)"
    ]


def left_out_lines(ingested: Mapping[str, Any]) -> list[str]:
    """Say what of the source is not among the pictures, and what the pictures lost, from the summary of an ingest."""
    lines = []
    if ingested.get("failed"):
        counts = ", ".join(f"{reason} {count}" for reason, count in (ingested.get("reasons") or {}).items())
        told = f" ({counts})" if counts else ""
        lines.append(f"{_pictures(ingested['failed'])} cannot be used{told}; ledger.parquet of the ingest says why")
    lines += [
        f"{host}: {counts['ok']} came, {counts['failed']} failed"
        for host, counts in (ingested.get("hosts") or {}).items()
        if counts["failed"]
    ]
    lines += [f"{name} cannot be searched: {reason}" for name, reason in (ingested.get("unreadable") or {}).items()]
    if ingested.get("passed_over"):
        lines.append(f"passed over: {passed_over_text(ingested['passed_over'])}")
    lines += [f"{_pictures(count)}: {loss}" for loss, count in (ingested.get("losses") or {}).items()]
    return lines


def _pictures(count: int) -> str:
    return f"{count} picture{'' if count == 1 else 's'}"


def _results(rows: list[Row], kind: str) -> Table:
    comparison = compare(rows, kind)
    table = Table(title=f"{len(comparison.pictures)} {_ROW_TITLES[kind]}", title_justify="left")
    table.add_column("codec")
    for heading in ("bpp", "PSNR dB", "MS-SSIM", "BD-rate vs JPEG"):
        table.add_column(heading, justify="right")
    for curve in comparison.curves:
        if curve.points:
            table.add_row(*_cells(comparison, curve))
    return table


def _cells(comparison: Comparison, curve: CodecCurve) -> tuple[str, ...]:
    low, high = curve.points[0], curve.points[-1]
    jpeg = next((one.codec for one in comparison.curves if one.codec.lower() == _JPEG), None)
    rate = None if jpeg is None or jpeg == curve.codec else comparison.bd_rate(curve.codec, jpeg)
    shown = "" if rate is None else "none" if rate.percent is None else f"{rate.percent:+.1f} %"
    return (
        curve.codec,
        f"{low.bpp:.3f} to {high.bpp:.3f}",
        f"{low.psnr_db:.1f} to {high.psnr_db:.1f}",
        f"{low.ms_ssim:.3f} to {high.ms_ssim:.3f}",
        shown,
    )


def _stages(outcome: Outcome) -> Table:
    table = Table(title="what was made", title_justify="left")
    for heading in ("stage", "key", ""):
        table.add_column(heading, no_wrap=True)
    for one in outcome.stages:
        table.add_row(one.stage, one.key, "re-used" if one.is_reused else "made")
    return table


def _print_next(console: Console, workspace: Workspace, outcome: Outcome) -> None:
    """Print places and commands on unbroken lines, so that they can be copied."""
    evaluation, serving = outcome.directory("evaluate-codec"), bundle_in_service(workspace)
    python = shlex.quote(sys.executable)
    bundle = "" if serving == "shipped" else f" --bundle {shlex.quote(serving)}"
    lines = (
        f"report   {workspace.service / _REPORT}",
        f"RD plot  {evaluation / 'rd.png'}",
        f"bundle   {serving}",
        f"state    {workspace.root}",
        "",
        "next",
        f"  {python} -m mlflow ui --backend-store-uri {shlex.quote(workspace.mlflow_uri)}",
        f"  {python} -m clc.codec encode PICTURE.png PICTURE.clc --quality 50{bundle}",
        f"  {python} -m clc.codec decode PICTURE.clc BACK.png{bundle}",
        f"  {python} -m clc.codec serve-bundle list",
        f"  {python} -m flows.retrain --source FOLDER",
    )
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _stage_outcome(result: StageResult, started_utc: str) -> StageOutcome:
    manifest = result.manifest
    is_reused = manifest.created_utc < started_utc
    return StageOutcome(result.stage, result.key, str(result.directory), is_reused, manifest.summary)
