"""How long coding takes, beside a peer in the same run: compressai's mbt2018-mean (random weights, quality 3).

    python bench/codec.py [PICTURE]

Times are the minimum and the median of several runs on one 768x512 picture; the ratios are what to quote. Also printed:
which part of decoding the exact path is, and what importing and loading cost.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from clc.bitstream import parse
from clc.codec import Codec
from clc.images import read_image
from clc.torchvision_compat import declare_missing_operators

WIDTH, HEIGHT = 768, 512
LOADING = "import clc; from clc.codec import Codec; Codec.load()"


def timed(work: Callable[[], object], runs: int) -> list[float]:
    """Seconds of each of `runs` calls, after one that is not counted."""
    work()
    seconds = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return seconds


def picture(path: Path | None) -> np.ndarray:
    """The given picture or noise-free shapes, cut or tiled to 768x512."""
    if path is None:
        rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
        shapes = 128 + 60 * np.sin(rows / 37) + 50 * np.cos(columns / 23 + rows / 90)
        return np.repeat(shapes[..., None], 3, axis=2).astype(np.uint8)
    image = read_image(path)
    repeats = (-(-HEIGHT // image.shape[0]), -(-WIDTH // image.shape[1]), 1)
    return np.ascontiguousarray(np.tile(image, repeats)[:HEIGHT, :WIDTH])


def measure_ours(image: np.ndarray, runs: int) -> dict[str, list[float]]:
    """Encoding with and without references, decoding, and the exact path alone."""
    codec = Codec.load()
    data = codec.encode(image, 50)
    stream = parse(data)
    return {
        "encode": timed(lambda: codec.encode(image, 50), runs),
        "encode, no references": timed(lambda: codec.encode(image, 50, "none"), runs),
        "decode": timed(lambda: codec.decode(data), runs),
        "exact path of decoding": timed(lambda: codec._decode_latents(stream), runs),
    }


def measure_peer(image: np.ndarray, runs: int) -> dict[str, list[float]]:
    """mbt2018-mean of compressai, quality 3, random weights."""
    declare_missing_operators()
    from compressai.zoo import mbt2018_mean

    model = mbt2018_mean(quality=3, pretrained=False).eval()
    model.update()
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        out = model.compress(x)
        return {
            "encode": timed(lambda: model.compress(x), runs),
            "decode": timed(lambda: model.decompress(out["strings"], out["shape"]), runs),
        }


def main() -> int:
    """Prints the table; returns the exit status."""
    parser = argparse.ArgumentParser(description="Time coding beside compressai's mbt2018-mean.")
    parser.add_argument("picture", type=Path, nargs="?", help="a picture; without it, smooth shapes")
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    image = picture(options.picture)
    with torch.no_grad():
        ours = measure_ours(image, options.runs)
    peer = measure_peer(image, options.runs)
    table = Table("what", "clc, median s", "clc, min s", "mbt2018-mean, median s", "ratio of medians")
    for name, seconds in ours.items():
        beside = ("", "")
        if other := peer.get(name.split(",")[0]):
            beside = (f"{statistics.median(other):.3f}", f"{statistics.median(seconds) / statistics.median(other):.2f}")
        table.add_row(name, f"{statistics.median(seconds):.3f}", f"{min(seconds):.3f}", *beside)
    loading = timed(lambda: subprocess.run([sys.executable, "-c", LOADING], check=True), 3)
    table.add_row("import and load (a new process)", f"{statistics.median(loading):.3f}", f"{min(loading):.3f}", "", "")
    Console().print(f"{WIDTH}x{HEIGHT}, {torch.get_num_threads()} threads, torch {torch.__version__}", table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
