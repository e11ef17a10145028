"""A workspace in which `train-codec` takes moments: small pictures, a dictionary of two, weights of a small model."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clc.dictionary.dictionary import Dictionary
from clc.model.model import Model
from clc.pictures.images import png_bytes
from clc.training.config import TrainingConfig
from clc.training.run_folder import WEIGHTS, packed, write_model
from flows import train
from flows.items import Item, write_items
from flows.runtime.stage import run_stage
from flows.runtime.workspace import Workspace
from storage.atomic import write_bytes
from tests.conftest import SMALL

TINY = replace(SMALL, references=2)
NAMES = ("a", "b")


def training_items(blobs: Sequence[str]) -> list[Item]:
    """Items of the training part, one a blob, each a photo of its own of 256x256 px."""
    return [
        Item(
            item_id=f"i{n}",
            name=f"n{n}",
            photo=f"p{n}",
            part="training",
            row="natural",
            blob=blob,
            width=256,
            height=256,
            source="s",
            licence="l",
        )
        for n, blob in enumerate(blobs)
    ]


def fill(workspace: Workspace) -> None:
    """Finish an ingest of five smooth random pictures, and a dictionary of two of them."""
    rng = np.random.default_rng(0)
    made = [np.kron(rng.integers(0, 256, (8, 8, 3)), np.ones((32, 32, 1))).astype(np.uint8) for _ in range(5)]
    blobs = [workspace.blobs.put(png_bytes(picture)) for picture in made]
    items = training_items(blobs)

    def ingest(folder: Path) -> dict[str, Any]:
        write_items(folder, items)
        return {}

    def dictionary(folder: Path) -> dict[str, Any]:
        Dictionary(
            keys=np.eye(2, dtype=np.float32),
            item_ids=NAMES,
            photos=NAMES,
            blobs=tuple(blobs[:2]),
            names=NAMES,
            sources=NAMES,
            licences=NAMES,
            cluster_sizes=np.ones(2, np.int32),
            distances=np.zeros(2, np.float32),
            relevances=np.zeros(2),
            rectangles=(None,) * 2,
        ).write(folder / "dictionary.parquet")
        return {}

    run_stage(workspace, "ingest-images", inputs={}, config={}, modules=[], body=ingest)
    run_stage(workspace, "build-dictionary", inputs={}, config={}, modules=[], body=dictionary)


def small_start(folder: Path) -> str:
    """Write the weights of a small model as a run leaves them; return the folder, for `start`."""
    torch.manual_seed(1)
    write_model(folder, TINY)
    write_bytes(folder / WEIGHTS, packed(Model(TINY).state_dict()))
    return str(folder)


def short(steps: int) -> Any:
    """What stands in for `clc.training.config.adaptation`: so many small steps, each of them saved and logged."""

    def adaptation(minutes: float, *, learning_rate: float | None = None, seed: int = 0) -> TrainingConfig:
        return TrainingConfig(
            minutes=minutes,
            steps=steps,
            learning_rate=learning_rate or 1e-4,
            batch_px=2 * 64 * 64,
            crops=((0.0, 64),),
            warmup_steps=2,
            aligned_share=0.2,
            start_share=0.1,
            held_out=1,
            log_s=0.0,
            save_s=0.0,
            validate_s=1e9,
            seed=seed,
        )

    return adaptation


def trained(start: str, steps: int, *, is_tracked: bool = False, **parameters: Any) -> str:
    """Call the flow's function with so many steps; return the stage's key. MLflow hears of it if `is_tracked`."""
    former = train.adaptation, train.TrainingRun.send
    train.adaptation = short(steps)  # type: ignore[assignment]
    if not is_tracked:
        train.TrainingRun.send = lambda *arguments, **options: True  # type: ignore[method-assign]
    try:
        return train.train_codec.fn(start=start, minutes=60.0, **parameters)
    finally:
        train.adaptation, train.TrainingRun.send = former  # type: ignore[method-assign]
