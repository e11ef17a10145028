"""Scenes stay in one part, copies stand nowhere that they would falsify a figure, and nothing is dropped in silence."""

from pathlib import Path

import numpy as np
import pytest

from clc.collection.examination import Examined, examine
from clc.errors import InputError
from clc.pictures.images import png_bytes
from flows.outcomes import Decoded
from flows.parts import NEAR, with_parts
from flows.sources import SourcePicture, split_parts

SHARES = {"dictionary": 0.4, "training": 0.4, "evaluation": 0.2}


def decoded(name: str, seed: int, *, noise: int = 0, taken: str = "", part: str | None = None) -> Decoded:
    image_HW3 = np.kron(np.random.default_rng(seed).integers(0, 240, (8, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    image_HW3[0, 0] += np.uint8(noise)
    found = examine(png_bytes(image_HW3), name)
    assert isinstance(found, Examined)
    found = Examined(**{**vars(found), "taken": taken})
    return Decoded(SourcePicture(name, Path(name), "s", "l", part=part), found, "ab" * 32)


def parts(kept: list[Decoded]) -> dict[str, str | None]:
    return {one.picture.name: one.picture.part for one in kept}


def test_pictures_without_scenes_keep_the_part_that_their_content_gives() -> None:
    given = [decoded(f"{letter}.png", seed) for seed, letter in enumerate("abcdefghijkl")]
    parted = with_parts(given, SHARES)
    expected = split_parts([one.content for one in given], SHARES)
    assert parts(parted.kept) == {one.picture.name: expected[one.content] for one in given}
    assert (parted.left_out, parted.scenes, parted.cut) == ([], 0, 0)


def test_a_burst_lies_in_one_part_and_stays_there_when_it_grows() -> None:
    others = [decoded(f"{letter}.png", seed) for seed, letter in enumerate("abcdefghijklmnop")]
    burst = [decoded(f"IMG_{n}.png", 50 + n, taken=f"2024:05:31 12:00:{5 * n:02d}") for n in range(5)]
    few, more = with_parts([*others, *burst[:3]], SHARES), with_parts([*others, *burst], SHARES)
    assert len({parts(few.kept)[one.picture.name] for one in burst[:3]}) == 1
    assert len({parts(more.kept)[one.picture.name] for one in burst}) == 1
    assert parts(few.kept).items() <= parts(more.kept).items()
    assert (more.scenes, more.cut, more.left_out) == (1, 0, [])


def test_copies_stand_once_in_the_dictionary_and_are_named_where_they_are_left_out() -> None:
    originals = [decoded(f"{letter}.png", seed) for seed, letter in enumerate("abcdefghijklmnop")]
    copies = [decoded(f"{letter}-copy.png", seed, noise=1) for seed, letter in enumerate("abcdefghijklmnop")]
    parted = with_parts([*originals, *copies], SHARES)
    found = parts(parted.kept)
    assert {name for name, part in found.items() if part == "dictionary" and "copy" in name} == set()
    assert all(found[name] == found[name[0] + ".png"] for name in found)
    assert all(one.code == NEAR for one in parted.left_out)
    assert {one.picture.name for one in parted.left_out} | set(found) == {
        one.picture.name for one in (*originals, *copies)
    }
    assert parted.left_out[0].reason.startswith("nearly the same picture as ")


def test_a_scene_that_is_most_of_a_collection_is_cut_into_runs_and_fills_all_parts() -> None:
    strip = [decoded(f"s{n:03d}.png", n, taken=f"2024:05:31 12:{n:02d}:00") for n in range(0, 48)]
    strip = [decoded(f"s{n:03d}.png", n, taken=f"2024:05:31 12:00:{n:02d}") for n in range(48)]
    parted = with_parts(strip, SHARES)
    found = parts(parted.kept)
    assert set(found.values()) == {"dictionary", "training", "evaluation"}
    assert parted.cut == 1
    runs = [found[f"s{n:03d}.png"] for n in range(48)]
    assert all(len(set(runs[start : start + 4])) == 1 for start in range(0, 48, 4))


def test_a_handful_of_copies_still_fills_all_parts_and_two_pictures_do_not() -> None:
    given = [decoded(f"{n}.png", 0, noise=n) for n in range(3)]
    parted = with_parts(given, SHARES)
    assert set(parts(parted.kept).values()) == {"dictionary", "training", "evaluation"}
    with pytest.raises(InputError, match="cannot fill the parts"):
        with_parts(given[:2], SHARES)


def test_a_copy_of_an_evaluated_picture_in_another_part_is_left_out() -> None:
    taken = "2024:05:31 12:00:00"
    burst = [decoded(f"s{n:03d}.png", n % 12, noise=n // 12, taken=taken) for n in range(24)]
    parted = with_parts(burst, SHARES)
    assert parted.cut == 1
    part_of = {one.content: one.picture.part for one in parted.kept}
    seeds = {one.content: int(one.picture.name[1:4]) % 12 for one in burst}
    evaluated = {seeds[content] for content, part in part_of.items() if part == "evaluation"}
    known = {seeds[content] for content, part in part_of.items() if part != "evaluation"}
    assert not evaluated & known
    assert all(one.reason.endswith((" of the evaluation part", " of the dictionary part")) for one in parted.left_out)


def test_parts_that_the_source_fixes_stay() -> None:
    given = [decoded(f"{n}.png", 0, noise=n, part=part) for n, part in enumerate(SHARES)]
    assert parts(with_parts(given, SHARES).kept) == {f"{n}.png": part for n, part in enumerate(SHARES)}
