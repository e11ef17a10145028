"""bench/dictionary.py: planted vectors are the same each time, and drawing them reduced is like reducing them."""

from pathlib import Path

import numpy as np
import pytest

from bench import dictionary as bench
from bench.dictionary import Planted, Reduced, described, timed
from clc.dictionary.vectors import read_vectors
from clc.retrieval.index import open_index
from clc.retrieval.pca import fit
from flows.runtime.stage import resolve
from flows.runtime.workspace import VARIABLE, Workspace

PLANTED = Planted(vectors=2_000, dimension=200, clusters=40)


def test_vectors_of_one_centre_lie_closer_than_others() -> None:
    vectors, labels = np.concatenate(list(PLANTED.shards())), PLANTED.labels()
    np.testing.assert_array_equal(vectors, np.concatenate(list(PLANTED.shards())))
    assert vectors.shape == (2_000, 200)
    own = np.stack([vectors[labels == label].mean(axis=0) for label in range(3)])
    apart = np.linalg.norm(own[0] - own[1])
    assert np.linalg.norm(vectors[labels == 0] - own[0], axis=1).mean() < apart
    assert (labels == 0).sum() > (labels == 39).sum()


def test_vectors_that_are_drawn_reduced_spread_as_those_that_are_reduced() -> None:
    vectors = np.concatenate(list(PLANTED.shards()))
    reduction = fit([vectors], 20)
    reduced = reduction.apply(vectors)
    drawn = Reduced.of(PLANTED.mixing(), reduction, PLANTED.clusters).keys(20_000)
    np.testing.assert_allclose(drawn.mean(axis=0), reduced.mean(axis=0), atol=0.2 * reduced.std(axis=0).max())
    np.testing.assert_allclose(drawn.std(axis=0), reduced.std(axis=0), rtol=0.15)


def test_other_seeds_draw_other_vectors_of_the_same_centres() -> None:
    reduction = fit([np.concatenate(list(PLANTED.shards()))], 20)
    drawn = Reduced.of(PLANTED.mixing(), reduction, PLANTED.clusters)
    keys, asked = drawn.keys(500), drawn.keys(500, seed=1)
    assert not np.array_equal(keys, asked)
    nearest = open_index(keys).search(asked, 1).indices[:, 0]
    assert (Planted(500, 0, 40).labels()[nearest] == Planted(500, 0, 40).labels(1)).mean() > 0.9


def test_the_stage_of_vectors_is_made_once_and_only_where_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "workspace"))
    planted = Planted(vectors=100, dimension=30, clusters=4)
    workspace = Workspace.from_environment()
    stage = resolve(workspace, "extract-features", described(workspace, planted))
    shards = [read_vectors(stage.directory / f"shard-{number:05d}.safetensors") for number in range(2)]
    np.testing.assert_array_equal(np.concatenate(shards), np.concatenate(list(planted.shards())))
    assert described(workspace, planted) == stage.key
    assert resolve(workspace, "extract-features").manifest == stage.manifest
    monkeypatch.setattr(bench.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1000}))
    with pytest.raises(SystemExit, match="the vectors take"):
        described(workspace, Planted(vectors=101, dimension=30, clusters=4))


def test_each_query_is_timed_alone() -> None:
    keys = np.random.default_rng(0).standard_normal((50, 6)).astype(np.float32)
    took = timed(open_index(keys), keys[:9])
    assert len(took.ms) == len(took.cpu_ms) == 9
    assert min(took.ms) > 0
    np.testing.assert_array_equal(took.found_Q3[:, 0], np.arange(9))
