"""The commands `encode` and `decode` of `clc.codec.cli.main`: one file, a pipe, or many files into a folder.

One picture is coded and one stream decoded in the same two functions in all cases; only where the bytes come from and
go to differs. `clc.codec.cli.main` parses the arguments and turns every error into a line; torch is imported here when
a command runs, not before.
"""

from __future__ import annotations

import sys
import time
import warnings
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from clc.codec.cli.many_files import Done, error_lines, run, summary_lines, warning_lines
from clc.codec.files import DECODE, ENCODE, Direction, Job, plan
from clc.codec.rate_control import encode_to_size, target_bytes_of
from clc.errors import InputError
from clc.limits import MAX_PICTURE_FILE_BYTES, MAX_STREAM_BYTES
from clc.pictures.images import ReadPicture, png_bytes, read_picture
from storage.atomic import write_bytes

if TYPE_CHECKING:
    from clc.codec.codec import Codec

STANDARD = "-"
_MISSED = "no quality comes within 2 % of the size asked for, so the nearest was taken"


def encode_command(options: Namespace) -> int:
    """Codes what the arguments name; returns the exit status. Raises a `ClcError` over a single file."""
    if not 0.0 <= options.quality <= 100.0:
        raise InputError(f"the quality must lie within 0 and 100, not {options.quality:g}")
    if options.out is not None:
        return _many(options, ENCODE)
    source, output = options.paths
    _check_single(source, output)
    picture = _read_picture(source)
    codec = load_codec(options)
    began = time.perf_counter()
    try:
        data, losses = _encode(codec, picture, options)
    except InputError as error:
        raise type(error)(f"{shown(source)}: {error}") from error
    seconds = time.perf_counter() - began
    _write(output, data)
    for loss in losses:
        print(f"warning: {shown(source)}: {loss}", file=sys.stderr)
    info = codec.info(data)
    named = ", ".join([*(f"{entry} (aligned)" for entry in info.aligned), *map(str, info.references)]) or "none"
    quality = "" if _target_bytes(picture, options) is None else f"quality {info.quality:.4g}, "
    _say(
        output,
        f"{output}: {info.width}x{info.height} px, {info.total_bytes} bytes, {info.bpp:.4f} bpp, {quality}"
        f"references {named}, {seconds:.2f} s",
    )
    return 0


def decode_command(options: Namespace) -> int:
    """Decodes what the arguments name; returns the exit status. Raises a `ClcError` over a single file."""
    if options.out is not None:
        return _many(options, DECODE)
    source, output = options.paths
    _check_single(source, output)
    if str(output) != STANDARD and output.suffix.lower() != ".png":
        raise InputError(f"{output}: pictures are decoded to PNG; name the output *.png")
    data = read_stream(source)
    codec = load_codec(options)
    began = time.perf_counter()
    image_HW3 = codec.decode(data)
    seconds = time.perf_counter() - began
    _write(output, png_bytes(image_HW3))
    _say(output, f"{output}: {image_HW3.shape[1]}x{image_HW3.shape[0]} px, {seconds:.2f} s")
    return 0


def _many(options: Namespace, direction: Direction) -> int:
    jobs, n_passed_over = plan(options.paths, options.out, direction)
    codec = load_codec(options)

    def encode(job: Job) -> Done:
        picture = read_picture(job.source)
        data, losses = _encode(codec, picture, options)
        write_bytes(job.output, data)
        return Done(picture.file_bytes, len(data), picture.image_HW3.size // 3, losses)

    def decode(job: Job) -> Done:
        data = read_stream(job.source)
        image_HW3 = codec.decode(data)
        png = png_bytes(image_HW3)
        write_bytes(job.output, png)
        return Done(len(data), len(png), image_HW3.size // 3)

    report = run(jobs, direction, encode if direction is ENCODE else decode, overwrite=options.overwrite)
    for line in warning_lines(report) + error_lines(report):
        print(line, file=sys.stderr)
    for line in summary_lines(report, options.out, n_passed_over):
        print(line)
    return int(bool(report.failed) or not report.is_complete)


def _encode(codec: Codec, picture: ReadPicture, options: Namespace) -> tuple[bytes, tuple[str, ...]]:
    """The stream at the quality or the size that was asked for, and what is lost by it."""
    target = _target_bytes(picture, options)

    def encode(quality: float) -> bytes:
        return codec.encode(picture.image_HW3, quality, options.references, effort=options.effort)

    if target is None:
        return encode(options.quality), picture.losses
    found = encode_to_size(encode, target)
    return found.data, picture.losses if found.is_met else (*picture.losses, _MISSED)


def _target_bytes(picture: ReadPicture, options: Namespace) -> float | None:
    if options.target_bpp is not None:
        return target_bytes_of(options.target_bpp, picture.image_HW3.shape[1], picture.image_HW3.shape[0])
    target: float | None = options.target_bytes
    return target


def load_codec(options: Namespace) -> Codec:
    """The codec of `--bundle` on `--device`; `InputError` where this machine does not have the device."""
    from clc.codec.codec import Codec
    from clc.machine import keep_freed_memory

    _check_device(options.device)
    keep_freed_memory()
    return Codec.load(options.bundle, options.device)


def _check_device(device: str) -> None:
    if device == "cpu":
        return
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns about drivers; the line below says what counts
        n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if n_devices == 0:
        raise InputError(
            f"--device {device}: torch finds no CUDA device on this machine; leave --device out for the CPU"
        )
    if ":" in device and int(device.split(":")[1]) >= n_devices:
        present, advice = (
            ("cuda:0", "name it") if n_devices == 1 else (f"cuda:0 to cuda:{n_devices - 1}", "name one of them")
        )
        raise InputError(f"--device {device}: this machine has {present} only; {advice}")


def read_stream(path: Path) -> bytes:
    """The bytes of a stream's file, or of stdin for `-`; `InputError` where there are none or too many."""
    if str(path) == STANDARD:
        return _read_standard(MAX_STREAM_BYTES)
    try:
        if path.stat().st_size > MAX_STREAM_BYTES:
            raise InputError(f"{path}: larger than {MAX_STREAM_BYTES} bytes, no .clc stream")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; give the path of a .clc file") from error


def _read_picture(path: Path) -> ReadPicture:
    if str(path) == STANDARD:
        return read_picture(_read_standard(MAX_PICTURE_FILE_BYTES), shown(path))
    return read_picture(path)


def _read_standard(limit: int) -> bytes:
    if sys.stdin.isatty():
        raise InputError("standard input is a terminal; pipe a file into it, or name the file instead of -")
    return sys.stdin.buffer.read(limit + 1)


def _write(path: Path, data: bytes) -> None:
    if str(path) == STANDARD:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        write_bytes(path, data)


def _say(output: Path, line: str) -> None:
    """Prints a line on stdout, unless the output itself went there."""
    if str(output) != STANDARD:
        print(line)


def shown(path: Path) -> str:
    """A path as messages name it."""
    return "standard input" if str(path) == STANDARD else str(path)


def _check_single(source: Path, output: Path) -> None:
    if source.is_dir():
        raise InputError(f"{source}: is a folder; give --out FOLDER to take all that is in it")
    if str(output) == STANDARD:
        if sys.stdout.isatty():
            raise InputError("standard output is a terminal; redirect it, or name a file instead of -")
        return
    if output.is_dir():
        raise InputError(f"{output}: is a folder; name a file to write, or give --out {output}")
    if not output.parent.is_dir():
        raise InputError(f"{output.parent}: no such folder to write {output.name} into; make it first")
    if output.exists() and source.exists() and output.samefile(source):
        raise InputError(f"{output}: is the input itself; name another output")
