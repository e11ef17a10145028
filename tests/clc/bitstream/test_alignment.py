"""Alignments and their meshes: what can be made, and the one spelling of each."""

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clc.bitstream.alignment import (
    MAX_CORNER_Q4,
    Alignment,
    corner_denominators,
    identity,
    mesh_shape,
    pack_alignment,
    read_alignment,
    skip_alignment,
)
from clc.bitstream.mesh_coder import pack_mesh, read_mesh
from clc.bitstream.regions import Regions, map_shape
from clc.errors import BitstreamError, CorruptStream, InputError, TruncatedStream

HEIGHT, WIDTH = 40, 60
CORNERS = (-100, 37, 1605, -50, 13, 1200, 1570, 1100)


def random_mesh(seed: int, spread: float = 3.0) -> npt.NDArray[np.int8]:
    generator = np.random.default_rng(seed)
    shape = (*mesh_shape(HEIGHT, WIDTH), 2)
    return np.clip(np.rint(generator.normal(0, spread, shape)), -128, 127).astype(np.int8)


def random_regions(seed: int) -> Regions:
    blocks = np.random.default_rng(seed).integers(0, 4, map_shape(HEIGHT, WIDTH, 16)).astype(np.uint8)
    return Regions(16, ((seed, -3), (4, 900)), blocks)


EXAMPLE = Alignment(CORNERS, (70, 64, 60), (-3, 0, 127), random_mesh(1), random_regions(2))


def alignments() -> st.SearchStrategy[Alignment]:
    """Alignments of a target of 60 x 40 px: a rectangle whose corners are moved by less than a fold takes."""
    moved = st.tuples(*[st.integers(-120, 120)] * 8)
    at = st.tuples(st.integers(-900_000, 900_000), st.integers(-900_000, 900_000))
    meshes = st.one_of(st.none(), st.builds(random_mesh, st.integers(0, 99), st.floats(0, 100)))
    gains = st.tuples(*[st.integers(1, 255)] * 3)
    offsets = st.tuples(*[st.integers(-128, 127)] * 3)
    brightness = st.one_of(st.just(((64, 64, 64), (0, 0, 0))), st.tuples(gains, offsets))
    return st.builds(
        lambda moves, corner, light, mesh, regions: Alignment(
            tuple(m + c + s for m, c, s in zip(moves, corner * 4, (0, 0, 960, 0, 0, 640, 960, 640), strict=True)),
            *light,
            mesh,
            regions,
        ),
        moved,
        at,
        brightness,
        meshes,
        st.one_of(st.none(), st.builds(random_regions, st.integers(0, 99))),
    )


@settings(max_examples=60)
@given(alignments(), st.binary(max_size=5), st.binary(max_size=5))
def test_any_alignment_round_trips_at_any_position(alignment: Alignment, before: bytes, behind: bytes) -> None:
    packed = pack_alignment(alignment)
    data = before + packed + behind
    read, end = read_alignment(data, len(before), HEIGHT, WIDTH)
    assert read == alignment
    assert hash(read) == hash(alignment)
    assert end == len(before) + len(packed) == skip_alignment(data, len(before))


@settings(max_examples=80)
@given(alignments(), st.data())
def test_whatever_reads_packs_to_the_same_bytes(alignment: Alignment, data: st.DataObject) -> None:
    packed = bytearray(pack_alignment(alignment))
    packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    try:
        read, end = read_alignment(bytes(packed), 0, HEIGHT, WIDTH)
    except BitstreamError:
        return
    assert pack_alignment(read) == bytes(packed[:end])


def test_every_prefix_is_truncated() -> None:
    packed = pack_alignment(EXAMPLE)
    for length in range(len(packed)):
        with pytest.raises(TruncatedStream):
            read_alignment(packed[:length], 0, HEIGHT, WIDTH)


def test_a_plain_alignment_of_a_usual_picture_takes_at_most_20_bytes() -> None:
    usual = Alignment((-3400, -265, 14942, 610, -3960, 12284, 14750, 12669))
    assert len(pack_alignment(usual)) <= 20


def test_a_mesh_without_offsets_takes_one_byte() -> None:
    still = dataclasses.replace(identity(HEIGHT, WIDTH), mesh=np.zeros((*mesh_shape(HEIGHT, WIDTH), 2), dtype=np.int8))
    assert len(pack_alignment(still)) - len(pack_alignment(identity(HEIGHT, WIDTH))) == 1


@pytest.mark.parametrize("spread", [0.0, 0.2, 1.0, 5.0, 60.0, 1000.0])
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (17, 23)])
def test_any_mesh_round_trips(shape: tuple[int, int], spread: float) -> None:
    generator = np.random.default_rng(5)
    mesh = np.clip(np.rint(generator.normal(0, spread, (*shape, 2))), -128, 127).astype(np.int8)
    assert np.array_equal(read_mesh(pack_mesh(mesh), *shape), mesh)


def test_a_smooth_mesh_takes_less_than_half_of_its_bytes() -> None:
    y, x = np.mgrid[0:25, 0:37]
    noise = np.random.default_rng(2).normal(0, 0.3, (25, 37, 2))
    mesh = np.rint(np.stack([4 * np.sin(x / 9), 3 * np.cos(y / 7)], axis=-1) + noise).astype(np.int8)
    assert len(pack_mesh(mesh)) < 25 * 37 * 2 / 4


@pytest.mark.parametrize("behind", [b"\x00", b"\x01", bytes(50)])
def test_bytes_behind_a_mesh_are_refused(behind: bytes) -> None:
    mesh = random_mesh(3)
    with pytest.raises(CorruptStream, match="mesh"):
        read_mesh(pack_mesh(mesh) + behind, *mesh.shape[:2])


def test_bytes_that_no_encoder_writes_are_refused_as_a_mesh() -> None:
    for data in (b"\xff" * 4, b"\xff" * 1000, b"\x80\x00", b"\x7f" * 3):
        with pytest.raises(CorruptStream):
            read_mesh(data, 4, 5)


def test_an_alignment_owns_its_mesh() -> None:
    mesh = random_mesh(4)
    alignment = Alignment(CORNERS, mesh=mesh)
    mesh[:] = 9
    assert alignment.mesh is not None
    assert np.array_equal(alignment.mesh, random_mesh(4))
    with pytest.raises(ValueError, match="read-only"):
        alignment.mesh[0, 0, 0] = 1


def test_alignments_differ_by_each_of_their_fields() -> None:
    others = (
        dataclasses.replace(EXAMPLE, corners_q4=(*CORNERS[:7], 1101)),
        dataclasses.replace(EXAMPLE, gain_q6=(70, 64, 61)),
        dataclasses.replace(EXAMPLE, offset=(-3, 0, 126)),
        dataclasses.replace(EXAMPLE, mesh=random_mesh(2)),
        dataclasses.replace(EXAMPLE, mesh=None),
    )
    assert all(other != EXAMPLE for other in others)
    assert len({EXAMPLE, *others, dataclasses.replace(EXAMPLE)}) == 6


def test_the_denominators_of_a_parallelogram_are_equal() -> None:
    assert len(set(corner_denominators((5, 5, 105, 25, -20, 85, 80, 105)))) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"corners_q4": CORNERS[:7]},
        {"corners_q4": (MAX_CORNER_Q4 + 1, *CORNERS[1:])},
        {"corners_q4": (-MAX_CORNER_Q4 - 1, *CORNERS[1:])},
        {"corners_q4": (0,) * 8},
        {"corners_q4": (0, 0, 16, 0, 32, 0, 48, 0)},  # on one line
        {"corners_q4": (16, 0, 0, 0, 16, 16, 0, 16)},  # mirrored
        {"corners_q4": (0, 0, 160, 0, 0, 160, 20, 20)},  # not convex
        {"corners_q4": (0, 0, 160, 0, 160, 160, 0, 160)},  # crossed
        {"corners_q4": (*CORNERS[:7], 1100.0)},
        {"gain_q6": (0, 64, 64)},
        {"gain_q6": (64, 64, 256)},
        {"gain_q6": (64, 64)},
        {"offset": (0, 0, 128)},
        {"offset": (-129, 0, 0)},
        {"mesh": np.zeros((4, 5, 2), dtype=np.int16)},
        {"mesh": np.zeros((4, 5), dtype=np.int8)},
        {"mesh": np.zeros((4, 5, 3), dtype=np.int8)},
        {"mesh": np.zeros((0, 5, 2), dtype=np.int8)},
    ],
)
def test_an_alignment_out_of_range_cannot_be_made(changes: dict[str, object]) -> None:
    with pytest.raises(InputError, match="alignment"):
        dataclasses.replace(EXAMPLE, **changes)
