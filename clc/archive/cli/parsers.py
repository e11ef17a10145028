"""What the commands of archives take; `clc.archive.commands` carries them out."""

from __future__ import annotations

import argparse
from typing import TypeAlias

from clc.codec.cli.arguments import add_promises, colour_argument, path_argument, size_argument
from clc.codec.ways.goal import AUTO, MODES

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

MOST_PROCESSES = 1024


def pack_parser(commands: Commands) -> argparse.ArgumentParser:
    """The parser of `clc pack`."""
    command = commands.add_parser(
        "pack",
        help="make an archive of a folder",
        description="Pack the pictures of a folder into an archive, in which similar pictures share what they show.",
    )
    command.add_argument("folder", type=path_argument, metavar="FOLDER", help="the pictures; they are only read")
    command.add_argument("archive", type=path_argument, metavar="ARCHIVE", help="the folder to write, a new one")
    aim = command.add_mutually_exclusive_group()
    aim.add_argument("--quality", type=float, default=50.0, help="0 (smallest) to 100 (best); default 50")
    aim.add_argument(
        "--target-size", type=size_argument, metavar="SIZE", help="what the archive may take: 250k, 3M, 1.5G, or bytes"
    )
    aim.add_argument("--target-psnr", type=float, metavar="DB", help="PSNR that all its pixels have at least")
    add_promises(aim)
    command.add_argument("--keys", type=_keys, metavar="auto|N", help="key pictures; auto, the default: as many as pay")
    command.add_argument(
        "--levels",
        type=int,
        choices=(1, 2, 3),
        default=2,
        help="1: every picture alone; 2 (default): beside key pictures; 3: these beside others too, which takes fewer "
        "bytes, and more streams to decode one picture",
    )
    _add_coding(command)
    command.add_argument(
        "--processes", type=_processes, metavar="N", help="how many code side by side; default: one for each core"
    )
    command.add_argument("--with-model", action="store_true", help="put the shipped model into the archive too")
    return command


def unpack_parser(commands: Commands) -> argparse.ArgumentParser:
    """The parser of `clc unpack`."""
    command = commands.add_parser(
        "unpack", help="decode an archive", description="Decode pictures of an archive to PNG."
    )
    command.add_argument("archive", type=path_argument, metavar="ARCHIVE")
    command.add_argument("out", type=path_argument, metavar="OUT", help="the folder to write into")
    command.add_argument("names", nargs="*", metavar="NAME", help="pictures, folders or patterns as `list` shows; all")
    existing = command.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help="replace outputs that exist")
    existing.add_argument("--skip-existing", action="store_true", help="leave outputs that exist, and do the others")
    command.add_argument(
        "--cache",
        type=path_argument,
        metavar="FOLDER",
        help="keep decoded key pictures there, 4 GiB at most, so that the next command need not decode them again",
    )
    return command


def list_parser(commands: Commands) -> argparse.ArgumentParser:
    """The parser of `clc list`."""
    command = commands.add_parser("list", help="show what an archive holds", description="Show what an archive holds.")
    command.add_argument("archive", type=path_argument, metavar="ARCHIVE")
    command.add_argument("names", nargs="*", metavar="NAME", help="pictures, folders or patterns; all")
    command.add_argument("--json", action="store_true", help="as one JSON object a line")
    return command


def verify_parser(commands: Commands) -> argparse.ArgumentParser:
    """The parser of `clc verify`."""
    command = commands.add_parser(
        "verify", help="check an archive", description="Decode everything in an archive and compare every digest."
    )
    command.add_argument("archive", type=path_argument, metavar="ARCHIVE")
    return command


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """The parser of `clc add`."""
    command = commands.add_parser(
        "add",
        help="add pictures to an archive",
        description="Add pictures to an archive, coded beside those that it holds. What it holds stays as it is.",
    )
    command.add_argument("archive", type=path_argument, metavar="ARCHIVE")
    command.add_argument("inputs", nargs="+", type=path_argument, metavar="PICTURE|FOLDER", help="they are only read")
    aim = command.add_mutually_exclusive_group()
    aim.add_argument("--quality", type=float, help="0 (smallest) to 100 (best); default: that of the archive")
    add_promises(aim)
    _add_coding(command)
    return command


def remove_parser(commands: Commands) -> argparse.ArgumentParser:
    """The parser of `clc remove`."""
    command = commands.add_parser(
        "remove",
        help="remove pictures from an archive",
        description="Remove pictures from an archive; refused where others are coded beside them.",
    )
    command.add_argument("archive", type=path_argument, metavar="ARCHIVE")
    command.add_argument("names", nargs="+", metavar="NAME", help="pictures, folders or patterns as `list` shows")
    return command


def _add_coding(command: argparse.ArgumentParser) -> None:
    """Adds how pictures are coded."""
    command.add_argument(
        "--effort", type=int, choices=range(10), default=5, metavar="0..9", help="how long to search; default 5"
    )
    command.add_argument(
        "--mode",
        choices=MODES,
        default=AUTO,
        help="auto (default): by the model, or where a picture does not suit that, as AVIF or without loss; learned: "
        "by the model whatever comes of it",
    )
    command.add_argument("--strip", action="store_true", help="leave EXIF (also GPS) and XMP out")
    command.add_argument(
        "--background", type=colour_argument, metavar="COLOUR", help="composite transparency over a colour"
    )


def _keys(text: str) -> int | None:
    if text == "auto":
        return None
    if text.isascii() and text.isdigit():
        return int(text)
    raise argparse.ArgumentTypeError(f"say auto or a number of key pictures, not {text!r}")


def _processes(text: str) -> int:
    if text.isascii() and text.isdigit() and 0 < int(text) <= MOST_PROCESSES:
        return int(text)
    raise argparse.ArgumentTypeError(f"say a number of processes from 1 to {MOST_PROCESSES}, not {text!r}")
