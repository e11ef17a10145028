"""The flow `extract-features`: every picture of a part becomes a vector, one Dask task a shard.

The flow plans the shards and collects their reports. The work is done by `clc.dictionary.extraction` in Dask's worker
processes, which never import Prefect (`flows.runtime.dask_cluster`). By default these are two on this machine. Workers
behind `dask_scheduler` must see the workspace under the same path.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from prefect import flow

from clc.dictionary.extraction import ShardPlan, ShardReport, extract_shard, open_descriptor
from clc.dictionary.vectors import COLUMNS, StoredPicture
from clc.errors import InputError
from clc.retrieval.descriptors import Descriptor
from flows.codec_modules import CODEC_MODULES
from flows.items import read_items
from flows.runtime.dask_cluster import dask_client, in_order
from flows.runtime.progress import counted
from flows.runtime.stage import resolve, run_stage
from flows.runtime.workspace import Workspace
from storage.digest import digest_json
from storage.tables import write_table

logger = logging.getLogger(__name__)

_OWN_MODULES = (
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

_FAILURES = pa.schema([pa.field(name, pa.string(), nullable=False) for name in ("item_id", "reason")])


@flow(name="extract-features")
def extract_features(
    ingest: str = "latest",
    backbone: str = "codec",
    part: str = "dictionary",
    shard_items: int = 64,
    workers: int = 2,
    dask_scheduler: str | None = None,
) -> str:
    """Describe every picture of one part by a vector: a backbone's feature map under the pyramid 1x1, 2x2, 4x4.

    Args:
        ingest: Key of a finished ingest-images, or "latest".
        backbone: "codec" (the shipped codec's own analysis), "resnet50" (torchvision's), or the path of an .onnx file.
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
    result = run_stage(
        workspace,
        "extract-features",
        inputs={"ingest": ingested.key},
        config={"backbone": opened.describe(), "part": part, "shard_items": shard_items},
        modules=MODULES_WITH_CODEC if backbone == "codec" else MODULES,
        body=lambda folder: _extract(
            _plans(pictures, shard_items, folder, workspace, backbone, opened), opened, workers, dask_scheduler
        ),
    )
    return result.key


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
        "failed": len(failures),
        "shards": len(plans),
        "dimension": descriptor.dimension,
        "backbone": descriptor.name,
    }
