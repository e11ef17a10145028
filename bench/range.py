"""From thumbnails to lossless, from photographs to graphics: real files, decoded again, beside Pillow's AVIF and WebP.

    python bench/range.py --set kodak=FOLDER --set screens=FOLDER [--small] [--graphics N] [--limit N] [--json FILE]
    python bench/range.py --set one=PICTURE --qualities --psnr 46 --max-error 2
    python bench/range.py --small --lossless-only
    python bench/range.py --pages 6 --photographs FOLDER --qualities 25 50 75 100

Every picture of a set, or the first `--limit` of them in equal distances, is coded at `--qualities`, at `--psnr` (dB),
within `--max-error` (levels) and without loss; by Pillow as AVIF (speed 4, 4:4:4) and WebP at several of their
qualities, and as lossless WebP (method 6); and as JPEG XL where imagecodecs is installed. `--small` is the set of a
hundred PNG files of `bench/rendered/small_pngs.py`, `--graphics N` that of N pictures of kinds and fonts that no model
was trained on (`bench/graphics.py`), `--pages N` that of N drawn pages in which up to three photographs of a folder lie
(`bench/rendered/pages.py`). For each set is printed:

- our bytes at each PSNR over those of AVIF at the same PSNR, interpolated between its files (logarithm of bytes over
  dB, a straight line), the same over the better of AVIF and lossless WebP, and over JPEG XL;
- the same three for all of a range of PSNR (`--range LOW-HIGH`), as a BD-rate is: the mean, over the pictures and over
  steps of half a decibel, of the logarithm of the ratio. Where a format has no lossy file of a PSNR, but a lossless
  one, that one counts; what a format does not reach, or undercuts from its lowest file on, is left out;
- our bytes without loss over those of lossless WebP and JPEG XL, and how many of the pictures came back bit by bit;
- the lowest PSNR of a picture at each quality, and how many went which way.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from graphics import graphics
from PIL import Image
from rendered.drawing import Pen
from rendered.pages import page
from rendered.small_pngs import make
from rich.console import Console
from rich.table import Table

import clc
from clc.codec.files import refuse_existing
from clc.codec.ways.suitability import psnr_of, squared_error_of
from clc.console import complain
from clc.errors import ClcError, InputError
from clc.evaluation.baselines.libraries import jpeg_xl
from clc.evaluation.baselines.unavailable import Unavailable
from clc.pictures.folders import find_pictures
from clc.pictures.images import ReadPicture, read_picture
from storage.atomic import write_bytes

AVIF_QUALITIES = (30, 50, 65, 80, 90, 95, 99)
WEBP_QUALITIES = (30, 60, 80, 95, 100)
JPEG_XL_QUALITIES = (50.0, 80.0, 90.0, 95.0, 98.0, 99.0, 100.0)
_ON_A_PAGE = 3
OURS, AVIF, WEBP, LOSSLESS_WEBP = "clc", "AVIF", "WebP", "WebP lossless"
JPEG_XL, LOSSLESS_JPEG_XL = "JPEG XL", "JPEG XL lossless"
LOSSLESS = {OURS: (OURS, "lossless"), AVIF: (LOSSLESS_WEBP, "method 6"), JPEG_XL: (LOSSLESS_JPEG_XL, "effort 7")}
"""The lossless file that stands beside a coder's lossy ones; AVIF's is WebP's."""
STEP_DB = 0.5


@dataclass(frozen=True)
class Row:
    """One file: who made it and at which setting, its bytes, PSNR in dB (None where it is exact), way, seconds."""

    picture: str
    coder: str
    setting: str
    n_bytes: int
    psnr: float | None
    way: str
    seconds: float


def rows_of(name: str, picture: ReadPicture, options: argparse.Namespace) -> Iterator[Row]:
    """Yield the files of one picture; colours and transparency are coded, metadata are left out."""
    image, alpha = picture.image_HW3, picture.alpha_HW
    wishes: list[tuple[str, dict[str, Any]]] = [("lossless", {"lossless": True})]
    if not options.lossless_only:
        wishes += [(f"quality {quality:g}", {"quality": quality}) for quality in options.qualities]
        wishes += [(f"{psnr:g} dB", {"target_psnr": psnr}) for psnr in options.psnr]
        wishes += [(f"max error {levels}", {"max_error": levels}) for levels in options.max_error]
    for setting, wish in wishes:
        began = time.perf_counter()
        data = clc.encode(image, alpha_HW=alpha, effort=options.effort, **wish)
        seconds = time.perf_counter() - began
        decoded = clc.decode_picture(data)
        if (alpha is None) != (decoded.alpha_HW is None) or not np.array_equal(alpha, decoded.alpha_HW):
            raise InputError(f"{name}: the transparency did not come back at {setting}")
        yield Row(name, OURS, setting, len(data), _psnr(decoded.image_HW3, image), clc.info(data).mode, seconds)
    samples = image if alpha is None else np.dstack((image, alpha))
    lossless = {"lossless": True, "method": 6, "exact": True}
    yield _pillow(name, samples, LOSSLESS_WEBP, "WEBP", "method 6", lossless)
    yield from _jpeg_xl(name, samples, options)
    if not options.lossless_only:
        for quality in AVIF_QUALITIES:
            given = {"quality": quality, "speed": options.avif_speed, "subsampling": "4:4:4"}
            yield _pillow(name, samples, AVIF, "AVIF", f"quality {quality}", given)
        for quality in WEBP_QUALITIES:
            yield _pillow(name, samples, WEBP, "WEBP", f"quality {quality}", {"quality": quality, "method": 6})


def _pillow(name: str, samples: Any, coder: str, file_format: str, setting: str, options: dict[str, Any]) -> Row:
    buffer, began = io.BytesIO(), time.perf_counter()
    Image.fromarray(samples).save(buffer, file_format, **options)
    seconds = time.perf_counter() - began
    decoded = read_picture(buffer.getvalue()).image_HW3
    return Row(name, coder, setting, len(buffer.getvalue()), _psnr(decoded, samples[..., :3]), coder, seconds)


def _jpeg_xl(name: str, samples: Any, options: argparse.Namespace) -> Iterator[Row]:
    try:
        coder = jpeg_xl()
    except Unavailable:
        return
    import imagecodecs  # here, because it belongs to an extra of its own

    began = time.perf_counter()
    n_bytes = len(imagecodecs.jpegxl_encode(samples, lossless=True, effort=7, numthreads=1))
    yield Row(name, LOSSLESS_JPEG_XL, "effort 7", n_bytes, None, LOSSLESS_JPEG_XL, time.perf_counter() - began)
    if samples.shape[2] == 3 and not options.lossless_only:
        for quality in JPEG_XL_QUALITIES:
            began = time.perf_counter()
            data = coder.encode(samples, quality)
            seconds = time.perf_counter() - began
            yield Row(name, JPEG_XL, f"{quality:g}", len(data), _psnr(coder.decode(data), samples), JPEG_XL, seconds)


def _psnr(decoded: Any, image: Any) -> float | None:
    psnr = psnr_of(squared_error_of(decoded, image))
    return None if math.isinf(psnr) else psnr


def interpolated(rows: Sequence[Row], psnr: float) -> float | None:
    """The bytes of a coder at a PSNR, between its files; None outside of them."""
    points = sorted((row.psnr, math.log(row.n_bytes)) for row in rows if row.psnr is not None)
    if not points or not points[0][0] <= psnr <= points[-1][0]:
        return None
    return math.exp(float(np.interp(psnr, [point[0] for point in points], [point[1] for point in points])))


def reaching(rows: Sequence[Row], coder: str, psnr: float) -> float | None:
    """The bytes for which a coder gives a PSNR: of its lossy files or of its lossless one, whichever are fewer."""
    lossy = [row for row in rows if row.coder == coder]
    found = [interpolated(lossy, psnr)]
    points = [row.psnr for row in lossy if row.psnr is not None]
    if not points or psnr >= min(points):
        found += [row.n_bytes for row in rows if (row.coder, row.setting) == LOSSLESS[coder]]
    return min((n_bytes for n_bytes in found if n_bytes is not None), default=None)


def over_range(by: dict[str, list[Row]], low: float, high: float) -> dict[str, Any]:
    """Our bytes over the others' in a range of PSNR, in percent, and how many pictures have a part of it."""
    ratios: dict[str, list[list[float]]] = {AVIF: [], LOSSLESS_WEBP: [], JPEG_XL: []}
    for rows in by.values():
        each: dict[str, list[float]] = {other: [] for other in ratios}
        for psnr in np.arange(low, high + STEP_DB / 2, STEP_DB):
            ours = reaching(rows, OURS, psnr)
            others = {
                AVIF: interpolated([row for row in rows if row.coder == AVIF], psnr),
                LOSSLESS_WEBP: reaching(rows, AVIF, psnr),
                JPEG_XL: reaching(rows, JPEG_XL, psnr),
            }
            for other, n_bytes in others.items():
                if ours is not None and n_bytes is not None:
                    each[other].append(math.log(ours / n_bytes))
        for other, logs in each.items():
            if logs:
                ratios[other].append(logs)
    names = (("over AVIF, %", AVIF), ("over the better, %", LOSSLESS_WEBP), ("over JPEG XL, %", JPEG_XL))
    found = {name: _percent([math.exp(sum(logs) / len(logs)) for logs in ratios[other]]) for name, other in names}
    return {**found, "pictures": len(ratios[LOSSLESS_WEBP])}


def summary_of(rows: Sequence[Row], ranges: Sequence[tuple[float, float]] = ()) -> dict[str, Any]:
    """What the module names, for the pictures of one set."""
    names = list(dict.fromkeys(row.picture for row in rows))
    by = {name: [row for row in rows if row.picture == name] for name in names}
    found: dict[str, Any] = {"pictures": len(names)}
    for coder, label in ((OURS, "lossless"), (AVIF, "WebP lossless"), (JPEG_XL, "JPEG XL lossless")):
        found[f"{label} bytes"] = sum(row.n_bytes for row in rows if (row.coder, row.setting) == LOSSLESS[coder])
    found["bit-exact"] = sum(row.psnr is None for row in rows if (row.coder, row.setting) == LOSSLESS[OURS])
    found["ranges"] = {f"{low:g} to {high:g} dB": over_range(by, low, high) for low, high in ranges}
    for setting in dict.fromkeys(row.setting for row in rows if row.coder == OURS and row.setting != "lossless"):
        ours = [row for row in rows if row.coder == OURS and row.setting == setting]
        psnrs = [math.inf if row.psnr is None else row.psnr for row in ours]
        beside_avif, beside_better, beside_jpeg_xl = [], [], []
        for row in ours:
            if row.psnr is None:
                continue
            avif = interpolated([one for one in by[row.picture] if one.coder == AVIF], row.psnr)
            whole = next(one.n_bytes for one in by[row.picture] if one.coder == LOSSLESS_WEBP)
            if avif is not None:
                beside_avif.append(row.n_bytes / avif)
            beside_better.append(row.n_bytes / min(avif or whole, whole))
            jpeg_xl_bytes = reaching(by[row.picture], JPEG_XL, row.psnr)
            if jpeg_xl_bytes is not None:
                beside_jpeg_xl.append(row.n_bytes / jpeg_xl_bytes)
        found[setting] = {
            "mean bytes": round(sum(row.n_bytes for row in ours) / len(ours)),
            "lowest dB": None if math.isinf(min(psnrs)) else round(min(psnrs), 2),
            "over AVIF, %": _percent(beside_avif),
            "over the better, %": _percent(beside_better),
            "over JPEG XL, %": _percent(beside_jpeg_xl),
            "ways": dict(Counter(row.way for row in ours)),
        }
    return found


def _percent(ratios: Sequence[float]) -> float | None:
    return round(100 * (math.exp(sum(map(math.log, ratios)) / len(ratios)) - 1), 1) if ratios else None


def pictures_of(options: argparse.Namespace) -> Iterator[tuple[str, list[tuple[str, ReadPicture]]]]:
    """Yield each set's name and pictures, with their names."""
    for text in options.set:
        name, _, folder = text.partition("=")
        files = [Path(folder)] if Path(folder).is_file() else find_pictures(Path(folder)).files
        if not files:
            raise InputError(f"{folder}: no picture there; say --set NAME=FOLDER")
        yield name, [(file.name, read_picture(file)) for file in _some(files, options.limit)]
    if options.small:
        yield "small", [(name, read_picture(data)) for name, data in _some(list(make().items()), options.limit)]
    if options.graphics:
        drawn = list(graphics(options.graphics, is_training=False))
        yield "graphics", [(name, read_picture(_png(image))) for name, image in _some(drawn, options.limit)]
    if options.pages:
        yield "pages", _some(list(_pages(options.pages, options.photographs)), options.limit)


def _pages(count: int, folder: Path) -> Iterator[tuple[str, ReadPicture]]:
    """Yield so many pages with photographs of a folder, each of them in turn."""
    files = find_pictures(folder).files
    if not files:
        raise InputError(f"{folder}: no photograph there; say --photographs FOLDER")
    for i in range(count):
        chosen = [files[at % len(files)] for at in range(_ON_A_PAGE * i, _ON_A_PAGE * (i + 1))]
        photographs = [Image.fromarray(read_picture(file).image_HW3) for file in chosen]
        drawn = page(Pen(np.random.default_rng([i, 7]), is_training=False), photographs)
        yield f"page-{i:02}.png", read_picture(_png(drawn.image))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _some(listed: Sequence[Any], limit: int | None) -> list[Any]:
    step = 1 if not limit else max(1, len(listed) // limit)
    return list(listed[::step])[: limit or None]


def _table(name: str, summary: dict[str, Any]) -> Table:
    table = Table(title=f"{name}: {summary['pictures']} pictures")
    columns = ("mean bytes", "lowest dB", "over AVIF, %", "over the better, %", "over JPEG XL, %", "ways")
    for column in ("setting", *columns):
        table.add_column(column)
    rows = {setting: values for setting, values in summary.items() if isinstance(values, dict) and setting != "ranges"}
    rows |= {
        setting: {**values, "ways": f"{values['pictures']} pictures"} for setting, values in summary["ranges"].items()
    }
    for setting, values in rows.items():
        table.add_row(setting, *(str(values.get(column, "")) for column in columns))
    return table


def _range(text: str) -> tuple[float, float]:
    low, _, high = text.partition("-")
    try:
        found = float(low), float(high)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no range of dB; say 38-46") from None
    if not found[0] < found[1]:
        raise argparse.ArgumentTypeError(f"{text} is no range of dB; say 38-46")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(description="Coding over the whole range, beside AVIF, WebP and JPEG XL.")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=FOLDER", help="pictures: a folder, or one")
    parser.add_argument("--small", action="store_true", help="a hundred small PNG files")
    parser.add_argument("--graphics", type=int, default=0, metavar="N", help="so many rendered graphics")
    parser.add_argument("--pages", type=int, default=0, metavar="N", help="so many pages with photographs in them")
    parser.add_argument("--photographs", type=Path, metavar="FOLDER", help="photographs for the pages")
    parser.add_argument("--limit", type=int, metavar="N", help="pictures of each set")
    parser.add_argument("--qualities", type=float, nargs="*", default=[10.0, 50.0, 100.0], metavar="Q")
    parser.add_argument("--psnr", type=float, nargs="*", default=[38.0, 42.0, 46.0], metavar="DB")
    parser.add_argument("--max-error", type=int, nargs="*", default=[], metavar="LEVELS")
    parser.add_argument("--range", type=_range, nargs="*", default=[(38.0, 46.0)], metavar="LOW-HIGH", help="in dB")
    parser.add_argument("--effort", type=int, default=5, metavar="0..9")
    parser.add_argument("--avif-speed", type=int, default=4, metavar="0..10")
    parser.add_argument("--lossless-only", action="store_true", help="nothing but the files without loss")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write rows, summary and pixels of each")
    options = parser.parse_args(arguments)
    console = Console(width=140)
    try:
        if not (options.set or options.small or options.graphics or options.pages):
            raise InputError("nothing to measure: give --set NAME=FOLDER, --small, --graphics N or --pages N")
        if bool(options.pages) != (options.photographs is not None):
            raise InputError("--pages N and --photographs FOLDER go together: give both")
        if options.json is not None:
            refuse_existing([options.json], overwrite=False)
        found: dict[str, Any] = {}
        for name, pictures in pictures_of(options):
            rows = [row for title, picture in pictures for row in rows_of(title, picture, options)]
            pixels = {title: picture.image_HW3.shape[0] * picture.image_HW3.shape[1] for title, picture in pictures}
            made = [asdict(row) for row in rows]
            found[name] = {"summary": summary_of(rows, options.range), "rows": made, "pixels": pixels}
            summary = found[name]["summary"]
            console.print(_table(name, summary))
            console.print(
                f"without loss {summary['lossless bytes']} bytes, WebP lossless {summary['WebP lossless bytes']}, "
                f"JPEG XL lossless {summary['JPEG XL lossless bytes'] or 'not measured'}; "
                f"{summary['bit-exact']} of {summary['pictures']} bit-exact"
            )
        if options.json is not None:
            write_bytes(options.json, json.dumps(found, indent=1).encode())
    except ClcError as error:
        complain(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
