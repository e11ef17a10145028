"""Which part each picture of an ingest goes into: whole scenes, and copies nowhere that they would falsify a figure.

`flows.ingest` calls `with_parts` when it knows what every picture is. `clc.collection.scenes` says what a scene and a
copy are. A scene's part follows from the content of its first picture, so that it keeps its part when others come or
go. Pictures whose part the source fixes (the built-in photos) are left as they are.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from clc.collection.scenes import Shot, find_copies, find_scenes
from flows.outcomes import Decoded
from flows.sources import PARTS, split_parts

logger = logging.getLogger(__name__)

NEAR = "near_duplicate"
MOST_OF_ALL = 0.25
"""A scene with a larger share of all pictures is cut into runs of pictures that follow each other."""

_LEAST_TO_CUT = 4
_RUNS = 12  # of all pictures: so many runs would they make


@dataclass(frozen=True)
class Parted:
    """The pictures with a part each, the copies that were left out, and two counts.

    `scenes` are those of several pictures; `cut` are those that were too large to be kept together.
    """

    kept: list[Decoded]
    left_out: list[Decoded]
    scenes: int
    cut: int


def with_parts(decoded: Sequence[Decoded], shares: Mapping[str, float]) -> Parted:
    """Put whole scenes into parts, and leave out copies: of a dictionary's pictures, and of evaluation pictures.

    `decoded` are different pictures that can be used. Raises `InputError` where there are fewer than parts.
    """
    free = [one for one in decoded if one.picture.part is None]
    if not free:
        return Parted(list(decoded), [], 0, 0)
    shots = [_shot(one) for one in free]
    copies = find_copies(shots)
    scenes = find_scenes(shots, copies)
    sizes = Counter(scenes)
    anchors, cut = _anchors(scenes, sizes)
    parts = split_parts([free[anchor].content for anchor in anchors], shares)
    placed = [
        replace(one, picture=replace(one.picture, part=parts[free[anchor].content]))
        for one, anchor in zip(free, anchors, strict=True)
    ]
    reasons = _left_out(placed, copies)
    count = sum(size > 1 for size in sizes.values())
    logger.info("scenes count=%d cut=%d copies_left_out=%d", count, cut, len(reasons))
    by_content = {one.content: one for one in placed}
    left_out = [
        replace(one, blob="", reason=reasons[number], code=NEAR)
        for number, one in enumerate(placed)
        if number in reasons
    ]
    is_out = {one.content for one in left_out}
    kept = [by_content.get(one.content, one) for one in decoded if one.content not in is_out]
    return Parted(kept, left_out, count, cut)


def _shot(one: Decoded) -> Shot:
    if one.found is None:
        raise ValueError(f"{one.picture.name} was not examined")
    return Shot(one.picture.name, one.found.thumbnail, one.found.taken)


def _anchors(scenes: Sequence[int], sizes: Mapping[int, int]) -> tuple[list[int], int]:
    """Return for each picture the one whose content decides its part, and how many scenes had to be cut for that."""
    large = {scene for scene, size in sizes.items() if size > max(_LEAST_TO_CUT, MOST_OF_ALL * len(scenes))}
    run = -(-len(scenes) // _RUNS)
    if len(sizes) < len(PARTS) and not large:
        large, run = set(sizes), 1  # a handful of pictures of one scene: better a resemblance than no part
    seen: dict[int, list[int]] = defaultdict(list)
    anchors = []
    for number, scene in enumerate(scenes):
        members = seen[scene]
        members.append(number)
        anchors.append(members[(len(members) - 1) // run * run] if scene in large else scene)
    return anchors, sum(sizes[scene] > 1 for scene in large)


def _left_out(placed: Sequence[Decoded], copies: Sequence[int]) -> dict[int, str]:
    """Return the numbers of copies that no part may have, with the reason in a sentence each."""
    groups: dict[int, list[int]] = defaultdict(list)
    for number, first in enumerate(copies):
        groups[first].append(number)
    found: dict[int, str] = {}
    parts = [one.picture.part for one in placed]
    for group in groups.values():
        evaluated = [number for number in group if parts[number] == "evaluation"]
        entries = [number for number in group if parts[number] == "dictionary"]
        out = [number for number in group if parts[number] != "evaluation"] if evaluated else entries[1:]
        if out:
            other = placed[(evaluated or entries)[0]].picture
            reason = f"nearly the same picture as {other.name} of the {other.part} part"
            found |= dict.fromkeys(out, reason)
    emptied = {part for part in parts if all(number in found for number, one in enumerate(parts) if one == part)}
    # Of a collection that shows one thing throughout, a resemblance stays; the evaluation says so.
    return {number: reason for number, reason in found.items() if parts[number] not in emptied}
