"""The commands `encode` and `decode` of `clc.codec.cli.main`: one file, a pipe, or many files into a folder.

One picture is coded and one stream decoded in the same two functions in all cases; only where the bytes come from and
go to differs. `clc.codec.cli.main` turns every error into a line; torch is imported here when a command runs, not
before.
"""

from __future__ import annotations

import time
import warnings
from argparse import Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, cast

from clc.codec.beside import sections_of
from clc.codec.cli.arguments import OVERFITTED
from clc.codec.cli.many_files import Done, LossesTold, error_lines, run, summary_lines, warning_lines
from clc.codec.cli.single_file import Output, check_source, existing_of, name_of, read_source, read_stream
from clc.codec.files import DECODE, ENCODE, Direction, Job, plan
from clc.codec.info import stream_info
from clc.codec.rate_control import encode_to_size, target_bytes_of
from clc.codec.ways.exact import encode_exact
from clc.codec.ways.goal import AUTO, Goal
from clc.console import complain, one_line, say, shown
from clc.errors import InputError
from clc.pictures import losses
from clc.pictures.images import ReadPicture, png_bytes
from clc.pictures.metadata import NO_METADATA, Metadata
from storage.atomic import write_bytes

if TYPE_CHECKING:
    from clc.codec.codec import Codec
    from clc.codec.codecs import AnyCodec, Codecs
    from clc.codec.overfitted import OverfittedCodec

_MISSED = "no quality comes within 2 % of the size asked for, so the nearest was taken"


class Decoded(NamedTuple):
    """A picture as a PNG file, its size in px, and in sentences what it lacks of its stream."""

    png: bytes
    width: int
    height: int
    left_out: tuple[str, ...]


def encode_command(options: Namespace) -> int:
    """Codes what the arguments name; returns the exit status. Raises a `ClcError` over a single file."""
    if not 0.0 <= options.quality <= 100.0:
        raise InputError(f"the quality must lie within 0 and 100, not {options.quality:g}")
    if options.out is not None:
        return _many(options, ENCODE)
    output = _output(options, ENCODE)
    if not output.is_wanted:
        return 0
    source = options.paths[0]
    picture = read_source(source, options.background)
    codec = None if _goal(options).is_exact else _encoder(load_codecs(options), options)
    began = time.perf_counter()
    try:
        data, lost = encoded(codec, picture, options)
    except InputError as error:
        raise type(error)(f"{name_of(source)}: {error}") from error
    seconds = time.perf_counter() - began
    output.write(data)
    _warn(options, lost)
    info = stream_info(data)
    named = ", ".join([*(f"{entry} (aligned)" for entry in info.aligned), *map(str, info.references)]) or "none"
    is_of_bundle = info.bundle_id is not None
    is_quality_told = info.quality is not None and (options.target_psnr or _target_bytes(picture, options) is not None)
    quality = f"quality {info.quality:.4g}, " if is_quality_told else ""
    way = f"references {named}" if is_of_bundle else info.payload
    output.say(
        f"{shown(output.path)}: {info.width}x{info.height} px, {info.total_bytes} bytes, {info.bpp:.4f} bpp, {quality}"
        f"{way}, {seconds:.2f} s"
    )
    return 0


def decode_command(options: Namespace) -> int:
    """Decodes what the arguments name; returns the exit status. Raises a `ClcError` over a single file."""
    if options.out is not None:
        return _many(options, DECODE)
    output = _output(options, DECODE)
    if not output.is_wanted:
        return 0
    data = read_stream(options.paths[0])
    codec = load_codecs(options).for_stream(data)
    began = time.perf_counter()
    picture = decoded(codec, data, options)
    seconds = time.perf_counter() - began
    output.write(picture.png)
    _warn(options, picture.left_out)
    output.say(f"{shown(output.path)}: {picture.width}x{picture.height} px, {seconds:.2f} s")
    return 0


def encoded(
    codec: Codec | OverfittedCodec | None, picture: ReadPicture, options: Namespace
) -> tuple[bytes, tuple[str, ...]]:
    """The stream of a picture at the quality, the size or the error that was asked for, and what is lost by it.

    `codec` is None where samples are promised, which takes none.
    """
    goal = _goal(options)
    target = _target_bytes(picture, options)
    metadata = NO_METADATA if options.strip else picture.metadata
    further = {"effort": options.effort, "alpha_HW": picture.alpha_HW, "metadata": metadata}
    if codec is None:
        moved = (losses.MOVED,) if picture.is_moved else ()
        return encode_exact(picture.image_HW3, goal.max_error or 0, **further), (*picture.losses, *moved)
    if options.mode == AUTO and target is None:
        return cast("Codec", codec).encode_to(goal, picture.image_HW3, options.references, **further), picture.losses
    encode = _at_qualities(codec, picture, metadata, options)
    if target is None:
        return encode(options.quality), picture.losses
    height, width = picture.image_HW3.shape[:2]
    beside = sections_of(None, metadata, (height, width))
    found = encode_to_size(encode, target, metadata_bytes=sum(len(section.stored) for section in beside))
    return found.data, picture.losses if found.is_met else (*picture.losses, _MISSED)


def _goal(options: Namespace) -> Goal:
    """What is asked for, sizes apart."""
    if options.lossless or options.max_error is not None:
        return Goal(max_error=options.max_error or 0)
    if options.target_psnr is not None:
        return Goal(target_psnr=options.target_psnr)
    return Goal(quality=options.quality)


def _encoder(codecs: Codecs, options: Namespace) -> Codec | OverfittedCodec:
    """The codec of the mode that was asked for; an autoencoder that does not work is told once, before any fit."""
    if options.mode != OVERFITTED:
        return codecs.for_encoding()
    codec = codecs.overfitted()
    codec.autoencoder.check()
    return codec


def _at_qualities(
    codec: Codec | OverfittedCodec, picture: ReadPicture, metadata: Metadata, options: Namespace
) -> Callable[[float], bytes]:
    """What codes the picture at one quality after another."""
    beside = {"effort": options.effort, "alpha_HW": picture.alpha_HW, "metadata": metadata}
    if options.mode == OVERFITTED:
        return cast("OverfittedCodec", codec).at_qualities(picture.image_HW3, **beside)
    if options.mode == AUTO:
        return cast("Codec", codec).at_qualities(picture.image_HW3, options.references, **beside)
    return lambda quality: codec.encode(picture.image_HW3, quality, options.references, **beside)


def decoded(codec: AnyCodec, data: bytes, options: Namespace) -> Decoded:
    """The picture of a stream as a PNG file, with its transparency and, unless they are stripped, EXIF and XMP."""
    picture = codec.decode_picture(data)
    metadata = NO_METADATA if options.strip else picture.metadata
    png = png_bytes(picture.image_HW3, picture.alpha_HW, metadata)
    return Decoded(png, picture.image_HW3.shape[1], picture.image_HW3.shape[0], picture.left_out)


def _output(options: Namespace, direction: Direction) -> Output:
    """The output of a single file, checked; says so where it exists and is skipped."""
    source, path = options.paths
    check_source(source)
    output = Output(path, source, direction, existing_of(options))
    if not output.is_wanted:
        say(f"{shown(path)}: exists already, skipped")
    return output


def _many(options: Namespace, direction: Direction) -> int:
    jobs, passed_over, unreadable = plan(options.paths, options.out, direction)
    is_without = direction is ENCODE and _goal(options).is_exact
    codecs = None if is_without else load_codecs(options)
    codec = _encoder(codecs, options) if codecs is not None and direction is ENCODE else None
    existing = existing_of(options)
    told = LossesTold(options.verbose)

    def encode(job: Job) -> Done:
        picture = read_source(job.source, options.background)
        data, lost = encoded(codec, picture, options)
        told.tell(job.source, lost)
        write_bytes(job.output, data, replace=existing == "replace")
        return Done(picture.file_bytes, len(data), picture.image_HW3.size // 3, lost)

    def decode(job: Job) -> Done:
        data = read_stream(job.source)
        picture = decoded(cast("Codecs", codecs).for_stream(data), data, options)
        told.tell(job.source, picture.left_out)
        write_bytes(job.output, picture.png, replace=existing == "replace")
        return Done(len(data), len(picture.png), picture.width * picture.height, picture.left_out)

    report = run(jobs, direction, encode if direction is ENCODE else decode, existing=existing)
    for line in warning_lines(report, told) + error_lines(report, unreadable):
        complain(line)
    say("\n".join(summary_lines(report, options.out, passed_over)))
    return report.status(unreadable)


def _warn(options: Namespace, lost: tuple[str, ...]) -> None:
    for loss in lost:
        complain(f"warning: {shown(name_of(options.paths[0]))}: {loss}")


def _target_bytes(picture: ReadPicture, options: Namespace) -> float | None:
    if options.target_bpp is not None:
        return target_bytes_of(options.target_bpp, picture.image_HW3.shape[1], picture.image_HW3.shape[0])
    target: float | None = options.target_bytes
    return target


def load_codecs(options: Namespace) -> Codecs:
    """The codecs of `--bundle` on `--device`, loaded when they are needed.

    Raises `InputError` where this machine does not have the device, or there is no such bundle.
    """
    from clc.codec.codecs import Codecs
    from clc.machine import keep_freed_memory

    _check_device(options.device)
    codecs = Codecs(options.bundle, options.device, warn, getattr(options, "autoencoder", None))
    codecs.shelf.named()  # what is wrong with a name is said once, before any file is read
    keep_freed_memory()
    return codecs


def warn(line: str) -> None:
    """Says on stderr what was passed over."""
    complain(f"warning: {one_line(line)}")


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
