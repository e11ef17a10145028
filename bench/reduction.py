"""Peak memory and time of the principal components, against scikit-learn's IncrementalPCA in the same run.

    python bench/reduction.py --vectors 3000

Vectors of 43,008 values (ResNet-50 under the pyramid) are made shard by shard, so that nothing but the fit holds them.
Each measurement is a process of its own, whose peak is the kernel's count. Three lines come out: `clc.retrieval.pca` at
a quarter of the vectors and at all of them, which shows that memory does not follow their number, and IncrementalPCA.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_SHARD_ROWS = 64
_FACTORS = 512


@dataclass(frozen=True)
class Shards:
    """Vectors of pictures, roughly: `_FACTORS` directions of falling variance, noise, and a mean."""

    vectors: int
    dimension: int

    def __iter__(self) -> Iterator[np.ndarray]:
        """Make one shard after the other; the same ones each time."""
        mixing = np.random.default_rng(0).standard_normal((_FACTORS, self.dimension), np.float32)
        mixing *= np.float32(5) / np.sqrt(1 + np.arange(_FACTORS, dtype=np.float32))[:, np.newaxis]
        for start in range(0, self.vectors, _SHARD_ROWS):
            rows = min(_SHARD_ROWS, self.vectors - start)
            generator = np.random.default_rng([1, start])
            shard = generator.standard_normal((rows, _FACTORS), np.float32) @ mixing
            shard += generator.standard_normal((rows, self.dimension), np.float32)
            shard += 3
            yield shard


def measure(method: str, shards: Shards, components: int) -> dict[str, float]:
    """Fit here; return the peak in MiB, the seconds without those of making shards, and the share of variance kept."""
    started = time.perf_counter()
    reads, (mean, basis_KD) = (
        (3, _ours(shards, components)) if method == "clc" else (1, _incremental(shards, components))
    )
    fitted_s = time.perf_counter() - started
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    made_s, total, kept = -time.perf_counter(), 0.0, 0.0
    for _ in shards:
        pass
    made_s += time.perf_counter()
    for shard in shards:
        total += float(np.square(shard - mean).sum(dtype=np.float64))
        kept += float(np.square((shard - mean) @ basis_KD.T).sum(dtype=np.float64))
    return {"peak_mib": peak_mib, "seconds": fitted_s - reads * made_s, "kept": kept / total}


def _ours(shards: Shards, components: int) -> tuple[np.ndarray, np.ndarray]:
    from clc.retrieval.pca import fit

    reduction = fit(shards, components)
    return reduction.mean, reduction.components


def _incremental(shards: Shards, components: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.decomposition import IncrementalPCA

    pca, waiting = IncrementalPCA(components), []
    for shard in shards:
        waiting.append(shard)
        # A last batch smaller than the components would be refused, so a shorter rest is left out.
        if sum(map(len, waiting)) >= 2 * components:
            pca.partial_fit(np.concatenate(waiting))
            waiting.clear()
    return pca.mean_, pca.components_


def _in_a_process(method: str, vectors: int, arguments: argparse.Namespace) -> dict[str, float]:
    size = ["--vectors", str(vectors), "--dimension", str(arguments.dimension)]
    command = [sys.executable, __file__, "--measure", method, *size, "--components", str(arguments.components)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    print(
        f"{method:<16} {vectors:>8} vectors   peak {result['peak_mib']:>6.0f} MiB   {result['seconds']:>7.1f} s   "
        f"variance kept {result['kept']:.4f}",
        flush=True,
    )
    return result


def main() -> None:
    """Measure one method in this process, or all in processes of their own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=3000)
    parser.add_argument("--dimension", type=int, default=43_008)
    parser.add_argument("--components", type=int, default=256)
    parser.add_argument("--measure", choices=["clc", "IncrementalPCA"], help="only this method, as JSON")
    arguments = parser.parse_args()
    if arguments.measure:
        shards = Shards(arguments.vectors, arguments.dimension)
        print(json.dumps(measure(arguments.measure, shards, arguments.components)))
        return
    few = _in_a_process("clc", arguments.vectors // 4, arguments)
    ours = _in_a_process("clc", arguments.vectors, arguments)
    peer = _in_a_process("IncrementalPCA", arguments.vectors, arguments)
    print(f"4 times the vectors: {ours['peak_mib'] / few['peak_mib']:.2f} times the peak")
    print(
        f"against IncrementalPCA: {ours['peak_mib'] / peer['peak_mib']:.2f} times the peak, "
        f"{ours['seconds'] / peer['seconds']:.2f} times the time"
    )


if __name__ == "__main__":
    main()
