"""The flow `build-dictionary`: the pictures that stand for the collection, with keys to find them by.

PCA reads the vectors shard by shard. MiniBatchKMeans then clusters the reduced vectors, which fit in memory, and the
picture nearest to each centroid becomes an entry of the dictionary.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from prefect import flow

from clc.dictionary import representatives
from clc.dictionary.dictionary import Dictionary
from clc.dictionary.vectors import StoredPicture, read_pictures, read_vectors
from clc.errors import InputError
from clc.retrieval import pca as reduction
from clc.retrieval.pca import Reduction
from flows.runtime.failing import saying_why
from flows.runtime.parameters import Count, Entries, Some
from flows.runtime.stage import StageResult, resolve, run_stage
from flows.runtime.workspace import Workspace

logger = logging.getLogger(__name__)

MODULES = (
    "clc.dictionary.dictionary",
    "clc.dictionary.representatives",
    "clc.dictionary.vectors",
    "clc.pictures.picture",
    "clc.retrieval.pca",
    "flows.dictionary",
    "storage.arrays",
    "storage.digest",
    "storage.tables",
)
"""The source text that decides what this stage makes."""


@dataclass(frozen=True)
class VectorShards:
    """The vectors of a finished extract-features, float32 (n, D) a shard: read and checked anew by each iteration."""

    features: StageResult

    @property
    def paths(self) -> list[Path]:
        """The shards' files, in order."""
        names = (name for name in self.features.manifest.files if Path(name).suffix == ".safetensors")
        return [self.features.directory / name for name in sorted(names)]

    def __iter__(self) -> Iterator[np.ndarray[Any, np.dtype[np.float32]]]:
        """Yield one shard after the other."""
        for path in self.paths:
            yield read_vectors(path, self.features.manifest.files[path.name].sha256)


@flow(name="build-dictionary")
@saying_why
def build_dictionary(features: str = "latest", entries: Entries = 64, components: Count = 256, seed: Some = 0) -> str:
    """Choose the pictures that stand for the collection: PCA, MiniBatchKMeans, the member nearest to each centroid.

    Args:
        features: Key of a finished extract-features, or "latest".
        entries: Pictures to choose, K; at most as many as were described.
        components: Length of a key after PCA; with fewer vectors than that it shrinks to one less than their number.
        seed: Seed of the PCA's sketch and of the clustering; the same seed chooses the same pictures.

    Returns:
        The key of the finished stage, which train-codec takes as `dictionary`.
    """
    workspace = Workspace.from_environment()
    described = resolve(workspace, "extract-features", features)
    count = int(described.manifest.summary["count"])
    if entries > count:
        raise InputError(
            f"{entries} entries asked for, but there are only {count} vectors: "
            f"ask for at most {count} entries, or ingest more pictures"
        )
    result = run_stage(
        workspace,
        "build-dictionary",
        inputs={"features": described.key},
        config={"entries": entries, "components": components, "seed": seed},
        modules=MODULES,
        body=lambda folder: _build(VectorShards(described), entries, components, seed, folder),
    )
    return result.key


def _build(shards: VectorShards, entries: int, components: int, seed: int, folder: Path) -> dict[str, Any]:
    """Write `dictionary.parquet` and `reduction.safetensors`, and return the stage's summary."""
    logger.info("pca_started shards=%d components=%d", len(shards.paths), components)
    fitted = reduction.fit(shards, components, seed)
    keys_ND, kept_share = _keys(shards, fitted)
    logger.info("pca_finished vectors=%d components=%d kept=%.3f", len(keys_ND), keys_ND.shape[1], kept_share)
    selection = representatives.build(keys_ND, entries, seed)
    pictures = [picture for path in shards.paths for picture in read_pictures(path.with_suffix(".parquet"))]
    chosen: list[StoredPicture] = [pictures[member] for member in selection.members]
    Dictionary(
        keys=keys_ND[selection.members],
        item_ids=tuple(picture.item_id for picture in chosen),
        photos=tuple(picture.photo for picture in chosen),
        blobs=tuple(picture.blob for picture in chosen),
        rectangles=tuple(picture.rectangle for picture in chosen),
        names=tuple(picture.name for picture in chosen),
        sources=tuple(picture.source for picture in chosen),
        licences=tuple(picture.licence for picture in chosen),
        cluster_sizes=selection.cluster_sizes,
        distances=selection.distances,
    ).write(folder / "dictionary.parquet")
    fitted.save(folder / "reduction.safetensors")
    return {
        "entries": len(chosen),
        "vectors": len(keys_ND),
        "dimension": fitted.dimension,
        "components": len(fitted.components),
        "variance_kept": round(kept_share, 4),
        "largest_cluster": int(selection.cluster_sizes.max()),
    }


def _keys(shards: VectorShards, fitted: Reduction) -> tuple[np.ndarray[Any, np.dtype[np.float32]], float]:
    """Return the reduced vectors, float32 (N, k), and the share of the variance that they keep."""
    keys, total = [], 0.0
    for vectors_ND in shards:
        keys.append(fitted.apply(vectors_ND))
        total += float(np.square(vectors_ND - fitted.mean).sum(dtype=np.float64))
    keys_ND = np.concatenate(keys)
    kept = float(np.square(keys_ND).sum(dtype=np.float64))
    return keys_ND, kept / total if total else 1.0
