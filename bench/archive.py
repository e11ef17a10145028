"""What an archive saves: a folder packed at several qualities, beside every picture alone, AVIF, JPEG and an AV1 video.

    python bench/archive.py --set ../shared/data/correlated/copr --json a.json

Bytes are those of whole folders: streams and `archive.json`; the shipped model is not counted on either side. PSNR is
that of all pixels together. Every archive is verified again in fresh processes: with one thread, and at the qualities
of `--verify-at` with two threads and with fewer instructions of the processor as well. A negative BD-rate means that
the archive saves bytes. The keys of the JSON:

- `bd_rate_alone`: per cent against an archive of the same pictures in which none refers to another; `bd_rate_bare`:
  against the streams of that without its table. `bd_rate_avif`, `bd_rate_jpeg`, `bd_rate_video`: against each of
  `--anchors`; null where curves do not overlap or the coder is not there. The video is an AVIF image sequence (libaom
  by libavif), in order of names, 4:4:4, which needs pictures of one size.
- `worst_streams_to_decode`, `mean_streams_to_decode`: other streams that one picture needs.
- `points`: bytes, PSNR, key pictures, offset and seconds of each quality.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from clc.archive.layout import Archive
from clc.archive.pack import PackOptions, pack
from clc.archive.packing.executors import InProcesses
from clc.archive.unpack import ArchiveReader
from clc.codec.codec import Codec
from clc.codec.files import refuse_existing
from clc.errors import ClcError, InputError
from clc.evaluation.bd_rate import RateCurve, bd_rate
from clc.evaluation.coders import find_baselines
from clc.evaluation.totals import SquaredError, total
from clc.pictures.folders import find_pictures
from clc.pictures.images import read_image
from clc.pictures.picture import Picture
from storage.atomic import write_bytes

QUALITIES = "0,30,60,95"
ANCHORS = "avif,jpeg,video"
TIMED = 6
"""Pictures of each archive that are decoded by themselves, to tell how long that takes."""

VIDEO_QUALITIES = (30, 45, 60, 75, 88)
MACHINES: tuple[dict[str, str], ...] = (
    {"OMP_NUM_THREADS": "1"},
    {"OMP_NUM_THREADS": "2"},
    {"OMP_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
)
"""Environments in which every archive is verified again."""


def pack_and_measure(
    folder: Path,
    codec: Codec,
    options: PackOptions,
    sources: Sequence[Picture],
    processes: int,
    machines: Sequence[dict[str, str]],
) -> dict[str, Any]:
    """Packs a folder, decodes all of it again, also on `machines`, and returns what was measured."""
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "archive"
        with InProcesses(processes) as executor:
            begun = time.monotonic()
            packed = pack(folder, out, codec, options, executor=executor)
            seconds = time.monotonic() - begun
        archive, errors, times = Archive(out), SquaredError(), []
        pictures = archive.manifest.pictures
        reader = ArchiveReader(archive, codec)
        for picture, source in zip(pictures, sources, strict=True):
            errors.add(reader.decode(picture).image_HW3, source)
        for number in np.unique(np.linspace(0, len(pictures) - 1, TIMED).round().astype(int)):
            begun = time.monotonic()
            ArchiveReader(archive, codec).decode(pictures[number])  # anew, with the key pictures that it needs
            times.append(time.monotonic() - begun)
        needed = [len(archive.manifest.needed_for(picture)) for picture in pictures]
        with ThreadPoolExecutor(processes) as side_by_side:
            list(side_by_side.map(lambda machine: _verify(out, machine), machines))
        return {
            "quality": options.quality,
            "bytes": packed.archive_bytes,
            "psnr_db": errors.psnr_db,
            "alone_bytes": packed.archive_bytes_alone,
            "alone_streams_bytes": sum(picture.alone_bytes for picture in pictures),
            "alone_psnr_db": packed.alone_psnr_db,
            "table_bytes": packed.archive_bytes - sum(picture.bytes for picture in pictures),
            "verified_on": list(machines),
            "keys": [list(key) for key in packed.keys],
            "pack_seconds": seconds,
            "decode_seconds_mean": float(np.mean(times)),
            "decode_seconds_worst": max(times),
            "streams_to_decode_mean": float(np.mean(needed)),
            "streams_to_decode_worst": max(needed),
        }


def _verify(archive: Path, machine: dict[str, str]) -> None:
    command = [sys.executable, "-m", "clc.codec", "verify", str(archive)]
    done = subprocess.run(command, env={**os.environ, **machine}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClcError(f"verify with {machine} failed: {done.stderr.strip() or done.stdout.strip()}")


def baseline_curve(name: str, sources: Sequence[Picture], processes: int) -> RateCurve | None:
    """Totals of a picture format over its qualities; None where this Pillow lacks the format."""
    found = find_baselines((name,)).available
    if not found:
        return None
    with ThreadPoolExecutor(processes) as side_by_side:
        points = list(side_by_side.map(lambda quality: total(found[0], quality, sources), found[0].qualities))
    return curve(name, [(one.bytes, one.psnr_db) for one in points], sources)


def video_curve(sources: Sequence[Picture]) -> RateCurve | None:
    """Totals of an AVIF sequence over `VIDEO_QUALITIES`; None where the pictures differ in size."""
    if len({source.shape for source in sources}) != 1:
        return None
    frames, points = [Image.fromarray(source) for source in sources], []
    for quality in VIDEO_QUALITIES:
        file = io.BytesIO()
        frames[0].save(
            file, "AVIF", save_all=True, append_images=frames[1:], quality=quality, speed=4, subsampling="4:4:4"
        )
        errors = SquaredError()
        with Image.open(file) as video:
            for number, source in enumerate(sources):
                video.seek(number)
                errors.add(np.asarray(video.convert("RGB")), source)
        points.append((len(file.getvalue()), errors.psnr_db))
    return curve("video", points, sources)


def curve(name: str, points: Sequence[tuple[int, float]], sources: Sequence[Picture]) -> RateCurve:
    """A curve of total bytes and PSNR."""
    pixels = sum(source.shape[0] * source.shape[1] for source in sources)
    return RateCurve.of(name, [8 * size / pixels for size, _ in points], [db for _, db in points])


def main(
    folder: Annotated[Path, typer.Option("--set", help="Folder of pictures.")],
    json_path: Annotated[Path, typer.Option("--json", help="Where the figures go.")],
    qualities: Annotated[str, typer.Option(help="Qualities, separated by commas.")] = QUALITIES,
    effort: Annotated[int, typer.Option(help="0 to 9.")] = 5,
    keys: Annotated[int | None, typer.Option(help="Key pictures; as many as pay.")] = None,
    levels: Annotated[int, typer.Option(help="1 to 3.")] = 2,
    processes: Annotated[int, typer.Option(help="How many code side by side.")] = 2,
    anchors: Annotated[str, typer.Option(help="Peers beside it, separated by commas.")] = ANCHORS,
    verify_at: Annotated[str, typer.Option(help="Qualities that are verified on all machines; all if empty.")] = "",
    overwrite: Annotated[bool, typer.Option(help="Replace the JSON.")] = False,
) -> None:
    """Measures a folder; see the module."""
    refuse_existing([json_path], overwrite=overwrite)
    paths = find_pictures(folder).files
    if len(paths) < 2:
        raise InputError(f"{folder}: an archive is measured on two pictures or more")
    sources, codec = [read_image(path) for path in paths], Codec.shipped()
    points, everywhere = [], _numbers(verify_at or qualities)
    for quality in _numbers(qualities):
        options = PackOptions(quality=quality, effort=effort, keys=keys, levels=levels)
        machines = MACHINES if quality in everywhere else MACHINES[:1]
        points.append(pack_and_measure(folder, codec, options, sources, processes, machines))
        print(_told(points[-1]), flush=True)
    ours = curve("archive", [(one["bytes"], one["psnr_db"]) for one in points], sources)
    against: dict[str, RateCurve | None] = {
        "alone": curve("alone", [(one["alone_bytes"], one["alone_psnr_db"]) for one in points], sources),
        "bare": curve("bare", [(one["alone_streams_bytes"], one["alone_psnr_db"]) for one in points], sources),
    }
    for name in anchors.split(",") if anchors else ():
        against[name] = video_curve(sources) if name == "video" else baseline_curve(name, sources, processes)
    result: dict[str, Any] = {"set": folder.name, "pictures": len(paths), "effort": effort, "levels": levels}
    for name, anchor in against.items():
        result[f"bd_rate_{name}"] = None if anchor is None else bd_rate(anchor, ours).percent
        print(f"against {name}: {'not measured' if anchor is None else bd_rate(anchor, ours)}")
    result["worst_streams_to_decode"] = max(one["streams_to_decode_worst"] for one in points)
    result["mean_streams_to_decode"] = float(np.mean([one["streams_to_decode_mean"] for one in points]))
    result["points"] = points
    write_bytes(json_path, json.dumps(result, indent=1).encode(), replace=overwrite)


def _numbers(text: str) -> list[float]:
    """Numbers that are separated by commas."""
    return [float(one) for one in text.split(",")]


def _told(one: dict[str, Any]) -> str:
    finer = ", ".join(f"+{offset:g}" for _, offset in one["keys"]) or "none"
    return (
        f"{one['quality']:g}: {one['bytes']} B {one['psnr_db']:.2f} dB; alone {one['alone_bytes']} B "
        f"{one['alone_psnr_db']:.2f} dB; keys {finer}; packed in {one['pack_seconds']:.0f} s"
    )


if __name__ == "__main__":
    typer.run(main)
