"""How long coding takes beside peers in the same run, and what memory (bench/codec.py)."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from bench.results.measurement import Block, Exempt, Measurement, Phrase
from bench.results.record import Records
from bench.results.tables.texts import commands, listed, table

SPEED, AGAIN = "speed", "speed-again"
MEAN, ANCHOR, TCM = "mbt2018-mean q3", "cheng2020-anchor q3", "clc, tcm N=64"
DECODE, ENCODE, SEARCH = "decode", "encode, no references", "encode"
_COMMAND = "python bench/codec.py ../shared/data/kodak/kodim04.png --runs 5"
_PICTURE = "../shared/data/kodak/kodim04.png"


def values_of(found: Any) -> dict[str, Any]:
    """Medians of all seconds, and what else bench/codec.py measures."""
    return {
        "setting": found["setting"],
        "seconds": {
            codec: {row: round(median(seconds), 4) for row, seconds in rows.items()}
            for codec, rows in found["seconds"].items()
        },
        "ratios": {row: {peer: round(one, 3) for peer, one in by.items()} for row, by in found["ratios"].items()},
        "exact_seconds": round(median(found["exactness_seconds"]["exact path"]), 4),
        "exact_over_float": round(found["exact_over_float"], 3),
        "start_up_seconds": round(median(found["start_up_seconds"]), 3),
        "peak_memory_mib": {mode: round(peak) for mode, peak in found["peak_memory_mib"].items()},
    }


MEASUREMENTS = tuple(
    Measurement(name, _COMMAND, values_of, minutes=6, needs=(_PICTURE,), is_timed=True) for name in (SPEED, AGAIN)
)


def seconds_of(records: Records, row: str, codec: str = "clc") -> float:
    """Seconds of a row: median of the runs."""
    return float(records[SPEED].values["seconds"][codec][row])


def ratio_of(records: Records, row: str, peer: str = MEAN, name: str = SPEED) -> float:
    """Our median over the peer's."""
    return float(records[name].values["ratios"][row][peer])


def _shown(seconds: float) -> str:
    return f"{seconds:.3f} s" if seconds < 1 else f"{seconds:.2f} s"


def _speed(records: Records) -> str:
    values = records[SPEED].values
    titles = {DECODE: "decode", ENCODE: ENCODE, SEARCH: "encode, with the search in the shipped dictionary"}
    rows = []
    for row, title in titles.items():
        cells = [title, _shown(seconds_of(records, row))]
        for peer in (MEAN, ANCHOR, TCM):
            theirs: Mapping[str, float] = values["seconds"][peer]
            other, ratio = theirs.get(row) or theirs.get(row.split(",")[0]), values["ratios"][row].get(peer)
            shown = f"**{ratio:.2f}**" if peer == MEAN and ratio else f"{ratio or 0:.2f}"
            cells.append(f"{_shown(other)} ({shown})" if other and ratio else "")
        rows.append(cells)
    rows.append(["import and load, new process", _shown(values["start_up_seconds"]), "", "", ""])
    again = listed([f"{ratio_of(records, row, name=AGAIN):.2f}" for row in titles])
    peaks = {mode: mib / 1024 for mode, mib in values["peak_memory_mib"].items()}
    bullets = (
        f"- A second call gave ratios of {again}. Seconds differ by a third between runs on a shared machine, the "
        "peers' too: quote the ratios.",
        f"- The exact path takes {values['exact_seconds']:.2f} s of a decode, {values['exact_over_float']:.2f} times "
        "its float32 twin.",
        f"- Peak memory at 3000x2000: {peaks['encode']:.1f} GiB to encode, {peaks['decode']:.1f} GiB to decode.",
    )
    parts = (table(("", "clc", MEAN, ANCHOR, "our `tcm`, N = 64"), rows), commands(MEASUREMENTS), "\n".join(bullets))
    return "\n\n".join(parts)


BLOCKS = (Block("speed", (SPEED, AGAIN), _speed),)


def _times(records: Records) -> dict[str, str]:
    return {
        "decode": f"{ratio_of(records, DECODE):.2f}",
        "encode": f"{ratio_of(records, ENCODE):.2f}",
        "search": f"{ratio_of(records, SEARCH):.2f}",
        "about": f"{ratio_of(records, ENCODE):.1f}",
    }


_MEAN_TIME = "mbt2018-mean's time"
PHRASES = (
    Phrase("docs/results.md", f"decoding {{decode}}, encoding {{encode}} times {_MEAN_TIME}", (SPEED,), _times),
    Phrase(
        "docs/results.md",
        f"{{encode}} times {_MEAN_TIME} without references, {{search}} times with the search",
        (SPEED,),
        _times,
    ),
)
EXEMPT: tuple[Exempt, ...] = ()
