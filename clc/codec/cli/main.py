"""The command line `python -m clc.codec`: encode, decode, info, collect, selftest.

    encode INPUT OUTPUT    encode INPUT... --out FOLDER    encode - -    (decode likewise)

Any mistake is one line on stderr that says what, where and what to do, a non-zero exit, and no output file: outputs are
written under a temporary name and renamed when they are complete. Of many files those that fail are named at the end,
and the others are done. Exit codes: 0 done, 1 an error, 2 wrong arguments. Where the output is `-`, stdout holds it and
nothing else. What the commands do stands in `clc.codec.cli.encode_decode` and `clc.codec.cli.many_files`; torch is only
imported once they run.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from clc.codec.cli.encode_decode import STANDARD, decode_command, encode_command, load_codec, read_stream, shown
from clc.codec.cli.many_files import reason_of
from clc.codec.files import STREAM_SUFFIXES, find
from clc.errors import BitstreamError, ClcError
from clc.limits import MAX_REFERENCES


class OneLineParser(argparse.ArgumentParser):
    """Reports a wrong argument as one line."""

    def error(self, message: str) -> NoReturn:
        """Prints the line and exits with 2."""
        self.exit(2, f"error: {message} (see {self.prog} --help)\n")


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    options = _parsed(arguments)
    try:
        return int(options.run(options))
    except BitstreamError as error:
        print(f"error: {shown(options.paths[0])}: {error}", file=sys.stderr)
    except ClcError as error:
        print(f"error: {error}", file=sys.stderr)
    except BrokenPipeError:
        # Whoever read our stdout has gone; Python would complain once more when it closes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(f"error: {error.filename or 'output'}: {error.strerror or error}", file=sys.stderr)
    except MemoryError:
        print("error: the memory does not suffice; give a smaller picture", file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
    return 1


def _parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = _parser()
    # argparse gives up on paths that stand behind an option (a.png --quality 5 a.clc); they belong to the others.
    options, rest = parser.parse_known_args(arguments)
    unknown = [text for text in rest if text.startswith("-") and text != STANDARD]
    if unknown or (rest and options.command == "selftest"):
        parser.error(f"unrecognized arguments: {' '.join(unknown or rest)}")
    if options.command != "selftest":
        options.paths += map(Path, rest)
    if options.command in ("encode", "decode"):
        _check_paths(options)
    return options


def _check_paths(options: argparse.Namespace) -> None:
    """Exits with 2 unless the paths are an input and an output, or inputs beside --out."""
    names: Sequence[str] = [str(path) for path in options.paths]
    if options.out is not None:
        if STANDARD in names:
            options.parser.error("- (standard input) does not go with --out: give INPUT OUTPUT")
        return
    if len(names) != 2:
        what = f"no output after {names[0]}" if len(names) == 1 else f"{len(names)} paths without --out"
        options.parser.error(f"{what}: give INPUT OUTPUT, or any number of inputs and --out FOLDER")
    if options.overwrite:
        options.parser.error("--overwrite goes with --out: a single output is always replaced")


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m clc.codec", description="Code pictures with a learned codec and its dictionary."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="encode|decode|info|collect|selftest")
    encode = commands.add_parser(
        "encode", help="code pictures", description="Code a picture into a .clc file, or many into a folder of them."
    )
    _add_paths(encode, "PNG, JPEG, WebP, AVIF, BMP, TIFF or PPM, then the .clc file to write", encode_command)
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
    decode = commands.add_parser(
        "decode", help="decode .clc files", description="Decode a .clc file into a PNG, or many into a folder of them."
    )
    _add_paths(decode, "a .clc file, then the .png file to write", decode_command)
    info = commands.add_parser("info", help="show what .clc files say", description="Show the headers of .clc files.")
    info.add_argument("paths", nargs="+", type=Path, metavar="PATH", help=".clc files, folders of them, or -")
    info.add_argument("--json", action="store_true", help="as one JSON object a line")
    info.set_defaults(run=_info)
    _add_collect(commands)
    selftest = commands.add_parser(
        "selftest", help="check that this machine decodes exactly", description="Replay the bundle's stored stream."
    )
    selftest.set_defaults(run=_selftest)
    for command in (encode, decode, selftest):
        command.add_argument("--bundle", type=Path, help="bundle folder made by train-codec; default: the shipped one")
        command.add_argument("--device", type=_device, default="cpu", metavar="cpu|cuda[:N]", help="default cpu")
    return parser


def _add_paths(command: argparse.ArgumentParser, what: str, run: object) -> None:
    command.add_argument(
        "paths", nargs="+", type=Path, metavar="PATH", help=f"{what} (- for a pipe); with --out: files and folders"
    )
    command.add_argument("--out", type=Path, metavar="FOLDER", help="write one output for each input below this folder")
    command.add_argument("--overwrite", action="store_true", help="replace what exists below the --out folder")
    command.set_defaults(run=run, parser=command)


def _add_collect(commands: argparse._SubParsersAction[OneLineParser]) -> None:
    collect = commands.add_parser(
        "collect",
        help="make a bundle for overlapping pictures",
        description="Keep some of a collection's pictures in a bundle, for the overlapping ones to be aligned with.",
    )
    collect.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="pictures and folders, in order of names")
    collect.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="the bundle to write, a new folder")
    collect.add_argument("--keys", type=_count, default=8, metavar="N", help="key pictures to keep; default 8")
    collect.add_argument(
        "--format", default="webp-lossless", help="how key pictures are kept: webp-lossless (default) or webp-QUALITY"
    )
    collect.add_argument("--source", default="", help="where the pictures come from, for the bundle's provenance")
    collect.add_argument("--licence", default="", help="their licence, likewise")
    collect.add_argument("--bundle", type=Path, help="the bundle to start from; default: the shipped one")
    collect.set_defaults(run=_collect)


def _collect(options: argparse.Namespace) -> int:
    from clc.codec.cli.collect import collect_command

    return collect_command(options)


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


def _target(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value


def _references(text: str) -> str | int:
    if text in ("auto", "none", "tokens", "aligned"):
        return text
    if text.isascii() and text.isdigit() and int(text) <= MAX_REFERENCES:
        return int(text) or "none"
    raise argparse.ArgumentTypeError(
        f"{text!r} is not auto, none, tokens, aligned or a number from 0 to {MAX_REFERENCES}"
    )


def _device(text: str) -> str:
    if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not cpu, cuda or cuda:N")
    return text


def _info(options: argparse.Namespace) -> int:
    files = [file for path in options.paths for file in find(path, STREAM_SUFFIXES)[0]]
    if not files:
        print(f"error: {', '.join(map(str, options.paths))}: no .clc file there", file=sys.stderr)
    failed = not files
    for file in files:
        try:
            _print_info(file, is_json=options.json, is_named=len(files) > 1)
        except ClcError as error:
            print(f"error: {shown(file)}: {reason_of(error, shown(file))}", file=sys.stderr)
            failed = True
    return int(failed)


def _print_info(file: Path, *, is_json: bool, is_named: bool) -> None:
    from clc.codec.info import stream_info

    fields = stream_info(read_stream(file)).to_json()
    if is_json:
        print(json.dumps({"file": str(file), **fields}))
        return
    if is_named:
        print(f"{shown(file)}:")
    for name, value in fields.items():
        print(f"{name:>15}  " + (f"{value:.4f}" if name == "bpp" else str(value)))


def _selftest(options: argparse.Namespace) -> int:
    from clc.codec.selftest import replay

    codec = load_codec(options)
    result = replay(codec)
    if result.first_difference is not None:
        print(
            f"error: this machine differs from the exporter first in '{result.first_difference}': streams would not "
            "decode here; try another version of torch",
            file=sys.stderr,
        )
        return 1
    print(f"selftest: bundle {codec.bundle.bundle_id}, {result.steps} intermediate results, all equal")
    return 0
