"""The whole collection for bench/references.py: every picture as a file, the dictionary's bytes added.

Some pictures, evenly apart in the order of their names, become key pictures, stored lossy. Then every picture of the
collection is coded with the dictionary, the key pictures too (they refer to themselves and cost little). What counts
against coding every picture alone: all files, and all that the bundle grew by (key pictures, tokens, keys, manifest).
The model itself is on both sides and is not counted.

Key pictures come out far better than the rest, and a mean of decibels would reward that. So the BD-rate is taken over
the PSNR of the collection's mean squared error, where a few very good pictures hardly count; the one over the mean of
the pictures' PSNR, the usual and here kinder figure, stands beside it.
"""

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clc.bundle import extend
from clc.bundle.bundle import Bundle
from clc.errors import InputError
from clc.evaluation.bd_rate import RateCurve
from clc.evaluation.metrics import PEAK
from clc.pictures.images import read_image
from referenced.curves import Saving, saving
from referenced.rows import ALIGNED, NONE, CodedFile, Job
from storage.names import shown_name

HIGHEST_DB = 60.0

Measure = Callable[[Job], list[CodedFile]]


@dataclass(frozen=True)
class Total:
    """All of a collection at one quality: bytes of the files and of the dictionary, PSNR in dB.

    `psnr_db` is that of the mean squared error over all pixels, `mean_psnr_db` the mean of the pictures' own.
    """

    quality: float
    files_bytes: int
    dictionary_bytes: int
    psnr_db: float
    mean_psnr_db: float

    @property
    def total_bytes(self) -> int:
        """What has to be kept or sent."""
        return self.files_bytes + self.dictionary_bytes


@dataclass(frozen=True)
class Try:
    """A collection coded with `n_keys` key pictures in a format (0 and "" for every picture alone)."""

    n_keys: int
    picture_format: str
    pixels: int
    totals: tuple[Total, ...]

    @property
    def name(self) -> str:
        """Label in tables."""
        return f"{self.n_keys} keys, {self.picture_format}" if self.n_keys else "every picture alone"

    @property
    def curve(self) -> RateCurve:
        """Total bits per pixel against the PSNR of the collection's mean squared error."""
        return RateCurve.of(self.name, self._rates(), [t.psnr_db for t in self.totals])

    @property
    def curve_of_means(self) -> RateCurve:
        """Total bits per pixel against the mean of the pictures' PSNR."""
        return RateCurve.of(self.name, self._rates(), [t.mean_psnr_db for t in self.totals])

    def _rates(self) -> list[float]:
        return [8 * t.total_bytes / self.pixels for t in self.totals]


@dataclass(frozen=True)
class Collection:
    """What was tried; `best` is the index of the try with the lowest BD-rate, None where none could be taken.

    `overall` holds the best of all tries at each rate against the pictures alone: what one gets who may choose.
    """

    alone: Try
    tries: tuple[Try, ...]
    savings: tuple[Saving, ...]
    savings_of_means: tuple[Saving, ...]
    overall: Saving
    best: int | None

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        tried = [
            {**_describe(one), "bd_rate": own.to_json(), "bd_rate_of_mean_psnr": of_means.to_json()}
            for one, own, of_means in zip(self.tries, self.savings, self.savings_of_means, strict=True)
        ]
        best = None if self.best is None else tried[self.best]
        return {"alone": _describe(self.alone), "tries": tried, "best": best, "overall": self.overall.to_json()}


def _describe(one: Try) -> dict[str, Any]:
    totals = [
        {
            "quality": t.quality,
            "total_bytes": t.total_bytes,
            "files_bytes": t.files_bytes,
            "dictionary_bytes": t.dictionary_bytes,
            "psnr_db": t.psnr_db,
            "mean_psnr_db": t.mean_psnr_db,
        }
        for t in one.totals
    ]
    return {"keys": one.n_keys, "format": one.picture_format, "pixels": one.pixels, "totals": totals}


def measure_collection(
    paths: Sequence[Path],
    bundle: Path | None,
    qualities: Sequence[float],
    tries: Sequence[tuple[int, str]],
    measure: Measure,
) -> Collection:
    """Code a collection alone and with each (number of key pictures, format) of `tries`.

    `measure` does the jobs (`referenced.rows.run_job`). Raises `InputError` if a picture cannot be coded.
    """
    base = Bundle.load(bundle)
    names = tuple(str(path) for path in paths)
    job = Job(str(base.directory), names, (NONE,), tuple(qualities), len(base.entries))
    alone = Try(0, "", *_totals(measure(job), 0))
    tried = []
    for n_keys, picture_format in tries:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "bundle"
            add_keys(base.directory, out, evenly(paths, n_keys), picture_format)
            grown = folder_bytes(out) - folder_bytes(base.directory)
            files = measure(Job(str(out), names, (ALIGNED,), tuple(qualities), len(base.entries)))
            tried.append(Try(n_keys, picture_format, *_totals(files, grown)))
    return _compare(alone, tried)


def _compare(alone: Try, tried: Sequence[Try]) -> Collection:
    savings = tuple(saving(alone.curve, one.curve) for one in tried)
    of_means = tuple(saving(alone.curve_of_means, one.curve_of_means) for one in tried)
    together = RateCurve("best of all tries", tuple(point for one in tried for point in one.curve.points))
    ranked = [(found.percent, index) for index, found in enumerate(savings) if found.percent is not None]
    best = min(ranked)[1] if ranked else None
    return Collection(alone, tuple(tried), savings, of_means, saving(alone.curve, together), best)


def add_keys(bundle: Path, out: Path, paths: Sequence[Path], picture_format: str) -> None:
    """Write a bundle whose dictionary has the pictures at `paths` as further entries."""
    provenance = [{"name": shown_name(path.name)} for path in paths]
    extend.add_pictures(bundle, out, [read_image(path) for path in paths], provenance, picture_format=picture_format)


def evenly(paths: Sequence[Path], count: int) -> list[Path]:
    """`count` of the paths, evenly apart, each in the middle of its share."""
    if not 1 <= count <= len(paths):
        raise InputError(f"{count} key pictures cannot be had of {len(paths)} pictures")
    return [paths[int((index + 0.5) * len(paths) / count)] for index in range(count)]


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _totals(files: Sequence[CodedFile], dictionary_bytes: int) -> tuple[int, tuple[Total, ...]]:
    """Pixels of the collection, and its total at each quality."""
    broken = next((file for file in files if file.fault), None)
    if broken is not None:
        raise InputError(f"{broken.name} at quality {broken.quality:g}: {broken.fault}; a collection must code whole")
    totals = tuple(_by_quality(files, dictionary_bytes))
    return sum({file.name: file.pixels for file in files}.values()), totals


def _by_quality(files: Sequence[CodedFile], dictionary_bytes: int) -> Iterator[Total]:
    for quality in sorted({file.quality for file in files}):
        found = [file for file in files if file.quality == quality]
        squared = sum(file.pixels * _squared_error(file.psnr_db) for file in found) / sum(f.pixels for f in found)
        yield Total(
            quality=quality,
            files_bytes=sum(file.size_bytes for file in found),
            dictionary_bytes=dictionary_bytes,
            psnr_db=_decibels(squared),
            mean_psnr_db=sum(_decibels(_squared_error(file.psnr_db)) for file in found) / len(found),
        )


def _squared_error(psnr_db: float) -> float:
    return PEAK**2 / 10.0 ** (psnr_db / 10.0)


def _decibels(squared_error: float) -> float:
    """PSNR of a mean squared error, at most `HIGHEST_DB`: a mean with a lossless picture is infinite."""
    return min(HIGHEST_DB, 10.0 * math.log10(PEAK**2 / squared_error) if squared_error else HIGHEST_DB)
