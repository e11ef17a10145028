"""Regions of an alignment: what can be made, and the one spelling of each."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clc.bitstream.regions import (
    BLOCK_SIDES_PX,
    MAX_OFFSET_Q2,
    MAX_OFFSETS,
    Regions,
    map_shape,
    pack_regions,
    read_regions,
)
from clc.errors import BitstreamError, CorruptStream, InputError, TruncatedStream

HEIGHT, WIDTH = 130, 210


def random_regions(seed: int, block_px: int, n_offsets: int, run: int) -> Regions:
    """A map in which values run on for about `run` blocks, and offsets of any size."""
    generator = np.random.default_rng(seed)
    shape = map_shape(HEIGHT, WIDTH, block_px)
    values = generator.integers(0, n_offsets + 2, shape[0] * shape[1] // run + 1)
    offsets = generator.integers(-MAX_OFFSET_Q2, MAX_OFFSET_Q2, (n_offsets, 2), endpoint=True)
    blocks = np.repeat(values, run)[: shape[0] * shape[1]].reshape(shape).astype(np.uint8)
    return Regions(block_px, tuple((int(dx), int(dy)) for dx, dy in offsets), blocks)


any_regions = st.builds(
    random_regions,
    st.integers(0, 999),
    st.sampled_from(BLOCK_SIDES_PX),
    st.sampled_from((0, 0, 1, 2, 5, 20, MAX_OFFSETS)),
    st.sampled_from((1, 3, 20, 200)),
)


@settings(max_examples=80)
@given(any_regions, st.binary(max_size=4), st.binary(max_size=4))
def test_any_regions_round_trip_at_any_position(regions: Regions, before: bytes, behind: bytes) -> None:
    packed = pack_regions(regions)
    read, end = read_regions(before + packed + behind, len(before))
    assert read.unpack(HEIGHT, WIDTH) == regions
    assert hash(read.unpack(HEIGHT, WIDTH)) == hash(regions)
    assert end == len(before) + len(packed)


@settings(max_examples=150)
@given(any_regions, st.data())
def test_whatever_reads_packs_to_the_same_bytes(regions: Regions, data: st.DataObject) -> None:
    packed = bytearray(pack_regions(regions))
    packed[data.draw(st.integers(0, min(len(packed) - 1, 40)))] = data.draw(st.integers(0, 255))
    try:
        read, end = read_regions(bytes(packed), 0)
        again = pack_regions(read.unpack(HEIGHT, WIDTH))
    except BitstreamError:
        return
    assert again == bytes(packed[:end])


def test_every_prefix_is_truncated() -> None:
    packed = pack_regions(random_regions(1, 16, 5, 3))
    for length in range(len(packed)):
        with pytest.raises(TruncatedStream):
            read_regions(packed[:length], 0)


def test_blocks_that_are_all_alike_take_next_to_nothing() -> None:
    for value in (0, 1):
        blocks = np.full(map_shape(1080, 1920, 16), value, dtype=np.uint8)
        assert len(pack_regions(Regions(16, (), blocks))) <= 16


def test_a_panel_takes_less_than_a_bit_for_each_block_of_its_border() -> None:
    blocks = np.ones(map_shape(1080, 1920, 16), dtype=np.uint8)
    blocks[10:50, 20:90] = 2
    assert len(pack_regions(Regions(16, ((0, -120),), blocks))) < 50


def test_a_size_of_blocks_that_does_not_exist_is_refused() -> None:
    packed = pack_regions(random_regions(1, 64, 0, 3))
    with pytest.raises(CorruptStream, match="size that does not exist, 3"):
        read_regions(bytes((packed[0] | 3,)) + packed[1:], 0)


def test_an_offset_beyond_the_limit_is_refused() -> None:
    regions = random_regions(1, 64, 1, 3)
    packed = pack_regions(Regions(64, ((-MAX_OFFSET_Q2, 0),), regions.blocks))
    assert packed[1:4] == b"\xff\xff\x1f"
    read, _ = read_regions(packed[:1] + b"\x81\x80\x20" + packed[4:], 0)
    with pytest.raises(CorruptStream, match="offsets within"):
        read.unpack(HEIGHT, WIDTH)


def test_a_map_with_bytes_too_many_is_refused() -> None:
    packed = pack_regions(random_regions(3, 16, 0, 1))
    read, _ = read_regions(packed, 0)
    with pytest.raises(CorruptStream, match="not written as an encoder writes it"):
        read._replace(packed=read.packed + b"\x00").unpack(HEIGHT, WIDTH)


def test_the_map_of_another_picture_is_refused() -> None:
    read, _ = read_regions(pack_regions(random_regions(4, 16, 3, 1)), 0)
    with pytest.raises(CorruptStream):
        read.unpack(HEIGHT // 2, WIDTH)


@pytest.mark.parametrize(
    ("block_px", "offsets", "blocks", "message"),
    [
        (8, (), np.ones((2, 2), np.uint8), "sides of"),
        (16, ((0, MAX_OFFSET_Q2 + 1),), np.ones((2, 2), np.uint8), "at most 63 offsets within"),
        (16, ((0, 1),) * 64, np.ones((2, 2), np.uint8), "at most 63 offsets within"),
        (16, (), np.full((2, 2), 2, np.uint8), "offset 0 of 0"),
        (16, (), np.ones((2, 2), np.int64), "uint8"),
        (16, (), np.ones((0, 2), np.uint8), "uint8"),
    ],
)
def test_regions_that_cannot_be_are_refused(
    block_px: int, offsets: tuple[tuple[int, int], ...], blocks: np.ndarray, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Regions(block_px, offsets, blocks)


def test_the_map_is_copied_and_read_only() -> None:
    blocks = np.ones((2, 3), dtype=np.uint8)
    regions = Regions(16, (), blocks)
    blocks[0, 0] = 0
    assert regions.blocks.all()
    with pytest.raises(ValueError, match="read-only"):
        regions.blocks[0, 0] = 0
