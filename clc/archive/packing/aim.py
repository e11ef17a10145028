"""An archive of at most so many bytes, or of at least so many dB: at which quality its pictures are to be coded.

A few pictures, coded alone at three qualities, tell how size and PSNR grow. The first draft is made where they would
meet the target alone; what it misses by, with that growth, leads to the next. Once one draft keeps to the target and
another does not, the next ones lie between them. The drafts have their keys in common.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from clc.archive.packed import PackOptions
from clc.archive.packing.drafting import Draft, Drafter
from clc.archive.work import Remembered
from clc.errors import InputError
from clc.quality import MAX_QUALITY_Q6, to_q6

Doubles = npt.NDArray[np.float64]

SAMPLE, SAMPLED_AT = 6, (10.0, 45.0, 80.0)
"""Pictures, spread over the collection, and the qualities at which they are coded alone."""

MOST_DRAFTS = 6
OVERSHOOT = 1.1
"""By how much further a step goes than the line through two drafts on one side of the target."""

NEAR_BYTES, NEAR_DB = 0.98, 0.1
"""A draft is good enough that takes this share of the bytes that it may, or exceeds its PSNR by less than this."""


def reach(drafter: Drafter, bytes_of: Callable[[Draft], int], count: int, options: PackOptions) -> Draft:
    """The best of a few drafts that keep to the target of `options`; `count` is how many pictures there are.

    `bytes_of` a draft tells what its archive takes. Raises `InputError` where no quality meets the target.
    """
    aim = _OfBytes(options.target_bytes, bytes_of) if options.target_bytes else _OfPsnr(options.target_psnr_db or 0.0)
    grown = _growth(drafter, count, aim)
    quality = grown.at(aim.wanted, 0.0)
    best: Draft | None = None
    draft: Draft | None = None
    least, most = 0, MAX_QUALITY_Q6
    known: dict[int, float] = {}
    for _ in range(MOST_DRAFTS):
        draft = drafter.draft(quality, draft)
        value = aim.value(draft)
        if aim.keeps(value):
            best = draft if best is None or aim.is_better(draft, best) else best
            if aim.is_near(value):
                break
        known[quality] = value
        is_up = aim.keeps(value) == aim.is_ceiling
        least, most = (quality + 1, most) if is_up else (least, quality - 1)
        if least > most:
            break
        quality = min(max(_next(known, (least - 1, most + 1), grown, aim.wanted), least), most)
    if best is None and draft is not None:
        edge = 0 if aim.is_ceiling else MAX_QUALITY_Q6
        last = drafter.draft(edge, draft)
        if not aim.keeps(aim.value(last)):
            raise InputError(aim.refusal(aim.value(last)))
        best = last
    if best is None:
        raise InputError("no draft was made")
    return best


def _next(known: dict[int, float], edges: tuple[int, int], grown: _Growth, wanted: float) -> int:
    """The quality to try after those known, of which `edges` keep to the target and do not, if both are known."""
    ends = [one for one in edges if one in known]
    if len(ends) == 1 and len(known) == 1:
        return grown.at(wanted, known[ends[0]] - grown.value(ends[0]))
    # Not between two yet: the two nearest lead on, and a bit further, so that the next one lies beyond the target.
    is_between = len(ends) == 2
    a, b = ends if is_between else sorted(known, key=lambda one: abs(one - ends[0]))[:2]
    slope = (b - a) / (known[b] - known[a]) if known[b] != known[a] else 0.0
    return round(a + slope * (wanted - known[a]) * (1.0 if is_between else OVERSHOOT))


class _OfBytes:
    """At most so many bytes; values are the natural logarithms of bytes."""

    is_ceiling = True

    def __init__(self, most_bytes: int, bytes_of: Callable[[Draft], int]) -> None:
        self._most, self._bytes_of = most_bytes, bytes_of
        self.wanted = math.log(most_bytes * (1 + NEAR_BYTES) / 2)

    def value(self, draft: Draft) -> float:
        return math.log(self._bytes_of(draft))

    def keeps(self, value: float) -> bool:
        return round(math.exp(value)) <= self._most

    def is_near(self, value: float) -> bool:
        return math.exp(value) >= NEAR_BYTES * self._most

    def is_better(self, one: Draft, other: Draft) -> bool:
        return one.quality_q6 > other.quality_q6

    def of_sample(self, coded: Sequence[Remembered], count: int) -> float:
        return math.log(sum(one.size for one in coded) * count / len(coded))

    def refusal(self, value: float) -> str:
        least = math.ceil(math.exp(value))
        return f"the archive takes {least} bytes even at quality 0; ask for no less than that, or --strip metadata"


class _OfPsnr:
    """At least so many dB of all pixels."""

    is_ceiling = False

    def __init__(self, least_db: float) -> None:
        self._least = least_db
        self.wanted = least_db + NEAR_DB / 2

    def value(self, draft: Draft) -> float:
        return psnr_db(list(draft.coded.values()))

    def keeps(self, value: float) -> bool:
        return value >= self._least

    def is_near(self, value: float) -> bool:
        return value <= self._least + NEAR_DB

    def is_better(self, one: Draft, other: Draft) -> bool:
        return one.quality_q6 < other.quality_q6

    def of_sample(self, coded: Sequence[Remembered], count: int) -> float:
        return psnr_db(coded)

    def refusal(self, value: float) -> str:
        return f"the archive has {value:.2f} dB even at quality 100; ask for no more than that"


class _Growth:
    """A value that grows with quality, by lines between the qualities of a sample, and on beyond them."""

    def __init__(self, qualities_q6: Sequence[int], values: Sequence[float]) -> None:
        self._qualities = np.array(qualities_q6, dtype=np.float64)
        self._values = np.maximum.accumulate(np.array(values)) + 1e-9 * np.arange(len(values))

    def value(self, quality_q6: int) -> float:
        return _along(self._qualities, self._values, quality_q6)

    def at(self, wanted: float, missed: float) -> int:
        """The quality in 1/64 that gives a value, if all values are higher than the sample's by `missed`."""
        found = _along(self._values, self._qualities, wanted - missed)
        return int(min(max(round(found), 0), MAX_QUALITY_Q6))


def _growth(drafter: Drafter, count: int, aim: _OfBytes | _OfPsnr) -> _Growth:
    chosen = np.unique(np.linspace(0, count - 1, min(SAMPLE, count)).round().astype(int))
    qualities = [to_q6(quality) for quality in SAMPLED_AT]
    values = []
    for quality in qualities:
        coded = drafter.alone(quality, [int(index) for index in chosen])
        if not coded:
            raise InputError(f"none of {len(chosen)} pictures that were tried could be read; pack without a target")
        values.append(aim.of_sample(coded, count))
    return _Growth(qualities, values)


def psnr_db(coded: Sequence[Remembered]) -> float:
    """PSNR in dB of all pixels of some pictures."""
    pixels = np.array([one.pixels for one in coded], dtype=np.float64)
    errors = np.array([10 ** (-one.psnr_db / 10) for one in coded])
    return float(-10 * np.log10((pixels * errors).sum() / pixels.sum()))


def _along(x: Doubles, y: Doubles, at: float) -> float:
    """y at a place x, by lines between points and their prolongations."""
    place = int(np.clip(np.searchsorted(x, at), 1, len(x) - 1))
    share = (at - x[place - 1]) / (x[place] - x[place - 1])
    return float(y[place - 1] + share * (y[place] - y[place - 1]))
