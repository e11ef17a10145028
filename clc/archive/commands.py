"""The commands of archives, `clc pack` to `clc remove`; see `clc.codec.cli.main` for what all commands promise."""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clc.archive.cli import parsers
from clc.archive.report_command import add_report
from clc.archive.wording import asked_text, decibels_text
from clc.codec.cli.arguments import add_bundles
from clc.codec.ways.goal import LEARNED
from clc.console import DONE, FAILED, complain, one_line, progress_line, say, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from clc.archive.layout import Archive
    from clc.archive.manifest import ArchivedPicture
    from clc.archive.packed import Packed, Progress
    from clc.codec.codec import Codec


_NAMES_TOLD = 5


def add_commands(commands: parsers.Commands) -> None:
    """Adds the commands to the parser of `clc`."""
    for add_parser, run, takes_bundles in (
        (parsers.pack_parser, pack_command, True),
        (parsers.unpack_parser, unpack_command, True),
        (parsers.list_parser, list_command, False),
        (parsers.verify_parser, verify_command, True),
        (parsers.add_parser, add_command, True),
        (parsers.remove_parser, remove_command, False),
    ):
        command = add_parser(commands)
        command.set_defaults(run=run, parser=command)
        if takes_bundles:
            add_bundles(command)
    add_report(commands)


def pack_command(options: argparse.Namespace) -> int:
    """`clc pack`: makes an archive and says what it is worth."""
    from clc.archive.pack import pack
    from clc.archive.packed import PackOptions
    from clc.archive.packing.executors import InProcesses, usual_processes
    from clc.codec.cli.encode_decode import load_codecs
    from clc.pictures.folders import find_pictures

    settings = PackOptions(
        quality=options.quality,
        keys=options.keys,
        levels=options.levels,
        effort=options.effort,
        strip=options.strip,
        background=options.background,
        with_model=options.with_model,
        target_bytes=options.target_size,
        target_psnr_db=options.target_psnr,
        mode=options.mode,
        max_error=0 if options.lossless else options.max_error,
    )
    codec = load_codecs(options).for_encoding()
    with contextlib.ExitStack() as opened:
        processes = options.processes or usual_processes(len(find_pictures(options.folder).files))
        side_by_side = processes > 1 and options.device == "cpu"
        executor = opened.enter_context(InProcesses(processes)) if side_by_side else None
        packed = pack(options.folder, options.archive, codec, settings, _watch(), executor)
    for name, losses in packed.losses:
        complain(f"warning: {shown(name)}: {', '.join(losses)}")
    for name, reason in packed.failed:
        complain(_fault(name, reason))
    say("\n".join(summary(packed, options.archive)))
    return FAILED if packed.failed else DONE


def unpack_command(options: argparse.Namespace) -> int:
    """`clc unpack`: decodes pictures to PNG; one that fails costs no other its turn."""
    from clc.archive.pixel_cache import PixelCache
    from clc.archive.unpack import ArchiveReader, named
    from clc.codec.files import DECODE, Existing, check_folder, is_to_be_written
    from clc.errors import ClcError
    from clc.pictures.images import png_bytes
    from storage.atomic import write_bytes

    archive, codec = _open(options)
    check_folder(options.out)
    reader = ArchiveReader(archive, codec, PixelCache(options.cache) if options.cache else None)
    existing: Existing = "replace" if options.overwrite else "skip" if options.skip_existing else "refuse"
    wanted, written, failed = named(archive, options.names), 0, 0
    for number, picture in enumerate(wanted):
        stream = Path(picture.stream)
        output = options.out / stream.with_name(DECODE.named(stream.name))
        try:
            if not is_to_be_written(output, existing, "give --overwrite or --skip-existing"):
                continue
            decoded = reader.decode(picture)
            output.parent.mkdir(parents=True, exist_ok=True)
            png = png_bytes(decoded.image_HW3, decoded.alpha_HW, decoded.metadata)
            write_bytes(output, png, replace=existing == "replace")
            for lost in decoded.left_out:
                complain(f"warning: {shown(picture.name)}: {lost}")
        except ClcError as error:
            complain(_fault(picture.name, str(error)))
            failed += 1
            continue
        written += 1
        progress_line(f"decoded {number + 1} of {len(wanted)}")
    progress_line("")
    skipped = len(wanted) - written - failed
    told = [f"{written} of {len(wanted)} pictures unpacked to {shown(options.out)}"]
    told += [f"{skipped} exist already"] if skipped else []
    told += [f"{failed} failed"] if failed else []
    say("; ".join(told))
    return FAILED if failed else DONE


def list_command(options: argparse.Namespace) -> int:
    """`clc list`: a line a picture, and the totals."""
    from clc.archive.layout import Archive
    from clc.archive.unpack import named

    archive = Archive(options.archive)
    pictures = sorted(named(archive, options.names), key=lambda one: one.name)
    names = {one.id: one.name for one in archive.manifest.pictures}
    if options.json:
        return DONE if say("\n".join(json.dumps(_as_json(picture, archive)) for picture in pictures)) else FAILED
    lines = [_listed(picture, names, archive) for picture in pictures]
    total = sum(picture.bytes for picture in pictures)
    lines.append(f"{len(pictures)} pictures, {total} bytes; model {archive.manifest.model_id}")
    return DONE if say("\n".join(lines)) else FAILED


def verify_command(options: argparse.Namespace) -> int:
    """`clc verify`: names what is damaged and which pictures are lost with it."""
    from clc.archive.layout import Archive
    from clc.archive.model import model_faults
    from clc.archive.unpack import strangers, verify

    in_model = 0
    for name, reason in model_faults(Archive(options.archive)):
        complain(_fault(name, reason))
        in_model += 1
    archive, codec = _open(options)
    faults = 0
    lost: set[str] = set()
    for fault in verify(archive, codec, lambda done, of: progress_line(f"checked {done} of {of}")):
        progress_line("")
        complain(_fault(fault.name, fault.reason))
        if fault.lost_with:
            complain(f"  {len(fault.lost_with)} depend on it: {', '.join(map(shown, fault.lost_with))}")
        lost.update(fault.lost_with)
        faults += 1
    progress_line("")
    for name in strangers(archive):
        complain(f"warning: {shown(name)}: {archive.table_name} does not name this file")
    count = len(archive.manifest.pictures)
    if faults:
        say(f"{faults} of {count} pictures are damaged, {len(lost)} more depend on them")
    elif in_model:
        say(f"{count} pictures decode with another copy of the model; that in the archive is damaged")
    if faults or in_model:
        return FAILED
    return DONE if say(f"{count} pictures decode, every digest holds") else FAILED


def add_command(options: argparse.Namespace) -> int:
    """`clc add`: adds pictures, and says what became of each that was not added."""
    from clc.archive.change import AddOptions, add

    settings = AddOptions(
        quality=options.quality,
        effort=options.effort,
        strip=options.strip,
        background=options.background,
        mode=options.mode,
        max_error=0 if options.lossless else options.max_error,
    )
    _, codec = _open(options, is_encoding=True)

    def warn(name: str, sentence: str) -> None:
        progress_line("")
        complain(f"warning: {shown(name)}: {one_line(sentence, name)}")

    added = add(options.archive, options.inputs, codec, settings, _watch(), warn)
    progress_line("")
    for name, reason in added.failed:
        complain(_fault(name, reason))
    told = f"{len(added.added)} pictures added to {shown(options.archive)}"
    if added.added:
        told += f", {added.bytes} bytes ({_change(added.bytes, added.source_bytes)})"
    lines = [told]
    if added.there:
        lines.append(f"  there already: {_some(added.there)}")
    if added.failed:
        lines.append(f"  {len(added.failed)} not added, see the errors")
    lines += _passed_over(added.passed_over)
    say("\n".join(lines))
    return FAILED if added.failed else DONE


def remove_command(options: argparse.Namespace) -> int:
    """`clc remove`: removes pictures that no others need."""
    from clc.archive.change import remove

    removed = remove(options.archive, options.names)
    for stream, reason in removed.failed:
        complain(_fault(stream, reason))
    size = sum(picture.bytes for picture in removed.pictures)
    told = f"{len(removed.pictures)} pictures removed from {shown(options.archive)}, {size} bytes; {removed.left} left"
    say(told)
    return FAILED if removed.failed else DONE


def summary(packed: Packed, archive: Path) -> list[str]:
    """What a run of `pack` says at its end: everything counted, against the sources and against each picture alone."""
    pictures = packed.manifest.pictures
    sources, alone = sum(one.source_bytes for one in pictures), sum(one.alone_bytes for one in pictures)
    lines = [f"{len(pictures)} pictures packed into {shown(archive)}: {packed.archive_bytes} bytes, all counted"]
    lines.append(f"  sources {sources} bytes: {_change(packed.archive_bytes, sources)}")
    lines += _told_alone(packed, alone)
    if packed.keys:
        what = "key picture" if len(packed.keys) == 1 else "key pictures"
        lines.append(f"  {len(packed.keys)} {what}{_finer([offset for _, offset in packed.keys])}")
    else:
        lines.append("  no key pictures: nothing that the pictures share pays for one")
    if packed.losses:
        lines.append(f"  {len(packed.losses)} files lost something, see the warnings")
    if packed.failed:
        lines.append(f"  {len(packed.failed)} files could not be read, see the errors")
    return lines + _passed_over(packed.passed_over)


def _told_alone(packed: Packed, alone: int) -> list[str]:
    """What the pictures take alone; their PSNR is told where it may differ from that of the archive."""
    asked = asked_text(packed.quality, packed.max_error)
    ours, theirs = decibels_text(packed.psnr_db), decibels_text(packed.alone_psnr_db)
    if packed.max_error is not None:
        change = f"each picture alone {asked} {alone} bytes: {_change(packed.archive_bytes, alone)}"
        return [f"  {change}; {theirs}, the archive has {ours}" if packed.max_error else f"  {change}"]
    at_psnr = round(packed.alone_bytes_at_psnr)
    return [
        f"  each picture alone at {asked} {alone} bytes, {theirs}; the archive has {ours}",
        f"  alone at the archive's PSNR about {at_psnr} bytes: {_change(packed.archive_bytes, at_psnr)}",
    ]


def _finer(offsets: list[float]) -> str:
    """By how much key pictures are finer, where they are."""
    least, most = (f"{offset:.0f}" for offset in (min(offsets), max(offsets)))
    if most == "0":
        return ""
    return f", {most if least == most else f'{least} to {most}'} units of quality finer than the others"


def _fault(name: str, reason: str) -> str:
    """The line of what is wrong with a picture or a file, which names it once."""
    return f"error: {shown(name)}: {one_line(reason.removeprefix(f'{name}: '), name)}"


def _passed_over(counts: dict[str, int]) -> list[str]:
    from clc.pictures.folders import passed_over_text

    return [f"  passed over: {passed_over_text(counts)}"] if counts else []


def _some(names: tuple[str, ...]) -> str:
    """The first names, and how many more there are."""
    told = ", ".join(map(shown, names[:_NAMES_TOLD]))
    return told + (f" and {len(names) - _NAMES_TOLD} more" if len(names) > _NAMES_TOLD else "")


def _open(options: argparse.Namespace, *, is_encoding: bool = False) -> tuple[Archive, Codec]:
    from clc.archive.layout import Archive
    from clc.machine import keep_freed_memory

    archive = Archive(options.archive)
    keep_freed_memory()
    return archive, archive.codec(tuple(options.bundle), options.device, is_encoding=is_encoding)


def _as_json(picture: ArchivedPicture, archive: Archive) -> dict[str, Any]:
    """The row of the table, with the way and the error that was promised; then there is no quality."""
    promised = archive.promised_error_of(picture)
    quality = picture.quality if promised is None else None
    return {**picture.to_json(), "quality": quality, "max_error": promised, "way": archive.way_of(picture)}


def _listed(picture: ArchivedPicture, names: dict[str, str], archive: Archive) -> str:
    beside = ", ".join(shown(names[one]) for one in picture.references)
    way, asked = archive.way_of(picture), asked_text(picture.quality, archive.promised_error_of(picture))
    told = f"{shown(picture.name)}: {picture.width}x{picture.height}, {asked}, {picture.bytes} bytes"
    further = [way] if way not in ("", LEARNED, asked) else []
    further += [f"beside {beside}"] if beside else []
    further += ["key picture"] if picture.pixels_sha256 else []
    return ", ".join((told, *further))


def _change(ours: int, theirs: int) -> str:
    return f"{100 * (ours / theirs - 1):+.1f} %" if theirs else "nothing to compare with"


def _watch() -> Callable[[Progress], None]:
    begun = time.monotonic()

    def watch(progress: Progress) -> None:
        told = f"{progress.step}: {progress.done} of {progress.of}"
        if progress.bytes and progress.source_bytes:
            told += f", {progress.bytes} bytes so far ({_change(progress.bytes, progress.source_bytes)})"
        if progress.step in ("coding", "adding") and 0 < progress.done < progress.of:
            left = (time.monotonic() - begun) / progress.done * (progress.of - progress.done)
            told += f", about {left:.0f} s left at most"
        progress_line(told)

    return watch
