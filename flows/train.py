"""The flow `train-codec`: fine-tune a codec on the training part, with the dictionary, and export its bundle.

The stage's folder holds the bundle, `log.jsonl` (every line of the training log) and `curve.json` (those of them with a
validation). A training that is interrupted goes on from its last checkpoint, which lies below `resumable/` in the
workspace, under the stage's key. It runs in the process of the flow, or in several that `torchrun` starts.
"""

import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from prefect import flow

from clc.bundle.bundle import SHIPPED, Origin
from clc.bundle.export import export_bundle
from clc.bundle.extend import add_pictures
from clc.bundle.identity import id_of, is_bundle, origin_lines, read_manifest_bytes
from clc.codec.selftest import write_vectors
from clc.collection.patches import PatchReader
from clc.dictionary.dictionary import DICTIONARY_NAME, Dictionary
from clc.errors import InputError
from clc.limits import MAX_DICTIONARY_ENTRIES
from clc.machine import has_bfloat16, keep_freed_memory
from clc.pictures.patches import entry_patch
from clc.pictures.picture import Rectangle
from clc.references.overlaps import choose_key_pictures, find_overlaps
from clc.training.checkpoint import lines_so_far, step_reached
from clc.training.config import GPU_WORKERS, TrainingConfig, adaptation
from clc.training.data import PictureSet
from clc.training.distributed import check_device
from clc.training.loop import Observer, TrainingResult
from clc.training.pairs import overlapping_pairs
from clc.training.prepared import PreparedTraining, train_prepared
from clc.training.run_folder import POSITION, weights_file
from clc.training.train import read_start
from clc.training.worker import PREPARED, RUN
from flows.codec_modules import CODEC_MODULES
from flows.items import Item, photo_identity, read_items
from flows.runtime.failing import saying_why
from flows.runtime.live_tracking import followed
from flows.runtime.mlflow_session import Data, Server
from flows.runtime.names import collection_name, run_name
from flows.runtime.parameters import Above0, Count, Device, Some
from flows.runtime.progress import training_progress
from flows.runtime.resumable import begin, discard
from flows.runtime.stage import StageResult, resolve, run_stage, stage_key
from flows.runtime.torchrun import train_in_processes
from flows.runtime.tracking import STAGE_KEY, TrainingRun
from flows.runtime.workspace import Workspace
from storage.atomic import remove_leftovers, write_bytes
from storage.blobs import BlobStore
from storage.digest import digest_json, sha256_file

logger = logging.getLogger(__name__)

SCRATCH = "scratch"
MODULES = (
    *CODEC_MODULES,
    "clc.bundle.calibration",
    "clc.bundle.entries",
    "clc.bundle.export",
    "clc.bundle.extend",
    "clc.codec.selftest",
    "clc.collection.patches",
    "clc.dictionary.dictionary",
    "clc.training",
    "flows.items",
    "flows.train",
    "storage.blobs",
    "storage.names",
    "storage.tables",
)
"""The source text that decides what this stage makes; the codec is in it for the self-test that the bundle carries."""
PROVENANCE = ("name", "photo", "source", "licence")
"""What a bundle says of each entry."""


@flow(name="train-codec", flow_run_name=run_name("train-codec from {start}"))
@saying_why
def train_codec(
    ingest: str = "latest",
    dictionary: str = "latest",
    start: str = "shipped",
    minutes: Above0 = 1.0,
    learning_rate: Above0 | None = None,
    key_pictures: Some = 0,
    seed: Some = 0,
    device: Device = "cpu",
    processes: Count = 1,
) -> str:
    """Train a codec on the training part of the pictures, conditioned on the dictionary, and export its bundle.

    Args:
        ingest: Key of a finished ingest-images, or "latest".
        dictionary: Key of a finished build-dictionary, or "latest".
        start: The weights to start from: "shipped", "scratch" (no weights: hours, not minutes), a key of train-codec,
            a bundle folder, or the output folder of `python -m clc.training`.
        minutes: Time budget; the learning rate decays towards its end.
        learning_rate: Peak of the schedule; without it 3e-4 from weights and 1e-3 from scratch.
        key_pictures: For collections whose pictures overlap (strips, bursts, scans, one camera): so many pictures of
            the training part are kept whole in the bundle for others to be aligned with, and training sees the
            overlaps. 0 for ordinary collections.
        seed: Seed of crops, noise and order.
        device: What to train on, on the machine where this runs: "cpu", or "cuda" for a GPU.
        processes: How many processes train together, each on crops of its own, on a GPU of its own where the device is
            "cuda". The batch is as many times larger.

    Returns:
        The key of the finished stage, which evaluate-codec takes as `bundle`. Where the run is killed, the same run
        again goes on from its last checkpoint.
    """
    if key_pictures < 0:
        raise InputError(f"key_pictures is {key_pictures}; say 0 or how many to keep")
    if not minutes > 0.0:
        raise InputError(f"minutes is {minutes}; training needs a time budget above 0")
    workspace = Workspace.from_environment()
    pictures = resolve(workspace, "ingest-images", ingest)
    chosen = resolve(workspace, "build-dictionary", dictionary)
    origin = _start_folder(workspace, start)
    if origin:
        config = adaptation(minutes, learning_rate=learning_rate, seed=seed)
    else:
        config = TrainingConfig(minutes=minutes, learning_rate=learning_rate or 1e-3, seed=seed)
    identity: dict[str, Any] = {
        "inputs": {"ingest": pictures.key, "dictionary": chosen.key, "start": _start_digest(origin)},
        "config": {
            "minutes": minutes,
            "learning_rate": config.learning_rate,
            "key_pictures": key_pictures,
            "seed": seed,
            # Several processes take as many times the crops a step: another recipe. A device is not in the key: it is
            # faster or slower, as any machine is, and a training may go on on another one.
            "processes": processes,
        },
        "modules": MODULES,
    }
    key = stage_key("train-codec", **identity)
    run = _run(workspace, pictures, _start_name(start, origin), identity, key)
    sources = Sources(workspace.blobs, pictures.directory, chosen.directory, origin, key_pictures)
    config = replace(config, device=device, workers=GPU_WORKERS if device == "cuda" else 0)
    place = Place(workspace.resumable / "train-codec" / key, processes)
    result = run_stage(
        workspace,
        "train-codec",
        **identity,
        body=lambda folder: _train(sources, config, run, place, folder),
        pending=place.what_is_left,
    )
    run.made(result.manifest.summary["bundle_id"])
    return result.key


def _run(workspace: Workspace, ingest: StageResult, start: str, identity: Mapping[str, Any], key: str) -> TrainingRun:
    """The run that MLflow shows: named by the collection and by what training goes on from."""
    source = str(ingest.manifest.summary.get("source", ingest.key))
    collection = collection_name(source)
    blobs = [item.blob for item in read_items(ingest.directory, "training")]
    data = Data(collection, digest_json(blobs)[:32], source, len(blobs))
    params = {**identity["config"], **identity["inputs"], "start": start}
    return TrainingRun(Server.of(workspace), f"{collection} from {start}", params, data=data, tags={STAGE_KEY: key})


def _start_name(start: str, origin: Path | None) -> str:
    """What training goes on from, for people: "scratch", or a name and the id of the bundle where it is one."""
    name = Path(start).name if Path(start).is_dir() else start
    bundle_id = id_of(read_manifest_bytes(origin)) if origin is not None and is_bundle(origin) else ""
    return name if bundle_id in ("", name) else f"{name} {bundle_id[:8]}"


def _start_folder(workspace: Workspace, start: str) -> Path | None:
    if start == SCRATCH:
        return None
    if start == "shipped":
        return SHIPPED
    if Path(start).is_dir():
        return Path(start)
    return resolve(workspace, "train-codec", start).directory / "bundle"


def _start_digest(origin: Path | None) -> str:
    if origin is None:
        return SCRATCH
    manifest = origin / "manifest.json"
    found = manifest if manifest.is_file() else weights_file(origin)
    if found is None:
        raise InputError(f"{origin} holds neither a bundle nor the weights of a training run; name one that does")
    return sha256_file(found)


@dataclass(frozen=True)
class Sources:
    """What a training run is made from: folders of finished stages, where to start, and how many key pictures."""

    blobs: BlobStore
    ingest: Path
    dictionary: Path
    origin: Path | None
    key_pictures: int


@dataclass(frozen=True)
class Place:
    """Where a training keeps what it needs to go on, and how many processes of this machine make it."""

    state: Path
    processes: int

    def what_is_left(self) -> str:
        """What an interrupted training has got so far, in words; nothing where there is none."""
        step = step_reached(self.state / RUN)
        return "" if step is None else f"goes on from step {step}"


@dataclass(frozen=True)
class Lesson:
    """What is to be trained on; the key pictures among it, by index, and what the bundle says of each entry."""

    prepared: PreparedTraining
    keys: list[int] = field(default_factory=list)
    provenance: list[dict[str, str]] = field(default_factory=list)


def _train(sources: Sources, config: TrainingConfig, run: TrainingRun, place: Place, folder: Path) -> dict[str, Any]:
    """Train where the last run of the same stage stopped; write bundle, log and validation curve; the stage's body."""
    check_device(config.device, place.processes)
    training = read_items(sources.ingest, "training")
    if not training:
        raise InputError("no picture in the training part; ingest more pictures, or raise training_share")
    keep_freed_memory()
    begin(place.state, MODULES, f"{RUN}/{POSITION}")
    config = replace(config, bf16=has_bfloat16(torch.device(config.device)))
    lesson = _lesson(sources, config, training, place)
    data, entries, keys = lesson.prepared.data, lesson.prepared.entries, lesson.keys
    with training_progress("training", config.minutes) as progress, followed(run) as follower:

        def report(line: dict[str, Any]) -> None:
            progress(line)
            follower.report(line)

        for line in lines_so_far(place.state / RUN):
            follower.report(line)
        outcome = _outcome(lesson.prepared, place, Observer(report, follower.show))
    with tempfile.TemporaryDirectory(prefix="clc-train-") as scratch:
        base = Path(scratch) / "bundle" if keys else folder / "bundle"
        made = export_bundle(
            base,
            lesson.prepared.config.model,
            outcome.weights,
            entries.pictures,
            lesson.provenance,
            _origin(sources.origin, training),
        )
        bundle_id = made.bundle_id
        if keys:
            provenance = [{name: getattr(training[key], name) for name in PROVENANCE} for key in keys]
            bundle_id = add_pictures(base, folder / "bundle", [data.pictures[key] for key in keys], provenance)
    write_vectors(folder / "bundle")
    write_bytes(folder / "log.jsonl", "".join(json.dumps(line) + "\n" for line in outcome.log).encode())
    curve = [line for line in outcome.log if "validation_bpp" in line]
    write_bytes(folder / "curve.json", json.dumps(curve, indent=1).encode())
    logger.info("codec_trained steps=%d bundle=%s", outcome.steps, bundle_id)
    return {
        "steps": outcome.steps,
        "kept_step": outcome.kept_step,
        "bundle_id": bundle_id,
        "entries": len(entries) + len(keys),
        "pictures": len(data),
        "key_pictures": [training[key].name for key in keys],
        "pairs": len(lesson.prepared.pairs),
    }


def _outcome(prepared: PreparedTraining, place: Place, observer: Observer) -> TrainingResult:
    if place.processes > 1:
        return train_in_processes(place.state, place.processes, observer)
    return train_prepared(prepared, place.state / RUN, observer=observer)


def _lesson(sources: Sources, config: TrainingConfig, training: Sequence[Item], place: Place) -> Lesson:
    """Read pictures, dictionary and weights; for several processes, write them too, and have the pixels from there."""
    places = [(item.blob, item.rectangle) for item in training]
    data = _pictures(sources.blobs, places, [item.identity for item in training])
    chosen = _dictionary(sources.dictionary)
    photos = [photo_identity(*one) for one in zip(chosen.photos, chosen.item_ids, strict=True)]
    whole = _pictures(sources.blobs, list(zip(chosen.blobs, chosen.rectangles, strict=True)), photos)
    entries = PictureSet([entry_patch(picture) for picture in whole.pictures], whole.photos)
    state = None
    if sources.origin:
        model, state = read_start(sources.origin)
        config = replace(config, model=model or config.model)
    overlaps = find_overlaps(data.pictures) if sources.key_pictures else []
    keys = choose_key_pictures(overlaps, len(data), sources.key_pictures) if sources.key_pictures else []
    prepared = PreparedTraining(config, data, entries, overlapping_pairs(data, overlaps), state)
    written = place.state / PREPARED
    remove_leftovers(written)
    discard(written)
    if place.processes > 1:
        prepared.write(written)
        prepared = PreparedTraining.read(written)
    return Lesson(prepared, keys, _provenance(chosen))


def _dictionary(folder: Path) -> Dictionary:
    """Read a finished dictionary. Raises `InputError` where it has more entries than a bundle takes."""
    chosen = Dictionary.read(folder / DICTIONARY_NAME)
    if len(chosen) > MAX_DICTIONARY_ENTRIES:
        raise InputError(
            f"the dictionary has {len(chosen)} entries, and a bundle takes {MAX_DICTIONARY_ENTRIES}: "
            f"run build-dictionary with entries={MAX_DICTIONARY_ENTRIES} and candidates={len(chosen)}"
        )
    return chosen


def _origin(start: Path | None, training: Sequence[Item]) -> Origin:
    """What the bundle says of its making: the bundle that training began from, and where its pictures come from."""
    parent = id_of(read_manifest_bytes(start)) if start is not None and is_bundle(start) else ""
    photos = {item.identity: (item.source, item.licence) for item in training}
    return Origin(parent, origin_lines(photos.values()))


def _provenance(chosen: Dictionary) -> list[dict[str, str]]:
    columns = (chosen.names, chosen.photos, chosen.sources, chosen.licences)
    return [dict(zip(PROVENANCE, row, strict=True)) for row in zip(*columns, strict=True)]


def _pictures(blobs: BlobStore, places: Sequence[tuple[str, Rectangle | None]], photos: Sequence[str]) -> PictureSet:
    """Read pictures, those of one blob in a row, and return them in the order of `places`."""
    reader = PatchReader(blobs)
    order = sorted(range(len(places)), key=lambda number: places[number][0])
    read = {number: reader.read(*places[number]) for number in order}
    return PictureSet([read[number] for number in range(len(places))], list(photos))
