"""One shard of feature extraction: pictures in by blob and rectangle, vectors out as files.

This is what a worker process runs, so it imports no pipeline. It gets and returns digests and paths only. A picture
that cannot be described costs its own row; anything else fails the shard, which whoever planned it tries again.
"""

import functools
import itertools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clc.collection.patches import PatchReader
from clc.dictionary.vectors import StoredPicture, read_vectors, write_shard
from clc.errors import ClcError, InputError
from clc.retrieval.descriptors import CodecDescriptor, Descriptor, OnnxDescriptor, ResNet50Descriptor
from storage.blobs import BlobStore
from storage.digest import digest_json, sha256_file
from storage.errors import StorageError

log = logging.getLogger(__name__)


class KnownVector(NamedTuple):
    """Where the vector of a picture stands that was described before: a shard's file, its SHA-256, and the row."""

    path: Path
    sha256: str
    row: int


@dataclass(frozen=True, kw_only=True)
class ShardPlan:
    """What a worker needs: pictures, where their blobs are, and a descriptor (its spec, and what it must be).

    `known` has the vectors that the same descriptor made before, by the pictures' places in the shard.
    """

    stem: Path
    pictures: tuple[StoredPicture, ...]
    blobs_root: Path
    descriptor: str
    descriptor_digest: str
    known: Mapping[int, KnownVector] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ShardReport:
    """What became of a shard: its files' sha256 by name, how many vectors they hold, and (item_id, reason) failures.

    `n_known` of the vectors were made before.
    """

    files: dict[str, str]
    count: int
    n_known: int
    failures: tuple[tuple[str, str], ...]


def extract_shard(plan: ShardPlan) -> ShardReport:
    """Describe the pictures of a shard, and write the vectors and the pictures that they describe beside each other.

    Raises InputError where this machine opens another descriptor than the plan was made with, StorageError where the
    files cannot be written.
    """
    descriptor = _opened(plan.descriptor, plan.descriptor_digest)
    known = _read_known(plan)
    vectors, described, failures = _describe(plan, known, descriptor)
    vectors_ND = np.concatenate([np.empty((0, descriptor.dimension), np.float32), *vectors])
    files = {path.name: sha256_file(path) for path in write_shard(plan.stem, vectors_ND, described)}
    return ShardReport(files=files, count=len(described), n_known=len(known), failures=tuple(failures))


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


def _read_known(plan: ShardPlan) -> dict[int, np.ndarray[tuple[int, int], np.dtype[np.float32]]]:
    """Return the vectors that were made before, float32 (1, D), by place; files that are damaged or gone give none."""
    found = {}
    for path, places in itertools.groupby(sorted(plan.known, key=lambda place: plan.known[place]), _path_in(plan)):
        rows = {place: plan.known[place] for place in places}
        try:
            vectors_ND = read_vectors(path, next(iter(rows.values())).sha256)
        except StorageError as error:
            log.warning("vectors_not_used path=%s reason=%s", path, error)
            continue
        found.update({place: vectors_ND[one.row : one.row + 1] for place, one in rows.items()})
    return found


def _path_in(plan: ShardPlan) -> Callable[[int], Path]:
    return lambda place: plan.known[place].path


def _describe(
    plan: ShardPlan,
    known: Mapping[int, np.ndarray[tuple[int, int], np.dtype[np.float32]]],
    descriptor: Descriptor,
) -> tuple[list[np.ndarray[tuple[int, int], np.dtype[np.float32]]], list[StoredPicture], list[tuple[str, str]]]:
    vectors, described, failures = [], [], []
    reader = PatchReader(BlobStore(plan.blobs_root))
    for place, picture in enumerate(plan.pictures):
        if place in known:
            vectors.append(known[place])
            described.append(picture)
            continue
        try:
            vectors.append(descriptor.vectors([reader.read(picture.blob, picture.rectangle)]))
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
