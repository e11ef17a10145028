"""One shard of feature extraction: pictures in by the digests of their blobs, vectors out as files.

This is what a worker process runs, so it imports no pipeline. It gets and returns digests and paths only. A picture
that cannot be described costs its own row; anything else fails the shard, which whoever planned it tries again.
"""

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clc.dictionary.vectors import StoredPicture, write_shard
from clc.errors import ClcError, InputError
from clc.pictures.images import read_image
from clc.retrieval.descriptors import CodecDescriptor, Descriptor, OnnxDescriptor, ResNet50Descriptor
from storage.blobs import BlobStore
from storage.digest import digest_json, sha256_file

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ShardPlan:
    """What a worker needs: pictures, where their blobs are, and a descriptor (its spec, and what it must be)."""

    stem: Path
    pictures: tuple[StoredPicture, ...]
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
    """Describe the pictures of a shard, and write the vectors and the pictures that they describe beside each other.

    Raises InputError where this machine opens another descriptor than the plan was made with, StorageError where the
    files cannot be written.
    """
    descriptor = _opened(plan.descriptor, plan.descriptor_digest)
    vectors, described, failures = _describe(plan.pictures, BlobStore(plan.blobs_root), descriptor)
    vectors_ND = np.concatenate([np.empty((0, descriptor.dimension), np.float32), *vectors])
    files = {path.name: sha256_file(path) for path in write_shard(plan.stem, vectors_ND, described)}
    return ShardReport(files=files, count=len(described), failures=tuple(failures))


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
    pictures: Sequence[StoredPicture], blobs: BlobStore, descriptor: Descriptor
) -> tuple[list[np.ndarray[tuple[int, int], np.dtype[np.float32]]], list[StoredPicture], list[tuple[str, str]]]:
    vectors, described, failures = [], [], []
    for picture in pictures:
        try:
            vectors.append(descriptor.vectors([read_image(blobs.get(picture.blob))]))
        except ClcError as error:
            log.warning("picture_failed item_id=%s reason=%s", picture.item_id, error)
            failures.append((picture.item_id, str(error)))
        else:
            described.append(picture)
    return vectors, described, failures


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
