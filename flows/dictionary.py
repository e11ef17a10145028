"""The flow `build-dictionary`: the pictures that stand for the collection, with keys to find them by.

PCA reads the vectors shard by shard. MiniBatchKMeans then clusters the reduced vectors, which fit in memory, and the
picture nearest to each centroid becomes an entry of the dictionary. Where more were chosen so than are wanted, those
that the collection draws on least are evicted (CLC Eq. 3) and listed in a table of their own.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from prefect import flow

from clc.dictionary import representatives
from clc.dictionary.dictionary import DICTIONARY_NAME, Dictionary
from clc.dictionary.representatives import Representatives
from clc.dictionary.saved_index import save_index
from clc.dictionary.vectors import StoredPicture, read_pictures, read_vectors
from clc.errors import InputError
from clc.retrieval import pca as reduction
from clc.retrieval.pca import Reduction
from flows.runtime.failing import saying_why
from flows.runtime.parameters import Candidates, Count, ManyEntries, Some
from flows.runtime.stage import StageResult, resolve, run_stage
from flows.runtime.workspace import Workspace
from storage.tables import write_table

logger = logging.getLogger(__name__)

MODULES = (
    "clc.dictionary.dictionary",
    "clc.dictionary.representatives",
    "clc.dictionary.saved_index",
    "clc.dictionary.vectors",
    "clc.pictures.picture",
    "clc.retrieval.index",
    "clc.retrieval.inverted_lists",
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


_EVICTED = pa.schema(
    [pa.field(name, pa.string(), nullable=False) for name in ("item_id", "photo", "name")]
    + [pa.field("cluster_size", pa.int32(), nullable=False), pa.field("relevance", pa.float64(), nullable=False)]
)


@flow(name="build-dictionary")
@saying_why
def build_dictionary(
    features: str = "latest",
    entries: ManyEntries = 64,
    components: Count = 256,
    seed: Some = 0,
    candidates: Candidates | None = None,
) -> str:
    """Choose the pictures that stand for the collection: PCA, MiniBatchKMeans, the member nearest to each centroid.

    Args:
        features: Key of a finished extract-features, or "latest".
        entries: Pictures to choose, K; at most as many as were described. A bundle takes 4,096; a dictionary of more is
            for searching, and has an index beside it.
        components: Length of a key after PCA; with fewer vectors than that it shrinks to one less than their number.
        seed: Seed of the PCA's sketch and of the clustering; the same seed chooses the same pictures.
        candidates: Choose so many first, and evict all but the `entries` that the collection draws on most (CLC Eq. 3):
            for collections of which a part never comes again. Without it nothing is evicted, and entries spread evenly.

    Returns:
        The key of the finished stage, which train-codec takes as `dictionary`.
    """
    workspace = Workspace.from_environment()
    described = resolve(workspace, "extract-features", features)
    count = int(described.manifest.summary["count"])
    for name, asked in (("entries", entries), ("candidates", candidates or 0)):
        if asked > count:
            raise InputError(
                f"{asked} {name} asked for, but there are only {count} vectors: "
                f"ask for at most {count} {name}, or ingest more pictures"
            )
    if candidates is not None and candidates < entries:
        raise InputError(
            f"{entries} entries cannot be kept of {candidates} candidates: ask for more candidates, or for none"
        )
    choice = _Choice(entries, candidates or entries, components, seed)
    result = run_stage(
        workspace,
        "build-dictionary",
        inputs={"features": described.key},
        config={"entries": entries, "components": components, "seed": seed, "candidates": candidates},
        modules=MODULES,
        body=lambda folder: _build(VectorShards(described), choice, folder),
    )
    return result.key


class _Choice(NamedTuple):
    """How many are chosen, of how many that are clustered, by keys of which length, with which seed."""

    entries: int
    candidates: int
    components: int
    seed: int


def _build(shards: VectorShards, choice: _Choice, folder: Path) -> dict[str, Any]:
    """Write dictionary, reduction, what was evicted, and the index where there is one; return the stage's summary."""
    logger.info("pca_started shards=%d components=%d", len(shards.paths), choice.components)
    fitted = reduction.fit(shards, choice.components, choice.seed)
    keys_ND, kept_share = _keys(shards, fitted)
    logger.info("pca_finished vectors=%d components=%d kept=%.3f", len(keys_ND), keys_ND.shape[1], kept_share)
    proposed = representatives.build(keys_ND, choice.candidates, choice.seed)
    selection = representatives.prune(proposed, keys_ND, choice.entries)
    pictures = _pictures(shards, proposed.members)
    chosen = [pictures[int(member)] for member in selection.members]
    keys_KD = keys_ND[selection.members]
    Dictionary(
        keys=keys_KD,
        item_ids=tuple(picture.item_id for picture in chosen),
        photos=tuple(picture.photo for picture in chosen),
        blobs=tuple(picture.blob for picture in chosen),
        rectangles=tuple(picture.rectangle for picture in chosen),
        names=tuple(picture.name for picture in chosen),
        sources=tuple(picture.source for picture in chosen),
        licences=tuple(picture.licence for picture in chosen),
        cluster_sizes=selection.cluster_sizes,
        distances=selection.distances,
        relevances=selection.relevances,
    ).write(folder / DICTIONARY_NAME)
    fitted.save(folder / "reduction.safetensors")
    evicted = _write_evicted(folder, proposed, selection, pictures)
    spread = float(np.square(keys_ND - keys_ND.mean(axis=0)).sum(axis=1, dtype=np.float64).mean())
    return {
        "entries": len(chosen),
        "vectors": len(keys_ND),
        "dimension": fitted.dimension,
        "components": len(fitted.components),
        "variance_kept": round(kept_share, 4),
        "largest_cluster": int(selection.cluster_sizes.max()),
        "inertia": round(selection.inertia / spread, 4) if spread else 0.0,
        "evicted": evicted,
        "relevance_kept": round(float(selection.relevances.sum()) / len(keys_ND), 4),
        "index": save_index(folder, keys_KD),
    }


def _pictures(shards: VectorShards, members: npt.NDArray[np.int64]) -> dict[int, StoredPicture]:
    """Return the pictures of some rows of all vectors, by row; no more than one shard's pictures are in memory."""
    wanted, found, first = set(members.tolist()), {}, 0
    for path in shards.paths:
        pictures = read_pictures(path.with_suffix(".parquet"))
        found |= {first + row: picture for row, picture in enumerate(pictures) if first + row in wanted}
        first += len(pictures)
    return found


def _write_evicted(
    folder: Path, proposed: Representatives, kept: Representatives, pictures: Mapping[int, StoredPicture]
) -> int:
    """Write a row for each candidate that was evicted, the most relevant first; return how many there are."""
    is_evicted = ~np.isin(proposed.members, kept.members)
    order = np.flatnonzero(is_evicted)[np.argsort(-proposed.relevances[is_evicted], kind="stable")]
    if len(order):
        rows = [
            {
                **{name: getattr(pictures[int(proposed.members[one])], name) for name in ("item_id", "photo", "name")},
                "cluster_size": int(proposed.cluster_sizes[one]),
                "relevance": float(proposed.relevances[one]),
            }
            for one in order
        ]
        write_table(folder / "evicted.parquet", pa.Table.from_pylist(rows, _EVICTED))
    return len(order)


def _keys(shards: VectorShards, fitted: Reduction) -> tuple[np.ndarray[Any, np.dtype[np.float32]], float]:
    """Return the reduced vectors, float32 (N, k), and the share of the variance that they keep."""
    keys, total = [], 0.0
    for vectors_ND in shards:
        keys.append(fitted.apply(vectors_ND))
        total += float(np.square(vectors_ND - fitted.mean).sum(dtype=np.float64))
    keys_ND = np.concatenate(keys)
    kept = float(np.square(keys_ND).sum(dtype=np.float64))
    return keys_ND, kept / total if total else 1.0
