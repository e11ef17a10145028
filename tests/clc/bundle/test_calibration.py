"""What tables are fitted to is what the encoder makes."""

import numpy as np

from clc.bitstream.cdf_tables import COUNTED
from clc.bundle.calibration import MAX_PICTURES, QUALITIES_Q6, count_symbols
from clc.codec import Codec
from tests.conftest import Picture


def test_every_symbol_within_reach_is_counted_once(shipped: Codec, photo: Picture) -> None:
    patch = np.ascontiguousarray(photo[:128, :128])
    counts = count_symbols(shipped.bundle.model, [patch])
    latents = shipped.bundle.config.latents * (128 // 16) ** 2 * len(QUALITIES_Q6)
    assert 0.99 * latents < counts.sum() <= latents
    assert counts.shape == (shipped.bundle.config.first_phases, 64, 2 * COUNTED + 1)
    assert counts[-1, 0, COUNTED] > 0.9 * counts[-1, 0].sum()
    spread = [np.abs(np.repeat(np.arange(-COUNTED, COUNTED + 1), row)).mean() for row in counts[-1] if row.sum() > 50]
    assert spread[-1] > spread[len(spread) // 2] > spread[0]


def test_each_of_the_first_turns_has_counts_of_its_own(shipped: Codec, photo: Picture) -> None:
    counts = count_symbols(shipped.bundle.model, [np.ascontiguousarray(photo[:128, :128])])
    first, phases = shipped.bundle.config.slices[0], shipped.bundle.config.first_phases
    share = {2: [1 / 2], 3: [1 / 4, 1 / 4], 5: [1 / 16, 1 / 16, 1 / 8, 1 / 4]}[phases]
    for of_turn, part in zip(counts, share, strict=False):
        expected = part * first * (128 // 16) ** 2 * len(QUALITIES_Q6)
        assert 0.9 * expected < of_turn.sum() <= expected


def test_of_many_pictures_as_many_are_counted_as_there_may_be(shipped: Codec) -> None:
    patches = [np.full((64, 64, 3), level, np.uint8) for level in range(2 * MAX_PICTURES + 2)]
    counts = count_symbols(shipped.bundle.model, patches)
    latents = shipped.bundle.config.latents * (64 // 16) ** 2 * len(QUALITIES_Q6)
    assert counts.sum() <= MAX_PICTURES * latents
