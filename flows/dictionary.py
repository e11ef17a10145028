"""The flow `build-dictionary`: the pictures that stand for the collection, with keys to find them by.

PCA reads the vectors shard by shard. MiniBatchKMeans then clusters the reduced vectors, which fit in memory, and the
picture nearest to each centroid becomes an entry of the dictionary. Where more were chosen so than are wanted, those
that the collection draws on least are evicted (CLC Eq. 3) and listed in a table of their own.

A dictionary may go on from a former one: its PCA and the keys of the pictures that it knew are taken over, only new
pictures' vectors are read, and K-means starts from its entries and the new pictures.
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
from clc.dictionary.dictionary import DICTIONARY_NAME, Dictionary, Floats
from clc.dictionary.known_keys import KEYS_NAME, KnownKeys
from clc.dictionary.representatives import KeySummary, Representatives
from clc.dictionary.saved_index import save_index
from clc.dictionary.vectors import Identity, StoredPicture, read_pictures, read_vectors
from clc.errors import InputError
from clc.retrieval import pca as reduction
from clc.retrieval.pca import Reduction
from flows.runtime.failing import saying_why
from flows.runtime.names import run_name
from flows.runtime.parameters import Candidates, Count, ManyEntries, Some
from flows.runtime.stage import StageResult, finished_keys, resolve, run_stage, stage_key
from flows.runtime.workspace import Workspace
from storage.errors import StorageError
from storage.manifest import read_manifest
from storage.tables import read_table, write_table

logger = logging.getLogger(__name__)

MODULES = (
    "clc.dictionary.dictionary",
    "clc.dictionary.known_keys",
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

STAGE = "build-dictionary"
_LEAST_SEEN = 0.5  # of the pictures: with fewer, the PCA and what it is to go on from are too old
_ASKED_AGAIN = 16  # vectors of known pictures, which must give the keys that are known
_REDUCTION_NAME = "reduction.safetensors"
_EVICTED_NAME = "evicted.parquet"
_EVICTED = pa.schema(
    [pa.field(name, pa.string(), nullable=False) for name in ("item_id", "photo", "name")]
    + [pa.field("cluster_size", pa.int32(), nullable=False), pa.field("relevance", pa.float64(), nullable=False)]
)


@dataclass(frozen=True)
class VectorShards:
    """The vectors of a finished extract-features, float32 (n, D) a shard: read and checked anew by each iteration."""

    features: StageResult

    @property
    def paths(self) -> list[Path]:
        """The shards' files, in order."""
        names = (name for name in self.features.manifest.files if Path(name).suffix == ".safetensors")
        return [self.features.directory / name for name in sorted(names)]

    def read(self, path: Path) -> Floats:
        """Return the vectors of one of `paths`."""
        return read_vectors(path, self.features.manifest.files[path.name].sha256)

    def __iter__(self) -> Iterator[Floats]:
        """Yield one shard after the other."""
        return map(self.read, self.paths)


@dataclass(frozen=True, eq=False)
class Former:
    """A finished dictionary that another one goes on from: its stage, its PCA, and the keys of all that it knew."""

    stage: StageResult
    reduction: Reduction
    known: KnownKeys

    @staticmethod
    def read(stage: StageResult) -> "Former":
        """Read what a finished build-dictionary left. Raises StorageError for one of a release that kept no keys."""
        if KEYS_NAME not in stage.manifest.files:
            raise StorageError(f"{stage.directory} holds no keys of what it described: it is of an earlier release")
        return Former(stage, Reduction.load(stage.directory / _REDUCTION_NAME), KnownKeys.read(stage.directory))

    def entries(self) -> KeySummary:
        """Return the keys of its entries and of those that it evicted, and how many pictures each stands for."""
        kept = Dictionary.read(self.stage.directory / DICTIONARY_NAME)
        if _EVICTED_NAME not in self.stage.manifest.files:
            return KeySummary(kept.keys, kept.cluster_sizes.astype(np.float64))
        table = read_table(self.stage.directory / _EVICTED_NAME, ["item_id", "cluster_size"])
        evicted = dict(zip(table["item_id"].to_pylist(), table["cluster_size"].to_pylist(), strict=True))
        rows = [row for row, (item_id, *_) in enumerate(self.known.identities) if item_id in evicted]
        sizes = [evicted[self.known.identities[row][0]] for row in rows]
        return KeySummary(
            np.concatenate([kept.keys, self.known.keys[rows]]), np.concatenate([kept.cluster_sizes, sizes]) * 1.0
        )


@flow(name="build-dictionary", flow_run_name=run_name("build-dictionary of {entries} entries"))
@saying_why
def build_dictionary(
    features: str = "latest",
    entries: ManyEntries = 64,
    components: Count = 256,
    seed: Some = 0,
    candidates: Candidates | None = None,
    former: str | None = None,
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
        former: Key of a finished build-dictionary to go on from: new pictures are folded into it, and what it did for
            the others is not done again. "latest": the newest of the same parameters, if there is one that knew at
            least half of these pictures; else, as without it, all is made anew.

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
    config = {"entries": entries, "components": components, "seed": seed, "candidates": candidates}
    shards = VectorShards(described)
    origin = _former(workspace, former, shards, config)
    if origin is not None and _is_of(origin.stage, described.key):
        return origin.stage.key  # nothing came since
    result = run_stage(
        workspace,
        STAGE,
        inputs={"features": described.key} | ({} if origin is None else {"former": origin.stage.key}),
        config=config,
        modules=MODULES,
        body=lambda folder: _build(shards, choice, origin, folder),
    )
    return result.key


def _former(workspace: Workspace, asked: str | None, shards: VectorShards, config: Mapping[str, Any]) -> Former | None:
    """Return the dictionary to go on from; None where all is to be made anew. Raises InputError, StorageError."""
    if asked is None:
        return None
    if asked != "latest":
        former = Former.read(resolve(workspace, STAGE, asked))
        _check_fitting(former, shards)
        return former
    manifests = [read_manifest(workspace.stages / STAGE / key, verify=False) for key in finished_keys(workspace, STAGE)]
    same = [manifest for manifest in manifests if manifest.config == config]
    if not same:
        return None
    newest = max(same, key=lambda manifest: manifest.created_utc)
    try:
        former = Former.read(resolve(workspace, STAGE, newest.key))
        seen = 1.0 if _is_of(former.stage, shards.features.key) else _check_fitting(former, shards)
    except (InputError, StorageError) as error:
        logger.warning("dictionary_made_anew former=%s reason=%s", newest.key, error)
        return None
    if seen < _LEAST_SEEN:
        logger.info("dictionary_made_anew former=%s seen=%.2f", newest.key, seen)
        return None
    return former


def _is_of(stage: StageResult, features: str) -> bool:
    """Whether a dictionary was made of these features, by the code that is here."""
    manifest = stage.manifest
    key = stage_key(STAGE, inputs=manifest.inputs, config=manifest.config, modules=MODULES)
    return manifest.inputs.get("features") == features and key == stage.key


def _check_fitting(former: Former, shards: VectorShards) -> float:
    """Check that pictures known to a former dictionary have the vectors that it saw; return how many its PCA saw.

    That is a share of the vectors there are now. Another backbone, or another version of it, gives other vectors: their
    keys would mean nothing beside the former ones. Raises InputError.
    """
    for path in shards.paths:
        rows = former.known.rows([picture.identity for picture in read_pictures(path.with_suffix(".parquet"))])
        here = np.flatnonzero(rows >= 0)[:_ASKED_AGAIN]
        if len(here):
            keys, vectors_nD = former.known.keys[rows[here]], shards.read(path)[here]
            is_same = vectors_nD.shape[1] == former.reduction.dimension and np.allclose(
                former.reduction.apply(vectors_nD), keys, rtol=1e-3, atol=1e-3 * float(np.abs(keys).max() or 1.0)
            )
            if not is_same:
                raise InputError("its vectors are of another backbone, or of another version of it")
            count = int(shards.features.manifest.summary["count"])
            return float(former.stage.manifest.summary["vectors_of_pca"]) / count
    raise InputError("it knew none of these pictures")


class _Choice(NamedTuple):
    """How many are chosen, of how many that are clustered, by keys of which length, with which seed."""

    entries: int
    candidates: int
    components: int
    seed: int


def _build(shards: VectorShards, choice: _Choice, former: Former | None, folder: Path) -> dict[str, Any]:
    """Write dictionary, reduction, keys, what was evicted, and the index where there is one; return the summary."""
    if former is None:
        logger.info("pca_started shards=%d components=%d", len(shards.paths), choice.components)
        fitted = reduction.fit(shards, choice.components, choice.seed)
    else:
        fitted = former.reduction
    reduced = _reduced(shards, fitted, None if former is None else former.known)
    keys_ND = reduced.known.keys
    logger.info("keys_finished vectors=%d new=%d kept=%.3f", len(keys_ND), reduced.is_new.sum(), reduced.variance_kept)
    summary = None if former is None else _summary(former.entries(), keys_ND[reduced.is_new])
    if summary is not None and len(summary.points) < choice.candidates:
        summary = None  # the former one had fewer: all keys are clustered as if there were none
    proposed = representatives.build(keys_ND, choice.candidates, choice.seed, summary)
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
    fitted.save(folder / _REDUCTION_NAME)
    reduced.known.write(folder)
    evicted = _write_evicted(folder, proposed, selection, pictures)
    spread = float(np.square(keys_ND - keys_ND.mean(axis=0)).sum(axis=1, dtype=np.float64).mean())
    return {
        "entries": len(chosen),
        "vectors": len(keys_ND),
        "new": int(reduced.is_new.sum()),
        "vectors_of_pca": len(keys_ND) if former is None else former.stage.manifest.summary["vectors_of_pca"],
        "dimension": fitted.dimension,
        "components": len(fitted.components),
        "variance_kept": round(reduced.variance_kept, 4),
        "largest_cluster": int(selection.cluster_sizes.max()),
        "inertia": round(selection.inertia / spread, 4) if spread else 0.0,
        "evicted": evicted,
        "relevance_kept": round(float(selection.relevances.sum()) / len(keys_ND), 4),
        "index": save_index(folder, keys_KD),
    }


def _summary(entries: KeySummary, new_nk: Floats) -> KeySummary:
    """Return what stands for all pictures: former entries for those that they stood for, new ones for themselves."""
    return KeySummary(np.concatenate([entries.points, new_nk]), np.append(entries.weights, np.ones(len(new_nk))))


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
        write_table(folder / _EVICTED_NAME, pa.Table.from_pylist(rows, _EVICTED))
    return len(order)


class _Reduced(NamedTuple):
    """The keys of all N pictures, which were made here, bool (N,), and what share of the variance those keep."""

    known: KnownKeys
    is_new: npt.NDArray[np.bool_]
    variance_kept: float


def _reduced(shards: VectorShards, fitted: Reduction, known: KnownKeys | None) -> _Reduced:
    """Reduce the vectors, but those whose keys are known; shards that hold no others are not read."""
    identities: list[Identity] = []
    keys, is_new, total, kept = [], [], 0.0, 0.0
    for path in shards.paths:
        here = [picture.identity for picture in read_pictures(path.with_suffix(".parquet"))]
        identities += here
        rows = np.full(len(here), -1) if known is None else known.rows(here)
        keys_nk = np.empty((len(here), len(fitted.components)), np.float32)
        if known is not None:
            keys_nk[rows >= 0] = known.keys[rows[rows >= 0]]
        if (rows < 0).any():
            vectors_nD = shards.read(path)[rows < 0]
            keys_nk[rows < 0] = made = fitted.apply(vectors_nD)
            total += float(np.square(vectors_nD - fitted.mean).sum(dtype=np.float64))
            kept += float(np.square(made).sum(dtype=np.float64))
        keys.append(keys_nk)
        is_new.append(rows < 0)
    all_known = KnownKeys(np.concatenate(keys), tuple(identities))
    return _Reduced(all_known, np.concatenate(is_new), kept / total if total else 1.0)
