"""Laws of build-dictionary: its entries are described pictures, with their keys and their provenance."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flows.dictionary
from clc.dictionary import saved_index
from clc.dictionary.dictionary import Dictionary
from clc.dictionary.saved_index import INDEX_NAME, open_dictionary
from clc.dictionary.vectors import COLUMNS, PLACE, StoredPicture, read_pictures, read_vectors, write_shard
from clc.errors import InputError
from clc.retrieval.pca import Reduction
from flows.dictionary import build_dictionary
from flows.runtime.stage import StageResult, resolve, run_stage
from flows.runtime.workspace import Workspace
from storage.errors import StorageError
from storage.tables import read_table, write_table

VECTORS = np.random.default_rng(0).standard_normal((50, 30)).astype(np.float32)


def picture(row: int) -> StoredPicture:
    """One that is whole, if its number is even, or else a patch."""
    texts = {column: f"{column} {row}" for column in COLUMNS if column not in PLACE}
    return StoredPicture(**texts, **({"left": row, "top": 2, "width": 3, "height": 4} if row % 2 else {}))


@pytest.fixture(autouse=True)
def described(workspace: Workspace) -> None:
    """A finished extract-features in the workspace."""

    def body(folder: Path) -> dict[str, Any]:
        for number, rows in enumerate(np.split(np.arange(50), [20, 20, 37])):
            pictures = [picture(int(row)) for row in rows]
            write_shard(folder / f"shard-{number:05d}", VECTORS[rows], pictures)
        return {"count": 50}

    run_stage(workspace, "extract-features", inputs={}, config={}, modules=[], body=body)


def build(workspace: Workspace, **parameters: Any) -> StageResult:
    return resolve(workspace, "build-dictionary", build_dictionary.fn(**parameters))


def test_an_entry_is_a_described_picture_with_its_reduced_vector(workspace: Workspace) -> None:
    stage = build(workspace, entries=12, components=8)
    dictionary = Dictionary.read(stage.directory / "dictionary.parquet")
    reduction = Reduction.load(stage.directory / "reduction.safetensors")
    rows = [int(item_id.split()[1]) for item_id in dictionary.item_ids]
    assert len(set(rows)) == len(dictionary) == 12
    np.testing.assert_allclose(dictionary.keys, reduction.apply(VECTORS[rows]), atol=1e-5)
    for field in ("photo", "blob", "name", "source", "licence"):
        assert list(getattr(dictionary, f"{field}s")) == [f"{field} {row}" for row in rows]
    assert dictionary.rectangles == tuple(picture(row).rectangle for row in rows)
    assert {one is None for one in dictionary.rectangles} == {True, False}
    assert dictionary.cluster_sizes.sum() == 50


def test_shards_of_an_earlier_release_describe_whole_blobs(tmp_path: Path) -> None:
    write_shard(tmp_path / "shard", VECTORS[:2], [picture(0), picture(1)])
    path = tmp_path / "shard.parquet"
    write_table(path, read_table(path).drop_columns(list(PLACE)))
    assert [one.rectangle for one in read_pictures(path)] == [None, None]


def test_the_summary_says_what_was_made_and_what_it_keeps(workspace: Workspace) -> None:
    summary = build(workspace, entries=12, components=29).manifest.summary
    assert summary["entries"] == 12
    assert (summary["vectors"], summary["dimension"], summary["components"]) == (50, 30, 29)
    assert 0.9 < summary["variance_kept"] <= 1
    assert build(workspace, entries=12, components=2).manifest.summary["variance_kept"] < 0.5


def test_keys_shrink_where_there_are_fewer_vectors_than_components(workspace: Workspace) -> None:
    stage = build(workspace, entries=5, components=256)
    assert Dictionary.read(stage.directory / "dictionary.parquet").keys.shape == (5, 30)


def test_the_same_parameters_make_the_same_key_and_another_seed_another(workspace: Workspace) -> None:
    first = build(workspace, entries=6)
    assert build(workspace, entries=6).key == first.key
    assert build(workspace, entries=6, seed=1).key != first.key


def test_more_entries_than_vectors_are_refused_with_both_numbers(workspace: Workspace) -> None:
    with pytest.raises(InputError, match="51 entries asked for, but there are only 50 vectors: ask for at most 50"):
        build_dictionary.fn(entries=51)
    assert not (workspace.stages / "build-dictionary").exists()


def test_without_candidates_nothing_is_evicted(workspace: Workspace) -> None:
    stage = build(workspace, entries=12, components=8)
    assert (stage.manifest.summary["evicted"], stage.manifest.summary["relevance_kept"]) == (0, 1.0)
    assert not (stage.directory / "evicted.parquet").exists()
    assert Dictionary.read(stage.directory / "dictionary.parquet").relevances.sum() == pytest.approx(50)


def test_of_more_candidates_the_most_relevant_stay_and_the_others_are_listed(workspace: Workspace) -> None:
    every = Dictionary.read(build(workspace, entries=20, components=8).directory / "dictionary.parquet")
    stage = build(workspace, entries=12, components=8, candidates=20)
    kept = Dictionary.read(stage.directory / "dictionary.parquet")
    evicted = read_table(stage.directory / "evicted.parquet")
    relevance = dict(zip(every.item_ids, every.relevances.tolist(), strict=True))
    assert {one: relevance[one] for one in kept.item_ids} == dict(
        zip(kept.item_ids, kept.relevances.tolist(), strict=True)
    )
    assert set(kept.item_ids) | set(evicted["item_id"].to_pylist()) == set(every.item_ids)
    assert evicted["relevance"].to_pylist() == [relevance[one] for one in evicted["item_id"].to_pylist()]
    assert evicted["relevance"].to_pylist() == sorted(evicted["relevance"].to_pylist(), reverse=True)
    assert kept.relevances.min() >= max(evicted["relevance"].to_pylist())
    assert evicted["name"].to_pylist() == [one.replace("item_id", "name") for one in evicted["item_id"].to_pylist()]
    summary = stage.manifest.summary
    assert (summary["entries"], summary["evicted"]) == (12, 8)
    assert summary["relevance_kept"] == pytest.approx(kept.relevances.sum() / 50, abs=1e-4)
    assert stage.key != build(workspace, entries=12, components=8).key


def test_too_few_and_too_many_candidates_are_refused(workspace: Workspace) -> None:
    with pytest.raises(InputError, match="12 entries cannot be kept of 11 candidates"):
        build_dictionary.fn(entries=12, candidates=11)
    with pytest.raises(InputError, match="51 candidates asked for, but there are only 50 vectors"):
        build_dictionary.fn(entries=12, candidates=51)
    assert not (workspace.stages / "build-dictionary").exists()


def test_the_index_is_named_and_lies_beside_the_dictionary_where_there_are_many_entries(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = build(workspace, entries=40, components=8)
    assert few.manifest.summary["index"] == "exhaustive"
    assert INDEX_NAME not in few.manifest.files
    monkeypatch.setattr(saved_index, "MOST_EXHAUSTIVE", 39)
    many = build(workspace, entries=40, components=8, seed=1)
    assert many.manifest.summary["index"] == "inverted_lists"
    assert INDEX_NAME in many.manifest.files
    dictionary, index = open_dictionary(many.directory)
    np.testing.assert_array_equal(index.search(dictionary.keys, 1).indices[:, 0], np.arange(40))


def test_an_altered_shard_is_refused(workspace: Workspace) -> None:
    shard = resolve(workspace, "extract-features").directory / "shard-00002.safetensors"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    with pytest.raises(StorageError, match="altered"):
        build_dictionary.fn(entries=5)


def describe(workspace: Workspace, rows: Sequence[int], vectors: Any = VECTORS, *, number: int = 1) -> str:
    """A finished extract-features of some of the pictures, in this order; return its key."""

    def body(folder: Path) -> dict[str, Any]:
        for start in range(0, len(rows), 20):
            here = rows[start : start + 20]
            write_shard(folder / f"shard-{start:05d}", vectors[list(here)], [picture(row) for row in here])
        return {"count": len(rows)}

    return run_stage(workspace, "extract-features", inputs={}, config={"n": number}, modules=[], body=body).key


def entries_of(stage: StageResult) -> Dictionary:
    return Dictionary.read(stage.directory / "dictionary.parquet")


def test_new_pictures_are_folded_into_a_former_dictionary(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build(workspace, features=describe(workspace, range(40)), entries=10, components=8)
    features = describe(workspace, [*range(3, 40), *range(40, 50)], number=2)  # three are gone, and ten are new
    read: list[str] = []
    monkeypatch.setattr(
        flows.dictionary, "read_vectors", lambda path, digest: read.append(path.stem) or read_vectors(path, digest)
    )
    folded = build(workspace, features=features, entries=10, components=8, former="latest")
    assert folded.manifest.inputs == {"features": features, "former": first.key}
    assert (folded.manifest.summary["vectors"], folded.manifest.summary["new"]) == (47, 10)
    assert sorted(set(read)) == ["shard-00000", "shard-00020", "shard-00040"]  # the first to compare its vectors
    assert read.count("shard-00000") == 1
    former = Reduction.load(first.directory / "reduction.safetensors")
    chosen = entries_of(folded)
    rows = [int(item_id.split()[1]) for item_id in chosen.item_ids]
    assert set(rows) <= set(range(3, 50))
    np.testing.assert_allclose(chosen.keys, former.apply(VECTORS[rows]), atol=1e-4)
    assert chosen.cluster_sizes.sum() == 47
    again = build(workspace, features=features, entries=10, components=8, former="latest")
    assert (again.key, again.reused) == (folded.key, True)


def test_folding_is_nearly_as_good_as_choosing_anew(workspace: Workspace) -> None:
    generator = np.random.default_rng(5)
    centres = generator.normal(0, 4, (12, 30))
    vectors = (centres[generator.integers(0, 12, 400)] + generator.normal(0, 1, (400, 30))).astype(np.float32)
    vectors[380:] += 20  # something that was never seen before
    build(workspace, features=describe(workspace, range(360), vectors), entries=24, components=16)
    features = describe(workspace, range(400), vectors, number=2)
    folded = build(workspace, features=features, entries=24, components=16, former="latest")
    anew = build(workspace, features=features, entries=24, components=16)

    def left(stage: StageResult) -> float:
        chosen = vectors[[int(item_id.split()[1]) for item_id in entries_of(stage).item_ids]]
        return float(np.square(vectors[:, np.newaxis] - chosen).sum(axis=2).min(axis=1).mean())

    assert any(int(item_id.split()[1]) >= 380 for item_id in entries_of(folded).item_ids)
    assert left(folded) < 1.1 * left(anew)


def test_more_entries_than_the_former_has_and_those_evicted_are_gone_on_from(workspace: Workspace) -> None:
    first = build(workspace, features=describe(workspace, range(40)), entries=6, components=8, candidates=12)
    features = describe(workspace, range(50), number=2)
    folded = build(workspace, features=features, entries=15, components=8, candidates=20, former=first.key)
    assert folded.manifest.inputs["former"] == first.key
    assert (len(entries_of(folded)), folded.manifest.summary["evicted"]) == (15, 5)


def test_without_a_fitting_former_all_is_made_anew(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    few = build(workspace, features=describe(workspace, range(20)), entries=10, components=8)
    parameters = {"features": describe(workspace, range(50), number=2), "entries": 10, "components": 8}
    anew = build(workspace, **parameters).key
    assert build(workspace, **parameters | {"seed": 1}, former="latest").manifest.inputs.keys() == {"features"}
    (workspace.stages / "build-dictionary" / anew / "manifest.json").unlink()
    assert build(workspace, **parameters, former="latest").key == anew, "the PCA of 20 is too old for 50"
    other = describe(workspace, range(50), -VECTORS, number=3)
    assert build(workspace, **parameters | {"features": other}, former="latest").manifest.inputs.keys() == {"features"}
    assert "its vectors are of another backbone" in caplog.text
    with pytest.raises(InputError, match="its vectors are of another backbone"):
        build(workspace, **parameters | {"features": other}, former=anew)
    with pytest.raises(InputError, match="it knew none of these pictures"):
        build(workspace, features=describe(workspace, range(30, 50), number=4), entries=10, former=few.key)
