"""Measures a bundle on a folder of pictures against JPEG, WebP and AVIF in the same run, and against published curves.

    python bench/kodak.py --bundle shipped --anchors clc/evaluation/published.json --processes 2

Rates are whole files, and every file is decoded again. The tables of docs/results.md come from here. With `--processes`
the pictures are shared among copies of this program, each of which writes its rows to a file.
"""

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from clc.codec import Codec
from clc.codec.effort import DEFAULT_EFFORT
from clc.codec.files import refuse_existing
from clc.errors import ClcError, InputError
from clc.evaluation.bd_rate import BdRate
from clc.evaluation.coders import TEST, CodecUnderTest, Coder, find_baselines
from clc.evaluation.curves import Comparison, compare
from clc.evaluation.measure import FAILED, PictureUnderTest, Row, evaluate, rows_from_table, rows_to_table
from clc.evaluation.perceptual import FAST, PerceptualMeasures, find_perceptual, measures_named
from clc.evaluation.plot import LIGHT, draw_rd
from clc.evaluation.published import Published, rates_against, shown_curves
from clc.evaluation.report.facts import machine_facts
from clc.evaluation.report.report import Report, render, telling_pictures
from clc.evaluation.report.viewer import thumbnails, view
from clc.evaluation.scales import SCALES
from clc.evaluation.summary import describe_bd_rate, measured_scales, summarise, versions
from clc.pictures.images import read_image
from storage.atomic import write_bytes
from storage.names import shown_name
from storage.tables import read_table, write_table

QUALITIES = "0,15,30,45,60,75,90,100"
RESULTS = ROWS, SUMMARY, PLOT, REPORT = "rows.parquet", "results.json", "rd.png", "report.html"
"""Files of results, in `--out`."""

Reports = list[BdRate]


def command(
    pictures: Annotated[Path, typer.Option(help="Folder of pictures.")] = Path("../shared/data/kodak"),
    bundle: Annotated[str, typer.Option(help='"shipped" or a bundle folder.')] = "shipped",
    qualities: Annotated[str, typer.Option(help="Qualities of the codec, 0 to 100, by commas.")] = QUALITIES,
    baselines: Annotated[str, typer.Option(help="Any of jpeg,webp,avif, by commas; AVIF is slow.")] = "jpeg,webp,avif",
    effort: Annotated[int, typer.Option(help="How long the encoder may search.", min=0, max=9)] = DEFAULT_EFFORT,
    anchors: Annotated[Path | None, typer.Option(help="File of published curves.")] = None,
    dataset: Annotated[str, typer.Option(help="Data set of that file that the pictures are.")] = "kodak",
    measures: Annotated[
        str, typer.Option(help="fast, or also ssimulacra2, st_lpips, by commas, or all: seconds a file.")
    ] = FAST,
    processes: Annotated[int, typer.Option(help="Copies of this program to share the pictures.", min=1)] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder for results, plot and report.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that exist.")] = False,
    shard: Annotated[str, typer.Option(hidden=True)] = "0/1",
    rows_file: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Measure a bundle on a folder of pictures and print its BD-rates."""
    console = Console()
    try:
        coders = _coders(bundle, qualities, baselines, effort)
        perceptual = find_perceptual(measures_named(measures))
        paths = _picture_paths(pictures)
        if rows_file is not None:
            index, count = (int(number) for number in shard.split("/"))
            write_table(rows_file, rows_to_table(_measure(coders, paths[index::count], console, perceptual)))
            return
        if out is not None:
            refuse_existing((out / name for name in RESULTS), overwrite=overwrite)
        published = shown_curves(dataset, anchors) if anchors else {}
        rows = _measure(coders, paths, console, perceptual) if processes == 1 else _measure_in_processes(processes)
        comparison = compare(rows)
        against = {one.codec: rates_against(published, one) for one in comparison.curves}
        _print_tables(console, comparison, against, rows)
        if out is not None:
            written = Results(rows, comparison, against, published, coders, paths, perceptual.missing)
            _write(out, written, replace=overwrite)
            console.print(f"written to {out.absolute()}", highlight=False, soft_wrap=True)
    except ClcError as error:
        Console(stderr=True).print(f"error: {error}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1) from error


def _coders(bundle: str, qualities: str, baselines: str, effort: int) -> list[Coder]:
    try:
        ladder = tuple(sorted({float(quality) for quality in qualities.split(",")}))
    except ValueError as error:
        raise InputError(f"qualities are numbers with commas between them, not {qualities!r}") from error
    found = find_baselines([name for name in baselines.split(",") if name])
    for name, reason in found.missing.items():
        Console(stderr=True).print(f"{name} is not measured: {reason}")
    codec = Codec.load(None if bundle == "shipped" else Path(bundle))
    settings = f"bundle {codec.bundle.bundle_id}, effort {effort}"
    return [CodecUnderTest(codec, TEST, settings, ladder, effort=effort), *found.available]


def _picture_paths(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"no folder {folder.absolute()}; name a folder of pictures with --pictures")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in {".png", ".ppm", ".webp", ".tif"})
    if not paths:
        raise InputError(f"{folder.absolute()} holds no lossless picture (.png .ppm .webp .tif)")
    return paths


def _measure(
    coders: Sequence[Coder], paths: Sequence[Path], console: Console, perceptual: PerceptualMeasures
) -> list[Row]:
    return evaluate(
        coders,
        [_picture(path) for path in paths],
        perceptual=perceptual.available,
        on_picture=lambda picture: console.print(f"measured {picture.name}", highlight=False),
    )


def _picture(path: Path) -> PictureUnderTest:
    name = shown_name(path.name)
    return PictureUnderTest(name, name, lambda: read_image(path))


def _measure_in_processes(processes: int) -> list[Row]:
    """Run this program again, once for each share of the pictures, with one thread each; gather their rows."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"rows-{index}.parquet" for index in range(processes)]
        options = [["--shard", f"{index}/{processes}", "--rows-file", str(file)] for index, file in enumerate(files)]
        arguments = [sys.executable, *sys.argv]
        running = [subprocess.Popen([*arguments, *extra], env=environment) for extra in options]
        codes = [process.wait() for process in running]
        if any(codes):
            raise InputError("a process that measured a share of the pictures failed; its message stands above")
        rows = [row for file in files for row in rows_from_table(read_table(file))]
    return sorted(rows, key=lambda row: row.name)


def _print_tables(
    console: Console, comparison: Comparison, against: Mapping[str, Reports], rows: Sequence[Row]
) -> None:
    console.print(_means_table(comparison))
    peers = [found[0] for codec, found in against.items() if codec != TEST and found]
    own = [rate for scale in measured_scales(comparison) for rate in comparison.bd_rates(TEST, scale)]
    console.print(_rates_table([*own, *against.get(TEST, []), *peers]))
    for reason in comparison.left_out.values():
        console.print(f"left out of the means: {reason}", highlight=False, markup=False)
    console.print(f"{sum(row.status == FAILED for row in rows)} of {len(rows)} measurements failed", highlight=False)


def _means_table(comparison: Comparison) -> Table:
    table = Table(title=f"means over {len(comparison.pictures)} pictures", title_justify="left")
    for heading in ("codec", "quality", "bpp", "PSNR dB", "MS-SSIM", "encode s", "decode s"):
        table.add_column(heading, justify="left" if heading == "codec" else "right")
    for curve in comparison.curves:
        for one in curve.points:
            figures = (f"{one.quality:g}", f"{one.bpp:.3f}", f"{one.psnr_db:.2f}", f"{one.ms_ssim:.4f}")
            table.add_row(curve.codec, *figures, f"{one.encode_s:.3f}", f"{one.decode_s:.3f}")
        table.add_section()
    return table


def _rates_table(rates: Sequence[BdRate]) -> Table:
    table = Table(title="BD-rate (negative is fewer bytes than the anchor)", title_justify="left")
    for heading in ("codec", "anchor", "at equal", "BD-rate", "range", "interpolation"):
        table.add_column(heading, justify="right" if heading == "BD-rate" else "left")
    for rate in rates:
        shown = rate.reason if rate.percent is None else f"{rate.percent:+.1f} %"
        span = "" if rate.percent is None else rate.range_text
        table.add_row(rate.test, rate.anchor, SCALES[rate.measure].label, shown, span, rate.interpolation)
    return table


class Results(NamedTuple):
    """What a run came to, and of what."""

    rows: list[Row]
    comparison: Comparison
    against: Mapping[str, Reports]
    published: Published
    coders: Sequence[Coder]
    paths: Sequence[Path]
    unmeasured: Mapping[str, str]


def _write(out: Path, results: Results, *, replace: bool) -> None:
    settings = {coder.name: coder.settings for coder in results.coders}
    published = [describe_bd_rate(rate) for found in results.against.values() for rate in found]
    summary = summarise(results.rows, [results.comparison]) | {"settings": settings, "published_bd_rates": published}
    write_bytes(out / SUMMARY, json.dumps(summary, indent=1).encode(), replace=replace)
    write_table(out / ROWS, rows_to_table(results.rows), replace=replace)
    write_bytes(out / PLOT, draw_rd([results.comparison], TEST, LIGHT), replace=replace)
    write_bytes(out / REPORT, render(_report(results, settings)).encode(), replace=replace)


def _report(results: Results, settings: Mapping[str, str]) -> Report:
    folder = shown_name(results.paths[0].parent.name)
    test, *others = results.coders
    pictures = [_picture(path) for path in results.paths]
    by_name = {picture.item_id: picture for picture in pictures}
    shown = [by_name[name] for name in telling_pictures(results.rows, TEST, others[0].name if others else "")]
    facts = {"pictures from": f"{folder}: {len(pictures)}", "command": shlex.join(["python", *sys.argv])}
    facts["timings"] = "One process a share of the pictures, all at the same time." if "--processes" in sys.argv else ""
    return Report(
        title=f"{TEST} on {folder}",
        subject=f"All figures are of {test.settings}.",
        test=TEST,
        without_references="",
        rows=results.rows,
        comparisons=[results.comparison],
        settings=settings,
        missing={},
        unmeasured=results.unmeasured,
        facts={name: text for name, text in facts.items() if text} | machine_facts() | versions(),
        viewed=view(shown, results.rows, test, others),
        thumbnails=thumbnails(pictures),
        published={scale.key: list(curves.values()) for scale, curves in results.published.items()},
        published_rates=results.against.get(TEST, []),
    )


if __name__ == "__main__":
    typer.run(command)
