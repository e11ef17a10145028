"""Every codec at every quality on every picture: code it, count the whole file, decode it again, compare.

`flows.evaluate` and `bench/kodak.py` call `evaluate`; `clc.evaluation.curves` makes curves of its rows. The contract: a
figure comes only from a file that was written in full and decoded again, and what fails is a row with a reason, so that
one broken picture costs its own rows and nothing else. The exception is a stream that decodes to something else than
was coded: that is no fault of a picture, and it ends the measurement.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from clc.console import text_of
from clc.errors import ClcError, DecodeMismatch, InputError
from clc.evaluation.coders import Coder
from clc.evaluation.metrics import bits_per_pixel, ms_ssim, psnr_db, psnr_ycbcr_db, ssim
from clc.evaluation.peak_memory import forget_peak, peak_mb
from clc.evaluation.perceptual import SMALLEST_SIDE_PX, Measure

NATURAL = "natural"
PAIR = "pair"
OK = "ok"
FAILED = "failed"

PICTURE_ERRORS = (ClcError, OSError, ValueError, ArithmeticError, RuntimeError, MemoryError)
"""What a picture or a codec may raise over one picture; a mistake in the program (TypeError, KeyError) is none."""


@dataclass(frozen=True)
class PictureUnderTest:
    """A picture to evaluate; `load` returns it as uint8 (H, W, 3) and may raise, which fails the picture's rows only.

    `item_id` tells it from all others, `name` is for readers. Tables take both, so that the name of a file goes through
    `storage.names.shown_name`. `row` is "natural", or "pair" for a picture whose twin is known to lie in the
    dictionary.
    """

    item_id: str
    name: str
    load: Callable[[], NDArray[np.uint8]]
    row: str = NATURAL


@dataclass(frozen=True)
class Row:
    """One picture coded by one codec at one quality; the figures are nan, and the sizes 0, where `status` is failed.

    `bytes` are those of the whole file. `ssimulacra2` and `st_lpips` are nan where they were not asked for, `peak_mb`,
    the most memory of the process while it coded and decoded the picture, where more than one picture was in work.
    """

    codec: str
    quality: float
    item_id: str
    name: str
    row: str
    references: str
    width: int = 0
    height: int = 0
    bytes: int = 0
    bpp: float = math.nan
    psnr_db: float = math.nan
    ms_ssim: float = math.nan
    encode_s: float = math.nan
    decode_s: float = math.nan
    status: str = OK
    reason: str = ""
    psnr_ycbcr_db: float = math.nan
    ssim: float = math.nan
    ssimulacra2: float = math.nan
    st_lpips: float = math.nan
    peak_mb: float = math.nan


_ARROW_TYPES: dict[object, pa.DataType] = {str: pa.string(), int: pa.int32(), float: pa.float64()}

ROW_SCHEMA = pa.schema([pa.field(field.name, _ARROW_TYPES[field.type]) for field in fields(Row)])
"""The columns of `rows.parquet`: the fields of `Row`."""


def evaluate(
    coders: Sequence[Coder],
    pictures: Iterable[PictureUnderTest],
    *,
    workers: int = 1,
    perceptual: Mapping[str, Measure] | None = None,
    is_alone: bool = True,
    on_picture: Callable[[PictureUnderTest], None] | None = None,
) -> list[Row]:
    """Code every picture with every coder at every quality of its ladder, and measure what comes back.

    `workers` pictures are in work at a time, in threads: more than one shortens the run where the codecs release the
    interpreter, and makes the timings those of a busy machine. `perceptual` are measures by the name of their field
    (`clc.evaluation.perceptual`). `is_alone` says that the process does nothing else meanwhile: only then, and with one
    worker, memory is measured. `on_picture` is called after each finished picture, in order. The rows come in the
    order of pictures, coders and qualities.

    Raises:
        InputError: if two coders share a name, or `workers` is below 1.
        DecodeMismatch: if a codec does not decode what it coded; the message names codec, quality and picture.
    """
    names = [coder.name for coder in coders]
    if len(set(names)) != len(names):
        raise InputError(f"codecs to evaluate must have different names, not {names}")
    if workers < 1:
        raise InputError(f"workers must be at least 1, not {workers}")
    rows: list[Row] = []
    measuring = _Measuring(perceptual or {}, is_alone=is_alone and workers == 1)
    with ThreadPoolExecutor(workers) as pool:
        queue = list(pictures)
        found_in_order = pool.map(lambda picture: _evaluate_picture(coders, picture, measuring), queue)
        for picture, found in zip(queue, found_in_order, strict=True):
            rows += found
            if on_picture is not None:
                on_picture(picture)
    return rows


def rows_to_table(rows: Sequence[Row]) -> pa.Table:
    """Put rows into an Arrow table with the columns of `ROW_SCHEMA`."""
    return pa.Table.from_pylist([asdict(row) for row in rows], schema=ROW_SCHEMA)


def rows_from_table(table: pa.Table) -> list[Row]:
    """Read back what `rows_to_table` wrote; what a table from before a column was added lacks is nan."""
    return [
        Row(**values) for values in table.select([n for n in ROW_SCHEMA.names if n in table.column_names]).to_pylist()
    ]


@dataclass(frozen=True)
class _Measuring:
    """What is measured beside what always is, and whether one picture at a time is in work."""

    perceptual: Mapping[str, Measure]
    is_alone: bool


def _evaluate_picture(coders: Sequence[Coder], picture: PictureUnderTest, measuring: _Measuring) -> list[Row]:
    try:
        image_HW3 = picture.load()
    except PICTURE_ERRORS as error:
        reason = f"cannot be read: {text_of(error)}"
        return [_failed(coder, quality, picture, reason) for coder in coders for quality in coder.qualities]
    measured = []
    for coder in coders:
        for quality in coder.qualities:
            try:
                measured.append(_measured(coder, quality, picture, image_HW3, measuring))
            except DecodeMismatch as error:
                where = f"{coder.name} at quality {quality:g} does not decode what it coded of {picture.name}"
                raise DecodeMismatch(f"{where}: {error}") from error
            except PICTURE_ERRORS as error:
                measured.append(_failed(coder, quality, picture, text_of(error)))
    return measured


def _measured(
    coder: Coder, quality: float, picture: PictureUnderTest, image_HW3: NDArray[np.uint8], measuring: _Measuring
) -> Row:
    is_peak_known = measuring.is_alone and forget_peak()
    started_s = time.perf_counter()
    data = coder.encode(image_HW3, quality)
    encoded_s = time.perf_counter()
    decoded_HW3 = coder.decode(data)
    decoded_s = time.perf_counter()
    peak = peak_mb() if is_peak_known else math.nan
    row = Row(
        codec=coder.name,
        quality=float(quality),
        item_id=picture.item_id,
        name=picture.name,
        row=picture.row,
        references=coder.references,
        width=image_HW3.shape[1],
        height=image_HW3.shape[0],
        bytes=len(data),
        bpp=bits_per_pixel(len(data), image_HW3),
        psnr_db=psnr_db(image_HW3, decoded_HW3),
        ms_ssim=ms_ssim(image_HW3, decoded_HW3),
        encode_s=encoded_s - started_s,
        decode_s=decoded_s - encoded_s,
        psnr_ycbcr_db=psnr_ycbcr_db(image_HW3, decoded_HW3),
        ssim=ssim(image_HW3, decoded_HW3),
        peak_mb=peak,
    )
    return replace(row, **_perceived(measuring.perceptual, image_HW3, decoded_HW3))


def _perceived(
    measures: Mapping[str, Measure], image_HW3: NDArray[np.uint8], decoded_HW3: NDArray[np.uint8]
) -> dict[str, Any]:
    """Return the perceptual measures by the name of their field; none for a picture too small for them."""
    if min(image_HW3.shape[:2]) < SMALLEST_SIDE_PX:
        return {}
    return {name: measure(image_HW3, decoded_HW3) for name, measure in measures.items()}


def _failed(coder: Coder, quality: float, picture: PictureUnderTest, reason: str) -> Row:
    return Row(
        coder.name,
        float(quality),
        picture.item_id,
        picture.name,
        picture.row,
        coder.references,
        status=FAILED,
        reason=reason,
    )
