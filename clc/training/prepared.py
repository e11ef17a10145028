"""A training that is ready to begin: its configuration, pixels and weights, in memory or in a folder.

    config.json          the configuration
    pixels.npy           the pixels of all pictures, one behind the other
    pictures.json        which of them are pictures, dictionary patches and pairs, their shapes and photos
    start.safetensors    the weights to start from, if there are any

The flow `train-codec` makes one. It trains on it in its own process, or writes it for the processes of
`clc.training.worker`. The contract: what is read is what was written; pixels are mapped from the disk, so that all
processes of a machine share one copy of them; a folder that is there is complete.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from clc.errors import InputError
from clc.training.checkpoint import CannotResume, lines_so_far, step_reached
from clc.training.config import TrainingConfig, read_config
from clc.training.data import PictureSet
from clc.training.distributed import ALONE, Ranks
from clc.training.loop import SILENT, Observer, TrainingResult
from clc.training.pairs import Pair
from clc.training.run_folder import BEST, WEIGHTS, Best, clear_leftovers, packed, read_best
from clc.training.train import train
from storage.atomic import staging_directory, write_bytes

logger = logging.getLogger(__name__)

CONFIG, PIXELS, PICTURES, START = "config.json", "pixels.npy", "pictures.json", "start.safetensors"


@dataclass(frozen=True, eq=False)
class PreparedTraining:
    """What `clc.training.train.train` is given: see there."""

    config: TrainingConfig
    data: PictureSet
    entries: PictureSet
    pairs: Sequence[Pair] = ()
    start: dict[str, Tensor] | None = None

    def write(self, folder: Path) -> None:
        """Writes it into a new folder. Raises `StorageError` where that exists already, or cannot be written."""
        pool = _Pool()
        sets = {
            name: {"arrays": [pool.number(one) for one in part.pictures], "photos": list(part.photos)}
            for name, part in (("data", self.data), ("entries", self.entries))
        }
        pairs = [
            {"arrays": [pool.number(one) for one in (pair.picture, pair.warped, pair.inside)], "photo": pair.photo}
            for pair in self.pairs
        ]
        with staging_directory(folder) as staged:
            pool.write(staged / PIXELS)
            described = {"shapes": [one.shape for one in pool.arrays], **sets, "pairs": pairs}
            write_bytes(staged / PICTURES, json.dumps(described).encode())
            write_bytes(staged / CONFIG, json.dumps(asdict(self.config)).encode())
            if self.start is not None:
                write_bytes(staged / START, packed(self.start))

    @classmethod
    def read(cls, folder: Path) -> PreparedTraining:
        """The inverse of `write`. Raises `InputError` where there is no such folder."""
        config = read_config(folder / CONFIG)
        try:
            described = json.loads((folder / PICTURES).read_text())
            arrays = _mapped(folder / PIXELS, described["shapes"])
            start = load_file(folder / START) if (folder / START).is_file() else None
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise InputError(f"{folder} holds no prepared training: {error}") from error

        def pictures(part: dict[str, Any]) -> PictureSet:
            return PictureSet([arrays[number] for number in part["arrays"]], part["photos"])

        pairs = [_pair([arrays[number] for number in one["arrays"]], one["photo"]) for one in described["pairs"]]
        return cls(config, pictures(described["data"]), pictures(described["entries"]), pairs, start)


def train_prepared(
    prepared: PreparedTraining, out: Path, *, observer: Observer = SILENT, ranks: Ranks = ALONE
) -> TrainingResult:
    """Trains, with the files of the run in the folder `out`; goes on from its checkpoint where it holds one.

    A checkpoint that cannot be read is told by a warning, and the training starts over. Nobody else may train in `out`
    meanwhile. Raises what `clc.training.train.train` does.
    """
    if ranks.is_first:
        clear_leftovers(out)
    step = step_reached(out)
    if step is not None:
        try:
            logger.info("training_goes_on step=%d", step)
            return _train(prepared, out, observer, ranks, is_resumed=True)
        except CannotResume as error:
            logger.warning("training_starts_over reason=%r", str(error))
    return _train(prepared, out, observer, ranks, is_resumed=False)


def read_result(out: Path) -> TrainingResult:
    """The result of a run that has ended, from the files in its folder `out`.

    Raises `InputError` when one is missing or damaged.
    """
    step = step_reached(out)
    if step is None:
        raise InputError(f"no result of a training in {out}: it has no checkpoint")
    try:
        has_best = (out / BEST).is_file()
        best = read_best(out) if has_best else Best(step, float("nan"), load_file(out / WEIGHTS))
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(f"no result of a training in {out}: {error}") from error
    return TrainingResult(best.weights, best.step, step, lines_so_far(out))


def _train(
    prepared: PreparedTraining, out: Path, observer: Observer, ranks: Ranks, *, is_resumed: bool
) -> TrainingResult:
    return train(
        prepared.config,
        prepared.data,
        prepared.entries,
        out,
        pairs=prepared.pairs,
        start=prepared.start,
        is_resumed=is_resumed,
        observer=observer,
        ranks=ranks,
    )


@dataclass(frozen=True)
class _Pool:
    """Arrays by number; one that several things show, as a picture and the pairs of it do, is kept once."""

    arrays: list[npt.NDArray[Any]] = field(default_factory=list)
    _numbers: dict[int, int] = field(default_factory=dict)

    def number(self, array: npt.NDArray[Any]) -> int:
        """The number of an array of single bytes, which is kept alive, so that no other has its identity."""
        if id(array) not in self._numbers:
            self._numbers[id(array)] = len(self.arrays)
            self.arrays.append(array)
        return self._numbers[id(array)]

    def write(self, path: Path) -> None:
        """Writes all arrays, one at a time."""
        total = sum(array.size for array in self.arrays)
        pixels = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(total,))
        begin = 0
        for array in self.arrays:
            pixels[begin : begin + array.size] = np.ascontiguousarray(array).view(np.uint8).reshape(-1)
            begin += array.size
        pixels.flush()


def _mapped(path: Path, shapes: Sequence[Sequence[int]]) -> list[npt.NDArray[np.uint8]]:
    """The arrays of `_Pool.write`. They may be written to, which does not reach the disk."""
    pixels = np.asarray(np.load(path, mmap_mode="c"))
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    if not len(ends) or ends[-1] != pixels.size:
        raise ValueError(f"{path} has {pixels.size} bytes of pixels, other than its table says")
    return [part.reshape(shape) for part, shape in zip(np.split(pixels, ends[:-1]), shapes, strict=True)]


def _pair(arrays: Sequence[npt.NDArray[np.uint8]], photo: str) -> Pair:
    picture, warped, inside = arrays
    return Pair(picture, warped, inside.view(np.bool_), photo)
