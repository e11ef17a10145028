"""What twenty minutes of adaptation to a collection are worth, and key pictures (bench/adaptation.py)."""

from __future__ import annotations

from typing import Any

from bench.results.measurement import Block, Exempt, Measurement, Phrase
from bench.results.record import Records
from bench.results.tables.texts import bold, commands, percent, signed, table

COPR, BUDDHA = "adaptation-copr", "adaptation-buddha"
ADAPTED, KEYS, BOTH = "adapted, none", "shipped, aligned", "adapted, aligned"
UNLIKE = "00052"
"""The picture of buddha that the pictures adapted to are unlike."""
_SETS = "../shared/data/correlated"


def values_of(found: Any) -> dict[str, Any]:
    """BD-rates by codec and mode, of all pictures and of each, and what the training came to."""
    by_picture = {name.partition(".")[0]: rate for name, rate in found["by_picture"].items()}
    rates = [rate for rate in by_picture.values() if rate is not None]
    return {
        "training": found["training"],
        "bd_rates": {name: one["percent"] for name, one in found["bd_rates"].items()},
        "by_picture": by_picture,
        "coded": len(by_picture),
        "least": max(rates),
        "most": min(rates),
    }


def _command(name: str, more: str) -> str:
    return (
        f"OMP_NUM_THREADS=1 python bench/adaptation.py --set {_SETS}/{name} \\\n"
        f"    --json a.json --minutes 20 --qualities 0,30,60,95{more}"
    )


MEASUREMENTS = (
    # Timed, because the steps of twenty minutes are fewer where other work runs.
    Measurement(COPR, _command("copr", " --limit 6"), values_of, minutes=45, needs=(f"{_SETS}/copr",), is_timed=True),
    Measurement(BUDDHA, _command("buddha", ""), values_of, minutes=35, needs=(f"{_SETS}/buddha",), is_timed=True),
)


def rate_of(records: Records, name: str, row: str) -> float:
    """A BD-rate in percent against the shipped codec without references."""
    return float(records[name].values["bd_rates"][row])


def _adaptation(records: Records) -> str:
    heading = ("", "pictures adapted to", "steps", "adapted, no references", "key pictures, shipped", "both")
    rows = []
    for name, title in ((COPR, "`copr` (first {} coded)"), (BUDDHA, "`buddha` ({} coded)")):
        values, emphasis = records[name].values, bold if name == COPR else str
        adapted, keys, both = (percent(rate_of(records, name, row)) for row in (ADAPTED, KEYS, BOTH))
        spread = f"({signed(values['least'])} to {signed(values['most'])})"
        pictures, steps = values["training"]["pictures"], values["training"]["steps"]
        cells = (title.format(values["coded"]), f"{pictures}", f"{steps} of 8 crops")
        rows.append((*cells, f"{emphasis(adapted)} {spread}", emphasis(keys), both))
    return "\n\n".join((table(heading, rows), commands(MEASUREMENTS)))


BLOCKS = (Block("adaptation", (COPR, BUDDHA), _adaptation),)


def _unlike(records: Records) -> dict[str, str]:
    return {"gain": f"{-records[BUDDHA].values['by_picture'][UNLIKE]:.1f}"}


def _without_adapting(records: Records) -> dict[str, str]:
    rates = {name: f"{-rate_of(records, name, KEYS):.1f}" for name in (COPR, BUDDHA)}
    return {"version": records[COPR].version, "copr": rates[COPR], "buddha": rates[BUDDHA]}


PHRASES = (
    Phrase(
        "docs/results.md",
        f"picture {UNLIKE} of `buddha`, before other things than the rest, gains {{gain}} %",
        (BUDDHA,),
        _unlike,
    ),
    Phrase(
        "docs/overlapping-pictures.md",
        "With {version}, not adapted, the first six coded pictures of a drone strip (`copr`) beside 21 key pictures "
        "take **{copr} % fewer bytes** at equal PSNR than without references; six views of a statue (`buddha`) "
        "{buddha} % fewer.",
        (COPR, BUDDHA),
        _without_adapting,
    ),
)
_MINUTES = "how long the training was told to take"
EXEMPT = (
    Exempt("docs/results.md", "20 minutes of training, and key pictures", _MINUTES),
    Exempt("docs/results.md", "are what the codec is adapted to, for 20 minutes of one core", _MINUTES),
)
