"""`clc report`: the page of an archive; see `clc.codec.cli.main` for what all commands promise."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from clc.codec.cli.arguments import add_bundles, path_argument
from clc.console import DONE, FAILED, complain, one_line, progress_line, say, shown

PAGE_SUFFIXES = (".html", ".htm")


def add_report(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the parser of `clc`."""
    command = commands.add_parser(
        "report",
        help="show an archive as a page",
        description="Write one HTML file that shows an archive: pictures, bytes, and what is coded beside what.",
    )
    command.add_argument("archive", type=path_argument, metavar="ARCHIVE")
    command.add_argument(
        "--out", type=path_argument, metavar="PAGE.html", help="default: ARCHIVE.html beside the archive"
    )
    command.add_argument(
        "--sources", type=path_argument, metavar="FOLDER", help="the folder that was packed, to compare with"
    )
    command.add_argument("--overwrite", action="store_true", help="replace a page that exists")
    command.set_defaults(run=report_command, parser=command)
    add_bundles(command)


def report_command(options: argparse.Namespace) -> int:
    """`clc report`: writes the page; one picture that is damaged costs no other its place on it."""
    from clc.archive.layout import Archive
    from clc.archive.report import make_report
    from clc.codec.files import check_folder, refuse_existing
    from clc.machine import keep_freed_memory
    from storage.atomic import write_bytes

    archive = Archive(options.archive)
    out = options.out or _beside(options.archive)
    _check_page(out, options.archive)
    check_folder(out.parent)
    refuse_existing([out], overwrite=options.overwrite)
    keep_freed_memory()
    codec = archive.codec(tuple(options.bundle), options.device)
    made = make_report(archive, codec, options.sources, lambda done, of: progress_line(f"shown {done} of {of}"))
    progress_line("")
    for name, reason in made.faults:
        complain(f"error: {shown(name)}: {one_line(reason, name)}")
    write_bytes(out, made.html.encode(), replace=options.overwrite)
    count = len(archive.manifest.pictures)
    told = (
        f"{shown(out)}: {count} pictures" if made.shown == count else f"{shown(out)}: {made.shown} of {count} pictures"
    )
    told += f", {len(made.faults)} damaged" if made.faults else ""
    return FAILED if not say(told) or made.faults else DONE


def _beside(archive: Path) -> Path:
    whole = Path(os.path.abspath(archive))  # noqa: PTH100 - "." has no name of its own, and a link keeps its own
    return whole.with_name(f"{whole.name}.html")


def _check_page(out: Path, archive: Path) -> None:
    """Refuses what is no place for a page: a picture's name, a folder, and the archive, whose table names no page."""
    from clc.errors import InputError

    if out.suffix.lower() not in PAGE_SUFFIXES:
        raise InputError(f"{out}: a page is written to *.html; name it so after --out")
    if out.is_dir():
        raise InputError(f"{out}: is a folder; name a file after --out")
    if Path(os.path.realpath(out)).is_relative_to(os.path.realpath(archive)):
        raise InputError(f"{out}: lies in the archive, which holds its own files only; name another place after --out")
