"""What Prefect's pages show of an evaluation: its table, its plot, what failed, and where everything else is."""

import json
import math
from collections.abc import Mapping
from typing import Any

from clc.bundle.identity import ID_DIGITS
from clc.evaluation.measure import FAILED, rows_from_table
from clc.evaluation.scales import PSNR, SCALES
from flows.runtime.artifacts import publish_png, publish_table, publish_text
from flows.runtime.mlflow_session import experiments_page
from flows.runtime.stage import StageResult
from flows.runtime.workspace import Workspace
from storage.regular import read_regular
from storage.tables import read_table

RESULTS, PLOT, FAILURES, LINKS = (f"evaluation-{name}" for name in ("results", "plot", "failures", "links"))
"""Keys of the artifacts."""
_MOST_BYTES = 2**20


def show_evaluation(workspace: Workspace, result: StageResult) -> None:
    """Publish a finished evaluate-codec, made by this run or used again; without a run there is nothing to show."""
    summary = result.manifest.summary
    title = f"Bundle {str(summary.get('bundle_id', ''))[:ID_DIGITS]} on {summary.get('dataset', '')}"
    table = [
        {name: _figure(value) for name, value in one.items() if name != "references"}
        for one in summary.get("table", ())
    ]
    publish_table(
        RESULTS, table, f"{title}. Negative figures save; means over the pictures below.\n\n{bd_rate_table(summary)}"
    )
    plot = result.directory / "rd.png"
    if plot.is_file():
        publish_png(PLOT, plot.read_bytes(), f"{title}: rate and PSNR.")
    rows = rows_from_table(read_table(result.directory / "rows.parquet"))
    failures = [
        {"picture": row.name, "codec": row.codec, "quality": row.quality, "reason": row.reason}
        for row in rows
        if row.status == FAILED
    ]
    missing = [
        {"picture": "all", "codec": name, "quality": "all", "reason": reason}
        for name, reason in summary.get("missing_baselines", {}).items()
    ]
    description = f"{title}: {len(failures)} files failed, {len(missing)} codecs could not be had."
    publish_table(FAILURES, [*missing, *failures], description)
    publish_text(LINKS, _links(workspace, result), title)


def bd_rate_table(summary: Mapping[str, Any]) -> str:
    """Return the BD-rates of a summary as a table in Markdown: a row a codec, a column a measure.

    Where there is none its cell says so, and a sentence below the table why.
    """
    rates = [*summary.get("bd_rates", ()), *summary.get("published_bd_rates", ())]
    by_cell = {(one["anchor"], one.get("measure", PSNR.key)): one for one in rates}
    anchors = list(dict.fromkeys(anchor for anchor, _ in by_cell))
    measures = [measure for measure in SCALES if any(measure == own for _, own in by_cell)]
    if not anchors:
        return "No BD-rates: nothing else was measured."
    lines = ["| BD-rate against | " + " | ".join(f"at equal {SCALES[one].label}" for one in measures) + " |"]
    lines.append("|---|" + "---:|" * len(measures))
    rows = [[anchor, *(_cell(by_cell.get((anchor, one))) for one in measures)] for anchor in anchors]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    reasons = [
        f"\n- None against {anchor} at equal {SCALES[measure].label}: {one['reason']}."
        for (anchor, measure), one in by_cell.items()
        if one["percent"] is None
    ]
    return "\n".join(lines) + "\n" + "".join(reasons)


def _cell(rate: Mapping[str, Any] | None) -> str:
    if rate is None:
        return ""
    return "none" if rate["percent"] is None else f"{rate['percent']:+.1f} %"


def _links(workspace: Workspace, result: StageResult) -> str:
    report = (result.directory / "report.html").as_uri()
    lines = [
        f"- [report]({report}): `{result.directory / 'report.html'}`",
        f"- rows: `{result.directory}/rows.parquet`",
    ]
    address = _mlflow_address(workspace)
    lines.append(f"- [MLflow]({experiments_page(address)})" if address else "- MLflow: `make serve` shows it")
    return "\n".join(lines)


def _mlflow_address(workspace: Workspace) -> str:
    """Where MLflow listens, "" where nothing says so."""
    try:
        return str(json.loads(read_regular(workspace.services_file, _MOST_BYTES))["mlflow"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _figure(value: object) -> object:
    """A figure as a page shows it: four digits, none where it is none."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.4g}") if math.isfinite(value) else None
