"""Pages with photographs in them, with the compound taken out and in (bench/results/compound_pages.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.results.measurement import Block, Measurement
from bench.results.record import Records
from bench.results.tables.texts import commands, percent, table, thousands
from bench.results.tables.whole_range import COLLECTIONS, after_release

COMPOUND = "compound"


def values_of(found: Any) -> dict[str, Any]:
    """The rows of the program, and the least and most seconds of a processor that trying a compound took, and all else.

    A row is a page and a quality: bytes, PSNR and cost of both ways.
    """
    rows = found["rows"]
    tried = [row["trying_seconds"] for row in rows if row["compound_bytes"] is not None]
    others = [row["else_seconds"] for row in rows]
    return {"rows": rows, "trying_s": [min(tried), max(tried)], "else_s": [min(others), max(others)]}


MEASUREMENTS = (
    Measurement(
        COMPOUND,
        f"python -m bench.results.compound_pages --screens {COLLECTIONS}/application-screens "
        "\\\n    --photographs ../shared/data/kodak",
        values_of,
        minutes=6,
        needs=(f"{COLLECTIONS}/application-screens", "../shared/data/kodak"),
    ),
)


def _pages(records: Records) -> str:
    rows = []
    before = ""
    for one in records[COMPOUND].values["rows"]:
        title, before = ("" if one["page"] == before else one["page"]), one["page"]
        alone = _file(one["alone_bytes"], one["alone_psnr_db"])
        rows.append((title, f"{one['quality']:g}", alone, _compound(one), _saved(one), percent(one["cost_percent"])))
    heading = ("page", "quality", "AVIF alone", "compound", "bytes", "cost")
    values = records[COMPOUND].values
    (least, most), (least_else, most_else) = values["trying_s"], values["else_s"]
    took = (
        f"Trying it took {least:.0f} to {most:.0f} s of a core beside the {least_else:.0f} to {most_else:.0f} s of all "
        "else."
    )
    by_hand = ""
    if records[COMPOUND].transcribed:
        by_hand = (
            "The table was filled before this command was there, with the photographs in other places of the screens."
        )
    parts = (table(heading, rows), took, after_release(records, (COMPOUND,)), by_hand, commands(MEASUREMENTS))
    return "\n\n".join(part for part in parts if part)


def _file(n_bytes: float, psnr_db: float) -> str:
    return f"{thousands(n_bytes)} B, {psnr_db:.2f} dB"


def _compound(one: Mapping[str, Any]) -> str:
    if one["compound_bytes"] is None:
        return "none is tried: the transform takes more"
    some = "" if one["rectangles"] == one["photographs"] else f" ({one['rectangles']} of {one['photographs']})"
    return _file(one["compound_bytes"], one["compound_psnr_db"]) + some


def _saved(one: Mapping[str, Any]) -> str:
    """What the compound saves in bytes, where it is what the encoder takes: where it costs less."""
    if one["compound_bytes"] is None or one["cost_percent"] >= 0:
        return "stays AVIF"
    return percent(100 * (one["compound_bytes"] / one["alone_bytes"] - 1))


BLOCKS = (Block("compound", (COMPOUND,), _pages),)
