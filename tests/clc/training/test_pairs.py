"""References for training: synthetic ones resemble their crops, real ones stay on their pictures."""

from importlib.resources import files

import numpy as np
import pytest
import torch

from clc.errors import InputError
from clc.pictures.images import read_image
from clc.references.overlaps import Overlap, choose_key_pictures, find_overlaps
from clc.references.registration import Registration
from clc.training.data import CropSampler, PictureSet
from clc.training.pairs import MARGIN_PX, Pair, PairSampler, centre_pairs, disturb, overlapping_pairs, split_pairs
from tests.conftest import Picture


@pytest.fixture(scope="module")
def scene() -> Picture:
    return read_image((files("skimage") / "data" / "astronaut.png").read_bytes())


def test_a_synthetic_reference_resembles_its_crop_where_it_covers(scene: Picture) -> None:
    crops = torch.from_numpy(np.stack([scene[i * 40 : i * 40 + 160, 100:260] for i in range(8)])).permute(0, 3, 1, 2)
    levels, inside = disturb(crops.float(), np.random.default_rng(0))
    x = crops[:, :, MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX].float()
    assert levels.shape == x.shape
    assert inside.shape == (8, 1, 128, 128)
    assert set(inside.unique().tolist()) <= {0.0, 1.0}
    assert ((levels * (1 - inside)) == 0).all()
    assert torch.equal(levels, torch.round(levels).clamp(0, 255))
    error = ((levels - x) * inside).square().sum((1, 2, 3)) / (3 * inside.sum((1, 2, 3))).clamp_min(1)
    spread = x.var(dim=(1, 2, 3))
    assert (error < 0.3 * spread).sum() >= 5


def test_the_same_generator_makes_the_same_batch(scene: Picture) -> None:
    sampler = PairSampler(CropSampler(PictureSet([scene], ["a"])), [], 0.5)
    batches = [sampler.sample(np.random.default_rng(4), 4, 64, is_aligned=True) for _ in range(2)]
    assert torch.equal(batches[0].x, batches[1].x)
    assert batches[0].aligned is not None
    assert batches[1].aligned is not None
    assert all(torch.equal(a, b) for a, b in zip(batches[0].aligned, batches[1].aligned, strict=True))


def test_a_batch_has_references_for_all_of_its_crops_or_for_none(scene: Picture) -> None:
    sampler = PairSampler(CropSampler(PictureSet([scene], ["a"])), [], 0.5)
    assert sampler.sample(np.random.default_rng(4), 4, 64, is_aligned=False).aligned is None
    aligned = sampler.sample(np.random.default_rng(4), 4, 64, is_aligned=True).aligned
    assert aligned is not None
    assert (aligned.inside.sum(dim=(1, 2, 3)) > 0).sum() >= 3
    assert aligned.present.flatten().tolist() == [1.0] * 4


def test_a_real_pair_is_cut_at_one_place(scene: Picture) -> None:
    inside = np.ones(scene.shape[:2], bool)
    inside[:, 300:] = False
    pair = Pair(scene, scene, inside, "pair")
    batch = PairSampler(CropSampler(PictureSet([scene], ["a"])), [pair], 1.0).sample(
        np.random.default_rng(4), 6, 64, is_aligned=True
    )
    assert batch.photos == ["pair"] * 6
    assert batch.aligned is not None
    assert torch.equal(torch.round(batch.x * 255) * batch.aligned.inside, batch.aligned.levels)
    crops, aligned = centre_pairs([pair, pair], 640)
    assert crops.shape == (2, 3, 640, 640)
    assert torch.equal(crops.float() * aligned.inside, aligned.levels)


def test_pairs_of_held_out_photos_are_not_trained_on(scene: Picture) -> None:
    inside = np.ones(scene.shape[:2], bool)
    pairs = [Pair(scene, scene, inside, f"p{n % 10}") for n in range(20)]
    training, apart = split_pairs(pairs, {"p3", "elsewhere"})
    assert {pair.photo for pair in apart} == {"p3"}
    assert len(training) == 18
    training, apart = split_pairs(pairs, {"elsewhere"})
    assert {pair.photo for pair in apart} == {"p0", "p8"}
    assert split_pairs(pairs[:1], set()) == (pairs[:1], pairs[:1])


def test_neighbours_in_a_strip_are_found_and_warped_onto_one_another(scene: Picture) -> None:
    strip = [np.ascontiguousarray(scene[60:380, left : left + 280]) for left in (0, 70, 140)]
    overlaps = find_overlaps(strip, reach=1)
    assert {(o.target, o.reference) for o in overlaps} == {(0, 1), (1, 0), (1, 2), (2, 1)}
    assert all(0.6 < o.registration.coverage < 0.85 for o in overlaps)
    pairs = overlapping_pairs(PictureSet(strip, ["a", "b", "c"]), overlaps, partners=1)
    assert [pair.photo for pair in pairs] == ["a", "b", "c"]
    for pair in pairs:
        difference = pair.picture[pair.inside].astype(int) - pair.warped[pair.inside]
        assert np.abs(difference).mean() < 4


def overlap(target: int, reference: int, coverage: float) -> Overlap:
    return Overlap(target, reference, Registration(None, None, coverage, 30.0))


def test_the_picture_that_covers_most_others_becomes_the_key() -> None:
    overlaps = [overlap(0, 1, 0.8), overlap(2, 1, 0.8), overlap(1, 0, 0.8), overlap(3, 4, 0.5), overlap(4, 3, 0.4)]
    assert choose_key_pictures(overlaps, 5, 1) == [1]
    assert choose_key_pictures(overlaps, 5, 2) == [1, 4]
    assert choose_key_pictures(overlaps, 5, 5) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("count", [0, 6])
def test_an_impossible_number_of_key_pictures_is_refused(count: int) -> None:
    with pytest.raises(InputError, match="key pictures"):
        choose_key_pictures([], 5, count)
