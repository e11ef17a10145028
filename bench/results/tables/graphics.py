"""Graphics by the transform alone, beside what they take without loss (bench/kodak.py, bench/range.py)."""

from __future__ import annotations

from typing import Any

from bench.results.measurement import Measurement, Phrase
from bench.results.record import Records
from bench.results.tables.whole_range import COLLECTIONS, summary_of

BOARDS, PHONES = "board-inspection", "phone-screens"


def values_of(found: Any) -> dict[str, Any]:
    """Mean rate and PSNR at quality 100, of what bench/kodak.py writes."""
    (point,) = [one for one in found["table"] if one["codec"] == "clc"]
    return {"pictures": found["pictures"]["natural"], "bpp": point["bpp"], "psnr_db": point["psnr_db"]}


def _transform(name: str, minutes: float) -> Measurement:
    folder = f"{COLLECTIONS}/{name}"
    command = f'python bench/kodak.py --pictures {folder} --qualities 100 --baselines ""'
    return Measurement(
        f"transform-{name}", command, values_of, minutes, needs=(folder,), option="--out", result="results.json"
    )


def _lossless(name: str, minutes: float) -> Measurement:
    folder = f"{COLLECTIONS}/{name}"
    command = f"python bench/range.py --set {name}={folder} --lossless-only"
    return Measurement(f"lossless-{name}", command, summary_of, minutes, needs=(folder,))


MEASUREMENTS = (_transform(BOARDS, 1), _lossless(BOARDS, 3), _transform(PHONES, 1), _lossless(PHONES, 5))


def _figures(records: Records) -> dict[str, str]:
    found = {}
    for short, name in (("boards", BOARDS), ("phones", PHONES)):
        transform, lossless = records[f"transform-{name}"].values, records[f"lossless-{name}"].values
        found[f"{short}_bpp"], found[f"{short}_psnr"] = f"{transform['bpp']:.3f}", f"{transform['psnr_db']:.1f}"
        found[f"{short}_exact"] = f"{lossless['WebP lossless bpp']:.3f}"
    return found


PHRASES = (
    Phrase(
        "docs/results.md",
        "Twelve binary pictures of circuit boards take {boards_bpp} bpp at quality 100, and still are not exact "
        "({boards_psnr} dB); as lossless WebP they take {boards_exact} bpp. Twelve screenshots of a phone take "
        "{phones_bpp} bpp at {phones_psnr} dB; exact ones {phones_exact}.",
        tuple(one.name for one in MEASUREMENTS),
        _figures,
    ),
)
