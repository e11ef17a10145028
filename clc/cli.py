"""The command line `python -m clc.codec`: encode, decode, info, selftest.

Any mistake is one line on stderr that says what, where and what to do, a non-zero exit, and no output file: outputs are
written under a temporary name and renamed when they are complete. Exit codes: 0 done, 1 an error, 2 wrong arguments.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import NoReturn

from clc.errors import BitstreamError, ClcError, InputError
from clc.limits import MAX_STREAM_BYTES
from storage.atomic import write_bytes


class OneLineParser(argparse.ArgumentParser):
    """Reports a wrong argument as one line."""

    def error(self, message: str) -> NoReturn:
        """Prints the line and exits with 2."""
        self.exit(2, f"error: {message} (see {self.prog} --help)\n")


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except BitstreamError as error:
        print(f"error: {options.input}: {error}", file=sys.stderr)
    except ClcError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        print(f"error: {error.filename or 'output'}: {error.strerror or error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m clc.codec", description="Code pictures with a learned codec and its dictionary."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="encode|decode|info|selftest")
    encode = commands.add_parser("encode", help="code a picture", description="Code a picture into a .clc file.")
    encode.add_argument("input", type=Path, help="PNG, JPEG, WebP, AVIF, BMP, TIFF or PPM")
    encode.add_argument("output", type=Path, help="the .clc file to write")
    encode.add_argument("--quality", type=float, default=50.0, help="0 (smallest) to 100 (best); default 50")
    encode.add_argument(
        "--references", choices=("auto", "none"), default="auto", help="use dictionary entries where they save bytes"
    )
    encode.set_defaults(run=_encode)
    decode = commands.add_parser("decode", help="decode a .clc file", description="Decode a .clc file into a PNG.")
    decode.add_argument("input", type=Path, help="a .clc file")
    decode.add_argument("output", type=Path, help="the .png file to write")
    decode.set_defaults(run=_decode)
    info = commands.add_parser("info", help="show what a .clc file says", description="Show the header of a .clc file.")
    info.add_argument("input", type=Path, help="a .clc file")
    info.add_argument("--json", action="store_true", help="as one JSON object")
    info.set_defaults(run=_info)
    selftest = commands.add_parser(
        "selftest", help="check that this machine decodes exactly", description="Replay the bundle's stored stream."
    )
    selftest.set_defaults(run=_selftest)
    for command in (encode, decode, selftest):
        command.add_argument("--bundle", type=Path, help="bundle folder made by train-codec; default: the shipped one")
    return parser


def _encode(options: argparse.Namespace) -> int:
    from clc.codec import Codec, stream_info
    from clc.images import read_image

    _refuse_folder(options.output)
    image_HW3 = read_image(options.input)
    codec = Codec.load(options.bundle)
    began = time.perf_counter()
    data = codec.encode(image_HW3, options.quality, options.references)
    seconds = time.perf_counter() - began
    write_bytes(options.output, data)
    info = stream_info(data)
    named = ", ".join(map(str, info.references)) or "none"
    print(
        f"{options.output}: {info.width}x{info.height} px, {info.total_bytes} bytes, {info.bpp:.4f} bpp, "
        f"references {named}, {seconds:.2f} s"
    )
    return 0


def _decode(options: argparse.Namespace) -> int:
    from clc.codec import Codec
    from clc.images import png_bytes

    _refuse_folder(options.output)
    if options.output.suffix.lower() != ".png":
        raise InputError(f"{options.output}: pictures are decoded to PNG; name the output *.png")
    data = _read_stream(options.input)
    codec = Codec.load(options.bundle)
    began = time.perf_counter()
    image_HW3 = codec.decode(data)
    seconds = time.perf_counter() - began
    write_bytes(options.output, png_bytes(image_HW3))
    print(f"{options.output}: {image_HW3.shape[1]}x{image_HW3.shape[0]} px, {seconds:.2f} s")
    return 0


def _info(options: argparse.Namespace) -> int:
    from clc.codec import stream_info

    fields = stream_info(_read_stream(options.input)).to_json()
    if options.json:
        print(json.dumps(fields))
    else:
        for name, value in fields.items():
            shown = f"{value:.4f}" if name == "bpp" else value
            print(f"{name:>15}  {shown}")
    return 0


def _selftest(options: argparse.Namespace) -> int:
    from clc.codec import Codec
    from clc.selftest import replay

    codec = Codec.load(options.bundle)
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


def _read_stream(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_STREAM_BYTES:
            raise InputError(f"{path}: larger than {MAX_STREAM_BYTES} bytes, no .clc stream")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; give the path of a .clc file") from error


def _refuse_folder(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a file to write")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent}: no such folder to write {path.name} into; make it first")
