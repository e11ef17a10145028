"""Whole collections by kind: each as an archive, beside its pictures alone, AVIF, JPEG and video (bench/archive.py)."""

from __future__ import annotations

from typing import Any, NamedTuple

from bench.results.measurement import Block, Measurement, Phrase
from bench.results.record import Records
from bench.results.tables.texts import bold, commands, percent, table
from bench.results.tables.whole_range import COLLECTIONS


class Collection(NamedTuple):
    """A set to measure: its folder, what it shows, and about how many minutes of a processor it takes."""

    folder: str
    shows: str
    minutes: float

    @property
    def measurement(self) -> str:
        """The name of its measurement."""
        return f"archive-{self.folder.rpartition('/')[2]}"


SETS = (
    Collection(f"{COLLECTIONS}/road-camera", "a road camera that stands still", 4),
    Collection(f"{COLLECTIONS}/burst", "a burst of one camera", 6),
    Collection(f"{COLLECTIONS}/time-lapse", "a time lapse by fluorescence", 4),
    Collection(f"{COLLECTIONS}/receipts", "receipts of one shop, scanned", 6),
    Collection(f"{COLLECTIONS}/printed-form", "a printed form, filled in by hand", 8),
    Collection(f"{COLLECTIONS}/satellite-places", "satellite pictures of several places", 3),
    Collection(f"{COLLECTIONS}/satellite", "satellite pictures of one place", 3),
    Collection(f"{COLLECTIONS}/board-inspection", "circuit boards, black and white", 5),
)

ROAD = "archive-road-camera"


def values_of(found: Any) -> dict[str, Any]:
    """BD-rates of a set's archives, their points, and how many streams one picture needs."""
    return {
        "pictures": found["pictures"],
        "bd_rates": {name.removeprefix("bd_rate_"): one for name, one in found.items() if name.startswith("bd_rate_")},
        "worst_streams_to_decode": found["worst_streams_to_decode"],
        "points": [
            {"quality": one["quality"], "bytes": one["bytes"], "psnr_db": one["psnr_db"], "keys": len(one["keys"])}
            for one in found["points"]
        ],
    }


def _measurement(one: Collection) -> Measurement:
    command = f"python bench/archive.py --set {one.folder} --json a.json --verify-at 60"
    return Measurement(one.measurement, command, values_of, one.minutes, needs=(one.folder,))


MEASUREMENTS = tuple(_measurement(one) for one in SETS)


def _row(one: Collection, records: Records) -> tuple[str, ...]:
    values = records[one.measurement].values
    rates, keys = values["bd_rates"], [point["keys"] for point in values["points"]]
    most = f"{max(keys)}" if min(keys) == max(keys) else f"{min(keys)} to {max(keys)}"
    return (
        one.shows,
        f"{values['pictures']}",
        most,
        bold(percent(rates["alone"])),
        *(percent(rates[name]) for name in ("avif", "jpeg", "video")),
        f"{values['worst_streams_to_decode']}",
    )


def _archives(records: Records) -> str:
    heading = ("pictures", "", "key pictures", "against each alone", "AVIF files", "JPEG files", "AV1 video", "streams")
    return "\n\n".join((table(heading, [_row(one, records) for one in SETS]), commands(MEASUREMENTS)))


BLOCKS = (Block("archives", tuple(one.measurement for one in SETS), _archives),)


def _road(records: Records) -> dict[str, str]:
    rates = records[ROAD].values["bd_rates"]
    return {"more": f"{rates['video']:.1f}", "less": f"{-rates['alone']:.1f}"}


PHRASES = (
    Phrase(
        "docs/results.md",
        "the archive of `road-camera` takes {more} % more bytes than one at equal PSNR, and {less} % less than its "
        "pictures alone",
        (ROAD,),
        _road,
    ),
)
