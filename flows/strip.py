"""The example at the end of `make run`: a strip of overlapping pictures as an archive, beside JPEG, AVIF, each alone.

The strip ships in `clc/assets/strip`. Its stage's folder holds the archive and `archive.html`, the page that shows the
pictures beside one another. It is packed with the shipped codec, whatever the pipeline made, so that a run says the
same everywhere; and at low effort, because it is an example: `clc pack` takes its time by default and saves more.
"""

import logging
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from clc.archive.layout import Archive
from clc.archive.pack import PackOptions, pack
from clc.archive.packed import Packed, Progress
from clc.archive.report import TEMPLATE, make_report
from clc.bundle.identity import SHIPPED
from clc.codec.codec import Codec
from clc.evaluation.coders import WITHOUT_REFERENCES, CodecUnderTest, find_baselines
from clc.evaluation.totals import Total, bytes_at_psnr
from clc.pages.page import FRAME
from clc.pictures.folders import find_pictures
from clc.pictures.images import read_image
from clc.pictures.picture import Picture
from flows.codec_modules import CODEC_MODULES
from flows.runtime.progress import counted
from flows.runtime.stage import StageResult, run_stage
from flows.runtime.workspace import Workspace
from storage.atomic import write_bytes
from storage.digest import digest_json, sha256_file

logger = logging.getLogger(__name__)

STRIP = SHIPPED.parent / "strip"
STAGE, ARCHIVE = "pack-strip", "strip"
PAGE = "archive.html"
BASELINES = ("jpeg", "avif")
QUALITY, EFFORT = 60.0, 1
ALONE_FINER = (0.0, 8.0, 16.0, 30.0)
"""How much finer than asked for the pictures are coded alone, to find the quality at which PSNR is equal."""

MODULES = (
    *CODEC_MODULES,
    "clc.archive",
    "clc.codec.exact_pixels",
    "clc.codec.files",
    "clc.evaluation.coders",
    "clc.evaluation.totals",
    "clc.pages",
    "flows.strip",
    "storage.names",
    "storage.target",
)
"""The source text that decides what this stage makes."""


def pack_strip(workspace: Workspace) -> StageResult:
    """Pack the strip, measure what others make of it at equal PSNR, and write the page; once for the same code."""
    pictures = find_pictures(STRIP).files
    settings = {one.name: one.settings for one in find_baselines(BASELINES).available}
    codec = Codec.shipped()
    return run_stage(
        workspace,
        STAGE,
        inputs={
            "pictures": digest_json({path.name: sha256_file(path) for path in pictures}),
            "bundle": codec.bundle.bundle_id,
            "template": digest_json([sha256_file(TEMPLATE), sha256_file(FRAME)]),
        },
        config={"quality": QUALITY, "effort": EFFORT, "settings": settings},
        modules=MODULES,
        body=lambda folder: _pack(codec, [read_image(path) for path in pictures], folder),
    )


def show_strip(console: Console, result: StageResult) -> None:
    """Print what the strip takes in each way, and the command that packs a folder of one's own."""
    summary = result.manifest.summary
    python = shlex.quote(sys.executable)
    ours, count = summary["archive_bytes"], summary["pictures"]
    title = f"{count} overlapping pictures that come with clc, at equal PSNR ({summary['psnr_db']:.2f} dB)"
    table = Table(title=title, title_justify="left")
    table.add_column("stored as")
    for heading in ("bytes", "the archive against it"):
        table.add_column(heading, justify="right")
    for name, size in summary["at_equal_psnr"].items():
        if size is None:
            table.add_row(name, "not measured", "")
        else:
            table.add_row(name, f"{size:,}", f"{100 * (ours / size - 1):+.1f} %")
    table.add_row("the archive, all counted", f"{ours:,}", "")
    console.print()
    console.print(table)
    for name, reason in summary["missing"].items():
        console.print(f"{name} is not measured: {reason}", highlight=False, soft_wrap=True, markup=False)
    for line in (
        f"pictures {result.directory / PAGE}",
        f"archive  {result.directory / ARCHIVE}",
        "",
        "a folder of yours",
        f"  {python} -m clc.codec pack FOLDER ARCHIVE",
        f"  {python} -m clc.codec report ARCHIVE --sources FOLDER",
    ):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _pack(codec: Codec, sources: list[Picture], folder: Path) -> dict[str, Any]:
    """Pack, compare, show; the body of the stage."""
    step = ""

    def watch(progress: Progress) -> None:
        nonlocal step
        if progress.step != step:
            step = progress.step
            logger.info("pack_step step=%r", step)

    packed = pack(STRIP, folder / ARCHIVE, codec, PackOptions(quality=QUALITY, effort=EFFORT), watch)
    others, missing = _others(codec, sources, packed)
    known = [(name, size) for name, size in others.items() if size is not None]
    with counted("drawing the page", len(sources)) as one_more:
        made = make_report(
            Archive(folder / ARCHIVE), codec, STRIP, lambda done, of: one_more() if done else None, known
        )
    write_bytes(folder / PAGE, made.html.encode())
    return {
        "pictures": len(sources),
        "source_bytes": sum(one.source_bytes for one in packed.manifest.pictures),
        "archive_bytes": packed.archive_bytes,
        "psnr_db": packed.psnr_db,
        "key_pictures": len(packed.keys),
        "at_equal_psnr": others,
        "missing": missing,
    }


def _others(codec: Codec, sources: list[Picture], packed: Packed) -> tuple[dict[str, int | None], Mapping[str, str]]:
    """Return the bytes of JPEG, AVIF and each picture alone at the archive's PSNR, None where a ladder lacks it."""
    baselines = find_baselines(BASELINES)
    alone = CodecUnderTest(
        codec, WITHOUT_REFERENCES, "each alone", tuple(QUALITY + more for more in ALONE_FINER), "none", EFFORT
    )
    known = {QUALITY: Total(sum(one.alone_bytes for one in packed.manifest.pictures), packed.alone_psnr_db)}
    found: dict[str, float | None] = {}
    with counted("measuring the strip in other formats", len(baselines.available) + 1) as one_more:
        for coder in baselines.available:
            found[coder.name.upper()] = bytes_at_psnr(coder, sources, packed.psnr_db, workers=os.cpu_count() or 1)
            one_more()
        found["each picture alone"] = bytes_at_psnr(alone, sources, packed.psnr_db, known)
        one_more()
    return {name: None if size is None else round(size) for name, size in found.items()}, baselines.missing
