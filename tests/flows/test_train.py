"""train-codec: from the training part and a dictionary to a bundle that codes pictures, once for each key."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clc.bundle.bundle import SHIPPED, Bundle
from clc.codec import Codec
from clc.dictionary.dictionary import Dictionary
from clc.errors import InputError
from clc.pictures.images import png_bytes
from clc.pictures.picture import Rectangle
from clc.training.loop import TrainingResult
from clc.training.prepared import PreparedTraining, train_prepared
from flows import train
from flows.items import write_items
from flows.runtime.stage import StageResult, resolve, run_stage
from flows.runtime.workspace import Workspace
from flows.train import train_codec
from tests.conftest import Picture
from tests.flows.tiny_training import short, small_start, training_items

STEPS = 2


def patches_of(photo: Picture, size_px: int) -> list[Picture]:
    tops, lefts = range(0, photo.shape[0] - size_px, 40), range(0, photo.shape[1] - size_px, 40)
    return [np.ascontiguousarray(photo[y : y + size_px, x : x + size_px]) for y in tops for x in lefts][:5]


@pytest.fixture(autouse=True)
def prepared(workspace: Workspace, photo: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finished ingest of five patches and a dictionary of four, one smaller than an entry; tracking is not wanted."""
    monkeypatch.setattr(train.TrainingRun, "send", lambda *arguments, **options: True)
    blobs = [workspace.blobs.put(png_bytes(patch)) for patch in patches_of(photo, 256)]
    small = workspace.blobs.put(png_bytes(np.ascontiguousarray(photo[:100, :120])))
    items = training_items(blobs)

    def ingest(folder: Path) -> dict[str, Any]:
        write_items(folder, items)
        return {}

    def dictionary(folder: Path) -> dict[str, Any]:
        names = ("a", "b", "c", "d")
        Dictionary(
            keys=np.eye(4, dtype=np.float32),
            item_ids=names,
            photos=names,
            blobs=(*blobs[:3], small),
            names=names,
            sources=names,
            licences=names,
            cluster_sizes=np.ones(4, np.int32),
            distances=np.zeros(4, np.float32),
            rectangles=(None, Rectangle(0, 0, 256, 256), None, None),
            relevances=np.ones(4),
        ).write(folder / "dictionary.parquet")
        return {}

    run_stage(workspace, "ingest-images", inputs={}, config={}, modules=[], body=ingest)
    run_stage(workspace, "build-dictionary", inputs={}, config={}, modules=[], body=dictionary)


@pytest.fixture(autouse=True)
def moments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have trainings take two small steps, whatever the model."""
    monkeypatch.setattr(train, "adaptation", short(STEPS))


@pytest.fixture
def small(tmp_path: Path) -> str:
    """The weights of a small model, to start from."""
    return small_start(tmp_path / "start")


def trained(workspace: Workspace, start: str = "shipped", **parameters: Any) -> StageResult:
    return resolve(workspace, "train-codec", train_codec.fn(start=start, minutes=60.0, **parameters))


def test_fine_tuning_makes_a_bundle_of_its_own_dictionary(workspace: Workspace, photo: Picture) -> None:
    stage = trained(workspace)
    codec = Codec.load(stage.directory / "bundle")
    assert stage.manifest.summary["bundle_id"] == codec.bundle.bundle_id != Bundle.load().bundle_id
    assert [entry["name"] for entry in codec.bundle.entries.provenance] == ["a", "b", "c", "d"]
    decoded = codec.decode(codec.encode(photo, 50))
    assert decoded.shape == photo.shape
    lines = [json.loads(line) for line in (stage.directory / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == stage.manifest.summary["steps"] == STEPS
    assert json.loads((stage.directory / "curve.json").read_text())[-1]["validation_bpp"]


@pytest.mark.parametrize("is_there", [True, False])
def test_bfloat16_is_used_where_the_cpu_multiplies_it(
    workspace: Workspace, small: str, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    configs = []

    def noted(prepared: PreparedTraining, *arguments: Any, **options: Any) -> TrainingResult:
        configs.append(prepared.config)
        return train_prepared(prepared, *arguments, **options)

    monkeypatch.setattr(train, "train_prepared", noted)
    monkeypatch.setattr(train, "has_bfloat16", lambda device: is_there)
    assert trained(workspace, small).manifest.summary["steps"] == STEPS
    assert [config.bf16 for config in configs] == [is_there]


def test_a_lost_tracking_server_costs_no_training(
    workspace: Workspace, small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train.TrainingRun, "send", lambda *arguments, **options: False)
    summary = trained(workspace, small).manifest.summary
    assert summary["steps"] >= summary["kept_step"] >= 0
    assert summary["steps"] == STEPS


def test_the_same_parameters_train_once_and_other_weights_again(workspace: Workspace, small: str) -> None:
    first = trained(workspace, small)
    assert trained(workspace, small).manifest.created_utc == first.manifest.created_utc
    assert trained(workspace, start=first.key).key != first.key


def test_key_pictures_are_kept_whole_and_their_overlaps_trained_on(
    workspace: Workspace, small: str, photo: Picture
) -> None:
    stage = trained(workspace, small, key_pictures=2)
    entries = Codec.load(stage.directory / "bundle").bundle.entries
    assert len(entries) == 6
    assert sorted(entries.pictures) == [4, 5]
    kept = [entry["name"] for entry in entries.provenance[4:]]
    assert kept == stage.manifest.summary["key_pictures"]
    whole = dict(zip([f"n{n}" for n in range(5)], patches_of(photo, 256), strict=True))
    for entry, name in zip((4, 5), kept, strict=True):
        assert np.array_equal(entries.pictures[entry].read(), whole[name])
    assert stage.manifest.summary["pairs"] > 0


def test_a_dictionary_that_no_bundle_takes_is_refused_before_training(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "MAX_DICTIONARY_ENTRIES", 3)
    monkeypatch.setattr(train, "train_prepared", lambda *arguments, **options: pytest.fail("it was trained"))
    with pytest.raises(InputError, match=r"has 4 entries, and a bundle takes 3: .* entries=3 and candidates=4"):
        trained(workspace)


def test_more_key_pictures_than_pictures_are_refused(workspace: Workspace) -> None:
    with pytest.raises(InputError, match="6 key pictures asked for, from 5 pictures"):
        trained(workspace, key_pictures=6)
    with pytest.raises(InputError, match="key_pictures is -1"):
        trained(workspace, key_pictures=-1)


def test_wrong_starts_and_budgets_are_told(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a bundle nor the weights"):
        trained(workspace, start=str(tmp_path))
    with pytest.raises(InputError, match="no key of train-codec"):
        trained(workspace, start="nothing")
    with pytest.raises(InputError, match="time budget"):
        train_codec.fn(minutes=0.0)
    assert SHIPPED.is_dir()
