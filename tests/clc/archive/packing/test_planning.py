"""Which pictures become keys: by what a trial measured, and by what pictures show of one another."""

import numpy as np
import pytest

from clc.archive.packing.overlaps import GRID, Seen, fingerprint, shown, to_compare
from clc.archive.packing.planning import Key, Measured, between, choose, pairs_to_try
from clc.errors import StorageError
from clc.references.registration import find_keypoints
from tests.conftest import Picture

CELLS = GRID**2
FREE = Measured(0.0, 0.0, 0.9)


def seen(*pairs: tuple[int, int, float], count: int = 6) -> Seen:
    """Pairs (picture, other, share): the other one shows that share of the picture, from the upper left on."""
    found: list[list[tuple[int, np.ndarray]]] = [[] for _ in range(count)]
    for target, reference, share in pairs:
        cells = np.zeros(CELLS, np.float32)
        cells[: round(abs(share) * CELLS)] = 1 / CELLS
        found[target].append((reference, cells if share > 0 else cells[::-1].copy()))
    return Seen.of(found)


def star(centre: int, count: int = 6, share: float = 0.5) -> Seen:
    return seen(*((one, centre, share) for one in range(count) if one != centre), count=count)


def test_the_picture_that_shows_most_of_the_others_becomes_a_key() -> None:
    plan = choose(star(2), np.full(6, 100.0), [FREE])
    assert plan.keys == (Key(2, 0.0),)
    assert plan.expected == pytest.approx(0.9 * 0.5 * 5 / 6)


def test_no_key_is_taken_that_costs_more_than_it_saves() -> None:
    assert choose(star(2), np.full(6, 100.0), [Measured(35.0, 2.3, 0.9)]).keys == ()
    assert choose(star(2), np.full(6, 100.0), [Measured(35.0, 2.2, 0.9)]).keys == (Key(2, 35.0),)
    assert choose(star(2), np.full(6, 100.0), []).keys == ()
    assert choose(star(2), np.full(6, 100.0), [FREE], levels=1).keys == ()


def test_the_offset_follows_what_it_is_worth_to_each_key() -> None:
    """A key for five pictures is made finer than one for a single picture."""
    pairs = [(one, 0, 0.6) for one in range(1, 6)] + [(7, 6, 0.6)]
    offered = [Measured(0.0, 0.0, 0.4), Measured(40.0, 0.6, 0.8)]
    plan = choose(seen(*pairs, count=8), np.full(8, 100.0), offered)
    assert plan.keys == (Key(0, 40.0), Key(6, 0.0))


def test_two_keys_that_show_different_halves_count_together() -> None:
    halves = seen((0, 1, 0.5), (0, 2, -0.5), (3, 1, 0.5), (4, 2, -0.5), count=5)
    plan = choose(halves, np.full(5, 100.0), [Measured(20.0, 0.3, 0.8)])
    assert [key.index for key in plan.keys] == [1, 2]
    assert plan.expected == pytest.approx((0.8 * 2 - 2 * 0.3) / 5)


def test_a_key_that_others_made_superfluous_is_put_back() -> None:
    """Picture 0 shows 0.55 of four others; 5 and 6 show all of two each, and were worth less at first."""
    pairs = [(one, 0, 0.55) for one in (1, 2, 3, 4)]
    pairs += [(1, 5, 1.0), (2, 5, 1.0), (3, 6, 1.0), (4, 6, 1.0), (0, 5, 0.9)]
    plan = choose(seen(*pairs, count=7), np.full(7, 100.0), [Measured(0.0, 0.0, 0.9)])
    assert [key.index for key in plan.keys] == [5, 6]


def test_a_third_level_is_beside_the_keys_and_a_key_itself() -> None:
    """A chain of four, each of which shows most of its neighbours."""
    pairs = [(one, other, 0.8) for one in range(4) for other in (one - 1, one + 1) if 0 <= other < 4]
    two, three = (choose(seen(*pairs, count=4), np.full(4, 100.0), [FREE], levels=levels) for levels in (2, 3))
    assert two.keys == (Key(1, 0.0),)
    assert three.keys == (Key(1, 0.0), Key(2, 0.0, level=1))
    assert (two.expected, three.expected) == pytest.approx((2 * 0.72 / 4, 3 * 0.72 / 4), abs=0.01)


def test_as_many_keys_are_taken_as_are_asked_for() -> None:
    assert len(choose(star(2), np.full(6, 100.0), [Measured(35.0, 9.0, 0.9)], count=2).keys) == 2


def test_between_the_offsets_of_a_trial_it_is_interpolated() -> None:
    offered = between([Measured(0.0, 0.0, 0.3), Measured(20.0, 0.2, 0.5), Measured(40.0, 0.8, 0.6)])
    assert [one.offset for one in offered] == [0, 5, 10, 15, 20, 25, 30, 35, 40]
    assert offered[4].penalty == pytest.approx(0.2)
    assert offered[2].saving == pytest.approx(0.4125)
    assert between([FREE]) == [FREE]


def test_a_trial_looks_at_pairs_of_good_and_bad_keys() -> None:
    pairs = [(one, 0, 0.9) for one in range(1, 4)] + [(one, 4, 0.3) for one in range(5, 8)]
    tried = pairs_to_try(seen(*pairs, count=8), np.full(8, 100.0))
    assert {key for _, key in tried} == {0, 4}
    assert pairs_to_try(seen(count=3), np.full(3, 100.0)) == []
    # Nothing that would pay is there, and yet one pair is tried: only the trial knows.
    assert pairs_to_try(seen((1, 0, 0.05), count=3), np.full(3, 100.0)) == [(1, 0)]


def test_pairs_travel_as_a_file() -> None:
    pairs = star(1)
    again = Seen.from_bytes(pairs.to_bytes())
    for field in ("target", "reference", "cells"):
        assert np.array_equal(getattr(pairs, field), getattr(again, field))
    with pytest.raises(StorageError, match="overlaps is damaged"):
        Seen.from_bytes(b"no npz")


def test_what_a_picture_is_shown_in_is_found_whatever_the_order_of_pairs() -> None:
    cells = np.arange(4 * GRID**2, dtype=np.float32).reshape(4, -1)
    pairs = Seen(np.array([5, 2, 5, 0]), np.array([1, 7, 3, 5]), cells)
    found = pairs.shown_in(5)
    assert list(found) == [1, 3]
    assert np.array_equal(found[1], cells[0])
    assert np.array_equal(found[3], cells[2])
    assert pairs.shown_in(1) == {}


def test_of_few_pictures_all_pairs_are_compared_and_of_many_the_near_and_the_alike() -> None:
    rng = np.random.default_rng(0)
    assert to_compare(np.zeros((3, 4), np.float32)) == [[1, 2], [0, 2], [0, 1]]
    vectors = rng.standard_normal((500, 16)).astype(np.float32)
    vectors[490] = vectors[3]
    others = to_compare(vectors)
    assert {2, 4, 27, 490} <= set(others[3])
    assert all(one not in there and len(there) <= 97 for one, there in enumerate(others))


def test_what_pictures_show_of_one_another(photo: Picture) -> None:
    left, right = (find_keypoints(np.ascontiguousarray(photo[:, at : at + 256])) for at in (0, 128))
    same = shown(left, left, None)
    assert same is not None
    assert same.sum() == pytest.approx(1.0, abs=1e-4)
    assert shown(left, right, None) is None
    noisy = np.clip(photo[:, :256].astype(int) + 1, 0, 255).astype(np.uint8)
    brighter = shown(left, find_keypoints(noisy), None)
    assert brighter is not None
    assert brighter.sum() > 0.9


def test_without_loss_likeness_is_worth_nothing_and_what_is_equal_all(photo: Picture) -> None:
    image_HW3 = np.ascontiguousarray(photo[:, :256])
    brighter = np.clip(image_HW3.astype(int) + 3, 0, 255).astype(np.uint8)
    half = image_HW3.copy()
    half[:, 128:] = brighter[:, 128:]
    ours, near, partly = (find_keypoints(one) for one in (image_HW3, brighter, half))
    equal, within = shown(ours, ours, None, 0), shown(ours, near, None, 3)
    assert equal is not None
    assert within is not None
    assert equal.sum() == pytest.approx(1.0, abs=1e-4)
    assert within.sum() > 0.9
    assert shown(ours, near, None, 0) is None
    left = shown(ours, partly, None, 0)
    assert left is not None
    assert 0.2 < left.sum() < 0.8
    assert left.reshape(GRID, GRID)[:, GRID // 2 :].max() == 0


def test_fingerprints_know_a_picture_again(photo: Picture) -> None:
    darker = (photo * 0.7).astype(np.uint8)
    assert float(fingerprint(photo) @ fingerprint(darker)) > 0.99
    assert abs(float(fingerprint(photo) @ fingerprint(np.ascontiguousarray(photo[::-1])))) < 0.9
    assert not fingerprint(np.zeros((20, 20, 3), np.uint8)).any()
