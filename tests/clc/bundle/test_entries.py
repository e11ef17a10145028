"""A bundle with other entries is the same model: weights and tables to the byte, another dictionary, another id."""

from pathlib import Path

import numpy as np
import pytest

from clc.bundle.bundle import Bundle
from clc.bundle.entries import DescribedPatches, describe_patches, with_entries
from clc.bundle.extend import stored_tokens
from clc.codec.codec import Codec
from clc.errors import DictionaryMismatch, InputError
from tests.small_bundle import smooth


@pytest.fixture(scope="module")
def base(small_bundle: Path) -> Path:
    return small_bundle


@pytest.fixture(scope="module")
def described(base: Path) -> DescribedPatches:
    return describe_patches(Bundle.load(base).model, (smooth(seed) for seed in range(10, 16)))


def _write(base: Path, out: Path, described: DescribedPatches, references: int = 5) -> str:
    return with_entries(base, out, described, [{"name": str(i)} for i in range(len(described))], references)


def test_weights_and_tables_stay_and_the_dictionary_is_another(
    base: Path, described: DescribedPatches, tmp_path: Path
) -> None:
    bundle_id = _write(base, tmp_path / "other", described)
    for part in ("transforms", "prior", "tables"):
        name = f"{part}.safetensors"
        assert (tmp_path / "other" / name).read_bytes() == (base / name).read_bytes()
    made, former = Bundle.load(tmp_path / "other"), Bundle.load(base)
    assert made.bundle_id == bundle_id != former.bundle_id
    assert (len(made.entries), made.config.references) == (6, 5)
    assert np.array_equal(made.entries.tokens, described.tokens)


def test_entries_are_described_as_export_does(base: Path) -> None:
    bundle = Bundle.load(base)
    made = describe_patches(bundle.model, (smooth(seed) for seed in range(3)))
    assert np.array_equal(made.tokens, bundle.entries.tokens)
    assert np.array_equal(made.arrays()["keys"].astype(np.float32), bundle.entries.keys)
    assert np.array_equal(made.tokens[1], stored_tokens(bundle.model, bundle.model.analyse(smooth(1))))


def test_a_stream_of_one_dictionary_is_refused_by_another(
    base: Path, described: DescribedPatches, tmp_path: Path
) -> None:
    _write(base, tmp_path / "other", described)
    codec = Codec.load(tmp_path / "other")
    image_HW3 = smooth(20, 64, 64)
    data = codec.encode(image_HW3, 50, "tokens")
    assert codec.decode(data).shape == image_HW3.shape
    with pytest.raises(DictionaryMismatch):
        Codec.load(base).decode(data)


def test_chosen_rows_come_in_their_order(described: DescribedPatches) -> None:
    chosen = described.chosen([4, 1])
    assert np.array_equal(chosen.tokens, described.tokens[[4, 1]])
    assert np.array_equal(chosen.vectors, described.vectors[[4, 1]])


def test_no_patch_and_too_many_entries_and_a_filled_folder_are_refused(
    base: Path, described: DescribedPatches, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="there is none"):
        describe_patches(Bundle.load(base).model, [])
    many = DescribedPatches(np.zeros((4097, 64, 8), np.int8), np.zeros((4097, 4), np.float32))
    with pytest.raises(InputError, match="1 to 4096"):
        _write(base, tmp_path / "many", many)
    with pytest.raises(InputError, match="with its provenance"):
        with_entries(base, tmp_path / "few", described, [], 3)
    (tmp_path / "filled").mkdir()
    (tmp_path / "filled" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        _write(base, tmp_path / "filled", described)
    assert [path.name for path in (tmp_path / "filled").iterdir()] == ["mine.txt"]
