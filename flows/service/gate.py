"""The gate: whether a new bundle takes the place of the one in service, and why, in one sentence.

It must be better by more than chance, no slower and no larger than bounds allow, and fail on nothing that the one in
service codes. `flows.retrain` asks; what is measured stands in the two evaluations, which are over the same pictures.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from clc.bundle.identity import SHIPPED, file_of, id_of, read_manifest_bytes
from clc.bundle.serving import Verdict
from clc.errors import ClcError
from clc.evaluation.coders import TEST
from clc.evaluation.measure import FAILED, NATURAL, OK, Row, rows_from_table
from clc.evaluation.paired import PairedBdRate, paired_bd_rate
from clc.evaluation.scales import PSNR
from flows.items import read_items
from flows.runtime.stage import StageResult, resolve
from flows.runtime.workspace import Workspace
from storage.tables import read_table

MOST_TIME_RATIO = 2.0
"""A new bundle may take so many times as long to encode or decode; a busy machine alone does less to timings."""
MOST_SIZE_RATIO = 1.5
"""And its model so many times as many bytes. Dictionary and key pictures are as large as was asked for."""
_MODEL_PARTS = ("transforms", "prior", "tables")


@dataclass(frozen=True)
class Contender:
    """A bundle and its evaluation: its folder, the stage, its own natural rows, and what a sentence calls it."""

    folder: Path
    bundle_id: str
    evaluation: StageResult
    rows: tuple[Row, ...]
    called: str = "the bundle in service"

    @classmethod
    def of(cls, folder: Path | None, evaluation: StageResult, called: str = "the bundle in service") -> "Contender":
        """Read what is needed of a bundle (None: the shipped one) and of its finished evaluation."""
        place = folder or SHIPPED
        rows = rows_from_table(read_table(evaluation.directory / "rows.parquet"))
        own = tuple(row for row in rows if row.codec == TEST and row.row == NATURAL)
        return cls(place, id_of(read_manifest_bytes(place)), evaluation, own, called)

    @property
    def model_bytes(self) -> int:
        """Size of the network, without dictionary and key pictures."""
        return sum((self.folder / file_of(part)).stat().st_size for part in _MODEL_PARTS)

    @property
    def bd_rates_percent(self) -> dict[str, float]:
        """BD-rates at equal PSNR against other formats over natural pictures, by name, those that could be taken."""
        rates = self.evaluation.manifest.summary.get("bd_rates", ())
        of_psnr = [one for one in rates if one.get("measure", PSNR.key) == PSNR.key]
        return {str(one["anchor"]): float(one["percent"]) for one in of_psnr if one.get("percent") is not None}


def judge(workspace: Workspace, candidate: Contender, service: Contender) -> Verdict:
    """Hold a candidate against the bundle in service; both were evaluated on the same pictures."""
    if candidate.bundle_id == service.bundle_id:
        return _verdict(candidate, service, PairedBdRate(None, None, None, 0), "", "it is the one that serves already")
    gain = paired_bd_rate(candidate.rows, service.rows, _photos(workspace, candidate.evaluation))
    return _verdict(candidate, service, gain, _gained(gain, service.called), _objection(candidate, service, gain))


def _verdict(candidate: Contender, service: Contender, gain: PairedBdRate, gained: str, objection: str) -> Verdict:
    if objection:
        sentence = f"Not promoted: {gained}{', but ' if gained else ''}{objection}."
    else:
        sentence = f"Promoted: {gained}. It is within the bounds for time and size, and fails on no picture."
    return Verdict(
        bundle_id=candidate.bundle_id,
        against=service.bundle_id,
        is_promoted=not objection,
        sentence=sentence,
        percent=gain.percent,
        low_percent=gain.low_percent,
        high_percent=gain.high_percent,
        photos=gain.photos,
        bd_rates_percent=candidate.bd_rates_percent,
        evaluation=candidate.evaluation.key,
        judged_utc=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _gained(gain: PairedBdRate, other: str) -> str:
    """What the candidate saves, as a clause; "" where it could not be measured."""
    if gain.percent is None:
        return ""
    told = f"on {gain.photos} photographs it needs {_bytes(gain.percent)} than {other} at equal PSNR"
    if gain.low_percent is None or gain.high_percent is None:
        return told
    return f"{told} (with 95 % certainty between {_bytes(gain.low_percent)} and {_bytes(gain.high_percent)})"


def _bytes(percent: float) -> str:
    return f"{abs(percent):.1f} % {'fewer' if percent < 0 else 'more'} bytes"


def _objection(candidate: Contender, service: Contender, gain: PairedBdRate) -> str:
    """Why the candidate is not promoted, as a clause; "" where nothing speaks against it. What is worst comes first."""
    failure = _new_failure(candidate.rows, service.rows)
    if failure is not None:
        return f"it fails on {failure.name} at quality {failure.quality:g}: {failure.reason.rstrip('.')}"
    if gain.low_percent is None or gain.high_percent is None:
        return gain.reason
    if gain.percent is not None and gain.percent >= 0:
        return "a new bundle must need fewer"
    if gain.high_percent >= 0:
        return "that may be chance"
    for what in ("encode_s", "decode_s"):
        ratio = _time_ratio(candidate.rows, service.rows, what)
        if ratio > MOST_TIME_RATIO:
            verb = what.removesuffix("_s")
            return f"it takes {ratio:.1f} times as long to {verb}, where {MOST_TIME_RATIO:g} are allowed"
    ratio = candidate.model_bytes / service.model_bytes
    if ratio > MOST_SIZE_RATIO:
        return f"its model is {ratio:.1f} times as large, where {MOST_SIZE_RATIO:g} are allowed"
    return ""


def _new_failure(candidate: Sequence[Row], service: Sequence[Row]) -> Row | None:
    """The first picture that the candidate fails on, a decode mismatch above all, where the other does not."""
    able = {(row.item_id, row.quality) for row in service if row.status == OK}
    failed = [row for row in candidate if row.status == FAILED and (row.item_id, row.quality) in able]
    return failed[0] if failed else None


def _time_ratio(candidate: Sequence[Row], service: Sequence[Row], what: str) -> float:
    """How many times as long the candidate takes, the median over pictures and qualities; 1 where it is not known."""
    known = {(row.item_id, row.quality): getattr(row, what) for row in service if row.status == OK}
    pairs = [
        (getattr(row, what), known[row.item_id, row.quality])
        for row in candidate
        if row.status == OK and (row.item_id, row.quality) in known
    ]
    ratios = [own / other for own, other in pairs if other > 0 and math.isfinite(own / other)]
    return median(ratios) if ratios else 1.0


def _photos(workspace: Workspace, evaluation: StageResult) -> Mapping[str, str]:
    """The photograph of each item that was evaluated; patches of one photograph have the same."""
    try:
        ingest = resolve(workspace, "ingest-images", evaluation.manifest.inputs["ingest"])
    except (ClcError, KeyError):
        return {}
    return {item.item_id: item.identity for item in read_items(ingest.directory)}
