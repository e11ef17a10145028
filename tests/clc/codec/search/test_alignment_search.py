"""Which ways to code a picture are tried, and which key pictures are laid over one another."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from clc.bitstream.alignment import Alignment, identity
from clc.bitstream.regions import Regions
from clc.codec import Codec
from clc.codec.search.alignment_search import covering
from clc.codec.search.contest import NO_RIVAL, Choice, Judge, Rival, cheapest
from clc.references.registration import Located
from tests.conftest import Picture

PIXELS = 100_000
FLAT = identity(256, 256)
NONE, TOKENS = Choice(), Choice((1, 2, 3))
ONE = Choice((7,), (FLAT,), 0.5)
TWO = Choice((7, 8), (FLAT, FLAT), 0.8)
THREE = Choice((7, 8, 9), (FLAT, FLAT, FLAT), 1.0)
ALL = [NONE, TOKENS, ONE, TWO, THREE]


class Trial:
    """Choices with given costs, of which the rate is the half; notes what is coded and what is synthesised."""

    def __init__(self, costs: dict[Choice, float]) -> None:
        self._costs, self.coded, self.synthesised = costs, list[Choice](), list[Choice]()

    def winner(self, choices: Sequence[Choice], alone: float | None = None, rival: Rival = NO_RIVAL) -> Choice:
        judge = Judge(self._code, lambda choice: self._costs[choice] / 2, self._cost, PIXELS, alone, rival)
        return cheapest(choices, judge)

    def _code(self, choice: Choice) -> Choice:
        self.coded.append(choice)
        return choice

    def _cost(self, choice: Choice) -> float:
        self.synthesised.append(choice)
        return self._costs[choice]


@pytest.mark.parametrize("best", ALL)
def test_the_cheapest_of_choices_that_lie_close_together_wins(best: Choice) -> None:
    costs = {NONE: 1.0, TOKENS: 0.999, ONE: 0.99, TWO: 0.98, THREE: 0.97}
    if best in (NONE, TOKENS):
        costs = dict.fromkeys(ALL, 1.01)
    elif best is not THREE:
        costs[THREE if best is TWO else TWO] = 1.0
    costs[best] = 0.9 if best in (NONE, TOKENS) else costs[best]
    assert Trial(costs).winner(ALL) == best


def test_what_a_picture_costs_alone_is_not_coded_again_where_it_is_known() -> None:
    trial = Trial({NONE: 1.0, ONE: 0.7, TWO: 0.6, THREE: 0.65})
    assert trial.winner([NONE, ONE, TWO, THREE], alone=1.0) == TWO
    assert NONE not in trial.coded
    dear = Trial({NONE: 1.0, ONE: 1.2, TWO: 1.1, THREE: 1.1})
    assert dear.winner([NONE, ONE, TWO, THREE], alone=1.0) == ONE
    assert dear.coded == [ONE]
    assert Trial({NONE: 1.0}).winner([NONE], alone=1.0) == NONE


def test_the_best_with_regions_is_tried_without_them() -> None:
    regions = Regions(64, (), np.ones((4, 4), dtype=np.uint8))
    parts = ONE._replace(alignments=(replace(FLAT, regions=regions),))
    for winner, costs in ((parts, (0.5, 0.6)), (ONE, (0.6, 0.5))):
        trial = Trial({NONE: 1.0, parts: costs[0], ONE: costs[1]})
        assert trial.winner([NONE, parts]) == winner
        assert set(trial.coded) == {NONE, parts, ONE}
    trial = Trial({NONE: 1.0, parts: 1.2, ONE: 0.5})
    assert trial.winner([NONE, parts]) == NONE


def test_a_single_choice_is_not_synthesised() -> None:
    trial = Trial({NONE: 1.0})
    assert trial.winner([NONE]) == NONE
    assert trial.synthesised == []


def test_a_choice_whose_rate_is_too_much_already_is_not_synthesised() -> None:
    trial = Trial({NONE: 1.0, ONE: 0.4})
    assert trial.winner([NONE, ONE]) == ONE
    assert trial.synthesised == [ONE]


@pytest.mark.parametrize("cost", [1.01, 0.999])
def test_tokens_alone_are_not_synthesised_where_they_save_next_to_nothing(cost: float) -> None:
    trial = Trial({NONE: 1.0, TOKENS: cost})
    assert trial.winner([NONE, TOKENS]) == NONE
    assert trial.coded == [NONE, TOKENS]
    assert trial.synthesised == []


def test_tokens_alone_are_synthesised_where_they_save_bytes() -> None:
    trial = Trial({NONE: 1.0, TOKENS: 0.99})
    assert trial.winner([NONE, TOKENS]) == TOKENS
    assert trial.synthesised == [NONE, TOKENS]


def test_tokens_are_not_tried_where_alignment_saves_far_more() -> None:
    trial = Trial({NONE: 1.0, TOKENS: 0.1, ONE: 0.8})
    assert trial.winner([NONE, TOKENS, ONE]) == ONE
    assert TOKENS not in trial.coded


@pytest.mark.parametrize("cost", [0.997, 1.0, 1.2])
def test_tokens_are_tried_where_alignment_saves_little_or_nothing(cost: float) -> None:
    trial = Trial({NONE: 1.0, TOKENS: 0.9, ONE: cost})
    assert trial.winner([NONE, TOKENS, ONE]) == TOKENS


def test_no_third_key_picture_is_tried_where_the_second_did_not_pay() -> None:
    trial = Trial({NONE: 1.0, ONE: 0.5, TWO: 0.51, THREE: 0.1})
    assert trial.winner([NONE, ONE, TWO, THREE]) == ONE
    assert THREE not in trial.coded


def test_no_second_key_picture_is_tried_where_the_first_loses() -> None:
    trial = Trial({NONE: 1.0, ONE: 1.01, TWO: 0.1})
    assert trial.winner([NONE, ONE, TWO]) == NONE
    assert TWO not in trial.coded


SURE = [choice._replace(is_sure=True) for choice in (ONE, TWO, THREE)]


def test_key_pictures_that_are_sure_are_coded_together_and_nothing_else_is() -> None:
    trial = Trial({NONE: 0.1, SURE[0]: 0.1, SURE[1]: 0.1, SURE[2]: 0.9})
    assert trial.winner([NONE, TOKENS, *SURE]) == SURE[2]
    assert trial.coded == [SURE[2]]


def test_key_pictures_are_not_sure_where_their_alignments_are_most_of_the_cost() -> None:
    light, heavy = 0.9, 0.0009
    others = {NONE: 2 * heavy, TOKENS: 2 * heavy}
    for best in (NONE, SURE[1]):
        costs = {**dict.fromkeys(SURE, heavy), **others, best: heavy / 2}
        assert Trial(costs).winner([NONE, TOKENS, *SURE]) == best
    assert Trial({**dict.fromkeys(SURE, light), NONE: light / 2}).winner([NONE, *SURE]) == SURE[2]


def test_an_uncertain_key_picture_is_tried_beside_sure_ones() -> None:
    costs = {SURE[0]: 0.9, SURE[1]: 0.8, THREE: 0.7}
    trial = Trial(costs)
    assert trial.winner([NONE, SURE[0], SURE[1], THREE]) == THREE
    assert trial.coded == [SURE[1], THREE]


def test_a_further_key_picture_must_promise_more_than_its_alignment_costs() -> None:
    mesh = np.random.default_rng(0).integers(-100, 100, (9, 9, 2)).astype(np.int8)
    dear = Choice((7, 8), (FLAT, Alignment(FLAT.corners_q4, mesh=mesh)), 0.6)
    cheap = Choice((7, 8), (FLAT, FLAT), 0.6)
    costs = {NONE: 1.0, ONE: 0.95, dear: 0.9, cheap: 0.9}
    assert Trial(costs).winner([NONE, ONE, dear]) == ONE
    assert Trial(costs).winner([NONE, ONE, cheap]) == cheap


def test_what_a_rival_beats_by_far_is_the_last_to_be_coded() -> None:
    for rival, coded in ((Rival(0.4), 1), (Rival(0.85), 1), (Rival(0.9, is_same_trade=False), 3), (Rival(2.0), 3)):
        trial = Trial({NONE: 1.5, ONE: 1.0, TWO: 0.9, THREE: 0.95})
        trial.winner([NONE, ONE, TWO, THREE], rival=rival)
        assert len([one for one in trial.coded if one.alignments]) == coded
    trial = Trial({NONE: 1.5, ONE: 1.0})
    assert trial.winner([NONE, ONE], rival=Rival(0.5)) == ONE
    assert trial.synthesised == []  # a rate as large as what the rival costs is enough to tell
    assert not NO_RIVAL.beats(1e9, lambda: 1e9)


def test_beside_a_rival_what_regions_leave_out_is_not_tried() -> None:
    regions = Regions(64, (), np.ones((4, 4), dtype=np.uint8))
    parts = ONE._replace(alignments=(replace(FLAT, regions=regions),))
    trial = Trial({NONE: 1.0, parts: 0.6, ONE: 0.5})
    assert trial.winner([NONE, parts], rival=Rival(0.7)) == parts
    assert ONE not in trial.coded


def located(columns: slice, psnr_db: float) -> Located:
    covered = np.zeros((10, 100), dtype=np.bool_)
    covered[:, columns] = True
    return Located(FLAT, covered, psnr_db, np.zeros(covered.shape, np.uint8))


LEFT, INNER, RIGHT = located(slice(0, 60), 30.0), located(slice(5, 55), 31.0), located(slice(60, 100), 24.0)


def test_the_next_key_picture_is_the_one_that_shows_most_of_what_is_uncovered() -> None:
    found = [(1, RIGHT), (2, INNER), (3, LEFT)]
    assert [entry for entry, _ in covering(found, 3)] == [3, 1]


def test_a_key_picture_that_adds_next_to_nothing_is_left_out() -> None:
    nearly_left = located(slice(0, 62), 20.0)
    assert [entry for entry, _ in covering([(1, LEFT), (2, nearly_left)], 3)] == [1]
    assert covering([(1, located(slice(0, 2), 40.0))], 3) == []


def test_no_more_key_pictures_are_laid_over_one_another_than_asked_for() -> None:
    found = [(1, RIGHT), (3, LEFT)]
    assert [entry for entry, _ in covering(found, 1)] == [3]
    assert covering(found, 0) == []
    assert covering([], 3) == []


def test_of_equal_key_pictures_the_nearest_comes_first() -> None:
    assert [entry for entry, _ in covering([(5, LEFT), (4, LEFT)], 3)] == [5]


@pytest.fixture
def counted(shipped: Codec, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The pictures that the shipped codec analyses without a reference."""
    analysed: list[bytes] = []
    analyse: Callable[..., object] = shipped.decoder.model.analyse

    def count(image_HW3: Picture, *others: object, **by_name: object) -> object:
        analysed.append(image_HW3.tobytes())
        return analyse(image_HW3, *others, **by_name)

    monkeypatch.setattr(shipped.decoder.model, "analyse", count)
    return analysed


def test_a_picture_is_analysed_once_for_its_query_and_all_ways_without_key_picture(
    shipped: Codec, photo: Picture, counted: list[bytes]
) -> None:
    image = np.ascontiguousarray(photo[3:67, 5:69])
    shipped.encode(image, 41.0)
    assert counted.count(image.tobytes()) == 1


def test_a_picture_changed_in_place_is_analysed_anew(shipped: Codec, photo: Picture) -> None:
    image = np.ascontiguousarray(photo[7:71, 5:69])
    shipped.encode(image, 42.0)
    image[:] = image[::-1].copy()
    assert shipped.encode(image, 42.0) == shipped.encode(image.copy(), 42.0)
