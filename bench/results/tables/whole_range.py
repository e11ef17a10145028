"""The whole range: above quality 100 and on what is no photograph, beside AVIF, WebP and JPEG XL (bench/range.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.results.measurement import Block, Measurement, Phrase
from bench.results.record import Records
from bench.results.tables.texts import bold, commands, listed, percent, signed, table, thousands

AVIF, BETTER, JPEG_XL = "over AVIF, %", "over the better, %", "over JPEG XL, %"
WAYS = {
    "learned": "transform",
    "avif": "AVIF",
    "lossless": "WebP lossless",
    "near-lossless": "WebP lossless, in steps",
    "compound": "transform and AVIF",
}
SETS = {
    "range-kodak": "`kodak`, {} photographs",
    "range-printed-form": "`printed-form`, {} scans",
    "range-receipts": "`receipts`, {} scans of receipts",
    "range-small": "{} small PNG files of every kind",
}
SMALL = "range-small"
KODAK = "range-kodak"
TONES = (KODAK, "range-printed-form", "range-receipts")
"""Sets of photographs and scans: no graphics."""
COLLECTIONS = "../shared/data/collections"


def summary_of(found: Any) -> dict[str, Any]:
    """What bench/range.py says of its one set, and which way each file without loss went.

    Raises ValueError where JPEG XL was not measured: the pages hold it against ours.
    """
    (one,) = found.values()
    if not one["summary"]["JPEG XL lossless bytes"]:
        raise ValueError("JPEG XL was not measured: install the extra `baselines`")
    ways = [row["way"] for row in one["rows"] if (row["coder"], row["setting"]) == ("clc", "lossless")]
    pixels = one["pixels"]
    whole = [8 * row["n_bytes"] / pixels[row["picture"]] for row in one["rows"] if row["coder"] == "WebP lossless"]
    return {
        **one["summary"],
        "lossless ways": {way: ways.count(way) for way in dict.fromkeys(ways)},
        "WebP lossless bpp": sum(whole) / len(whole),
    }


def _measured(name: str, folder: str, wishes: str, minutes: float, needs: str = "") -> Measurement:
    command = f"python bench/range.py --set {folder} {wishes}"
    return Measurement(name, command, summary_of, minutes, needs=(needs or folder.partition("=")[2],))


UPPER = "--qualities 100 --psnr 35 38 42 46 50 --range 35-50"
FAST = "--effort 4 --avif-speed 6"
SCREEN = f"{COLLECTIONS}/application-screens/02.webp"
MEASUREMENTS = (
    _measured(KODAK, "kodak=../shared/data/kodak", "--qualities 100 --psnr 38 40 42 44 46 --range 38-46", 31),
    _measured("range-printed-form", f"printed-form={COLLECTIONS}/printed-form", UPPER, 13),
    _measured("range-receipts", f"receipts={COLLECTIONS}/receipts", UPPER, 13),
    Measurement(SMALL, "python bench/range.py --small --psnr 35 38 42 46 50 --range 35-50", summary_of, minutes=15),
    _measured(
        "range-kodim01",
        "kodim01=../shared/data/kodak/kodim01.png",
        f"--qualities 50 100 --psnr 42 46 {FAST}",
        1.5,
    ),
    _measured(
        "range-kodim04",
        "kodim04=../shared/data/kodak/kodim04.png",
        f"--qualities --psnr 46 --max-error 2 {FAST}",
        1,
    ),
    _measured("range-screen", f"screen={SCREEN}", f"--qualities 50 100 --psnr {FAST}", 1),
)
_BY_NAME = {one.name: one for one in MEASUREMENTS}
SINGLE = ("range-kodim01", "range-kodim04", "range-screen")


def ranges_of(records: Records, name: str) -> tuple[str, Mapping[str, Any]]:
    """The range of PSNR of a set, as text, and the three comparisons over it."""
    ((text, found),) = records[name].values["ranges"].items()
    return text, found


def ahead_without_loss(records: Records, name: str) -> float:
    """How many percent JPEG XL takes less than ours without loss."""
    values = records[name].values
    return 100 * (1 - float(values["JPEG XL lossless bytes"]) / float(values["lossless bytes"]))


def after_release(records: Records, names: tuple[str, ...]) -> str:
    """A sentence where figures are of code that is younger than the release; else nothing."""
    found = [records[name] for name in names if records[name].after_release]
    return f"These figures are of the code after {found[0].version}, with its model." if found else ""


def _sets(records: Records) -> str:
    heading = (
        "set",
        "range of PSNR",
        "against AVIF",
        "against the better of AVIF and lossless WebP",
        "against JPEG XL",
        "lowest PSNR at quality 100",
        "without loss; WebP; JPEG XL, bytes",
    )
    rows = []
    for name, title in SETS.items():
        values, (text, found) = records[name].values, ranges_of(records, name)
        whole = [values[f"{coder}lossless bytes"] for coder in ("", "WebP ", "JPEG XL ")]
        rows.append(
            (
                title.format(values["pictures"]),
                text,
                bold(percent(found[AVIF])),
                percent(found[BETTER]),
                percent(found[JPEG_XL]),
                _decibels(values["quality 100"]["lowest dB"]),
                "; ".join(thousands(n_bytes) for n_bytes in whole if n_bytes),
            )
        )
    kodak = {setting: one for setting, one in records[KODAK].values.items() if setting.endswith(" dB")}
    levels = listed([setting.removesuffix(" dB") for setting in kodak])
    rates = listed([signed(one[AVIF]) for one in kodak.values()])
    ahead = sorted(ahead_without_loss(records, name) for name in TONES)
    exact = [records[name].values for name in SETS]
    n_exact, n_pictures = (sum(values[key] for values in exact) for key in ("bit-exact", "pictures"))
    prose = (
        f"Of what was asked for without loss {n_exact} of {n_pictures} came back bit by bit. On Kodak, at {levels} dB: "
        f"{rates} % against AVIF. Above 50 dB and without loss JPEG XL is ahead: it takes {ahead[0]:.0f} to "
        f"{ahead[-1]:.0f} % less without loss on photographs and scans."
    )
    small = {key: one["lowest dB"] for key, one in records[SMALL].values.items() if key.startswith("quality ")}
    lowest = listed([f"{psnr:.1f} dB at {setting}" for setting, psnr in small.items()])
    further = f"The lowest PSNR of the {records[SMALL].values['pictures']} small files is {lowest}."
    told = after_release(records, tuple(SETS))
    parts = (table(heading, rows), f"{prose} {further}", told, commands(_BY_NAME[name] for name in SETS))
    return "\n\n".join(part for part in parts if part)


def _decibels(value: float | None) -> str:
    """A PSNR; None stands for one without bounds."""
    return "exact" if value is None else f"{value:.1f} dB"


def _single(records: Records) -> str:
    rows: list[tuple[str, ...]] = []
    titles = {
        "range-kodim01": ["kodim01"],
        "range-kodim04": ["kodim04"],
        "range-screen": ["a screen, 1152x648", "(application-screens, 02.webp)"],
    }
    for name, waiting in titles.items():
        values = records[name].values
        for setting, one in values.items():
            if isinstance(one, dict) and "mean bytes" in one:
                asked = f"`--{setting.replace('max error', 'max-error')}`" if "error" in setting else setting
                psnr = "exact" if one["lowest dB"] is None else f"{one['lowest dB']:.2f}"
                title, against = (waiting.pop(0) if waiting else ""), percent(one[AVIF])
                rows.append((title, asked, thousands(one["mean bytes"]), psnr, against, _ways(one["ways"])))
        if not values["lossless bytes"]:
            continue
        title, whole = (waiting.pop(0) if waiting else ""), f"WebP lossless: {thousands(values['WebP lossless bytes'])}"
        ours = thousands(values["lossless bytes"])
        rows.append((title, "`--lossless`", ours, "exact", whole, _ways(values["lossless ways"])))
    heading = ("picture", "asked for", "bytes", "PSNR, dB", "against AVIF, 4:4:4", "way")
    parts = (table(heading, rows), after_release(records, SINGLE), commands(_BY_NAME[name] for name in SINGLE))
    return "\n\n".join(part for part in parts if part)


def _ways(ways: Mapping[str, int]) -> str:
    return ", ".join(WAYS.get(way, way) for way in ways)


BLOCKS = (Block("range-sets", tuple(SETS), _sets), Block("range-single", SINGLE, _single))


def _jpeg_xl(records: Records) -> dict[str, str]:
    return {"less": f"{ahead_without_loss(records, KODAK):.0f}"}


PHRASES = (Phrase("docs/results.md", "JPEG XL takes {less} % less without loss on Kodak", (KODAK,), _jpeg_xl),)
