"""One codec held against another over the same pictures: the BD-rate between them, and how far chance alone moves it.

A handful of pictures gives a BD-rate to a tenth of a percent and says nothing about the next picture. So the pictures
are drawn again and again with replacement, the same draw for both codecs (a paired bootstrap), and the spread of the
BD-rates is the interval in which the difference lies with 95 % certainty. Patches of one photograph are no independent
pictures: whole photographs are drawn. `flows.service.gate` decides by it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from clc.evaluation.bd_rate import RateCurve, bd_rate
from clc.evaluation.curves import compare
from clc.evaluation.measure import Row

CERTAINTY = 0.95
FEWEST_PHOTOS = 5
"""Even where all of fewer photographs agree, chance does that more often than once in twenty: 2 ** -4 is 0.06."""
RESAMPLES = 1000
_MOST_UNUSABLE = 0.05
_TEST, _ANCHOR = "the one", "the other"


@dataclass(frozen=True)
class PairedBdRate:
    """BD-rate of one codec against another, in percent, and the interval of `CERTAINTY` around it.

    Negative is better. `photos` counts the photographs they were compared on. The interval is None where it could not
    be taken, and `reason` then says why; `percent` too where not even the curves of all pictures allow a BD-rate.
    """

    percent: float | None
    low_percent: float | None
    high_percent: float | None
    photos: int
    reason: str = ""


def paired_bd_rate(
    test: Sequence[Row], anchor: Sequence[Row], photos: Mapping[str, str], *, seed: int = 0, resamples: int = RESAMPLES
) -> PairedBdRate:
    """Hold the rows of one codec against those of another over the pictures that both coded without failure.

    All rows are of one kind. `photos` names the photograph of each picture by its item id; a picture that it lacks is a
    photograph of its own. The interval is Student's t of the bootstrap's spread: simulated collections of 5, 8 and 20
    pictures lie outside of it in 6 of 100 cases. The same rows and seed give the same figures.
    """
    common = {row.item_id for row in test} & {row.item_id for row in anchor}
    named = ((_TEST, test), (_ANCHOR, anchor))
    rows = [replace(row, codec=codec) for codec, own in named for row in own if row.item_id in common]
    if not rows:
        return PairedBdRate(None, None, None, 0, "the two were measured on no picture in common")
    comparison = compare(rows, rows[0].row)
    pictures = comparison.pictures
    names = [photos.get(item_id, item_id) for item_id in pictures]
    n_photos = len(set(names))
    whole = comparison.bd_rate(_TEST, _ANCHOR)
    if whole is None or whole.percent is None:
        reason = whole.reason if whole is not None else "; ".join(comparison.without.values()) or "no picture in common"
        return PairedBdRate(None, None, None, n_photos, reason)
    if n_photos < FEWEST_PHOTOS:
        reason = f"{n_photos} photographs are too few to tell an improvement from chance ({FEWEST_PHOTOS} are needed)"
        return PairedBdRate(whole.percent, None, None, n_photos, reason)
    series = [_series(rows, codec, pictures) for codec in (_TEST, _ANCHOR)]
    found = _resampled(series, np.unique(names, return_inverse=True)[1], seed, resamples)
    if len(found) < (1 - _MOST_UNUSABLE) * resamples:
        reason = "the curves of many a choice of the pictures are not monotone or hardly overlap"
        return PairedBdRate(whole.percent, None, None, n_photos, reason)
    low, high = _interval(whole.percent, found, n_photos)
    return PairedBdRate(whole.percent, low, high, n_photos)


def _series(rows: Sequence[Row], codec: str, pictures: Sequence[str]) -> NDArray[np.float64]:
    """The rates and PSNRs of a codec, (qualities, pictures, 2)."""
    own = {(row.item_id, row.quality): (row.bpp, row.psnr_db) for row in rows if row.codec == codec}
    ladder = sorted({quality for item_id, quality in own if item_id == pictures[0]})
    return np.array([[own[item_id, quality] for item_id in pictures] for quality in ladder])


def _resampled(
    series: Sequence[NDArray[np.float64]], photo_P: NDArray[np.intp], seed: int, resamples: int
) -> list[float]:
    """BD-rates of resampled pictures; resamples whose curves allow none are left out."""
    random = np.random.default_rng(seed)
    n_photos = int(photo_P.max()) + 1
    known: dict[bytes, float | None] = {}  # of five photographs there are 126 different draws
    found = []
    for _ in range(resamples):
        drawn = np.bincount(random.integers(0, n_photos, n_photos), minlength=n_photos)
        if drawn.tobytes() not in known:
            weight_P = drawn[photo_P] / drawn[photo_P].sum()
            test, anchor = (np.einsum("qpk,p->qk", one, weight_P) for one in series)
            rate = bd_rate(RateCurve.of(_ANCHOR, *anchor.T.tolist()), RateCurve.of(_TEST, *test.T.tolist()))
            known[drawn.tobytes()] = rate.percent
        percent = known[drawn.tobytes()]
        if percent is not None:
            found.append(percent)
    return found


def _interval(percent: float, resampled: Sequence[float], n_photos: int) -> tuple[float, float]:
    """The interval around a BD-rate, by the spread of the logarithm of the ratio of bytes, which it averages."""
    ratios = np.log1p(np.array(resampled) / 100)
    # A draw of n out of n spreads less than pictures do, by this root; with few pictures t is wider than a normal.
    spread = float(ratios.std(ddof=1)) * math.sqrt(n_photos / (n_photos - 1))
    half = float(t.ppf((1 + CERTAINTY) / 2, n_photos - 1)) * spread
    low, high = (math.expm1(math.log1p(percent / 100) + one) for one in (-half, half))
    return 100 * low, 100 * high
