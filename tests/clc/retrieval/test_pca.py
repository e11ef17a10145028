"""Laws of the principal components: those of the exact decomposition, in memory that does not follow the vectors."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA

from clc.errors import InputError
from clc.retrieval.pca import Reduction, fit
from storage.arrays import write_arrays
from storage.errors import StorageError


def vectors(count: int, dimension: int, seed: int = 0) -> np.ndarray:
    """Vectors whose variances fall off slowly, as those of pictures do, around a mean far from 0."""
    generator = np.random.default_rng(seed)
    mixing = np.linalg.qr(generator.standard_normal((dimension, dimension)))[0]
    scales = 1 / np.sqrt(1 + np.arange(dimension))
    return (generator.standard_normal((count, dimension)) * scales @ mixing + 5).astype(np.float32)


def test_components_are_orthonormal_and_sorted_by_variance() -> None:
    reduction = fit([vectors(300, 60)], 20)
    np.testing.assert_allclose(reduction.components @ reduction.components.T, np.eye(20), atol=1e-5)
    assert (np.diff(reduction.variances) <= 0).all()
    assert (reduction.mean.shape, reduction.components.shape) == ((60,), (20, 60))


def test_variances_and_components_are_those_of_the_exact_decomposition() -> None:
    data = vectors(500, 60)
    exact, reduction = PCA(20, svd_solver="full").fit(data.astype(np.float64)), fit([data], 20)
    np.testing.assert_allclose(reduction.variances, exact.explained_variance_, rtol=1e-4)
    np.testing.assert_allclose(np.abs(np.sum(reduction.components * exact.components_, axis=1)), 1, atol=1e-3)


def test_a_sketch_narrower_than_the_vectors_keeps_nearly_all_the_variance_that_can_be_kept() -> None:
    data = vectors(700, 600)
    exact, reduction = PCA(40, svd_solver="full").fit(data.astype(np.float64)), fit([data], 40)
    assert np.square(reduction.apply(data)).sum() / 699 > 0.998 * exact.explained_variance_.sum()


def test_the_reduced_vectors_have_mean_zero_and_the_stated_variances() -> None:
    data = vectors(400, 50)
    reduction = fit([data], 10)
    reduced = reduction.apply(data)
    assert reduced.dtype == np.float32
    np.testing.assert_allclose(reduced.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(reduced.var(axis=0, ddof=1), reduction.variances, rtol=1e-3)


def test_sharding_does_not_change_the_components() -> None:
    data = vectors(200, 30)
    whole, sharded = fit([data], 8), fit([data[:1], data[1:1], data[1:50], data[50:]], 8)
    np.testing.assert_allclose(whole.components, sharded.components, atol=1e-4)
    np.testing.assert_allclose(whole.mean, sharded.mean, atol=1e-5)


def test_the_same_shards_and_seed_give_the_same_bits() -> None:
    data = vectors(200, 300)
    np.testing.assert_array_equal(fit([data], 8, seed=3).components, fit([data], 8, seed=3).components)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_fewer_vectors_than_components_shrink_the_components(count: int, caplog: pytest.LogCaptureFixture) -> None:
    data = vectors(count, 40)
    reduction = fit([data], 256)
    assert len(reduction.components) == max(count - 1, 1)
    assert "asked=256" in caplog.text
    distances = np.linalg.norm(data - data[0], axis=1)
    np.testing.assert_allclose(
        np.linalg.norm(reduction.apply(data) - reduction.apply(data)[0], axis=1), distances, atol=1e-4
    )


def test_equal_vectors_have_no_variance() -> None:
    reduction = fit([np.full((5, 7), 3, np.float32)], 3)
    np.testing.assert_allclose(reduction.variances, 0, atol=1e-9)
    np.testing.assert_allclose(reduction.apply(np.full((1, 7), 3, np.float32)), 0, atol=1e-5)


def test_memory_follows_the_dimension_and_not_the_number_of_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    class Shards:
        def __init__(self, number: int) -> None:
            self.number = number

        def __iter__(self) -> Iterator[np.ndarray]:
            return (np.random.default_rng(i).standard_normal((64, 500), np.float32) for i in range(self.number))

    monkeypatch.setattr("clc.retrieval.pca._BLOCK_BYTES", 1 << 18)

    def peak_bytes(number: int) -> int:
        tracemalloc.start()
        fit(Shards(number), 16)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert peak_bytes(80) < 1.5 * peak_bytes(8)  # ten times the vectors; other threads of the process allocate, too


def test_what_pca_cannot_use_is_refused() -> None:
    data = vectors(10, 4)
    for shards, components, reason in [
        ([data], 0, "at least one component"),
        ([], 2, "there are no vectors"),
        ([data[:0]], 2, "there are no vectors"),
        ([data[0]], 2, "a shard of vectors"),
        ([data, data[:, :3]], 2, "like the first"),
        ([data, np.full((1, 4), np.nan, np.float32)], 2, "not finite"),
        (iter([data]), 2, "no generator"),
    ]:
        with pytest.raises(InputError, match=reason):
            fit(shards, components)


def test_vectors_of_another_descriptor_are_refused() -> None:
    with pytest.raises(InputError, match="takes vectors of 4 values"):
        fit([vectors(10, 4)], 2).apply(np.zeros((1, 5), np.float32))


def test_a_saved_reduction_is_read_back_bit_by_bit(tmp_path: Path) -> None:
    reduction = fit([vectors(20, 6)], 3)
    reduction.save(tmp_path / "reduction.safetensors")
    read = Reduction.load(tmp_path / "reduction.safetensors")
    for name, array in reduction.arrays().items():
        np.testing.assert_array_equal(read.arrays()[name], array)


def test_arrays_that_make_no_reduction_are_refused(tmp_path: Path) -> None:
    good = fit([vectors(20, 6)], 3).arrays()
    for name, array in [("mean", good["mean"][:-1]), ("variances", good["variances"] * np.nan), ("mean", np.zeros(6))]:
        path = tmp_path / "reduction.safetensors"
        write_arrays(path, {**good, name: array})
        with pytest.raises(StorageError, match="build the dictionary again"):
            Reduction.load(path)
    with pytest.raises(StorageError, match="lacks variances"):
        Reduction.from_arrays({name: array for name, array in good.items() if name != "variances"})
