"""One shard of feature extraction: pictures in by the digests of their blobs, vectors out as files.

This is what a worker process runs, so it imports no pipeline. It gets and returns digests and paths only. A picture
that cannot be described costs its own row; anything else fails the shard, which whoever planned it tries again.
"""

import functools
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from clc.errors import ClcError, InputError
from clc.pictures.images import read_image
from clc.retrieval.descriptors import CodecDescriptor, Descriptor, OnnxDescriptor, ResNet50Descriptor
from storage.arrays import read_arrays, write_arrays
from storage.blobs import BlobStore
from storage.digest import digest_json, sha256_file
from storage.errors import StorageError
from storage.tables import read_table, write_table

log = logging.getLogger(__name__)

_VECTORS = "features"


@dataclass(frozen=True, kw_only=True)
class Item:
    """A picture with its provenance: `blob` is the sha256 of its bytes in the blob store."""

    item_id: str
    photo: str
    blob: str
    name: str
    source: str
    licence: str


PROVENANCE = tuple(Item.__dataclass_fields__)


@dataclass(frozen=True, kw_only=True)
class ShardPlan:
    """What a worker needs: the items, where their blobs are, and which descriptor (its spec, and what it must be)."""

    stem: Path
    items: tuple[Item, ...]
    blobs_root: Path
    descriptor: str
    descriptor_digest: str


@dataclass(frozen=True, kw_only=True)
class ShardReport:
    """What became of a shard: its files' sha256 by name, how many vectors they hold, and (item_id, reason) failures."""

    files: dict[str, str]
    count: int
    failures: tuple[tuple[str, str], ...]


def extract_shard(plan: ShardPlan) -> ShardReport:
    """Describe the pictures of a shard; write `STEM.safetensors` and its provenance `STEM.parquet`, row by row alike.

    Raises InputError where this machine opens another descriptor than the plan was made with, StorageError where the
    files cannot be written.
    """
    descriptor = _opened(plan.descriptor, plan.descriptor_digest)
    vectors, items, failures = _describe(plan.items, BlobStore(plan.blobs_root), descriptor)
    arrays, table = plan.stem.with_suffix(".safetensors"), plan.stem.with_suffix(".parquet")
    write_arrays(arrays, {_VECTORS: np.concatenate([np.empty((0, descriptor.dimension), np.float32), *vectors])})
    write_table(table, pa.Table.from_pylist([asdict(item) for item in items], _SCHEMA))
    return ShardReport(
        files={path.name: sha256_file(path) for path in (arrays, table)}, count=len(items), failures=tuple(failures)
    )


def read_vectors(path: Path, sha256: str | None = None) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Return the vectors of a shard, float32 (n, D), checking the file's `sha256` where given. Raises StorageError."""
    vectors = read_arrays(path, sha256).get(_VECTORS)
    if vectors is None or vectors.ndim != 2 or vectors.dtype != np.float32:
        raise StorageError(f"{path} holds no float32 vectors: run extract-features again")
    return vectors


def read_items(path: Path) -> list[Item]:
    """Return the provenance of a shard's vectors, in their order. Raises StorageError."""
    return [Item(**row) for row in read_table(path, PROVENANCE).to_pylist()]


@functools.lru_cache(maxsize=1)
def _opened(spec: str, digest: str) -> Descriptor:
    """Open a descriptor once for all shards that this process works on; `digest` is what its description must have."""
    descriptor = open_descriptor(spec)
    if digest_json(descriptor.describe()) != digest:
        raise InputError(
            f"this worker's backbone {spec!r} is not the one that the work was planned with: "
            "give every worker the same release, weights and files"
        )
    return descriptor


def _describe(
    items: Sequence[Item], blobs: BlobStore, descriptor: Descriptor
) -> tuple[list[np.ndarray[tuple[int, int], np.dtype[np.float32]]], list[Item], list[tuple[str, str]]]:
    vectors, described, failures = [], [], []
    for item in items:
        try:
            vectors.append(descriptor.vectors([read_image(blobs.get(item.blob))]))
        except ClcError as error:
            log.warning("picture_failed item_id=%s reason=%s", item.item_id, error)
            failures.append((item.item_id, str(error)))
        else:
            described.append(item)
    return vectors, described, failures


_SCHEMA = pa.schema([pa.field(name, pa.string(), nullable=False) for name in PROVENANCE])


def open_descriptor(spec: str) -> Descriptor:
    """Open the descriptor that `spec` names: "codec", "resnet50", or the path of an .onnx file. Raises InputError."""
    if spec == "codec":
        from clc.codec.codec import Codec

        return CodecDescriptor(Codec.load())
    if spec == "resnet50":
        return ResNet50Descriptor()
    if Path(spec).suffix.lower() == ".onnx":
        return OnnxDescriptor(Path(spec))
    raise InputError(f'no backbone {spec!r}: say "codec", "resnet50", or the path of an .onnx file')
