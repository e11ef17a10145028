"""Which of the proposed ways to code a picture is kept: the one with the least rate + lambda * distortion."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, NamedTuple, TypeVar

from clc.bitstream.alignment import Alignment, pack_alignment
from clc.references.policy import POLICY

Coded = TypeVar("Coded")


class Choice(NamedTuple):
    """Dictionary entries of a stream; the first len(alignments) of them are aligned, the others give tokens.

    `coverage` is about the share of the picture that the aligned ones show together; where it is half and more, and
    each is far nearer to the picture than a coarse copy of it, `is_sure` says that they save bytes.
    """

    references: tuple[int, ...] = ()
    alignments: tuple[Alignment, ...] = ()
    coverage: float = 0.0
    is_sure: bool = False


@dataclass(frozen=True)
class Judge(Generic[Coded]):
    """How a picture of so many `pixels` is coded with a choice, and what it then costs.

    `cost` is rate + lambda * distortion and `rate` its first part, both in bits a pixel; the rate is known at once, the
    cost after a synthesis only.
    """

    code: Callable[[Choice], Coded]
    rate: Callable[[Coded], float]
    cost: Callable[[Coded], float]
    pixels: int


class _Contest(Generic[Coded]):
    """The best of the ways to code a picture so far."""

    def __init__(self, judge: Judge[Coded], first: Choice) -> None:
        self.judge, self.best = judge, judge.code(first)
        self._cost: float | None = None

    @property
    def cost(self) -> float:
        """What the best costs; computed where it is asked for."""
        if self._cost is None:
            self._cost = self.judge.cost(self.best)
        return self._cost

    def enter(self, choice: Choice) -> float:
        """Codes with `choice`, keeps it where it costs less, and returns its cost.

        Where its rate alone is too much, that is its rate with the distortion of the best: without a synthesis.
        """
        return self._weigh(self.judge.code(choice))

    def enter_where_smaller(self, choice: Choice) -> None:
        """The same for a choice that hardly moves a pixel: nothing is synthesised unless its rate is clearly less."""
        coded = self.judge.code(choice)
        if self.judge.rate(coded) < (1.0 - POLICY.tokens_rate_gain) * self.judge.rate(self.best):
            self._weigh(coded)

    def _weigh(self, coded: Coded) -> float:
        rate = self.judge.rate(coded)
        if rate >= self.cost:
            return rate + self.cost - self.judge.rate(self.best)
        cost = self.judge.cost(coded)
        if cost < self.cost:
            self.best, self._cost = coded, cost
        return cost


def cheapest(choices: Sequence[Choice], judge: Judge[Coded]) -> Coded:
    """The picture coded with that of `choices`, as `Selector.propose` gives them, which costs least.

    What can hardly win is not coded. Aligned key pictures that are sure come first and together; where their alignments
    are a small part of the cost, nothing less is tried. Otherwise the first aligned key picture meets no reference, and
    further ones are laid over it where it wins. Tokens save little: they are tried where alignment saves less, and
    where none is proposed they must clearly save bytes.
    """
    plain, *tokens = [choice for choice in choices if not choice.alignments]
    aligned = [choice for choice in choices if choice.alignments]
    start = max((index for index, choice in enumerate(aligned) if choice.is_sure), default=0)
    fewer, more = aligned[:start], aligned[start:]
    if not more:
        contest = _Contest(judge, plain)
    else:
        contest = _Contest(judge, more[0])
        is_settled = more[0].is_sure and _is_light(more[0], contest)
        alone = math.inf if is_settled else contest.enter(plain)
        _lay_over(contest, more, alone)
        if not is_settled:
            _leave_out(contest, fewer)
        if alone - contest.cost >= POLICY.tokens_gain * alone:
            tokens = []
    for choice in tokens:
        if aligned:
            contest.enter(choice)
        else:
            contest.enter_where_smaller(choice)
    return contest.best


def _lay_over(contest: _Contest[Coded], aligned: Sequence[Choice], alone: float) -> None:
    """Tries further key pictures on `aligned[0]`, which stands against the cost `alone`, as long as each pays.

    Each must promise to: a share of the picture gains about what those before did, and the alignment has its bytes.
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


def _is_light(choice: Choice, contest: _Contest[Coded]) -> bool:
    """Whether the alignments of the choice that leads are a small part of what it costs."""
    return _side_bpp(choice, contest.judge) < POLICY.light_alignment * len(choice.alignments) * contest.cost


def _side_bpp(choice: Choice, judge: Judge[Coded]) -> float:
    """What a choice's alignments cost, bits a pixel."""
    return sum(len(pack_alignment(alignment)) for alignment in choice.alignments) * 8 / judge.pixels
