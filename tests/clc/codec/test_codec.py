"""The codec as a user has it: any size, any quality, real files, and nothing but errors for anything else."""

import dataclasses
from importlib.resources import files
from unittest import mock

import numpy as np
import pytest
import torch

import clc
from clc.bitstream.container import pack, parse
from clc.bitstream.range_coder import CdfTable
from clc.codec import Codec, refinement
from clc.codec.effort import Effort, effort_of
from clc.codec.info import stream_info
from clc.codec.latent_coding import scale_sets
from clc.codec.refinement import Target, refine
from clc.errors import BitstreamError, DictionaryMismatch, InputError
from clc.evaluation.metrics import psnr_db
from clc.model.model import padded
from clc.model.prior.slices import SCALE_LEVELS
from clc.pictures.images import read_image
from tests.conftest import Picture, cost


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (64, 64), (65, 63), (255, 257), (1, 300)])
def test_any_size_comes_back(shipped: Codec, photo: Picture, size: tuple[int, int]) -> None:
    image = np.ascontiguousarray(photo[: size[0], : size[1]])
    decoded = shipped.decode(shipped.encode(image, 60))
    assert decoded.shape == image.shape
    assert decoded.dtype == np.uint8
    assert psnr_db(image, decoded) > 25


def test_rate_and_quality_rise_together(shipped: Codec, photo: Picture) -> None:
    streams = [shipped.encode(photo, quality) for quality in (0, 25, 50, 75, 100)]
    sizes = [len(data) for data in streams]
    psnrs = [psnr_db(photo, shipped.decode(data)) for data in streams]
    assert sizes == sorted(sizes)
    assert psnrs == sorted(psnrs)
    assert sizes[-1] > 4 * sizes[0]
    assert psnrs[-1] > 36


def test_a_fraction_of_a_quality_step_counts(shipped: Codec, photo: Picture) -> None:
    assert len({shipped.encode(photo, quality) for quality in (50.0, 50.25, 50.5)}) == 3


def test_encoding_is_deterministic(shipped: Codec, photo: Picture) -> None:
    assert shipped.encode(photo, 40) == shipped.encode(photo, 40)


@pytest.mark.parametrize("effort", [4, 5, 6])
def test_references_never_cost_more(shipped: Codec, photo: Picture, effort: int) -> None:
    part = np.ascontiguousarray(photo[60:188, 100:292])
    for quality in (10, 50, 90):
        alone = shipped.encode(part, quality, "none", effort=effort)
        assert stream_info(alone).references == ()
        with_references = shipped.encode(part, quality, "auto", effort=effort)
        assert cost(part, shipped, with_references) <= cost(part, shipped, alone)


def test_tokens_are_the_three_nearest_entries(shipped: Codec, photo: Picture) -> None:
    found = stream_info(shipped.encode(photo, 50, "tokens")).references
    assert len(set(found)) == 3
    assert all(0 <= index < len(shipped.bundle.entries) for index in found)


def test_a_number_bounds_the_references(shipped: Codec, photo: Picture) -> None:
    assert shipped.encode(photo, 90, 0) == shipped.encode(photo, 90, "none")
    assert len(stream_info(shipped.encode(photo, 90, 2)).references) <= 2


def test_the_search_keeps_to_the_named_entries(shipped: Codec, photo: Picture) -> None:
    assert set(stream_info(shipped.encode(photo, 50, "tokens", entries=[7, 11])).references) == {7, 11}


@pytest.mark.parametrize("references", ["some", -1, 6, 2.5, None])
def test_an_unknown_way_of_using_references_is_refused(shipped: Codec, photo: Picture, references: object) -> None:
    with pytest.raises(InputError, match="references must be"):
        shipped.encode(photo, 50, references)


@pytest.mark.parametrize("effort", [-1, 10, 2.5, "5"])
def test_an_unknown_effort_is_refused(shipped: Codec, photo: Picture, effort: object) -> None:
    with pytest.raises(InputError, match="effort must be"):
        shipped.encode(photo, 50, effort=effort)


def test_refinement_lowers_rate_plus_lambda_distortion(shipped: Codec, photo: Picture) -> None:
    middle = np.ascontiguousarray(photo[60:252, 100:292])
    plain, one_step, four = (
        cost(middle, shipped, shipped.encode(middle, 75, "none", effort=effort)) for effort in (4, 5, 6)
    )
    assert one_step < plain
    assert four < min(one_step, 0.995 * plain)


def test_annealing_goes_on_from_there(shipped: Codec, photo: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    levels = [effort_of(level) for level in range(10)]
    levels[7] = levels[7]._replace(annealed=60)  # of 200, each of which takes as long
    monkeypatch.setattr("clc.codec.effort._LEVELS", tuple(levels))
    small = np.ascontiguousarray(photo[100:164, 120:184])
    four, annealed = (cost(small, shipped, shipped.encode(small, 50, "none", effort=effort)) for effort in (6, 7))
    assert annealed < four


def test_a_large_picture_is_refined_tile_by_tile(shipped: Codec, photo: Picture) -> None:
    model = shipped.bundle.model
    x = padded(torch.from_numpy(photo[:128, :192].copy())) / 255.0
    y, step = model.g_a(x), model.gains.step(torch.tensor([4800]))
    target = Target(x, 4800, model.h_a(y / step), None)
    level = Effort(0, 0, 1)
    whole = refine(model, y, target, level)
    with mock.patch.object(refinement, "TILE_PX", 64):
        tiled = refine(model, y, target, level)
    corner = target._replace(x=x[..., 64:, 128:], z=target.z[..., 1:, 2:])
    assert torch.equal(tiled[..., 4:, 8:], refine(model, y[..., 4:, 8:], corner, level))
    # Each tile knows its own pixels only, and goes much the same way.
    moved = [(one - y).flatten() for one in (whole, tiled)]
    assert torch.nn.functional.cosine_similarity(*moved, dim=0) > 0.7


def test_without_effort_no_reference_is_tried(shipped: Codec, photo: Picture) -> None:
    assert shipped.encode(photo, 90, effort=0) == shipped.encode(photo, 90, "none", effort=4)


def test_an_entry_that_does_not_exist_is_refused(shipped: Codec, photo: Picture) -> None:
    with pytest.raises(InputError, match="entries 0"):
        shipped.encode(photo, 50, "tokens", entries=[100_000])


@pytest.mark.parametrize("seed", range(3))
def test_extreme_pictures_survive(shipped: Codec, seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 2, (96, 80, 3)).astype(np.uint8) * 255
    decoded = shipped.decode(shipped.encode(noise, 100))
    assert decoded.shape == noise.shape


def test_a_flat_picture_costs_next_to_nothing(shipped: Codec) -> None:
    flat = np.full((256, 256, 3), 128, np.uint8)
    data = shipped.encode(flat, 50)
    assert len(data) < 1000
    assert psnr_db(flat, shipped.decode(data)) > 40


def test_the_package_functions_are_the_codec(photo: Picture) -> None:
    small = np.ascontiguousarray(photo[:64, :64])
    assert clc.decode(clc.encode(small, 50)).shape == small.shape


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
    ],
)
def test_what_is_no_picture_is_refused(shipped: Codec, image: np.ndarray) -> None:
    with pytest.raises(InputError):
        shipped.encode(image)


@pytest.mark.parametrize("quality", [-1, 101, float("nan"), float("inf")])
def test_a_quality_out_of_range_is_refused(shipped: Codec, photo: Picture, quality: float) -> None:
    with pytest.raises(InputError, match="quality"):
        shipped.encode(photo, quality)


def test_a_stream_of_another_bundle_names_both(shipped: Codec, photo: Picture) -> None:
    stream = parse(shipped.encode(np.ascontiguousarray(photo[:64, :64])))
    other = pack(dataclasses.replace(stream, bundle_id=bytes(8)))
    with pytest.raises(DictionaryMismatch, match=f"{bytes(8).hex()}.*{shipped.bundle.bundle_id}"):
        shipped.decode(other)


def test_altered_streams_with_a_right_checksum_never_give_a_picture(shipped: Codec, photo: Picture) -> None:
    data = shipped.encode(np.ascontiguousarray(photo[:64, :64]), 30)
    stream = parse(data)
    right, n_refused = shipped.decode(data), 0
    rng = np.random.default_rng(0)
    for _ in range(120):
        payload = bytearray(stream.payload)
        payload[rng.integers(len(payload))] ^= 1 << rng.integers(8)
        try:
            decoded = shipped.decode(pack(dataclasses.replace(stream, payload=bytes(payload))))
        except BitstreamError:
            n_refused += 1
        else:
            # A bit that no symbol depends on: the latents are the encoder's, so the picture is too.
            assert np.array_equal(decoded, right)
    assert n_refused > 100


@pytest.mark.parametrize(
    "field", [{"quality_q6": 3201}, {"references": (0, 1, 2)}, {"width": 200}, {"height": 10}, {"width": 127}]
)
def test_altered_fields_with_a_right_checksum_are_noticed(
    shipped: Codec, photo: Picture, field: dict[str, object]
) -> None:
    stream = parse(shipped.encode(np.ascontiguousarray(photo[:128, :128]), 50, references="none"))
    altered = dataclasses.replace(stream, **field)
    with pytest.raises(BitstreamError):
        shipped.decode(pack(altered))


def test_every_prefix_of_a_stream_is_refused(shipped: Codec, photo: Picture) -> None:
    data = shipped.encode(np.ascontiguousarray(photo[:64, :64]), 30)
    for length in range(len(data)):
        with pytest.raises(BitstreamError):
            shipped.decode(data[:length])


def test_a_reference_that_the_dictionary_lacks_is_refused(shipped: Codec, photo: Picture) -> None:
    stream = parse(shipped.encode(np.ascontiguousarray(photo[:64, :64])))
    with pytest.raises(DictionaryMismatch, match="entry 4095"):
        shipped.decode(pack(dataclasses.replace(stream, references=(4095,))))


def test_a_bundle_with_one_set_of_tables_is_read_and_what_is_coded_first_costs_more(shipped: Codec) -> None:
    table = shipped.bundle.table
    further = SCALE_LEVELS * (scale_sets(table, shipped.bundle.config.hyper) - 1)
    assert further > 0
    last = CdfTable(table.cdf[further:], table.lengths[further:], table.offsets[further:])
    former = Codec(dataclasses.replace(shipped.bundle, table=last))
    sizes = np.zeros(2)
    # One photograph alone may cost a word of 4 bytes more or less.
    for name in ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg"):
        image = np.ascontiguousarray(read_image((files("skimage") / "data" / name).read_bytes())[:256, :384])
        streams = [codec.encode(image, 30, "none") for codec in (shipped, former)]
        assert np.array_equal(former.decode(streams[1]), shipped.decode(streams[0]))
        sizes += [len(stream) for stream in streams]
    assert sizes[0] < sizes[1]
