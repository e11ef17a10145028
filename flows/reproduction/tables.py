"""The measuring of one table each: variants of a codec on the pictures of a subject, every stream written and decoded.

Each function returns the rows of all streams and the figures of the table, of which `flows.reproduction.runs` makes a
stage.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from clc.bundle.extend import add_pictures
from clc.codec.codec import Codec
from clc.evaluation.ablation import (
    AlignedCoder,
    LastEncoding,
    TokenCoder,
    gain_lost,
    lookup_s,
    nearest,
    performance_reduction,
    variant_figures,
    wrong_at_random,
)
from clc.evaluation.coders import Coder
from clc.evaluation.curves import compare
from clc.evaluation.measure import Row, evaluate
from clc.limits import MAX_REFERENCES
from flows.reproduction.dictionaries import Described
from flows.reproduction.grid import Grid
from flows.runtime.progress import counted

NONE = "none"
"""The variant without references, which the others are held against."""
_TIMED = 4


@dataclass(frozen=True)
class Measured:
    """A table: `figures` has one object a variant, `notes` what holds for all; `rows` are the streams behind it."""

    rows: list[Row]
    figures: list[dict[str, Any]]
    notes: dict[str, Any] = field(default_factory=dict)


def measure_references(found: Described, grid: Grid, scratch: Path) -> Measured:
    """Table 1: the tokens of the nearest 1..5 entries, whatever they save, beside none."""
    entries = min(grid.references.entries, len(found.windows))
    memory = LastEncoding(found.codec(scratch / "bundle", entries, grid.seed))
    numbers = sorted(set(grid.references.numbers))
    coders = [_tokens(memory, grid, NONE, 0), *(_tokens(memory, grid, str(number), number) for number in numbers)]
    rows = _evaluate(found, coders, "number of references")
    return Measured(rows, variant_figures(rows, NONE), {"entries": len(memory.codec.bundle.entries)})


def measure_dictionary(found: Described, grid: Grid, scratch: Path) -> Measured:
    """Table 2: dictionaries of several sizes, and the processor seconds of search and encoder with each."""
    count = grid.dictionary.references
    coders: list[TokenCoder] = []
    lacking: dict[int, str] = {}
    for entries in sorted(set(grid.dictionary.entries)):
        if entries > len(found.windows):
            lacking[entries] = f"there are only {len(found.windows)} windows to choose from"
            continue
        memory = LastEncoding(found.codec(scratch / str(entries), entries, grid.seed, count))
        if not coders:
            coders.append(_tokens(memory, grid, NONE, 0))
        coders.append(_tokens(memory, grid, str(entries), count))
    if not coders:  # told as a row each
        return Measured([], [{"variant": str(size), "reason": reason} for size, reason in lacking.items()])
    rows = _evaluate(found, coders, "size of the dictionary")
    figures = variant_figures(rows, NONE)
    timed = [picture.load() for picture in found.subject.pictures()[:_TIMED]]
    for one, coder in zip(figures, coders, strict=True):
        if coder.name == NONE:  # shares its encodings with the smallest dictionary
            continue
        codec = coder.memory.codec
        one["entries"] = len(codec.bundle.entries)
        one["lookup_ms"] = 1000.0 * lookup_s(codec, timed, count)
        one["search_s"] = float(np.mean([spent.search_s for spent in coder.seconds]))
        one["encode_s"] = float(np.mean([sum(spent) for spent in coder.seconds]))
    missing = [{"variant": str(size), "reason": reason} for size, reason in lacking.items()]
    return Measured(rows, [*figures, *missing], {"references": count})


def measure_alignment(found: Described, grid: Grid, scratch: Path) -> Measured:
    """Key pictures: tokens of the nearest entries, whatever they save, and aligned ones in the same bundle."""
    asked = grid.alignment
    base = found.write(scratch / "base", min(asked.entries, len(found.windows)), grid.seed)
    items, photos = found.subject.photos(asked.key_pictures)
    provenance = [
        {"name": one.photo, "photo": one.photo, "source": one.source, "licence": one.licence} for one in items
    ]
    add_pictures(base, scratch / "keys", photos, provenance)
    memory = LastEncoding(Codec.load(scratch / "keys"))
    numbers = sorted(set(asked.references))
    coders: list[Coder] = [_tokens(memory, grid, NONE, 0)]
    coders += [_tokens(memory, grid, f"tokens of {number}", number) for number in numbers]
    coders += [
        AlignedCoder(name=f"at most {number} aligned", qualities=grid.qualities, memory=memory, most=number)
        for number in numbers
    ]
    rows = _evaluate(found, coders, "aligned key pictures")
    notes = {"entries": len(memory.codec.bundle.entries), "key_pictures": len(photos)}
    return Measured(rows, variant_figures(rows, NONE), notes)


def measure_perturbation(found: Described, grid: Grid, scratch: Path) -> Measured:
    """Figure 6: each reference is, with a probability, one at random; every picture is coded with several draws."""
    asked = grid.perturbation
    entries = min(asked.entries, len(found.windows))
    memory = LastEncoding(found.codec(scratch / "bundle", entries, grid.seed, max(asked.references, 1)))
    entries = len(memory.codec.bundle.entries)
    names = [f"{probability:g}" for probability in asked.probabilities]
    coders: list[TokenCoder] = []
    for draw in range(asked.draws):
        coders.append(_tokens(memory, grid, f"{NONE}/{draw}", 0))
        for name, probability in zip(names, asked.probabilities, strict=True):
            choose = wrong_at_random(probability, asked.references, entries, (grid.seed, draw))
            coders.append(TokenCoder(name=f"{name}/{draw}", qualities=grid.qualities, memory=memory, choose=choose))
    rows = [_of_draw(row) for row in _evaluate(found, coders, "random matches")]
    figures = {one["variant"]: one for one in variant_figures(rows, NONE)}
    comparison = compare(rows)
    unperturbed = comparison.find(names[0])
    for name, probability in zip(names, asked.probabilities, strict=True):
        one, rate = figures[name], comparison.bd_rate(name, names[0])
        one["probability"] = probability
        if unperturbed is not None and rate is not None:
            one["bd_rate_against_0_percent"] = rate.percent
            one["performance_reduction_percent"] = performance_reduction(unperturbed, rate)
        lost, reason = gain_lost(figures[names[0]].get("bd_rate_percent"), one.get("bd_rate_percent"))
        one["gain_lost_percent"], one["gain_lost_reason"] = lost, reason
    notes = {"entries": entries, "references": asked.references, "draws": asked.draws}
    return Measured(rows, list(figures.values()), notes)


def _of_draw(row: Row) -> Row:
    """A picture with one draw is a picture of its own, so that a mean is over pictures and draws."""
    name, _, draw = row.codec.rpartition("/")
    return replace(row, codec=name, item_id=f"{row.item_id}/{draw}")


def _tokens(memory: LastEncoding, grid: Grid, name: str, count: int) -> TokenCoder:
    return TokenCoder(name=name, qualities=grid.qualities, memory=memory, choose=nearest(min(count, MAX_REFERENCES)))


def _evaluate(found: Described, coders: Sequence[Coder], what: str) -> list[Row]:
    pictures = found.subject.pictures()
    with counted(f"measuring {what}", len(pictures)) as one_more:
        return evaluate(coders, pictures, on_picture=lambda _: one_more())
