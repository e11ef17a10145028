"""What references are worth to one codec: coders that take given entries, and the figures of a table of variants.

The flows `ablate` and `perturb` measure the tables of the paper with them. A variant is a `Coder` as any other, so that
`clc.evaluation.measure.evaluate` measures it: whole streams, decoded again. Processor seconds are counted beside, for
the tables that state them.
"""

import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from clc.codec.codec import Codec
from clc.codec.effort import DEFAULT_EFFORT, effort_of
from clc.codec.encoding import Encoding
from clc.codec.search.contest import Choice
from clc.codec.search.selection import Search
from clc.errors import InputError
from clc.evaluation.bd_rate import BdRate
from clc.evaluation.curves import CodecCurve, compare, picture_bd_rates
from clc.evaluation.measure import FAILED, Row
from clc.pictures.picture import Picture
from clc.quality import to_q6
from clc.retrieval.descriptors import CodecDescriptor
from clc.retrieval.index import multi_query, open_index, query_vectors

Entries = tuple[int, ...]
Choose = Callable[[Picture, Entries], Entries]
"""From a picture and the entries that the search found for it, the nearest first, to those whose tokens it gets."""

_LOOKUPS = 20


class EncodeSeconds(NamedTuple):
    """Processor seconds of one picture at one quality: the search, which needs the latents of g_a, and the rest.

    Their sum is what a picture costs that is coded for the first time.
    """

    search_s: float
    coding_s: float


class LastEncoding:
    """The encoding of the picture that was coded last with one codec, and what was found for it.

    Variants of one codec share it, so that a picture is analysed and searched for once. One thread uses it.
    """

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self._image_HW3: Picture | None = None
        # The index is opened with the first search, which is no part of any picture's.
        codec.encoding(np.zeros((64, 64, 3), np.uint8)).proposals(Search("tokens"))

    def of(self, image_HW3: Picture) -> Encoding:
        """Return the encoding of a picture, its entries found."""
        if image_HW3 is not self._image_HW3:
            self._image_HW3 = image_HW3
            began = time.process_time()
            self._encoding = self.codec.encoding(image_HW3)
            self.ranked: Entries = self._encoding.proposals(Search("tokens"))[0].references
            self.search_s = time.process_time() - began
            self._streams: dict[tuple[Entries, int], bytes] = {}
        return self._encoding

    def stream(self, image_HW3: Picture, entries: Entries, quality_q6: int) -> bytes:
        """Return the stream with the tokens of some entries, made once."""
        encoding = self.of(image_HW3)
        if (entries, quality_q6) not in self._streams:
            best = encoding.best_of([Choice(entries)], quality_q6, effort_of(DEFAULT_EFFORT))
            self._streams[entries, quality_q6] = best.data
        return self._streams[entries, quality_q6]


@dataclass(kw_only=True)
class TokenCoder:
    """The codec with the tokens of entries that `choose` takes of those found, whatever they save; a `Coder`.

    `seconds` grows by one for each stream that is made.
    """

    name: str
    qualities: tuple[float, ...]
    memory: LastEncoding
    choose: Choose
    references: str = "tokens"
    seconds: list[EncodeSeconds] = field(default_factory=list)

    @property
    def settings(self) -> str:
        """The bundle."""
        return f"bundle {self.memory.codec.bundle.bundle_id}"

    def encode(self, image_HW3: Picture, quality: float) -> bytes:
        """Return the stream; raises as `Codec.encode` does."""
        self.memory.of(image_HW3)
        began = time.process_time()
        data = self.memory.stream(image_HW3, self.choose(image_HW3, self.memory.ranked), to_q6(quality))
        self.seconds.append(EncodeSeconds(self.memory.search_s, time.process_time() - began))
        return data

    def decode(self, data: bytes) -> Picture:
        """Return the picture."""
        return self.memory.codec.decode(data)


@dataclass(kw_only=True)
class AlignedCoder:
    """The codec with at most `most` references in whichever way costs least, key pictures aligned or not; a `Coder`."""

    name: str
    qualities: tuple[float, ...]
    memory: LastEncoding
    most: int
    references: str = "auto"

    @property
    def settings(self) -> str:
        """The bundle, and how many references it takes."""
        return f"bundle {self.memory.codec.bundle.bundle_id}, at most {self.most} references"

    def encode(self, image_HW3: Picture, quality: float) -> bytes:
        """Return the stream; raises as `Codec.encode` does."""
        search = Search(self.most, effort=effort_of(DEFAULT_EFFORT))
        return self.memory.of(image_HW3).encode(to_q6(quality), search)

    def decode(self, data: bytes) -> Picture:
        """Return the picture."""
        return self.memory.codec.decode(data)


def nearest(count: int) -> Choose:
    """Take the `count` nearest entries; 0 is none."""
    return lambda image_HW3, ranked: ranked[:count]


def wrong_at_random(probability: float, count: int, entries: int, seed: Sequence[int]) -> Choose:
    """Take the `count` nearest, each replaced with a probability of 0..1 by any other one of the `entries`.

    What is drawn depends on picture and seed alone, and what is wrong at some probability is wrong at every higher one.
    Choosing raises `InputError` where the dictionary has too few others.
    """

    def choose(image_HW3: Picture, ranked: Entries) -> Entries:
        rng = np.random.default_rng([*seed, zlib.crc32(image_HW3.tobytes())])
        taken = ranked[:count]
        chances = rng.random(len(taken))
        others = np.setdiff1d(np.arange(entries), ranked)
        if len(others) < len(taken):
            raise InputError(f"of {entries} entries {len(others)} are left to be wrong ones: take a larger dictionary")
        wrong = rng.choice(others, len(taken), replace=False)
        return tuple(
            int(other) if chance < probability else own
            for own, other, chance in zip(taken, wrong, chances, strict=True)
        )

    return choose


def lookup_s(codec: Codec, pictures: Sequence[Picture], count: int) -> float:
    """Return the mean processor seconds of asking the index of a dictionary for a picture's `count` nearest entries.

    Nothing else of the search is in it: vectors are made before.
    """
    entries = codec.bundle.entries
    index = open_index(entries.keys)
    asked = [
        query_vectors(image_HW3, CodecDescriptor(codec.encoding(image_HW3)), entries.reduction)
        for image_HW3 in pictures
    ]
    began = time.process_time()
    for _ in range(_LOOKUPS):
        for queries_QD in asked:
            multi_query(index, queries_QD, count)
    return (time.process_time() - began) / (_LOOKUPS * len(asked))


def variant_figures(rows: Sequence[Row], anchor: str) -> list[dict[str, Any]]:
    """Return one object a variant, in the order of the rows, each held against `anchor`.

    `bpp` and `psnr_db` are means over the pictures and qualities; BD-rate and BD-PSNR are those of the mean curves, and
    None with a `reason` where the curves allow none; `better` counts the pictures whose own BD-rate is below 0.
    """
    comparison = compare(rows)
    names = list(dict.fromkeys(row.codec for row in rows))
    kept = [row for row in rows if row.item_id in set(comparison.pictures)]
    alone = {name: picture_bd_rates(kept, name, [anchor]) for name in names}
    found = []
    for name in names:
        curve, rate = comparison.find(name), comparison.bd_rate(name, anchor)
        failed = sum(row.status == FAILED for row in rows if row.codec == name)
        if curve is None or rate is None:
            found.append({"variant": name, "failed": failed, "reason": comparison.without.get(name, "not measured")})
            continue
        own = [rates[anchor].percent for rates in alone[name].values() if anchor in rates]
        known = [percent for percent in own if percent is not None]
        found.append(
            {
                "variant": name,
                **_means(curve),
                "bd_rate_percent": rate.percent,
                "bd_psnr_db": rate.gain,
                "better": sum(percent < 0 for percent in known),
                "pictures": len(comparison.pictures),
                "failed": failed,
                "reason": rate.reason,
            }
        )
    return found


def performance_reduction(unperturbed: CodecCurve, rate: BdRate) -> float | None:
    """Return by how many percent of its PSNR a perturbed codec falls behind the unperturbed one, at equal rate.

    PR = 100 (P(0) - P(p)) / P(0), where P(0) is the mean PSNR of the unperturbed codec over the qualities, and
    P(p) = P(0) + BD-PSNR of the perturbed codec against it (`rate`). None where there is no BD-PSNR.
    """
    if rate.gain is None:
        return None
    return 0.0 - 100.0 * rate.gain / _means(unperturbed)["psnr_db"]  # no minus before a 0


def gain_lost(unperturbed_percent: float | None, percent: float | None) -> tuple[float | None, str]:
    """Return the percentage of what references save that is lost, and the reason where there is none.

    Both are BD-rates against no reference: 100 (G(0) - G(p)) / G(0), where G is what is saved.
    """
    if unperturbed_percent is None or percent is None:
        return None, "a curve allows no BD-rate"
    if unperturbed_percent >= 0.0:
        return None, "references save nothing unperturbed"
    return 100.0 * (unperturbed_percent - percent) / unperturbed_percent, ""


def _means(curve: CodecCurve) -> dict[str, float]:
    bpp, psnr = ([getattr(point, name) for point in curve.points] for name in ("bpp", "psnr_db"))
    return {"bpp": float(np.mean(bpp)), "psnr_db": float(np.mean(psnr))}
