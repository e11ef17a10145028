"""Where the latents of an overfitted picture lie, what each of them knows of the others, and in which order they come.

The latents are integers on seven grids, the first at the resolution of the autoencoder's latents, each next one half
as fine. They lie in one flat array, coarsest grid first; a grid's values by feature, row, column. A latent's context is
a row of indexes into that array, so that fitting, encoding and decoding read contexts in one and the same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FEATURES = (4, 2, 2, 1, 1, 1, 1)
"""Features of each grid, the finest first."""

NEIGHBOURS = ((0, -1), (0, -2), (-1, -1), (-1, 0), (-1, 1), (-2, 0))
"""Rows and columns from a latent to those of its own feature that it knows; all come in an earlier wavefront."""

CONTEXTS = len(NEIGHBOURS) + 2
"""A latent also knows the feature before its own at its place, and the next coarser grid there."""

ROW_DELAY = 2
"""Wavefronts by which a row is later than the one above, so that its neighbour above to the right is known."""

Indexes = npt.NDArray[np.int64]


class Grid(NamedTuple):
    """One grid of latents, (features, height, width), whose values start at `start` in the flat array."""

    features: int
    height: int
    width: int
    start: int

    @property
    def size(self) -> int:
        """The number of its latents."""
        return self.features * self.height * self.width

    @property
    def span(self) -> slice:
        """Where its values lie in the flat array."""
        return slice(self.start, self.start + self.size)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(features, height, width)."""
        return self.features, self.height, self.width


@dataclass(frozen=True, eq=False)
class Layout:
    """The grids, coarsest first, for autoencoder latents of some height and width.

    `contexts` is (n, 8): for each latent the indexes of what it knows; n, one past the end, stands for a latent outside
    its grid, whose value is 0. `front` is the wavefront (n,) in which a latent is coded: all of its context comes in
    earlier ones.
    """

    grids: tuple[Grid, ...]
    contexts: Indexes
    front: Indexes

    @property
    def n_latents(self) -> int:
        """The number of latents on all grids."""
        return int(self.front.size)

    def wavefronts(self) -> Iterator[Indexes]:
        """The indexes of the latents of each wavefront in turn, each in rising order."""
        order = np.argsort(self.front, kind="stable")
        starts = np.flatnonzero(np.diff(self.front[order])) + 1
        yield from np.split(order, starts)


def grids_of(height: int, width: int) -> tuple[Grid, ...]:
    """The grids for autoencoder latents of a height and a width, coarsest first."""
    grids: list[Grid] = []
    start = 0
    for level in reversed(range(len(FEATURES))):
        grid = Grid(FEATURES[level], -(-height >> level), -(-width >> level), start)
        grids.append(grid)
        start += grid.size
    return tuple(grids)


@lru_cache(4)
def layout_of(height: int, width: int) -> Layout:
    """The layout for autoencoder latents of a height and a width, both at least 1."""
    grids = grids_of(height, width)
    n_latents = grids[-1].start + grids[-1].size
    contexts, fronts = [], []
    coarser: Grid | None = None
    first_front = 0
    for grid in grids:
        contexts.append(_contexts(grid, coarser, outside=n_latents))
        feature, row, column = np.indices(grid.shape).reshape(3, -1)
        front = first_front + column + ROW_DELAY * row + feature
        fronts.append(front)
        first_front, coarser = int(front.max()) + 1, grid
    return Layout(grids, np.concatenate(contexts), np.concatenate(fronts))


def _contexts(grid: Grid, coarser: Grid | None, outside: int) -> Indexes:
    """The contexts (size, 8) of a grid's latents."""
    feature, row, column = np.indices(grid.shape).reshape(3, -1)
    columns = []
    for down, right in NEIGHBOURS:
        there = _index(grid, feature, row + down, column + right)
        is_inside = (row + down >= 0) & (column + right >= 0) & (column + right < grid.width)
        columns.append(np.where(is_inside, there, outside))
    columns.append(np.where(feature > 0, _index(grid, feature - 1, row, column), outside))
    if coarser is None:
        columns.append(np.full(grid.size, outside))
    else:
        columns.append(_index(coarser, np.minimum(feature, coarser.features - 1), row // 2, column // 2))
    return np.stack(columns, axis=1)


def _index(grid: Grid, feature: Indexes, row: Indexes, column: Indexes) -> Indexes:
    found: Indexes = grid.start + (feature * grid.height + row) * grid.width + column
    return found
