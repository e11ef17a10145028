"""Laws of extract-features: a row a picture, whatever the shards; a bad picture costs its row, a bad shard a retry."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import LocalCluster
from prefect.utilities.callables import parameter_schema

from clc.dictionary.extraction import ShardPlan, ShardReport, extract_shard
from clc.dictionary.vectors import read_pictures, read_vectors
from clc.errors import ClcError, InputError
from clc.pictures.images import png_bytes
from clc.retrieval.descriptors import OnnxDescriptor
from flows.dictionary import build_dictionary
from flows.features import extract_features
from flows.items import Item, RefusedPicture, write_items
from flows.runtime.stage import StageResult, resolve, run_stage
from flows.runtime.workspace import Workspace
from storage.tables import read_table

TINY_ONNX = str(Path(__file__).parents[1] / "golden" / "tiny_backbone.onnx")


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a cluster inside this process, so that a test does not wait for processes to start."""
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster:
        yield cluster.scheduler_address


def image(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (30 + index, 40, 3), np.uint8)


def ingest(workspace: Workspace, pictures: int = 7, broken: tuple[int, ...] = ()) -> str:
    """Make a finished ingest-images with pictures of the part "dictionary" and one of another part."""
    blobs = [workspace.blobs.put(png_bytes(image(i)) if i not in broken else b"broken %d" % i) for i in range(pictures)]
    origin = {"row": "natural", "source": "test", "licence": "CC0"}
    items = [
        Item(item_id=f"item-{i}", name=f"name {i}", photo=f"photo-{i // 2}", blob=blob, width=40, height=30 + i,
             part="dictionary" if i < pictures - 1 else "evaluation", **origin)
        for i, blob in enumerate(blobs)
    ]  # fmt: skip
    refused = RefusedPicture(item_id="failed", name="name", photo="photo", reason="broken", **origin)

    def body(folder: Path) -> dict[str, Any]:
        write_items(folder, items, [refused])
        return {}

    return run_stage(workspace, "ingest-images", inputs={}, config={"blobs": blobs}, modules=[], body=body).key


def extract(workspace: Workspace, **parameters: Any) -> StageResult:
    return resolve(workspace, "extract-features", extract_features.fn(backbone=TINY_ONNX, **parameters))


def vectors_by_item(stage: StageResult) -> dict[str, np.ndarray]:
    found = {}
    for path in sorted(stage.directory.glob("*.safetensors")):
        pictures, vectors = read_pictures(path.with_suffix(".parquet")), read_vectors(path)
        found.update(zip((picture.item_id for picture in pictures), vectors, strict=True))
    return found


@pytest.mark.parametrize("shard_items", [1, 4, 100])
def test_every_picture_of_the_part_gets_its_own_vector_however_it_is_sharded(
    workspace: Workspace, scheduler: str, shard_items: int
) -> None:
    ingest(workspace)
    stage = extract(workspace, shard_items=shard_items, dask_scheduler=scheduler)
    found = vectors_by_item(stage)
    expected = OnnxDescriptor(Path(TINY_ONNX)).vectors([image(i) for i in range(6)])
    assert list(found) == [f"item-{i}" for i in range(6)]
    np.testing.assert_array_equal(np.stack(list(found.values())), expected)
    assert stage.manifest.summary == {
        "count": 6, "known": 0, "failed": 0, "shards": -(-6 // shard_items), "backbone": "onnx",
        "dimension": expected.shape[1],
    }  # fmt: skip


def test_new_pictures_are_described_and_no_others(
    workspace: Workspace, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(workspace, pictures=5)
    first = extract(workspace, shard_items=3, dask_scheduler=scheduler)
    ingest(workspace, pictures=9)
    second = extract(workspace, shard_items=2, dask_scheduler=scheduler)
    assert second.manifest.summary["known"] == 4
    expected = OnnxDescriptor(Path(TINY_ONNX)).vectors([image(i) for i in range(8)])
    np.testing.assert_array_equal(np.stack(list(vectors_by_item(second).values())), expected)
    for path in first.directory.glob("*.safetensors"):
        path.write_bytes(b"damaged")
    ingest(workspace, pictures=8)
    third = extract(workspace, shard_items=3, dask_scheduler=scheduler)
    np.testing.assert_array_equal(np.stack(list(vectors_by_item(third).values())), expected[:7])
    monkeypatch.setattr("flows.features.stage_key", lambda *_, **__: "other code")
    ingest(workspace, pictures=4)
    assert extract(workspace, dask_scheduler=scheduler).manifest.summary["known"] == 0


def test_provenance_comes_with_the_vectors(workspace: Workspace, scheduler: str) -> None:
    ingest(workspace)
    stage = extract(workspace, dask_scheduler=scheduler)
    third = read_pictures(stage.directory / "shard-00000.parquet")[3]
    assert (third.photo, third.name, third.source, third.licence) == ("photo-1", "name 3", "test", "CC0")
    assert workspace.blobs.get(third.blob) == png_bytes(image(3))


def test_a_broken_picture_costs_its_own_row(workspace: Workspace, scheduler: str) -> None:
    ingest(workspace, broken=(2,))
    stage = extract(workspace, shard_items=3, dask_scheduler=scheduler)
    assert list(vectors_by_item(stage)) == [f"item-{i}" for i in (0, 1, 3, 4, 5)]
    [failure] = read_table(stage.directory / "failures.parquet").to_pylist()
    assert failure["item_id"] == "item-2"
    assert stage.manifest.summary["failed"] == 1


def test_pictures_that_all_fail_end_the_stage_with_a_reason(workspace: Workspace, scheduler: str) -> None:
    ingest(workspace, pictures=3, broken=(0, 1))
    with pytest.raises(InputError, match="no picture could be described"):
        extract(workspace, dask_scheduler=scheduler)
    with pytest.raises(InputError, match="no finished extract-features"):
        resolve(workspace, "extract-features")


def fails_once(plan: ShardPlan) -> ShardReport:
    marker = plan.blobs_root / f"tried-{plan.stem.name}"
    if not marker.exists():
        marker.touch()
        raise MemoryError(f"first try of {plan.stem.name}")
    return extract_shard(plan)


def test_a_shard_that_fails_is_tried_again(
    workspace: Workspace, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(workspace)
    monkeypatch.setattr("flows.features.extract_shard", fails_once)
    stage = extract(workspace, shard_items=2, dask_scheduler=scheduler)
    assert len(list(workspace.blobs.root.glob("tried-*"))) == 3
    assert stage.manifest.summary["count"] == 6


def always_fails(plan: ShardPlan) -> ShardReport:
    raise InputError(f"nothing works on {plan.stem.name}")


def test_a_shard_that_always_fails_ends_the_stage_with_its_error(
    workspace: Workspace, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(workspace)
    monkeypatch.setattr("flows.features.extract_shard", always_fails)
    with pytest.raises(ClcError, match="nothing works on shard-00000"):
        extract(workspace, dask_scheduler=scheduler)


def test_the_same_extraction_is_not_done_twice(
    workspace: Workspace, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ingest(workspace)
    first = extract(workspace, ingest=key, dask_scheduler=scheduler)
    monkeypatch.setattr("flows.features.extract_shard", always_fails)
    assert extract(workspace, dask_scheduler=scheduler).key == first.key


def test_worker_processes_are_started_where_no_scheduler_is_given(workspace: Workspace) -> None:
    ingest(workspace)
    stage = extract(workspace, shard_items=3)
    assert len(vectors_by_item(stage)) == 6


@pytest.mark.usefixtures("prefect_api")
def test_the_flow_returns_the_key_of_its_stage_under_prefect(workspace: Workspace, scheduler: str) -> None:
    ingest(workspace)
    key = extract_features(backbone=TINY_ONNX, dask_scheduler=scheduler)
    assert resolve(workspace, "extract-features").key == key


@pytest.mark.parametrize("stage", [extract_features, build_dictionary])
def test_every_parameter_of_the_flow_is_described_for_its_page(stage: Any) -> None:
    properties = parameter_schema(stage.fn).properties
    assert properties
    assert [name for name, schema in properties.items() if not schema.get("description")] == []


def test_a_worker_with_another_descriptor_refuses_the_work(workspace: Workspace, tmp_path: Path) -> None:
    plan = ShardPlan(
        stem=tmp_path / "shard", pictures=(), blobs_root=tmp_path, descriptor=TINY_ONNX, descriptor_digest="0" * 64
    )
    with pytest.raises(InputError, match="not the one that the work was planned with"):
        extract_shard(plan)


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"part": "holiday"}, "no pictures in part 'holiday'"),
        ({"shard_items": 0}, "shard_items is 0"),
        ({"workers": 0}, "workers is 0"),
        ({"ingest": "0" * 16}, "run the flow ingest-images first"),
        ({"dask_scheduler": "tcp://127.0.0.1:9"}, "no Dask scheduler answers at tcp://127.0.0.1:9"),
        ({"dask_scheduler": "nonsense://x"}, "no Dask scheduler answers at nonsense://x"),
    ],
)
def test_what_cannot_be_extracted_is_refused(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any], reason: str
) -> None:
    monkeypatch.setattr("flows.runtime.dask_cluster._CONNECT_S", 1)
    ingest(workspace)
    with pytest.raises(InputError, match=reason):
        extract(workspace, **parameters)
