"""The contest between the ways to code a picture: the one with the least rate + lambda * distortion is kept.

Coding a picture once more takes as long as the first time, so `cheapest` leaves out what can hardly win. Its thresholds
are those of `clc.references.policy`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, NamedTuple, TypeVar

from clc.bitstream.alignment import Alignment, pack_alignment, without_regions
from clc.references.policy import POLICY

Coded = TypeVar("Coded")


class Choice(NamedTuple):
    """One way to code a picture: the dictionary entries, and the other streams, that its stream refers to.

    `streams` are aligned; without them the first len(alignments) of `references` are, and the others give tokens.
    `coverage` is about the share of the picture that the aligned ones show together. `is_sure` says that they will save
    bytes: they cover enough of the picture, and each is far nearer to it than a coarse copy (`sure_coverage`, `sure_db`
    of the policy).
    """

    references: tuple[int, ...] = ()
    alignments: tuple[Alignment, ...] = ()
    coverage: float = 0.0
    is_sure: bool = False
    streams: tuple[bytes, ...] = ()


UNALIGNED = Choice()
"""No reference of any kind."""


class Rival(NamedTuple):
    """What the picture is by another codec: its `cost` in bits a pixel, infinite where there is none.

    `is_same_trade` says that this is rate + lambda * distortion at the lambda of the contest. If not, only a rate that
    is as large tells that it wins.
    """

    cost: float = math.inf
    is_same_trade: bool = True

    def beats(self, rate: float, cost: Callable[[], float], margin: float = 1.0) -> bool:
        """Whether it costs less than something of a rate and a cost, bits a pixel, by more than a margin.

        The cost is asked for only where the rate does not tell.
        """
        if math.isinf(self.cost):
            return False
        return rate >= self.cost or (self.is_same_trade and cost() >= margin * self.cost)


NO_RIVAL = Rival()


@dataclass(frozen=True)
class Judge(Generic[Coded]):
    """How a picture of `pixels` pixels is coded with a choice, and what the result costs.

    `cost` is rate + lambda * distortion and `rate` its first part, both in bits a pixel. The rate is known as soon as
    the picture is coded; the cost takes a synthesis. `alone` is the cost without references where that is known: that
    way is then not coded beside aligned ones, and the result may cost more. Where `rival` beats the leading choice by
    more than further ones could save (`hopeless`), those are not coded.
    """

    code: Callable[[Choice], Coded]
    rate: Callable[[Coded], float]
    cost: Callable[[Coded], float]
    pixels: int
    alone: float | None = None
    rival: Rival = NO_RIVAL


class _Contest(Generic[Coded]):
    """The best of the ways to code a picture so far."""

    def __init__(self, judge: Judge[Coded], first: Choice) -> None:
        self.judge, self.choice, self.best = judge, first, judge.code(first)
        self._cost: float | None = None

    @property
    def cost(self) -> float:
        """The cost of the best so far, computed when it is first asked for."""
        if self._cost is None:
            self._cost = self.judge.cost(self.best)
        return self._cost

    @property
    def is_hopeless(self) -> bool:
        """Whether the rival costs so much less that no further choice can win."""
        return self.judge.rival.beats(self.judge.rate(self.best), lambda: self.cost, POLICY.hopeless)

    def enter(self, choice: Choice) -> float:
        """Codes with `choice`, keeps the result if it costs less, and returns its cost.

        A rate above the best cost loses without a synthesis; the cost returned then assumes the best's distortion.
        """
        return self._weigh(choice, self.judge.code(choice))

    def enter_where_smaller(self, choice: Choice) -> None:
        """The same for a choice that hardly changes pixels: it is only synthesised if its rate is clearly less."""
        coded = self.judge.code(choice)
        if self.judge.rate(coded) < (1.0 - POLICY.tokens_rate_gain) * self.judge.rate(self.best):
            self._weigh(choice, coded)

    def _weigh(self, choice: Choice, coded: Coded) -> float:
        rate = self.judge.rate(coded)
        if rate >= self.cost:
            return rate + self.cost - self.judge.rate(self.best)
        cost = self.judge.cost(coded)
        if cost < self.cost:
            self.choice, self.best, self._cost = choice, coded, cost
        return cost


def cheapest(choices: Sequence[Choice], judge: Judge[Coded]) -> Coded:
    """Codes a picture with the `choices` of `Selector.propose` and returns the result that costs least.

    Choices that can hardly win are not coded:

    - Key pictures that are sure are coded first and together. If their alignments are a small part of the cost, coding
      with fewer key pictures or with none is not tried.
    - Otherwise the best key picture competes with no reference, and further ones are added while each wins.
    - Regions are found by an estimate, so the best is tried without them too; not where there is a rival, which is
      there for graphics alone: what regions leave out of these is something else.
    - Tokens save little. They are tried where alignment saved less than they may; without alignment they are kept only
      if they clearly save bytes.
    """
    plain, *tokens = [choice for choice in choices if not choice.alignments]
    aligned = [choice for choice in choices if choice.alignments]
    start = max((index for index, choice in enumerate(aligned) if choice.is_sure), default=0)
    fewer, more = aligned[:start], aligned[start:]
    if not more:
        contest = _Contest(judge, plain)
    else:
        contest = _Contest(judge, more[0])
        if contest.is_hopeless:
            return contest.best
        is_settled = more[0].is_sure and _is_light(more[0], contest)
        alone = math.inf if is_settled else contest.enter(plain) if judge.alone is None else judge.alone
        _lay_over(contest, more, alone)
        if not is_settled:
            _leave_out(contest, fewer)
        if judge.rival == NO_RIVAL:
            _use_everywhere(contest)
        if alone - contest.cost >= POLICY.tokens_gain * alone:
            tokens = []
    for choice in tokens:
        if aligned:
            contest.enter(choice)
        else:
            contest.enter_where_smaller(choice)
    return contest.best


def _lay_over(contest: _Contest[Coded], aligned: Sequence[Choice], alone: float) -> None:
    """Adds further key pictures to `aligned[0]` while each pays; `alone` is the cost without references.

    A further one is only coded if it promises a gain: the share of the picture that it adds is taken to save as much as
    the shares before it, and its alignment costs bytes.
    """
    for before, choice in pairwise(aligned):
        best, gain = contest.best, alone - contest.cost
        spent = _side_bpp(choice, contest.judge) - _side_bpp(before, contest.judge) + POLICY.further_gain * contest.cost
        if gain * (choice.coverage - before.coverage) <= spent * before.coverage:
            return
        contest.enter(choice)
        if contest.best is best:
            return


def _leave_out(contest: _Contest[Coded], fewer: Sequence[Choice]) -> None:
    """Tries fewer key pictures, as long as that pays."""
    for choice in reversed(fewer):
        best = contest.best
        contest.enter(choice)
        if contest.best is best:
            return


def _use_everywhere(contest: _Contest[Coded]) -> None:
    """Tries the best choice with its references used everywhere, where regions say otherwise."""
    choice = contest.choice
    everywhere = choice._replace(alignments=tuple(map(without_regions, choice.alignments)))
    if everywhere != choice:
        contest.enter(everywhere)


def _is_light(choice: Choice, contest: _Contest[Coded]) -> bool:
    """Whether the alignments of the leading choice are a small part of its cost."""
    return _side_bpp(choice, contest.judge) < POLICY.light_alignment * len(choice.alignments) * contest.cost


def _side_bpp(choice: Choice, judge: Judge[Coded]) -> float:
    """What a choice's alignments cost, bits a pixel."""
    return sum(len(pack_alignment(alignment)) for alignment in choice.alignments) * 8 / judge.pixels
