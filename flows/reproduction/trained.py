"""Table 3: the same model with one component less, each trained for as many steps from the same random numbers.

A training that is interrupted goes on from its last checkpoint, which lies below `resumable/` in the workspace.
"""

from pathlib import Path
from typing import Any

import torch

from clc.bundle.export import export_bundle
from clc.codec.codec import Codec
from clc.evaluation.ablation import LastEncoding, TokenCoder, nearest, variant_figures
from clc.evaluation.coders import Coder
from clc.evaluation.measure import evaluate
from clc.machine import has_bfloat16
from clc.model.config import ModelConfig
from clc.training.config import TrainingConfig
from clc.training.data import PictureSet
from clc.training.prepared import PreparedTraining, train_prepared
from clc.training.run_folder import POSITION
from flows.reproduction.dictionaries import Described
from flows.reproduction.grid import ALL, Grid
from flows.reproduction.runs import MODULES
from flows.reproduction.tables import NONE, Measured
from flows.reproduction.windows import provenance
from flows.runtime.progress import counted
from flows.runtime.resumable import begin

ENCODER_ONLY = frozenset({"multi_query"})
"""Fields of `ModelConfig` that change no weights: such a row takes those of `ALL`."""
_CROP_PX = 128
_UNBOUNDED_MINUTES = 1e9


def measure_components(found: Described, grid: Grid, scratch: Path, state: Path) -> Measured:
    """Train a model a row, export each with the same dictionary, and code the pictures with all of them.

    `state` is where a training keeps what it needs to go on. Nothing but steps ends a training, and its last averaged
    weights are taken, so that rows differ in what they are without, and in nothing else.
    """
    asked = grid.components
    begin(state, MODULES, f"row-0/{POSITION}")
    items, photos = found.subject.photos(asked.photos)
    data = PictureSet(photos, [item.identity for item in items])
    windows = [found.windows[row] for row in found.rows(min(asked.entries, len(found.windows)), grid.seed)]
    shown = {item.blob: item.identity for item in found.subject.known}
    entries = PictureSet(list(found.read(windows)), [shown[window.blob] for window in windows])
    coders: list[Coder] = []
    figures: dict[str, dict[str, Any]] = {}
    weights: dict[str, torch.Tensor] = {}
    models = asked.models()
    with counted("training", len(models)) as one_more:
        for number, (name, model) in enumerate(models.items()):
            switches = asked.rows.get(name, {})
            is_trained = number == 0 or not switches.keys() <= ENCODER_ONLY
            figures[name] = {"trained": is_trained, "switches": switches}
            if is_trained:
                config = _config(model, grid)
                result = train_prepared(PreparedTraining(config, data, entries), state / f"row-{number}")
                trained, figures[name]["steps"] = result.weights, result.steps
            if number == 0:
                weights = trained
            folder = scratch / f"bundle-{number}"
            kept = trained if is_trained else weights
            export_bundle(folder, model, kept, entries.pictures, [provenance(window) for window in windows])
            coders += _coders(folder, grid, name)
            one_more()
    pictures = found.subject.pictures()
    with counted("measuring components", len(pictures)) as one_more:
        rows = evaluate(coders, pictures, on_picture=lambda _: one_more())
    made = [{**one, **figures.get(one["variant"], {})} for one in variant_figures(rows, ALL)]
    notes = {"entries": len(windows), "photos": len(photos), "steps": asked.steps, "references": asked.references}
    return Measured(rows, made, notes)


def _coders(folder: Path, grid: Grid, name: str) -> list[Coder]:
    memory = LastEncoding(Codec.load(folder))
    count = grid.components.references
    made: list[Coder] = [TokenCoder(name=name, qualities=grid.qualities, memory=memory, choose=nearest(count))]
    if name == ALL:
        unused = f"{ALL}, {NONE} used"
        made.append(TokenCoder(name=unused, qualities=grid.qualities, memory=memory, choose=nearest(0)))
    return made


def _config(model: ModelConfig, grid: Grid) -> TrainingConfig:
    asked = grid.components
    return TrainingConfig(
        minutes=_UNBOUNDED_MINUTES,
        steps=asked.steps,
        batch_px=asked.crops * _CROP_PX**2,
        crops=((0.0, _CROP_PX),),
        warmup_steps=max(1, asked.steps // 10),
        hyper_warmup_steps=max(1, asked.steps // 2),
        refresh_steps=max(1, asked.steps // 4),
        ema=1.0 - 1.0 / max(2.0, min(1000.0, asked.steps / 10.0)),
        aligned_share=0.0,
        validate_s=_UNBOUNDED_MINUTES,
        seed=grid.seed,
        bf16=has_bfloat16(torch.device("cpu")),
        model=model,
    )
