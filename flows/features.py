"""The flow `extract-features`: every picture of a part becomes a vector, one Dask task a shard.

The flow plans the shards and collects their reports. The work is done by `clc.dictionary.extraction` in Dask's worker
processes, which never import Prefect (`flows.runtime.dask_cluster`). By default these are two on this machine. Workers
behind `dask_scheduler` must see the workspace under the same path. A picture that a finished stage describes with the
same backbone and code is not described again: its vector is copied.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from prefect import flow

from clc.dictionary.extraction import KnownVector, ShardPlan, ShardReport, extract_shard, open_descriptor
from clc.dictionary.vectors import COLUMNS, Identity, StoredPicture, read_pictures
from clc.errors import InputError
from clc.retrieval.descriptors import Descriptor
from flows.codec_modules import CODEC_MODULES
from flows.items import read_items
from flows.runtime.dask_cluster import dask_client, in_order
from flows.runtime.failing import saying_why
from flows.runtime.names import run_name
from flows.runtime.parameters import Count
from flows.runtime.progress import counted
from flows.runtime.stage import resolve, run_stage, stage_key
from flows.runtime.workspace import Workspace
from storage.digest import digest_json
from storage.errors import StorageError
from storage.manifest import MANIFEST_NAME, Manifest, read_manifest
from storage.tables import write_table

logger = logging.getLogger(__name__)

_OWN_MODULES = (
    "clc.collection.patches",
    "clc.dictionary.extraction",
    "clc.dictionary.vectors",
    "flows.features",
    "flows.items",
    "storage.blobs",
    "storage.tables",
)
MODULES = (
    *_OWN_MODULES,
    "clc.limits",
    "clc.pictures",
    "clc.retrieval.descriptors",
    "clc.retrieval.pyramid",
    "clc.retrieval.torchvision_compat",
    "storage.arrays",
    "storage.digest",
)
"""The source text that decides what this stage makes with the backbones that are not the codec."""
MODULES_WITH_CODEC = (*_OWN_MODULES, *CODEC_MODULES)
"""The same for the backbone "codec"; its weights are named by the bundle id in the backbone's description."""

STAGE = "extract-features"

_FAILURES = pa.schema([pa.field(name, pa.string(), nullable=False) for name in ("item_id", "reason")])


@flow(name="extract-features", flow_run_name=run_name("extract-features of {part} by {backbone}"))
@saying_why
def extract_features(
    ingest: str = "latest",
    backbone: str = "codec",
    part: str = "dictionary",
    shard_items: Count = 64,
    workers: Count = 2,
    dask_scheduler: str | None = None,
) -> str:
    """Describe every picture of one part by a vector: a backbone's feature map under the pyramid 1x1, 2x2, 4x4.

    Args:
        ingest: Key of a finished ingest-images, or "latest".
        backbone: "codec", the shipped codec's own analysis: needs nothing else, and pays where pictures are alike down
            to their texture, as those of one camera or place. "resnet50", torchvision's as in the paper: pays where
            alike means that the same things are shown, in another light or size; wants weights of 98 MB. The path of an
            .onnx file: pays where there is a network for such pictures (aerial, medical, product), or a smaller one.
        part: Which pictures: "dictionary", "training" or "evaluation".
        shard_items: Pictures in a shard, the unit of work and of retry.
        workers: Worker processes on this machine, one thread each; not used with a scheduler's address.
        dask_scheduler: Address of a running Dask scheduler, such as "tcp://host:8786"; without one, a local cluster.

    Returns:
        The key of the finished stage, which build-dictionary takes as `features`.
    """
    for name, value in (("shard_items", shard_items), ("workers", workers)):
        if value < 1:
            raise InputError(f"{name} is {value}; it must be at least 1")
    workspace = Workspace.from_environment()
    ingested = resolve(workspace, "ingest-images", ingest)
    pictures = _pictures(ingested.directory, part)
    opened = open_descriptor(backbone)
    modules = MODULES_WITH_CODEC if backbone == "codec" else MODULES

    def body(folder: Path) -> dict[str, Any]:
        known = known_vectors(workspace, opened.describe(), modules)
        plans = _plans(pictures, shard_items, folder, workspace, backbone, opened)
        plans = [replace(plan, known=_of_shard(plan, known)) for plan in plans]
        return _extract(plans, opened, workers, dask_scheduler)

    result = run_stage(
        workspace,
        "extract-features",
        inputs={"ingest": ingested.key},
        config={"backbone": opened.describe(), "part": part, "shard_items": shard_items},
        modules=modules,
        body=body,
    )
    return result.key


def known_vectors(
    workspace: Workspace, backbone: Mapping[str, Any], modules: Sequence[str]
) -> dict[Identity, KnownVector]:
    """Return the vectors that finished stages made with the same backbone and code, by what they describe."""
    found: dict[Identity, KnownVector] = {}
    for path in sorted((workspace.stages / STAGE).glob(f"*/{MANIFEST_NAME}")):
        try:
            manifest = read_manifest(path.parent, verify=False)
            same = stage_key(STAGE, inputs=manifest.inputs, config=manifest.config, modules=modules) == manifest.key
            if same and digest_json(manifest.config.get("backbone")) == digest_json(backbone):
                found |= _vectors_of(path.parent, manifest)
        except StorageError as error:  # of an earlier result, which nobody asked for
            logger.warning("vectors_not_used path=%s reason=%s", path.parent, error)
    return found


def _vectors_of(folder: Path, manifest: Manifest) -> dict[Identity, KnownVector]:
    shards = [(folder / name, entry) for name, entry in manifest.files.items() if name.endswith(".safetensors")]
    return {
        picture.identity: KnownVector(shard, entry.sha256, row)
        for shard, entry in shards
        for row, picture in enumerate(read_pictures(shard.with_suffix(".parquet")))
    }


def _of_shard(plan: ShardPlan, known: Mapping[Identity, KnownVector]) -> dict[int, KnownVector]:
    identities = (picture.identity for picture in plan.pictures)
    return {number: known[identity] for number, identity in enumerate(identities) if identity in known}


def _pictures(ingest: Path, part: str) -> list[StoredPicture]:
    """Return the pictures of a part, in the order of the ingest's table; `InputError` if there are none."""
    items = read_items(ingest)
    chosen = [item for item in items if item.part == part]
    if not chosen:
        parts = ", ".join(sorted({item.part for item in items})) or "none"
        raise InputError(f"there are no pictures in part {part!r} (parts with pictures: {parts}); ingest some first")
    return [StoredPicture(**{name: getattr(item, name) for name in COLUMNS}) for item in chosen]


def _plans(
    pictures: Sequence[StoredPicture],
    shard_items: int,
    folder: Path,
    workspace: Workspace,
    spec: str,
    descriptor: Descriptor,
) -> list[ShardPlan]:
    is_file = spec.lower().endswith(".onnx")
    return [
        ShardPlan(
            stem=folder / f"shard-{number:05d}",
            pictures=tuple(pictures[start : start + shard_items]),
            blobs_root=workspace.blobs.root,
            descriptor=str(Path(spec).absolute()) if is_file else spec,
            descriptor_digest=digest_json(descriptor.describe()),
        )
        for number, start in enumerate(range(0, len(pictures), shard_items))
    ]


def _extract(plans: Sequence[ShardPlan], descriptor: Descriptor, workers: int, scheduler: str | None) -> dict[str, Any]:
    """Have all shards worked on, and return the stage's summary."""
    reports: list[ShardReport] = []
    with (
        dask_client(min(workers, len(plans)), scheduler) as client,
        counted("describing shards", len(plans)) as one_more,
    ):
        for report in in_order(client, extract_shard, plans, lambda plan: plan.stem.name):
            reports.append(report)
            one_more()
    failures = [failure for report in reports for failure in report.failures]
    count = sum(report.count for report in reports)
    if not count:
        raise InputError(f"no picture could be described; the first because: {failures[0][1]}")
    rows = [dict(zip(_FAILURES.names, failure, strict=True)) for failure in failures]
    write_table(plans[0].stem.parent / "failures.parquet", pa.Table.from_pylist(rows, _FAILURES))
    return {
        "count": count,
        "known": sum(report.n_known for report in reports),
        "failed": len(failures),
        "shards": len(plans),
        "dimension": descriptor.dimension,
        "backbone": descriptor.name,
    }
