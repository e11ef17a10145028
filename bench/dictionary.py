"""The dictionary at the size of the CLC paper: what build-dictionary takes, what it chooses, how long a query waits.

    python bench/dictionary.py build --workspace FOLDER     # 3,000 of 100,000 vectors of 43,008 values: 17.2 GB of disk
    python bench/dictionary.py quality --workspace FOLDER   # 90 of 3,000, beside K-means in all dimensions
    python bench/dictionary.py fold --workspace FOLDER      # a tenth more pictures, folded in and all anew
    python bench/dictionary.py queries --workspace FOLDER   # one query at a time, 3,000 to 1,000,000 entries
    python bench/dictionary.py backbones --onnx FILE        # what describing a picture takes

No pictures are needed. Vectors are planted: each belongs to one of `--clusters` centres, the first of which have the
most members; centre and deviation are mixed from 512 factors of falling variance, with noise in every dimension.
`build` writes them as extract-features would, runs the flow build-dictionary in a process of its own, whose peak is the
kernel's count, and keeps FOLDER, where the next call finds what is there. Set OMP_NUM_THREADS=1 for figures of a core.

A vector that was reduced has the same distribution as one that is drawn reduced: PCA is an affine map with orthonormal
rows, so it takes factors to factors and noise to noise. `queries` draws a million entries so, with the map that `build`
fitted.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from clc.dictionary.dictionary import Dictionary
from clc.dictionary.extraction import open_descriptor
from clc.dictionary.saved_index import INDEX_NAME, save_index
from clc.dictionary.vectors import StoredPicture, write_shard
from clc.retrieval.index import Index, open_index
from clc.retrieval.inverted_lists import InvertedListsIndex, recall
from clc.retrieval.pca import Reduction
from flows.runtime.stage import StageResult, resolve, run_stage, stage_key
from flows.runtime.workspace import VARIABLE, Workspace
from storage.manifest import MANIFEST_NAME

Floats = npt.NDArray[np.float32]

_SHARD_ROWS = 64
_FACTORS = 512
_SPREAD = 0.6  # of a vector about its centre, where centres have 1
_NOISE = 3.0  # in each dimension, where factors make about 13


@dataclass(frozen=True)
class Planted:
    """Vectors about planted centres, any of which can be made without the others; the same ones each time."""

    vectors: int
    dimension: int
    clusters: int

    def labels(self, seed: int = 0) -> npt.NDArray[np.int64]:
        """Return the centre of each vector, int64 (N,)."""
        weights = 1 / np.sqrt(1 + np.arange(self.clusters))
        generator = np.random.default_rng(seed)
        labels: npt.NDArray[np.int64] = generator.choice(self.clusters, self.vectors, p=weights / weights.sum())
        return labels

    def centres(self) -> Floats:
        """Return the centres as factors, float32 (clusters, 512)."""
        return np.random.default_rng(1).standard_normal((self.clusters, _FACTORS), np.float32)

    def mixing(self) -> Floats:
        """Return what makes a vector of factors, float32 (512, D)."""
        mixing = np.random.default_rng(2).standard_normal((_FACTORS, self.dimension), np.float32)
        mixing *= np.float32(5) / np.sqrt(1 + np.arange(_FACTORS, dtype=np.float32))[:, np.newaxis]
        return mixing

    def shards(self) -> Iterator[Floats]:
        """Make one shard of 64 vectors, float32 (n, D), after the other."""
        labels, centres, mixing = self.labels(), self.centres(), self.mixing()
        for number in range(-(-self.vectors // _SHARD_ROWS)):
            own = labels[number * _SHARD_ROWS : (number + 1) * _SHARD_ROWS]
            generator = np.random.default_rng([3, number])
            shard = factors(centres, own, generator) @ mixing
            shard += np.float32(_NOISE) * generator.standard_normal(shard.shape, np.float32)
            yield shard


def factors(centres: Floats, labels: npt.NDArray[np.int64], generator: np.random.Generator) -> Floats:
    """Return the factors of one vector a label, float32 (n, 512)."""
    deviations = generator.standard_normal((len(labels), _FACTORS), np.float32)
    made: Floats = centres[labels] + np.float32(_SPREAD) * deviations
    return made


def described(workspace: Workspace, planted: Planted) -> str:
    """Return the key of a finished extract-features of these vectors, which is made where the workspace has none."""

    def body(folder: Path) -> dict[str, Any]:
        needed = 4 * planted.vectors * planted.dimension
        if shutil.disk_usage(folder).free < needed + 2**30:
            raise SystemExit(
                f"error: the vectors take {needed / 1e9:.1f} GB in {folder}, which has less; see --vectors"
            )
        for number, shard in enumerate(planted.shards()):
            rows = range(number * _SHARD_ROWS, number * _SHARD_ROWS + len(shard))
            write_shard(folder / f"shard-{number:05d}", shard, [_picture(row) for row in rows])
        return {"count": planted.vectors, "dimension": planted.dimension}

    config = {"vectors": planted.vectors, "dimension": planted.dimension, "clusters": planted.clusters}
    key = stage_key("extract-features", inputs={}, config=config, modules=[])
    if not (workspace.stages / "extract-features" / key / MANIFEST_NAME).exists():  # the flow reads them all to verify
        run_stage(workspace, "extract-features", inputs={}, config=config, modules=[], body=body)
    return key


def _picture(row: int) -> StoredPicture:
    return StoredPicture(
        item_id=str(row), photo=str(row), blob=f"{row:064x}", name=str(row), source="planted", licence="none"
    )


def build(options: argparse.Namespace) -> None:
    """Run the flow over all vectors in a process of its own, and print what it took and what it chose."""
    planted = Planted(options.vectors, options.dimension, options.clusters)
    features = described(Workspace.from_environment(), planted)
    done = flow_of(features, options.entries, candidates=options.candidates, seed=options.seed)
    if done.was_there:
        raise SystemExit(f"error: {options.workspace} has the dictionary {done.stage.key} already: say another --seed")
    stage, labels = done.stage, planted.labels()
    dictionary = Dictionary.read(stage.directory / "dictionary.parquet")
    found = labels[[int(item_id) for item_id in dictionary.item_ids]]
    covered = np.isin(labels, found).mean()
    summary = stage.manifest.summary
    print(f"K = {len(dictionary)} of {planted.vectors} vectors of {planted.dimension} values, one core")
    print(
        f"peak {done.peak_mib:.0f} MiB   {done.seconds:.0f} s, {done.cpu_s:.0f} s of it on a processor   "
        f"variance kept by {summary['components']} components {summary['variance_kept']}"
    )
    print(
        f"share of the keys' variance that entries leave {summary['inertia']}   planted centres with an entry "
        f"{len(set(found.tolist()))} of {len(set(labels.tolist()))}, which hold {covered:.4f} of the vectors"
    )
    print(f"evicted {summary['evicted']}   relevance kept {summary['relevance_kept']}   index {summary['index']}")


@dataclass(frozen=True)
class Done:
    """What a run of the flow took, imports apart: its stage, the kernel's count of its peak, seconds, those of work.

    They mean nothing where the stage was there before.
    """

    stage: StageResult
    peak_mib: float
    seconds: float
    cpu_s: float
    was_there: bool


def fold(options: argparse.Namespace) -> None:
    """Choose a dictionary of ten elevenths of the vectors; then of all, going on from it, and anew."""
    workspace = Workspace.from_environment()
    planted = Planted(options.vectors, options.dimension, options.entries)
    known = replace(planted, vectors=options.vectors * 10 // 11 // _SHARD_ROWS * _SHARD_ROWS)  # whole shards are alike
    former = flow_of(described(workspace, known), options.entries, seed=options.seed).stage
    features = described(workspace, planted)
    print(f"K = {options.entries} of {planted.vectors} vectors, {planted.vectors - known.vectors} of which are new")
    for name, key in (("going on from the former", former.key), ("anew", None)):
        done = flow_of(features, options.entries, seed=options.seed, former=key)
        summary = done.stage.manifest.summary
        print(
            f"{name:<25} {done.seconds:.0f} s, {done.cpu_s:.0f} s of it on a processor   peak {done.peak_mib:.0f} MiB"
            f"   share of the keys' variance that entries leave {summary['inertia']}",
            flush=True,
        )


def flow_of(
    features: str, entries: int, *, candidates: int | None = None, seed: int = 0, former: str | None = None
) -> Done:
    """Run the flow build-dictionary in a process of its own."""
    workspace = Workspace.from_environment()
    before = {path.name for path in (workspace.stages / "build-dictionary").glob("*")}
    parameters = {"features": features, "entries": entries, "candidates": candidates, "seed": seed, "former": former}
    command = [sys.executable, __file__, "flow", json.dumps(parameters)]
    told = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1])
    stage = resolve(workspace, "build-dictionary", told["key"])
    return Done(stage, told["peak_mib"], told["seconds"], told["cpu_s"], told["key"] in before)


def flow(options: argparse.Namespace) -> None:
    """Run the flow here, and print its key, peak and seconds as JSON."""
    from flows.dictionary import build_dictionary
    from flows.runtime.command import log_to_terminal

    log_to_terminal()
    started, began_s = time.perf_counter(), time.process_time()
    key = build_dictionary.fn(**json.loads(options.parameters))
    seconds, cpu_s = time.perf_counter() - started, time.process_time() - began_s
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"key": key, "peak_mib": peak_mib, "seconds": seconds, "cpu_s": cpu_s}))


def quality(options: argparse.Namespace) -> None:
    """Compare what the flow chooses of a subset with K-means in all dimensions, at full precision, and with chance."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import pairwise_distances_argmin

    planted = Planted(options.subset, options.dimension, max(1, options.subset * options.entries // options.vectors))
    features = described(Workspace.from_environment(), planted)
    vectors_ND = np.concatenate(list(planted.shards())).astype(np.float64)
    entries = planted.clusters
    dictionary = Dictionary.read(flow_of(features, entries, seed=options.seed).stage.directory / "dictionary.parquet")
    started = time.perf_counter()
    kmeans = KMeans(entries, n_init=1, random_state=0).fit(vectors_ND)
    members = np.unique(pairwise_distances_argmin(kmeans.cluster_centers_, vectors_ND))
    full_s = time.perf_counter() - started
    chance = np.random.default_rng(0).permutation(len(vectors_ND))[:entries]
    rows = {
        "the flow": [int(item_id) for item_id in dictionary.item_ids],
        "K-means in float64": members,
        "chance": chance,
    }
    total = float(np.square(vectors_ND - vectors_ND.mean(axis=0)).sum())
    print(f"K = {entries} of {len(vectors_ND)} vectors; what entries leave of the variance in all dimensions:")
    for name, chosen in rows.items():
        print(f"{name:<20} {_left(vectors_ND, vectors_ND[chosen]) / total:.4f}   ({len(chosen)} entries)")
    print(f"K-means in float64, all {options.dimension} dimensions: {full_s:.0f} s")


def _left(vectors_ND: npt.NDArray[np.float64], chosen_KD: npt.NDArray[np.float64]) -> float:
    """Return the sum of squared distances from vectors to the nearest of those chosen."""
    from sklearn.metrics import pairwise_distances_argmin_min

    _, distances = pairwise_distances_argmin_min(vectors_ND, chosen_KD)
    return float(np.square(distances).sum())


def queries(options: argparse.Namespace) -> None:
    """Time one query at a time, of pictures that are no entries, and count how many neighbours are found."""
    import faiss

    faiss.omp_set_num_threads(1)
    stage = resolve(Workspace.from_environment(), "build-dictionary", options.dictionary)
    reduction = Reduction.load(stage.directory / "reduction.safetensors")
    mixing = Planted(0, reduction.dimension, 1).mixing()
    for entries in options.sizes:
        drawn = Reduced.of(mixing, reduction, max(1, entries // 33))
        keys_KD, queries_QD = drawn.keys(entries), drawn.keys(options.asked, seed=1)
        with tempfile.TemporaryDirectory() as temporary:
            began_s = time.process_time()
            name = save_index(Path(temporary), keys_KD)
            built_s, file = time.process_time() - began_s, Path(temporary) / INDEX_NAME
            size = f"   file {file.stat().st_size / 2**20:.0f} MiB" if file.exists() else ""
            index = open_index(keys_KD) if name == "exhaustive" else InvertedListsIndex.load(file, keys_KD)
        exact = open_index(keys_KD, "faiss")
        wanted = exact.search(queries_QD, 3).indices
        exhaustive, took = timed(exact, queries_QD[:20]), timed(index, queries_QD)
        print(
            f"{entries:>9} entries of {keys_KD.shape[1]} values, {name}: median {np.median(took.cpu_ms):.2f} ms of a "
            f"processor, 19 of 20 under {np.quantile(took.cpu_ms, 0.95):.2f} (waited for: {np.median(took.ms):.2f}, "
            f"{np.quantile(took.ms, 0.95):.2f})   recall of 3 {recall(took.found_Q3, wanted):.4f}   "
            f"built in {built_s:.0f} s of a processor{size}   "
            f"faiss' exhaustive search {np.median(exhaustive.cpu_ms):.2f} ms",
            flush=True,
        )


class Timed(NamedTuple):
    """Milliseconds of each query, waited for and of a processor, which other work does not stretch; what was found."""

    ms: list[float]
    cpu_ms: list[float]
    found_Q3: npt.NDArray[np.int64]


def timed(index: Index, queries_QD: Floats) -> Timed:
    """Ask each query alone for 3 entries, after one that does not count."""
    ms, cpu_ms, found = [], [], []
    index.search(queries_QD[:1], 3)
    for query_D in queries_QD:
        started, began_s = time.perf_counter(), time.thread_time()
        found.append(index.search(query_D[np.newaxis], 3).indices[0])
        cpu_ms.append(1000 * (time.thread_time() - began_s))
        ms.append(1000 * (time.perf_counter() - started))
    return Timed(ms, cpu_ms, np.array(found))


@dataclass(frozen=True)
class Reduced:
    """Planted vectors as a reduction leaves them, drawn without making what it reduces."""

    mixing_FK: Floats
    mean_K: Floats
    clusters: int

    @staticmethod
    def of(mixing: Floats, reduction: Reduction, clusters: int) -> "Reduced":
        """Return what the reduction makes of vectors about so many centres."""
        return Reduced(mixing @ reduction.components.T, -reduction.mean @ reduction.components.T, clusters)

    def keys(self, count: int, seed: int = 0) -> Floats:
        """Draw reduced vectors, float32 (count, k); other ones of the same centres for another seed."""
        planted = Planted(count, 0, self.clusters)
        labels = planted.labels(seed)
        centres, made = planted.centres(), np.empty((count, self.mixing_FK.shape[1]), np.float32)
        generator = np.random.default_rng([4, seed])
        for start in range(0, count, 1 << 14):
            block = factors(centres, labels[start : start + (1 << 14)], generator) @ self.mixing_FK + self.mean_K
            noise = np.float32(_NOISE) * generator.standard_normal(block.shape, np.float32)
            made[start : start + len(block)] = block + noise
        return made


def backbones(options: argparse.Namespace) -> None:
    """Print what a picture takes with each backbone; the weights of ResNet-50 are random where there are none."""
    from clc.retrieval import descriptors

    generator = np.random.default_rng(0)
    picture = np.kron(generator.integers(0, 256, (64, 96, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    for spec in ["codec", "resnet50", *options.onnx]:
        if spec == "resnet50":
            from clc.retrieval.torchvision_compat import declare_missing_operators

            declare_missing_operators()
            from torchvision.models import resnet50

            descriptors._resnet50_state = lambda _: (resnet50(weights=None).state_dict(), "random")
        descriptor = open_descriptor(spec)
        descriptor.vectors([picture])
        started = time.process_time()
        for _ in range(options.runs):
            descriptor.vectors([picture])
        took_ms = 1000 * (time.process_time() - started) / options.runs
        name = descriptor.name if descriptor.name == spec else f"{descriptor.name} {Path(spec).name}"
        print(f"{name:<40} {descriptor.dimension:>6} values   768x512 px: {took_ms:.0f} ms of a processor", flush=True)


def main() -> None:
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for function in (build, quality, fold, queries, backbones, flow):
        command = commands.add_parser(function.__name__, help=(function.__doc__ or "").splitlines()[0])
        command.set_defaults(function=function)
        if function in (build, quality, fold, queries):
            command.add_argument("--workspace", type=Path, required=True)
        if function in (build, quality, fold):
            command.add_argument("--vectors", type=int, default=100_000)
            command.add_argument("--dimension", type=int, default=43_008)
            command.add_argument("--entries", type=int, default=3_000)
            command.add_argument("--seed", type=int, default=0)
        if function is build:
            command.add_argument("--clusters", type=int, default=3_000)
            command.add_argument("--candidates", type=int, help="as build-dictionary has it")
        if function is quality:
            command.add_argument("--subset", type=int, default=3_000)
        if function is queries:
            command.add_argument("--dictionary", default="latest", help="key of the build-dictionary whose map to use")
            command.add_argument("--sizes", type=int, nargs="+", default=[3_000, 10_000, 1_000_000])
            command.add_argument("--asked", type=int, default=500, help="queries")
        if function is backbones:
            command.add_argument("--onnx", nargs="*", default=[], metavar="FILE")
            command.add_argument("--runs", type=int, default=5)
        if function is flow:
            command.add_argument("parameters", help="JSON")
    options = parser.parse_args()
    if "workspace" in options:
        os.environ[VARIABLE] = str(options.workspace.absolute())
    options.function(options)


if __name__ == "__main__":
    main()
