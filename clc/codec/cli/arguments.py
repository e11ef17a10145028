"""The arguments of `clc.codec.cli.main`, and what is wrong with them: one line, and exit status 2."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from PIL import ImageColor

from clc.codec.cli.single_file import STANDARD
from clc.codec.ways.goal import AUTO, MODES, checked_error, checked_psnr
from clc.console import DONE, FAILED, OneLineParser, say
from clc.errors import InputError
from clc.limits import MAX_REFERENCES

OVERFITTED = "overfitted"
"""The mode of `encode` beside those of `clc.codec.ways.goal`."""

SIZE_UNITS = {"k": 1000, "m": 1000**2, "g": 1000**3}
"""Letters behind a size, and how many bytes they stand for."""

Command = Callable[[argparse.Namespace], int]
Further = Callable[["argparse._SubParsersAction[Any]"], None]


class _Version(argparse.Action):
    """Prints the version, which is looked up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from clc.version import version

        sys.exit(DONE if say(f"clc {version()}") else FAILED)


def parsed(
    arguments: Sequence[str] | None, commands: Mapping[str, Command], further: Further | None = None
) -> argparse.Namespace:
    """The options of a command line, `run` the function that does the command; exits with 2 where they are wrong.

    `further` adds the parsers of commands that are not among `commands`; these take no paths behind options.
    """
    parser = _parser(commands, further)
    # argparse gives up on paths that stand behind an option (a.png --quality 5 a.clc); they belong to the others.
    options, rest = parser.parse_known_args(arguments)
    unknown = [text for text in rest if text.startswith("-") and text != STANDARD]
    has_paths = hasattr(options, "paths")
    if unknown or (rest and not has_paths):
        parser.error(f"unrecognized arguments: {' '.join(unknown or rest)}")
    if has_paths:
        try:
            options.paths += map(path_argument, rest)
        except argparse.ArgumentTypeError as error:
            options.parser.error(f"argument PATH: {error}")
    if options.command in ("encode", "decode"):
        _check_paths(options)
    if options.command == "encode":
        _check_mode(options)
    return options


def program_name(started_as: str) -> str:
    """How usage lines name the program: as it was started, by the console script or as a module."""
    return "clc" if Path(started_as).stem == "clc" else "python -m clc.codec"


def _check_paths(options: argparse.Namespace) -> None:
    """Exits with 2 unless the paths are an input and an output, or inputs beside --out."""
    names: Sequence[str] = [str(path) for path in options.paths]
    if options.out is not None:
        if STANDARD in names:
            options.parser.error("- (standard input) does not go with --out: give INPUT OUTPUT")
    elif len(names) != 2:
        what = f"no output after {names[0]}" if len(names) == 1 else f"{len(names)} paths without --out"
        options.parser.error(f"{what}: give INPUT OUTPUT, or any number of inputs and --out FOLDER")


def _check_mode(options: argparse.Namespace) -> None:
    """Exits with 2 where options are given that the mode has no use for, or its autoencoder is not named."""
    _check_promises(options)
    if options.mode != OVERFITTED:
        if options.autoencoder is not None:
            options.parser.error("--autoencoder goes with --mode overfitted: give that, or leave it out")
        return
    if options.autoencoder is None:
        options.parser.error("--mode overfitted needs an autoencoder: give --autoencoder FOLDER")
    without = {"--bundle": options.bundle, "--device": options.device != "cpu"}
    without["--references"] = options.references not in ("auto", "none")
    for name, is_given in without.items():
        if is_given:
            options.parser.error(f"{name} does not go with --mode overfitted: leave it out")


def _check_promises(options: argparse.Namespace) -> None:
    """Exits with 2 where samples are promised, or a PSNR, and an option is given that has no use then."""
    is_exact = options.lossless or options.max_error is not None
    if not is_exact and options.target_psnr is None:
        return
    wish = "--lossless" if options.lossless else "--max-error" if is_exact else "--target-psnr"
    without = {f"--mode {options.mode}": options.mode != AUTO}
    if is_exact:
        without["--bundle"], without["--device"] = bool(options.bundle), options.device != "cpu"
        without["--references"] = options.references not in ("auto", "none")
    for name, is_given in without.items():
        if is_given:
            options.parser.error(f"{name} does not go with {wish}: leave it out")


def _parser(run: Mapping[str, Command], further: Further | None) -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog=program_name(sys.argv[0]), description="Code pictures with a learned codec and its dictionary."
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="encode|decode|info|collect|selftest")
    encode = commands.add_parser(
        "encode", help="code pictures", description="Code a picture into a .clc file, or many into a folder of them."
    )
    _add_paths(encode, "a picture (PNG, JPEG, TIFF, WebP and others), then the .clc file to write")
    _add_rate(encode)
    encode.add_argument(
        "--references",
        type=_references,
        default="auto",
        metavar="auto|none|tokens|aligned|N",
        help="dictionary entries to use: where they save bytes (auto, the default), none, one kind only, or at most N",
    )
    encode.add_argument(
        "--effort", type=int, choices=range(10), default=5, metavar="0..9", help="how long to search; 7 and up: minutes"
    )
    encode.add_argument(
        "--background",
        type=colour_argument,
        metavar="COLOUR",
        help="composite transparency over a colour (white, #336699) instead of keeping it",
    )
    encode.add_argument(
        "--mode",
        choices=(*MODES, OVERFITTED),
        default=AUTO,
        help="auto (default): by a bundle's model, or where a picture does not suit that, as AVIF or without loss; "
        "learned: by the model whatever comes of it; overfitted: a function fitted to each picture, in the latents of "
        "an autoencoder",
    )
    decode = commands.add_parser(
        "decode", help="decode .clc files", description="Decode a .clc file into a PNG, or many into a folder of them."
    )
    _add_paths(decode, "a .clc file, then the .png file to write")
    info = commands.add_parser(
        "info", help="show what .clc files and bundles say", description="Show what is in .clc files and bundles."
    )
    info.add_argument(
        "paths", nargs="+", type=path_argument, metavar="PATH", help=".clc files, folders of them, bundles, or -"
    )
    info.add_argument("--json", action="store_true", help="as one JSON object a line")
    _add_collect(commands)
    selftest = commands.add_parser(
        "selftest", help="check that this machine decodes exactly", description="Replay each bundle's stored streams."
    )
    for command in (encode, decode, selftest):
        add_bundles(command)
    for command in (encode, decode):
        command.add_argument(
            "--autoencoder",
            type=path_argument,
            metavar="FOLDER",
            help="the autoencoder of overfitted streams: a folder with autoencoder.json, its encoder and its decoder",
        )
    for name, command in commands.choices.items():
        command.set_defaults(run=run[name], parser=command)
    if further is not None:
        further(commands)
        commands.metavar = "|".join(commands.choices)
    return parser


def add_bundles(command: argparse.ArgumentParser) -> None:
    """Adds `--bundle` and `--device`."""
    command.add_argument(
        "--bundle",
        action="append",
        default=[],
        metavar="FOLDER|ID|service",
        help="bundle made by train-codec or collect, or the one in service; may be given several times, and the "
        "first encodes; default: the shipped one (bundles along CLC_BUNDLES and in the workspace are found by id)",
    )
    command.add_argument("--device", type=_device, default="cpu", metavar="cpu|cuda[:N]", help="default cpu")


def _add_paths(command: argparse.ArgumentParser, what: str) -> None:
    command.add_argument(
        "paths",
        nargs="+",
        type=path_argument,
        metavar="PATH",
        help=f"{what} (- for a pipe); with --out: files and folders",
    )
    command.add_argument(
        "--out", type=path_argument, metavar="FOLDER", help="write one output for each input below this folder"
    )
    existing = command.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help="replace outputs that exist")
    existing.add_argument("--skip-existing", action="store_true", help="leave outputs that exist, and do the others")
    command.add_argument("--strip", action="store_true", help="leave EXIF (also GPS) and XMP out")
    command.add_argument("--verbose", action="store_true", help="name every file that lost something")


def _add_collect(commands: argparse._SubParsersAction[OneLineParser]) -> None:
    collect = commands.add_parser(
        "collect",
        help="make a bundle for overlapping pictures",
        description="Keep some of a collection's pictures in a bundle, for the overlapping ones to be aligned with.",
    )
    collect.add_argument(
        "paths", nargs="+", type=path_argument, metavar="PATH", help="pictures and folders, in order of names"
    )
    collect.add_argument(
        "--out", type=path_argument, required=True, metavar="FOLDER", help="the bundle to write, a new folder"
    )
    collect.add_argument("--keys", type=_count, default=8, metavar="N", help="key pictures to keep; default 8")
    collect.add_argument(
        "--format", default="webp-lossless", help="how key pictures are kept: webp-lossless (default) or webp-QUALITY"
    )
    collect.add_argument("--source", default="", help="where the pictures come from, for the bundle's provenance")
    collect.add_argument("--licence", default="", help="their licence, likewise")
    collect.add_argument(
        "--bundle", metavar="FOLDER|ID|service", help="the bundle to start from; default: the shipped one"
    )


def path_argument(text: str) -> Path:
    """The path that an argument names. Raises `ArgumentTypeError` for an empty one."""
    # `Path("")` is the current folder: a variable that a script left empty would mean all that is in it.
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no path; name a file or folder, the current one is .")
    return Path(text)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _add_rate(command: argparse.ArgumentParser) -> None:
    rate = command.add_mutually_exclusive_group()
    rate.add_argument("--quality", type=float, default=50.0, help="0 (smallest) to 100 (best); default 50")
    rate.add_argument(
        "--target-bytes", type=_target, metavar="N", help="the size of each .clc file, met within 2%% by its quality"
    )
    rate.add_argument("--target-bpp", type=_target, metavar="X", help="the same in bits a pixel")

    rate.add_argument(
        "--target-psnr", type=_psnr, metavar="DB", help="the PSNR of each picture, which is reached with few bytes"
    )
    add_promises(rate)


def add_promises(aim: argparse._MutuallyExclusiveGroup) -> None:
    """Adds what is promised of samples, in place of a quality."""
    aim.add_argument("--lossless", action="store_true", help="keep every sample of 8 bits, and the transparency")
    aim.add_argument(
        "--max-error",
        type=max_error_argument,
        metavar="N",
        help="keep every sample within N levels of 0..255; 0 is lossless",
    )


def _psnr(text: str) -> float:
    try:
        return checked_psnr(float(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of dB") from error
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def max_error_argument(text: str) -> int:
    """Levels that a sample may be off. Raises `ArgumentTypeError` for anything else."""
    try:
        return checked_error(int(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from error
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _target(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value


def _references(text: str) -> Any:
    if text in ("auto", "none", "tokens", "aligned"):
        return text
    if text.isascii() and text.isdigit() and int(text) <= MAX_REFERENCES:
        return int(text) or "none"
    raise argparse.ArgumentTypeError(
        f"{text!r} is not auto, none, tokens, aligned or a number from 0 to {MAX_REFERENCES}"
    )


def colour_argument(text: str) -> str:
    """A colour by its name or as #RRGGBB, as it was given. Raises `ArgumentTypeError` for anything else."""
    try:
        ImageColor.getrgb(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no colour: give a name (white) or #RRGGBB") from error
    return text


def size_argument(text: str) -> int:
    """A number of bytes, or of thousands, millions or milliards of them: 250k, 3M, 1.5G."""
    number, unit = (text[:-1], text[-1].lower()) if text[-1:].lower() in tuple(SIZE_UNITS) else (text, "")
    try:
        size = float(number) * SIZE_UNITS.get(unit, 1)
    except ValueError:
        size = 0.0
    if 1 <= size < 1 << 62:
        return int(size)
    raise argparse.ArgumentTypeError(f"say a size such as 250k, 3M, 1.5G or a number of bytes, not {text!r}")


def _device(text: str) -> str:
    if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not cpu, cuda or cuda:N")
    return text
