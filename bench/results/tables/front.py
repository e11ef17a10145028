"""The README's table and its sentences, and what the pages say they are of: the version and its bundle."""

from __future__ import annotations

import textwrap

from bench.results.measurement import Block, Exempt, Phrase
from bench.results.record import Records
from bench.results.tables.adaptation import ADAPTED, BUDDHA, COPR, KEYS, rate_of
from bench.results.tables.kodak import KODAK, LIVE, last_point, rates_of
from bench.results.tables.speed import DECODE, ENCODE, SPEED, ratio_of, seconds_of
from bench.results.tables.texts import bold, percent, signed, table
from bench.results.tables.whole_range import AVIF, ranges_of
from bench.results.tables.whole_range import KODAK as RANGE

FORMS = "range-printed-form"
ROWS = {"1": (KODAK,), "2": (SPEED,), "3": (COPR,), "4": (BUDDHA,), "5": (RANGE, FORMS)}
"""The measurements behind each number in the README's column "by"."""
_COLUMNS = 100  # of the README
_SAME_SIX = "the same six: beside 21 key pictures, whose bytes are not counted"


def _readme(records: Records) -> str:
    rates, kodak = rates_of(records), records[RANGE].values
    lossless = {coder: kodak["lossless bytes"] / kodak[f"{coder} lossless bytes"] for coder in ("WebP", "JPEG XL")}
    webp, jpeg_xl = (signed(100 * (ratio - 1)) for ratio in lossless.values())
    text, forms = ranges_of(records, FORMS)
    at_42, at_46 = (signed(kodak[f"{level} dB"][AVIF]) for level in (42, 46))
    three = ", ".join(signed(rates[name]["percent"]) for name in LIVE)
    rows = (
        ("bytes on Kodak against JPEG, WebP, AVIF", bold(f"{three} %"), "1"),
        ("the same against VTM-9.1", percent(rates["vtm-9.1"]["percent"]), "1"),
        ("decode 768x512, 2 cores", _time(records, DECODE), "2"),
        ("encode it, without references", _time(records, ENCODE), "2"),
        (
            "six pictures of a drone strip: after 20 minutes of adaptation to others",
            percent(rate_of(records, COPR, ADAPTED)),
            "3",
        ),
        (_SAME_SIX, percent(rate_of(records, COPR, KEYS)), "3"),
        (
            "a statue from all sides: adaptation; key pictures",
            "; ".join(percent(rate_of(records, BUDDHA, row)) for row in (ADAPTED, KEYS)),
            "4",
        ),
        (f"against AVIF: Kodak at 42, 46 dB; scanned forms, {text}", f"{at_42}, {at_46}; {percent(forms[AVIF])}", "5"),
        ("without loss, Kodak: against WebP, JPEG XL", f"{webp}, {jpeg_xl} %", "5"),
    )
    return "\n\n".join((_of(records), table(("measured", "figure", "by"), rows)))


def _of(records: Records) -> str:
    """Say which version the figures are of, and which of them are of the code after it."""
    kodak = records[KODAK]
    later = [number for number, names in ROWS.items() if any(records[name].after_release for name in names)]
    remark = ""
    if later:
        remark = " and the code after it" if len(later) == len(ROWS) else f" ({', '.join(later)}: of the code after it)"
    text = (
        f"Figures are of {kodak.version} with its bundle {kodak.bundle}{remark}. Bytes are those of whole files at "
        "equal PSNR, on average over the range of both codecs; negative ones save."
    )
    return textwrap.fill(text, _COLUMNS, break_on_hyphens=False)


def _time(records: Records, row: str) -> str:
    return f"{seconds_of(records, row):.3f} s, {ratio_of(records, row):.2f} x mbt2018-mean"


BLOCKS = (Block("readme", tuple(name for names in ROWS.values() for name in names), _readme),)


def _version(records: Records) -> dict[str, str]:
    return {"version": records[KODAK].version, "bundle": records[KODAK].bundle}


def _keys(records: Records) -> dict[str, str]:
    return {"keys": signed(rate_of(records, COPR, KEYS))}


def _statue(records: Records) -> dict[str, str]:
    return {"statue": signed(rate_of(records, BUDDHA, KEYS))}


def _losses(records: Records) -> dict[str, str]:
    return {
        "more": f"{rates_of(records)['vtm-9.1']['percent']:.0f}",
        "times": f"{ratio_of(records, ENCODE):.1f}",
        "top": f"{last_point(records)['psnr_db']:.0f}",
        **{name: f"{records[KODAK].values['measures'][name]['avif']:.0f}" for name in ("ms_ssim", "ssimulacra2")},
    }


PHRASES = (
    Phrase("docs/results.md", "# Results of {version}", (KODAK,), _version),
    Phrase(
        "docs/results.md",
        "Every figure on this page was measured with {version} and the model that the package ships, bundle {bundle}.",
        (KODAK,),
        _version,
    ),
    Phrase("docs/model-card.md", "with {version} and this model ({bundle}). BD-rates", (KODAK,), _version),
    Phrase("docs/model-card.md", "(the first six coded pictures of copr: {keys} %)", (COPR,), _keys),
    Phrase("docs/model-card.md", "parallax is strong (buddha: {statue} %)", (BUDDHA,), _statue),
    Phrase("docs/model-card.md", "Quality 100 ends at about {top} dB on Kodak", (KODAK, SPEED), _losses),
    Phrase(
        "README.md",
        "it takes {more} % more bytes than VTM and, at equal MS-SSIM or SSIMULACRA2, {ms_ssim} and {ssimulacra2} % "
        "more than AVIF; encoding takes {times} times as long as mbt2018-mean; beyond {top} dB and",
        (KODAK, SPEED),
        _losses,
    ),
)
EXEMPT: tuple[Exempt, ...] = ()
