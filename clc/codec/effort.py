"""How long the encoder may search: effort 0 to 9. A decoder never needs to know.

    level    key pictures tried    of these aligned at once    steps down    annealed steps
    0        none, nor tokens      -                           -             -
    1, 2     2, 4                  1                           -             -
    3, 4     8, 12                 2                           -             -
    5        16 (the default)      3                           1             -
    6        16                    3                           4             -
    7 to 9   16                    3                           4             200, 400, 1000

The steps are those of `clc.codec.refinement`. What each level bought with earlier models: `docs/results-history.md`.
"""

from __future__ import annotations

from numbers import Integral
from typing import NamedTuple

from clc.errors import InputError

DEFAULT_EFFORT = 5


class Effort(NamedTuple):
    """One level; see the table of the module."""

    registered: int
    aligned: int
    down: int = 0
    annealed: int = 0


_LEVELS = (
    Effort(0, 0),
    Effort(2, 1),
    Effort(4, 1),
    Effort(8, 2),
    Effort(12, 2),
    Effort(16, 3, 1),
    Effort(16, 3, 4),
    Effort(16, 3, 4, 200),
    Effort(16, 3, 4, 400),
    Effort(16, 3, 4, 1000),
)
DEFAULT = _LEVELS[DEFAULT_EFFORT]
UNREFINED = DEFAULT._replace(down=0)


def effort_of(level: int) -> Effort:
    """The effort of a level 0..9; raises `InputError` for another one."""
    is_whole = isinstance(level, Integral) and not isinstance(level, bool)
    if not is_whole or not 0 <= level < len(_LEVELS):
        raise InputError(f"the effort must be a whole number from 0 to {len(_LEVELS) - 1}, not {level!r}")
    return _LEVELS[int(level)]


def refinements(level: Effort) -> tuple[Effort, ...]:
    """The refinements to code a picture with: that of `level`, and the single step, which is sometimes better."""
    return tuple(dict.fromkeys((DEFAULT, level))) if level.down else ()
