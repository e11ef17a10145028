"""A thousand mutated streams, every prefix of the valid ones, and headers that claim the largest pictures.

`make fuzz` runs ten thousand and prints what became of them. The smallest inputs of what was found stand below.
"""

import sys

import numpy as np
import pytest

from clc.bitstream.cdf_tables import gaussian_table, sigma_levels
from clc.bitstream.container import parse
from clc.bitstream.range_coder import CdfTable, Decoder, Encoder, check_capacity
from clc.errors import BitstreamError, LimitError
from tests.hostile.fuzz import CLAIM_PX, fuzz
from tests.hostile.mutations import KINDS, REPAIRS, claiming, join, mutant, prefixes, split
from tests.hostile.seeds import SEEDS, Seeds, make_seeds

MUTATIONS = 1_000
CLAIM_MS = 10.0
SLOW_MACHINE = 10.0


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Seeds:
    return make_seeds(tmp_path_factory.mktemp("seeds") / "bundle")


@pytest.mark.skipif(sys.platform != "linux", reason="the limits are those of Linux: /proc and RLIMIT_AS")
def test_mutated_streams_end_in_an_error_or_in_the_very_picture() -> None:
    report = fuzz(MUTATIONS, seed=1)
    assert report.failures == []
    assert report.tried > MUTATIONS + 20 * 40
    assert {kind for kind, _ in report.rows} == {*KINDS, "prefix", "unaltered"}
    assert set(report.rows["prefix", "none"].outcomes) == {"TruncatedStream"}
    seen = {outcome for row in report.rows.values() for outcome in row.outcomes}
    assert {"DecodeMismatch", "CorruptStream", "DictionaryMismatch", "LimitError", "UnknownVersion"} <= seen
    assert report.claim_ms < CLAIM_MS * SLOW_MACHINE


@pytest.mark.skipif(sys.platform != "linux", reason="the limits are those of Linux: /proc and RLIMIT_AS")
def test_mutated_streams_of_a_model_with_a_self_generated_prior_do_too() -> None:
    report = fuzz(300, seed=2, only="with_self_prior")
    assert report.failures == []
    seen = {outcome for row in report.rows.values() for outcome in row.outcomes}
    assert {"DecodeMismatch", "CorruptStream", "same picture"} <= seen


def test_the_valid_streams_use_references_in_every_way(seeds: Seeds) -> None:
    streams = [parse(data) for data in seeds.streams]
    assert len(streams) == 5 * len(SEEDS)
    assert {(len(stream.references), len(stream.alignments)) for stream in streams} >= {(0, 0), (3, 0), (1, 1), (3, 2)}


def test_taking_a_stream_apart_and_putting_it_together_changes_nothing(seeds: Seeds) -> None:
    for data in seeds.streams:
        assert join(split(data), is_repaired=False) == data
        assert join(split(data), is_repaired=True) == data


def test_mutants_are_the_same_for_the_same_numbers_and_differ_otherwise(seeds: Seeds) -> None:
    count = len(KINDS) * len(REPAIRS)
    made = [mutant(3, index, seeds.streams) for index in range(count)]
    assert made == [mutant(3, index, seeds.streams) for index in range(count)]
    assert {(m.kind, m.repair) for m in made} == {(kind, repair) for kind in KINDS for repair in REPAIRS}
    assert len({m.data for m in made}) > count * 0.8
    assert len(prefixes(seeds.streams)) == sum(len(data) for data in seeds.streams)


@pytest.mark.parametrize(("width", "height"), [(CLAIM_PX, CLAIM_PX), (8192, 8192), (65_535, 1_024), (4096, 4096)])
def test_forty_bytes_that_claim_a_huge_picture_are_refused(seeds: Seeds, width: int, height: int) -> None:
    for stream in seeds.streams[::5]:
        data = claiming(width, height, stream)
        assert len(data) <= 40 + 2
        with pytest.raises((BitstreamError, LimitError), match=r"pixels|cannot hold"):
            seeds.codec.decode(data)


def test_an_aligned_stream_that_claims_a_huge_picture_is_refused_before_anything_is_warped(seeds: Seeds) -> None:
    # Mutant 935 of the first run: 8191 x 8192 px and a right checksum took hundreds of megabytes.
    streams = ((data, parse(data).alignments) for data in seeds.streams)
    fields = split(next(data for data, found in streams if found and all(one.mesh is None for one in found)))
    data = join(fields | {"width": b"\xff\x3f", "height": b"\x80\x40"}, is_repaired=True)
    with pytest.raises(BitstreamError, match="cannot hold"):
        seeds.codec.decode(data)


@pytest.fixture(scope="module")
def table() -> CdfTable:
    return gaussian_table(sigma_levels())


@pytest.mark.parametrize("level", [0, 1, 5, 63])
@pytest.mark.parametrize("count", [1, 9, 100_000])
def test_the_capacity_rule_never_refuses_what_an_encoder_wrote(table: CdfTable, level: int, count: int) -> None:
    encoder = Encoder(table)
    indexes = np.full(count, level)
    encoder.push(np.zeros(count, dtype=np.int32), indexes)
    payload = encoder.finish()
    check_capacity(len(payload), float(table.least_bits[level]) * count)
    assert not Decoder(table, payload, count).pop(indexes).any()


def test_the_capacity_rule_refuses_a_fraction_of_the_bytes(table: CdfTable) -> None:
    least_bits = float(table.least_bits[20]) * 100_000
    with pytest.raises(BitstreamError, match="cannot hold"):
        check_capacity(int(least_bits / 8 * 0.9), least_bits)


def test_the_shortest_words_for_many_symbols_never_leave_the_zeros_behind_them(table: CdfTable) -> None:
    # All symbols at an edge of the widest table: 16 bits each, read from zeros to the last word.
    count = 50_001
    side = b"\x00" * count
    payload = b"\xd1\x86\x03" + side + (1 << 31).to_bytes(8, "little")
    assert Decoder(table, payload, count).pop(np.full(count, 63)).size == count
