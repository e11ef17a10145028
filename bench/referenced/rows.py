"""Real files for bench/references.py: one picture in every mode at every quality, coded, counted and decoded again.

    python -m referenced.rows JOB.json INDEX COUNT OUT.json

is how `references.py` starts it: share INDEX of COUNT of the job's pictures is measured, the files are listed in OUT.
The modes: `none` no reference; `tokens` the best entries of the dictionary as tokens; `random` one entry of the
dictionary that the bundle had before, drawn by the picture's name, free to be used or not; `aligned` all that the codec
can do; `oracle` the best that any choice of entries gives, found by trying every key picture.
"""

import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import numpy as np

from clc.bitstream.container import Stream, parse
from clc.bundle.bundle import BundleEntries
from clc.codec import Codec
from clc.errors import ClcError, InputError
from clc.evaluation.metrics import psnr_db
from clc.pictures.images import read_image
from clc.pictures.picture import Picture
from clc.references.warp import compose, warp
from referenced.x265 import measure_x265
from storage.names import shown_name

BENCH = Path(__file__).parents[1]
NONE, TOKENS, RANDOM, ALIGNED, ORACLE = MODES = ("none", "tokens", "random", "aligned", "oracle")
ORACLE_ENTRIES = (1, 3)
"""How many of the best entries the oracle offers the codec together."""


@dataclass(frozen=True)
class Job:
    """What to measure: `bundle` folder (empty: the shipped one), pictures by path, modes and qualities.

    `first_key` is the dictionary entry of the first key picture, that is the number of entries before they were added;
    `keys` are the paths they were read from. `oracle` and `x265` name the pictures for these two dear measurements.
    """

    bundle: str
    pictures: tuple[str, ...]
    modes: tuple[str, ...]
    qualities: tuple[float, ...]
    first_key: int
    keys: tuple[str, ...] = ()
    oracle: tuple[str, ...] = ()
    x265: tuple[str, ...] = ()
    seed: int = 1

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Job":
        """The inverse of `asdict`, after a way through JSON."""
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


@dataclass(frozen=True)
class CodedFile:
    """A file and what came out of it; `fault` says why there is none.

    `quality` is a QP for x265. `side_bytes` of the bytes are what a sequence of HEVC would not repeat, 0 for our files.
    `references` are entries of the dictionary, the first `n_aligned` of them aligned; `covered` is the share of the
    picture that these cover, 0 to 1.
    """

    name: str
    mode: str
    quality: float
    pixels: int
    size_bytes: int = 0
    psnr_db: float = math.nan
    side_bytes: int = 0
    references: tuple[int, ...] = ()
    n_aligned: int = 0
    covered: float = 0.0
    encode_s: float = 0.0
    decode_s: float = 0.0
    fault: str = ""

    @property
    def bpp(self) -> float:
        """Bits of the whole file for each pixel."""
        return 8 * self.size_bytes / self.pixels


class Dictionary(Protocol):
    """What is asked of `codec.bundle`."""

    @property
    def entries(self) -> BundleEntries:
        """The dictionary, with its key pictures."""


class ReferenceCodec(Protocol):
    """What is measured: `clc.codec.Codec`, or a stand-in."""

    @property
    def bundle(self) -> Dictionary:
        """Where the entries are."""

    def encode(
        self, image_HW3: Picture, quality: float = ..., references: Any = ..., *, entries: Sequence[int] | None = ...
    ) -> bytes:
        """Return the stream."""

    def decode(self, data: bytes) -> Picture:
        """Return the picture."""


def measure_job(codec: ReferenceCodec, job: Job, index: int = 0, count: int = 1) -> list[CodedFile]:
    """Measure one share of a job's pictures in this process; a line on the terminal for each."""
    files = []
    for path in (Path(path) for path in job.pictures[index::count]):
        files += measure_picture(codec, job, path)
        print(f"measured {shown_name(path.name)}", flush=True)
    return files


def measure_picture(codec: ReferenceCodec, job: Job, path: Path) -> list[CodedFile]:
    """All files of one picture: the modes of the job, the oracle and x265 where the job names the picture."""
    name = shown_name(path.name)
    one = _OnePicture(codec, job, name, read_image(path))
    files = [one.code(mode, quality) for mode in job.modes if mode != ORACLE for quality in job.qualities]
    if name in job.oracle:
        files += one.oracle(files)
    if name in job.x265:
        files += [
            CodedFile(name, mode, float(coded.qp), one.pixels, coded.size_bytes, coded.psnr_db, coded.header_bytes)
            for mode, coded in measure_x265(one.image_HW3, [read_image(Path(key)) for key in job.keys])
        ]
    return files


@dataclass(frozen=True)
class _OnePicture:
    """A picture being measured."""

    codec: ReferenceCodec
    job: Job
    name: str
    image_HW3: Picture

    @property
    def pixels(self) -> int:
        return self.image_HW3.shape[0] * self.image_HW3.shape[1]

    def code(self, mode: str, quality: float, entries: Sequence[int] | None = None) -> CodedFile:
        """Write the file in memory, count it, decode it; an error of the codec becomes the file's fault."""
        references = mode if mode in (NONE, TOKENS) else "auto"
        if mode == RANDOM:
            entries = (self._random_entry(),)
        try:
            began_s = time.perf_counter()
            data = self.codec.encode(self.image_HW3, quality, references, entries=entries)
            encoded_s = time.perf_counter()
            decoded_HW3 = self.codec.decode(data)
            decoded_s = time.perf_counter()
            stream = parse(data)
            return CodedFile(
                name=self.name,
                mode=mode,
                quality=quality,
                pixels=self.pixels,
                size_bytes=len(data),
                psnr_db=psnr_db(self.image_HW3, decoded_HW3),
                references=stream.references,
                n_aligned=len(stream.alignments),
                covered=self._covered(stream),
                encode_s=encoded_s - began_s,
                decode_s=decoded_s - encoded_s,
            )
        except (ClcError, RuntimeError, MemoryError) as error:
            return CodedFile(self.name, mode, quality, self.pixels, fault=f"{type(error).__name__}: {error}")

    def oracle(self, files: Sequence[CodedFile]) -> list[CodedFile]:
        """At each quality the best of the free choice and of the entries that were best when tried one by one.

        Best is the least size at equal PSNR: PSNR is turned into bytes by the slope of this picture's curve under the
        free choice. All entries are tried at the middle quality, the best of them at every quality.
        """
        own = ALIGNED if ALIGNED in self.job.modes else NONE
        slopes = _slopes([file for file in files if file.mode == own and not file.fault])
        middle = self.job.qualities[len(self.job.qualities) // 2]
        keys = range(self.job.first_key, self.job.first_key + len(self.job.keys))
        tried = {entry: self.code(ORACLE, middle, (entry,)) for entry in keys}
        ranked = sorted(keys, key=lambda entry: _cost(tried[entry], slopes))
        found = []
        for quality in self.job.qualities:
            free = [file for file in files if file.mode in (NONE, ALIGNED) and file.quality == quality]
            held = [self.code(ORACLE, quality, tuple(ranked[:count])) for count in ORACLE_ENTRIES if ranked]
            best = min([*free, *held], key=lambda file: _cost(file, slopes))
            found.append(replace(best, mode=ORACLE))
        return found

    def _random_entry(self) -> int:
        before = [entry for entry in self.codec.bundle.entries.pictures if entry < self.job.first_key]
        drawn = random.Random(f"{self.job.seed} {self.name}")  # noqa: S311 the draw is to be repeatable
        return drawn.choice(before or range(self.job.first_key))

    def _covered(self, stream: Stream) -> float:
        if not stream.alignments:
            return 0.0
        pictures = self.codec.bundle.entries.pictures
        aligned = zip(stream.references, stream.alignments, strict=False)
        parts = [warp(pictures[entry].read(), (stream.height, stream.width), how) for entry, how in aligned]
        return float(compose(parts).inside.mean())


def _slopes(files: Sequence[CodedFile]) -> dict[float, float]:
    """By quality: by how much the logarithm of the size grows for each dB, along a picture's own curve."""
    ordered = sorted(files, key=lambda file: file.psnr_db)
    if len(ordered) < 2:
        return {}
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = np.gradient([math.log(file.size_bytes) for file in ordered], [file.psnr_db for file in ordered])
    rising = {f.quality: float(s) for f, s in zip(ordered, slopes, strict=True) if math.isfinite(s) and s > 0}
    usual = median(rising.values()) if rising else 0.0
    return {file.quality: rising.get(file.quality, usual) for file in ordered}


def _cost(file: CodedFile, slopes: Mapping[float, float]) -> float:
    if file.fault:
        return math.inf
    return math.log(file.size_bytes) - slopes.get(file.quality, 0.0) * file.psnr_db


def run_job(job: Job, processes: int) -> list[CodedFile]:
    """Measure a job in copies of this program, one thread each, which share its pictures; `InputError` if one fails."""
    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder) / "job.json"
        plan.write_text(json.dumps(asdict(job)))
        outs = [Path(folder) / f"files-{index}.json" for index in range(processes)]
        command = [sys.executable, "-m", "referenced.rows", str(plan)]
        path = os.pathsep.join(filter(None, (str(BENCH), os.environ.get("PYTHONPATH"))))
        one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1", "PYTHONPATH": path}
        running = [
            subprocess.Popen([*command, str(index), str(processes), str(out)], env=one_thread)
            for index, out in enumerate(outs)
        ]
        try:
            codes = [process.wait() for process in running]
        finally:
            for process in running:
                with suppress(OSError):
                    process.terminate()
        if any(codes):
            raise InputError("a process that measured a share of the pictures failed; its message stands above")
        found = [file_from_json(values) for out in outs for values in json.loads(out.read_text())]
    return sorted(found, key=lambda file: file.name)


def file_from_json(values: Mapping[str, Any]) -> CodedFile:
    """The inverse of `asdict`, after a way through JSON."""
    return CodedFile(**{**values, "references": tuple(values["references"])})


def main(arguments: Sequence[str]) -> int:
    """Measure a share of a job; returns the exit status."""
    plan, index, count, out = arguments
    job = Job.from_json(json.loads(Path(plan).read_text()))
    try:
        codec = Codec.load(Path(job.bundle) if job.bundle else None)
        files = measure_job(codec, job, int(index), int(count))
    except ClcError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    Path(out).write_text(json.dumps([asdict(file) for file in files]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
