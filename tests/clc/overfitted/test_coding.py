"""The payload of a function: what comes back, from what it is told, and what it refuses."""

import numpy as np
import pytest
import torch

from clc.bitstream.cdf_tables import digest
from clc.bitstream.range_coder import TOTAL_MASS
from clc.errors import BitstreamError, CorruptStream, TruncatedStream
from clc.overfitted.coding import decode_function, encode_function, ideal_bits, weight_bits
from clc.overfitted.function import CONTEXT_SCALE
from clc.overfitted.integers import ExactContextNet, FunctionIntegers, group_sizes
from clc.overfitted.layout import layout_of
from clc.overfitted.tables import FAR, LEVELS, MEAN_STEPS, NEAR, laplace_tables, table_of

SHAPE = (3, 9, 14)
DIGESTS = {
    NEAR: "59bd85ca0bf8b47470430f770171e3067dbef76d9fb9a7015f58b5d04ba16827",
    FAR: "e8994185fc3fb9cc9bad4911ea1771e708dff056a50b17c558434e25135888f1",
}


def some_function(seed: int = 0, spread: float = 0.8) -> FunctionIntegers:
    generator = np.random.default_rng(seed)
    weights = tuple(np.round(generator.laplace(0, 5, size)).astype(np.int32) for size in group_sizes(SHAPE[0]))
    latents = np.round(generator.laplace(0, spread, layout_of(*SHAPE[1:]).n_latents)).astype(np.int32)
    return FunctionIntegers(SHAPE, (5, 5, 8, 5, 4, 6), weights, latents)


@pytest.mark.parametrize("spread", [0.01, 0.8, 30.0])
def test_a_function_comes_back_as_it_was(spread: float) -> None:
    function = some_function(spread=spread)
    back = decode_function(encode_function(function), SHAPE)
    assert (back.latents == function.latents).all()
    assert back.shifts == function.shifts
    assert all((a == b).all() for a, b in zip(back.weights, function.weights, strict=True))
    assert back.crc32(b"fields") == function.crc32(b"fields")


def test_the_crc_covers_what_it_starts_from_and_every_integer() -> None:
    function = some_function()
    other = some_function()
    other.latents[7] += 1
    weighed = some_function()
    weighed.weights[4][3] += 1
    assert len({one.crc32(b"") for one in (function, other, weighed)} | {function.crc32(b"x")}) == 4


def test_the_payload_is_little_more_than_its_information() -> None:
    function = some_function()
    weights, latents = ideal_bits(function)
    n_bits = 8 * len(encode_function(function))
    assert weights + latents < n_bits < 1.01 * (weights + latents) + 8 * 32


def test_values_far_from_their_means_take_no_further_bytes() -> None:
    function = some_function()
    for group in function.weights[:2]:
        group[:] = 0  # a mean of 0 and a scale of 1 for every latent
    function.latents[::3] = 9
    n_bits = 8 * len(encode_function(function))
    assert n_bits < sum(ideal_bits(function)) + 8 * 24
    assert (function.latents == 9).sum() > 3 * 24


def test_the_exact_context_network_is_the_fitted_one_within_its_grid() -> None:
    function = some_function()
    contexts = np.random.default_rng(1).integers(-4, 5, (200, 8)).astype(np.int32)
    exact = function.context_net()(contexts)
    fitted = function.function().context(torch.from_numpy(contexts.T.astype(np.float32)))
    bounded = exact.abs().amax(dim=0) < 31.9  # beyond it the grid ends
    assert int(bounded.sum()) > 100
    torch.testing.assert_close((exact[0] * CONTEXT_SCALE).float()[bounded], fitted[0][bounded], atol=0.02, rtol=0)
    torch.testing.assert_close(exact[1].float()[bounded], fitted[1][bounded], atol=0.005, rtol=0)


def test_the_tables_are_the_same_integers_everywhere() -> None:
    assert {reach: digest(laplace_tables(reach)) for reach in DIGESTS} == DIGESTS
    assert laplace_tables() is laplace_tables(FAR)


def test_a_table_is_a_distribution_around_its_mean() -> None:
    tables = laplace_tables()
    assert tables.n_tables == LEVELS * MEAN_STEPS
    for level in (16, 24, LEVELS - 1):  # wide enough for the mean to show
        for place in (0, 5, 8, 15):
            index = int(table_of(np.array(level), np.array(place)))
            masses = np.diff(tables.cdf[index, : tables.lengths[index] - 1].astype(np.int64))
            values = tables.offsets[index] + np.arange(masses.size)
            assert masses.sum() == TOTAL_MASS
            assert abs((masses * values).sum() / TOTAL_MASS - (place - 8) / 16) < 0.02 * 2 ** (level / 4 - 4) + 0.02


def test_weights_cost_least_under_the_scale_that_they_have() -> None:
    generator = np.random.default_rng(3)
    for log_scale in (-1, 1, 3):
        weights = np.round(generator.laplace(0, 2.0**log_scale, 3000)).astype(np.int32)
        assert abs(int(np.argmin(weight_bits(weights))) - 4 * (log_scale + 4)) <= 1


def test_a_cut_payload_is_told_as_one() -> None:
    payload = encode_function(some_function())
    with pytest.raises(TruncatedStream):
        decode_function(payload[:7], SHAPE)
    for length in range(12, len(payload), 97):
        with pytest.raises(BitstreamError):
            decode_function(payload[:length], SHAPE)


def test_steps_and_scales_that_no_encoder_writes_are_refused() -> None:
    payload = bytearray(encode_function(some_function()))
    for at, value in ((0, 16), (0, 128 + 16), (2, 128), (1, LEVELS), (1, 128)):
        damaged = bytearray(payload)
        damaged[at] = value
        with pytest.raises(CorruptStream, match="step or scale"):
            decode_function(bytes(damaged), SHAPE)


def test_weights_beyond_the_exact_layers_are_refused() -> None:
    function = some_function()
    function.weights[0][0] = 40_000
    with pytest.raises(CorruptStream, match="out of range"):
        ExactContextNet(function.weights[:2], function.shifts[:2])


def test_a_payload_for_a_larger_picture_is_refused() -> None:
    payload = encode_function(some_function(spread=0.01))
    with pytest.raises(BitstreamError):
        decode_function(payload, (3, 900, 900))
