"""Laws of the choice of entries, and of the file that holds them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clc.dictionary.dictionary import Dictionary
from clc.dictionary.representatives import Representatives, build, prune, relevance
from clc.errors import InputError
from clc.pictures.picture import Rectangle
from storage.errors import StorageError
from storage.tables import read_table, write_table


def clusters(number: int, members: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((number, 6)) * 50
    return (np.repeat(centres, members, axis=0) + generator.standard_normal((number * members, 6))).astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 40), share=st.floats(0.01, 1), seed=st.integers(0, 1000))
def test_different_vectors_give_exactly_the_asked_number_of_different_members(
    count: int, share: float, seed: int
) -> None:
    keys = np.random.default_rng(seed).standard_normal((count, 3)).astype(np.float32)
    entries = max(1, int(share * count))
    selection = build(keys, entries, seed)
    assert len(set(selection.members.tolist())) == entries
    assert set(selection.members.tolist()) <= set(range(count))


@settings(max_examples=25, deadline=None)
@given(values=st.lists(st.integers(0, 5), min_size=1, max_size=30), seed=st.integers(0, 9))
def test_of_equal_vectors_only_one_is_chosen(values: list[int], seed: int) -> None:
    keys = np.array(values, np.float32)[:, np.newaxis]
    selection = build(keys, len(values), seed)
    assert sorted(keys[selection.members, 0]) == sorted(set(values))


def test_well_separated_clusters_get_one_member_each_and_their_sizes() -> None:
    keys = np.concatenate([clusters(5, 40), clusters(5, 40)[:20]])
    selection = build(keys, 5, seed=1)
    assert sorted(member // 40 for member in np.where(selection.members < 200, selection.members, 0)) == [0, 1, 2, 3, 4]
    assert selection.cluster_sizes.tolist() == [60, 40, 40, 40, 40]
    assert selection.cluster_sizes.sum() == len(keys)


def test_the_member_is_the_one_nearest_to_its_centroid() -> None:
    keys = clusters(3, 50)
    selection = build(keys, 3, seed=0)
    for member, distance in zip(selection.members, selection.distances, strict=True):
        own = keys[member // 50 * 50 : member // 50 * 50 + 50]
        from_mean = np.linalg.norm(own - own.mean(axis=0), axis=1)
        assert from_mean[member % 50] < np.quantile(from_mean, 0.2)
        assert distance < np.median(from_mean)


def test_the_same_seed_chooses_the_same_members() -> None:
    keys = np.random.default_rng(0).standard_normal((500, 8)).astype(np.float32)
    np.testing.assert_array_equal(build(keys, 40, seed=7).members, build(keys, 40, seed=7).members)


def test_more_entries_than_vectors_are_refused_with_both_numbers() -> None:
    with pytest.raises(InputError, match="65 entries asked for, but there are only 64 vectors: ask for at most 64"):
        build(np.zeros((64, 2), np.float32), 65, seed=0)


@pytest.mark.parametrize(("keys", "entries"), [(np.zeros((4, 2)), 0), (np.full((4, 2), np.nan), 2), (np.zeros(4), 2)])
def test_what_cannot_be_clustered_is_refused(keys: np.ndarray, entries: int) -> None:
    with pytest.raises(InputError):
        build(keys.astype(np.float32), entries, seed=0)


@settings(max_examples=25, deadline=None)
@given(entries=st.integers(1, 20), count=st.integers(1, 60), references=st.integers(1, 5), seed=st.integers(0, 99))
def test_every_vector_shares_out_one_unit_of_relevance(entries: int, count: int, references: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    keys, vectors = (generator.standard_normal((n, 4)).astype(np.float32) for n in (entries, count))
    scores = relevance(keys, vectors, references)
    assert scores.shape == (entries,)
    assert scores.min() >= 0
    assert scores.sum() == pytest.approx(count)


def test_an_entry_far_from_every_vector_has_no_relevance_and_the_busiest_the_most() -> None:
    keys = np.array([[0.0], [10.0], [1000.0]], np.float32)
    vectors = np.array([[0.1], [-0.1], [0.2], [9.9]], np.float32)
    scores = relevance(keys, vectors, references=1)
    np.testing.assert_array_equal(scores, [3, 1, 0])
    assert relevance(keys, vectors, references=3)[2] < 1e-6


def test_relevance_does_not_depend_on_the_order_of_the_vectors_nor_on_the_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vectors = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    whole = relevance(vectors[:7], vectors)
    np.testing.assert_allclose(relevance(vectors[:7], vectors[::-1]), whole)
    monkeypatch.setattr("clc.retrieval.index._BLOCK_VALUES", 20)
    np.testing.assert_allclose(relevance(vectors[:7], vectors), whole)


def test_vectors_that_are_the_entries_do_not_divide_by_zero() -> None:
    keys = np.eye(3, dtype=np.float32)
    np.testing.assert_allclose(relevance(keys, keys), [1, 1, 1])


def test_pruning_keeps_the_entries_that_the_collection_asks_for() -> None:
    keys = np.concatenate([clusters(5, 40), clusters(5, 40)[:80]])
    selection = build(keys, 5, seed=1)
    pruned = prune(selection, keys, 2)
    assert sorted(int(member) % 200 // 40 for member in pruned.members) == [0, 1]
    assert set(pruned.members.tolist()) <= set(selection.members.tolist())
    assert pruned.cluster_sizes.sum() == len(keys)
    assert pruned.cluster_sizes.tolist() == sorted(pruned.cluster_sizes.tolist(), reverse=True)


def test_pruning_keeps_each_members_own_distance_and_needs_no_change_below_the_size() -> None:
    keys = np.random.default_rng(2).standard_normal((60, 5)).astype(np.float32)
    selection = build(keys, 12, seed=0)
    pruned = prune(selection, keys, 4)
    distance_of = dict(zip(selection.members.tolist(), selection.distances.tolist(), strict=True))
    assert [distance_of[member] for member in pruned.members.tolist()] == pruned.distances.tolist()
    assert prune(selection, keys, 12) is selection
    assert isinstance(pruned, Representatives)


def test_pruning_keeps_the_relevance_by_which_it_chose_and_says_what_it_costs() -> None:
    keys = np.random.default_rng(3).standard_normal((80, 5)).astype(np.float32)
    selection = build(keys, 20, seed=0)
    np.testing.assert_allclose(selection.relevances, relevance(keys[selection.members], keys))
    pruned = prune(selection, keys, 6)
    known = dict(zip(selection.members.tolist(), selection.relevances.tolist(), strict=True))
    assert [known.pop(member) for member in pruned.members.tolist()] == pruned.relevances.tolist()
    assert min(pruned.relevances) >= max(known.values())
    assert pruned.inertia > selection.inertia > 0


def test_inertia_is_the_mean_squared_distance_to_the_nearest_member() -> None:
    keys = np.random.default_rng(4).standard_normal((70, 3)).astype(np.float32)
    selection = build(keys, 9, seed=0)
    apart = np.linalg.norm(keys[:, None].astype(np.float64) - keys[selection.members], axis=2)
    assert selection.inertia == pytest.approx(np.square(apart.min(axis=1)).mean())
    assert selection.cluster_sizes.tolist() == np.bincount(apart.argmin(axis=1), minlength=9).tolist()


def test_where_every_vector_is_asked_for_each_different_one_is_an_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clc.dictionary.representatives.MiniBatchKMeans", None)
    keys = np.array([[3.0], [1.0], [3.0], [2.0], [1.0], [3.0]], np.float32)
    selection = build(keys, 6, seed=0)
    assert selection.members.tolist() == [0, 1, 3]
    assert selection.cluster_sizes.tolist() == [3, 2, 1]
    assert selection.inertia == 0


def test_where_there_are_too_many_pairs_an_index_finds_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = clusters(30, 20, seed=5)
    exact = build(keys, 100, seed=0)
    monkeypatch.setattr("clc.dictionary.representatives._MOST_PAIRS", 0)
    found = build(keys, 100, seed=0)
    assert len(set(found.members.tolist()) & set(exact.members.tolist())) > 90
    assert found.cluster_sizes.sum() == len(keys)
    assert found.relevances.sum() == pytest.approx(len(keys))


@pytest.mark.parametrize(
    ("keys", "vectors", "references"),
    [((3, 2), (4, 3), 1), ((0, 2), (4, 2), 1), ((3, 2), (0, 2), 1), ((3, 2), (4, 2), 0)],
)
def test_relevance_of_nothing_is_refused(keys: tuple[int, int], vectors: tuple[int, int], references: int) -> None:
    with pytest.raises(InputError):
        relevance(np.zeros(keys, np.float32), np.zeros(vectors, np.float32), references)


def test_pruning_to_nothing_is_refused() -> None:
    keys = clusters(2, 5)
    with pytest.raises(InputError, match="at least one entry, not 0"):
        prune(build(keys, 2, seed=0), keys, 0)


PROVENANCE = ("item_id", "photo", "blob", "name", "source", "licence")


def dictionary(entries: int = 3, dimension: int = 4) -> Dictionary:
    texts = {
        field: tuple(f"{field} {entry} ü" for entry in range(entries))
        for field in ("item_ids", "photos", "blobs", "names", "sources", "licences")
    }
    return Dictionary(
        keys=np.random.default_rng(0).standard_normal((entries, dimension)).astype(np.float32),
        cluster_sizes=np.arange(entries, dtype=np.int32),
        distances=np.linspace(0, 1, entries, dtype=np.float32),
        rectangles=tuple(Rectangle(entry, 2, 3, 4) if entry else None for entry in range(entries)),
        relevances=np.linspace(1, 2, entries),
        **texts,
    )


@pytest.mark.parametrize("entries", [1, 3])
def test_a_written_dictionary_is_read_back(tmp_path: Path, entries: int) -> None:
    written = dictionary(entries)
    written.write(tmp_path / "dictionary.parquet")
    read = Dictionary.read(tmp_path / "dictionary.parquet")
    assert len(read) == entries
    for field, value in vars(written).items():
        if field == "rectangles":
            assert read.rectangles == value
            continue
        np.testing.assert_array_equal(getattr(read, field), value)
        assert getattr(read, field)[0].dtype == value[0].dtype if isinstance(value, np.ndarray) else True


def test_the_file_has_the_documented_columns(tmp_path: Path) -> None:
    dictionary().write(tmp_path / "dictionary.parquet")
    schema = read_table(tmp_path / "dictionary.parquet").schema
    assert schema.field("entry").type == pa.int32()
    assert schema.field("cluster_size").type == pa.int32()
    assert schema.field("distance").type == pa.float32()
    assert schema.field("key").type == pa.list_(pa.float32(), 4)
    assert schema.names == ["entry", *PROVENANCE, "cluster_size", "distance", "key", *Rectangle._fields, "relevance"]


def test_entries_of_an_earlier_release_are_whole_blobs(tmp_path: Path) -> None:
    path = tmp_path / "dictionary.parquet"
    dictionary().write(path)
    write_table(path, read_table(path).drop_columns(list(Rectangle._fields)))
    assert Dictionary.read(path).rectangles == (None, None, None)


def test_entries_of_an_earlier_release_have_no_relevance(tmp_path: Path) -> None:
    path = tmp_path / "dictionary.parquet"
    dictionary().write(path)
    write_table(path, read_table(path).drop_columns(["relevance"]))
    assert np.isnan(Dictionary.read(path).relevances).all()


def test_a_table_that_is_no_dictionary_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dictionary.parquet"
    dictionary().write(path)
    table = read_table(path)
    entry, key = table.schema.get_field_index("entry"), table.schema.get_field_index("key")
    lists = pa.array([[1.0], [1.0, 2.0], [3.0]], pa.list_(pa.float32()))
    not_finite = pa.array([[np.nan] * 4] * 3, pa.list_(pa.float32(), 4))
    for broken in [
        table.drop_columns(["blob"]),
        table.slice(1),
        table.set_column(entry, "entry", pa.array([0, 2, 1], pa.int32())),
        table.set_column(key, "key", lists),
        table.set_column(key, "key", not_finite),
        table.set_column(2, "photo", pa.array(["a", None, "c"])),
    ]:
        write_table(path, broken)
        with pytest.raises(StorageError):
            Dictionary.read(path)
