"""How long coding takes and what memory it needs, beside peers in the same run.

    python bench/codec.py [PICTURE] [--runs 7] [--large [MEGAPIXELS ...]] [--json FILE]
    python bench/codec.py PICTURE --keys FOLDER [--runs 7] [--json FILE]

The peers: compressai's mbt2018-mean and cheng2020-anchor at quality 3 and 6, and our own codec with the tcm backbone,
N = 64; all with random weights, which cost the same time as trained ones. Ours is the shipped bundle or `--bundle`.
Times are medians of several runs on one 768x512 picture, cheng2020's of three at most; the ratios are what to quote:
a peer's ratio is our median over the peer's, so that below 1 we are faster.

Also measured: the exact path beside its float twin, the time from nothing to a loaded codec, the peak memory for
3000x2000 in a process of its own, and with `--large` the time to decode a megapixel of pictures of 1 to 64
megapixels, or of those that are named.

With `--keys` only encoding with search is measured, beside mbt2018-mean: the pictures of the folder, of which PICTURE
must be none, become the key pictures of a bundle, and PICTURE is coded at its own size. "first picture" is a codec that
has seen none of the key pictures, "later picture" one that remembers their features.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from clc.bundle.bundle import Bundle
from clc.bundle.export import export_bundle
from clc.bundle.extend import add_pictures
from clc.codec import Codec
from clc.codec.files import refuse_existing
from clc.errors import ClcError, InputError
from clc.machine import keep_freed_memory
from clc.model.config import tcm_config
from clc.model.model import STRIDE_Z, Model, padded
from clc.model.prior.prior import Prior
from clc.model.prior.walk import Conditions, Turn, walk
from clc.pictures.images import read_image
from clc.pictures.patches import ENTRY_PX, entry_patch
from clc.pictures.picture import Picture
from clc.retrieval.torchvision_compat import declare_missing_operators
from storage.atomic import write_bytes
from storage.names import shown_name

WIDTH, HEIGHT = 768, 512
MEMORY_SIZE = (2000, 3000)
MEGAPIXELS = (1, 4, 16, 64)
SLOW_RUNS = 3
QUALITY = 50.0
PEERS = tuple((name, quality) for name in ("mbt2018-mean", "cheng2020-anchor") for quality in (3, 6))
TCM = "clc, tcm N=64"
LOADING = """
import sys
from pathlib import Path
import clc
from clc.codec import Codec
Codec.load(Path(sys.argv[1]) if sys.argv[1] else None)
"""
# One process codes one picture. Its peak memory is the high-water mark since exec: `ru_maxrss` is not asked, because on
# Linux it starts from what the parent held when it forked.
CODING = """
import sys
from pathlib import Path
import numpy as np
from clc.codec import Codec
from clc.machine import keep_freed_memory
keep_freed_memory()
bundle, mode, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
codec = Codec.load(Path(bundle) if bundle else None)
if mode == "encode":
    (folder / "a.clc").write_bytes(codec.encode(np.load(folder / "a.npy"), 50.0))
else:
    codec.decode((folder / "a.clc").read_bytes())
status = Path("/proc/self/status").read_text().split()
print(status[status.index("VmHWM:") + 1])
"""

Seconds = dict[str, list[float]]


def timed(work: Callable[[], object], runs: int) -> list[float]:
    """Seconds of each of `runs` calls, after one that is not counted."""
    work()
    seconds = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return seconds


def picture(path: Path | None, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Picture:
    """The given picture or noise-free shapes, cut or tiled to `size`."""
    if path is None:
        rows, columns = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float32)
        shapes = 128 + 60 * np.sin(rows / 37) + 50 * np.cos(columns / 23 + rows / 90)
        return np.repeat(shapes[..., None], 3, axis=2).astype(np.uint8)
    image = read_image(path)
    repeats = (-(-size[0] // image.shape[0]), -(-size[1] // image.shape[1]), 1)
    return np.ascontiguousarray(np.tile(image, repeats)[: size[0], : size[1]])


def measure_codec(codec: Codec, image: Picture, runs: int) -> Seconds:
    """Encoding with and without references, decoding, and the latents' part of decoding."""
    data = codec.encode(image, QUALITY)
    return {
        "encode": timed(searching(codec, image), runs),
        "encode, no references": timed(lambda: codec.encode(image, QUALITY, "none"), runs),
        "decode": timed(lambda: codec.decode(data), runs),
        "decode, latents only": timed(lambda: codec.trace(data, lambda name, values: None), runs),
    }


@torch.no_grad()
def measure_exactness(bundle: Bundle, runs: int) -> Seconds:
    """The prior of a 768x512 picture with three references in float64 on grids, and the same layers in float32.

    Neither codes symbols: what is compared is the arithmetic alone.
    """
    conditions = Conditions(3200, bundle.entries.conditioning((0, 1, 2)))
    shape = (1, bundle.config.hyper, -(-HEIGHT // STRIDE_Z), -(-WIDTH // STRIDE_Z))
    z_hat = torch.randint(-4, 5, shape, generator=torch.Generator().manual_seed(0))

    def nothing(turn: Turn, mean: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        return mean  # all symbols are 0

    def path(prior: Prior, dtype: torch.dtype) -> Callable[[], object]:
        return lambda: walk(prior, z_hat.to(dtype), conditions, nothing)

    return {
        "exact path": timed(path(bundle.prior, torch.float64), runs),
        "its float twin": timed(path(bundle.model.prior, torch.float32), runs),
    }


@torch.no_grad()
def measure_peer(name: str, quality: int, image: Picture, runs: int) -> Seconds:
    """A model of compressai with random weights."""
    declare_missing_operators()
    from compressai.zoo import cheng2020_anchor, mbt2018_mean

    make = {"mbt2018-mean": mbt2018_mean, "cheng2020-anchor": cheng2020_anchor}[name]
    model = make(quality=quality, pretrained=False).eval()
    model.update()
    x = padded(torch.from_numpy(image.copy())) / 255
    out = model.compress(x)
    return {
        "encode": timed(lambda: model.compress(x), runs),
        "decode": timed(lambda: model.decompress(out["strings"], out["shape"]), runs),
    }


def measure_tcm(image: Picture, runs: int) -> Seconds:
    """Our own codec with the tcm backbone, N = 64, random weights, exported with four entries."""
    torch.manual_seed(0)
    config = tcm_config(64)
    entries = [entry_patch(np.roll(image, shift * ENTRY_PX // 2, axis=1)) for shift in range(4)]
    with tempfile.TemporaryDirectory() as folder:
        state = Model(config).state_dict()
        export_bundle(Path(folder), config, state, entries, [{"name": f"patch {i}"} for i in range(4)])
        return measure_codec(Codec.load(Path(folder)), image, runs)


def start_up(bundle: Path | None, runs: int) -> list[float]:
    """Seconds from starting Python to a loaded codec."""
    return timed(lambda: subprocess.run([sys.executable, "-c", LOADING, str(bundle or "")], check=True), runs)


def peak_memory(bundle: Path | None, size: tuple[int, int] = MEMORY_SIZE) -> dict[str, float]:
    """MiB that a process needs at most to encode and to decode a picture of `size`."""
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "a.npy", picture(None, size), allow_pickle=False)
        for mode in ("encode", "decode"):
            command = [sys.executable, "-c", CODING, str(bundle or ""), mode, folder]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            peaks[mode] = int(done.stdout) / 1024
    return peaks


def measure_large(codec: Codec, path: Path | None, megapixels: list[int], runs: int) -> dict[str, list[float]]:
    """Seconds to decode one megapixel (2**20) of square pictures of so many megapixels, tiled from `path`."""
    seconds = {}
    for size in megapixels:
        side = round((size * 2**20) ** 0.5)
        data = codec.encode(picture(path, (side, side)), QUALITY, "none")
        seconds[f"{size} MP"] = [value / size for value in timed(lambda data=data: codec.decode(data), runs)]
    return seconds


def searching(codec: Codec, image: Picture) -> Callable[[], object]:
    """Encoding with a search, which a codec remembers for one and the same picture: each call changes a pixel."""
    levels = itertools.count()

    def encode() -> bytes:
        other = image.copy()
        other[0, 0, 0] = next(levels) % 256
        return codec.encode(other, QUALITY)

    return encode


def measure_search(bundle: Bundle, image: Picture, runs: int) -> Seconds:
    """Encoding with a search among the key pictures of a bundle."""
    return {
        "encode, first picture": timed(lambda: Codec(bundle).encode(image, QUALITY), runs),
        "encode, later picture": timed(searching(Codec(bundle), image), runs),
    }


def measure_beside_keys(options: argparse.Namespace) -> dict[str, Any]:
    """`--keys`: search beside the pictures of a folder, as what `--json` writes. Raises `InputError`."""
    if options.picture is None:
        raise InputError("--keys needs a picture to code: name one that is none of the key pictures")
    image = read_image(options.picture)
    paths = sorted(path for path in options.keys.iterdir() if path.is_file())
    keys = [read_image(path) for path in paths]
    if any(np.array_equal(key, image) for key in keys):
        raise InputError(f"{options.picture} is one of the key pictures in {options.keys}: name another one")
    mbt = [(name, quality) for name, quality in PEERS if name == "mbt2018-mean"]
    peers = {f"{name} q{quality}": measure_peer(name, quality, image, options.runs) for name, quality in mbt}
    with tempfile.TemporaryDirectory() as folder:
        base, out = Bundle.load(options.bundle), Path(folder) / "bundle"
        add_pictures(base.directory, out, keys, [{"name": shown_name(path.name)} for path in paths])
        bundle = Bundle.load(out)
        ours = measure_search(bundle, image, options.runs)
    return {
        "setting": {**setting_of(options, base.bundle_id, image), "keys": len(keys)},
        "seconds": {"clc": ours, **peers},
        "ratios": beside_peers(ours, peers),
    }


def setting_of(options: argparse.Namespace, bundle_id: str, image: Picture) -> dict[str, Any]:
    """What was measured, and on what."""
    setting = {"size": [image.shape[1], image.shape[0]], "runs": options.runs, "bundle": bundle_id}
    return {**setting, "threads": torch.get_num_threads(), "cores": os.cpu_count(), "torch": torch.__version__}


def beside_peers(ours: Seconds, peers: dict[str, Seconds]) -> dict[str, dict[str, float]]:
    """Ratios of medians, ours over the peer's, by row and peer; every way to encode is held against its encoding."""
    ratios: dict[str, dict[str, float]] = {}
    for row, seconds in ours.items():
        for peer, theirs in peers.items():
            other = theirs.get(row) or theirs.get(row.split(",")[0])
            if other and row != "decode, latents only":
                ratios.setdefault(row, {})[peer] = statistics.median(seconds) / statistics.median(other)
    return ratios


def measure_peers(image: Picture, runs: int) -> dict[str, Seconds]:
    """All peers by name; the slow ones in fewer runs."""
    slow, peers = min(runs, SLOW_RUNS), {}
    for name, quality in PEERS:
        peers[f"{name} q{quality}"] = measure_peer(name, quality, image, slow if name.startswith("cheng") else runs)
    return {**peers, TCM: measure_tcm(image, slow)}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All measurements, as what `--json` writes."""
    image, slow = picture(options.picture), min(options.runs, SLOW_RUNS)
    codec = Codec.load(options.bundle)
    ours, peers = measure_codec(codec, image, options.runs), measure_peers(image, options.runs)
    exactness = measure_exactness(codec.bundle, options.runs)
    exact, twin = (statistics.median(seconds) for seconds in exactness.values())
    return {
        "setting": setting_of(options, codec.bundle.bundle_id, image),
        "seconds": {"clc": ours, **peers},
        "ratios": beside_peers(ours, peers),
        "exactness_seconds": exactness,
        "exact_over_float": exact / twin,
        "start_up_seconds": start_up(options.bundle, slow),
        "peak_memory_mib": peak_memory(options.bundle),
        "decode_seconds_a_megapixel": measure_large(codec, options.picture, options.large, slow),
    }


def show(found: dict[str, Any], console: Console) -> None:
    """Prints the figures as tables."""
    show_seconds(found, console)
    if "exactness_seconds" in found:
        show_further(found, console)


def show_seconds(found: dict[str, Any], console: Console) -> None:
    """Our times, over the peers', and theirs."""
    setting = found["setting"]
    size = "x".join(str(side) for side in setting["size"]) + (f", {setting['keys']} keys" if "keys" in setting else "")
    about = f"{size}, {setting['threads']} threads, torch {setting['torch']}, bundle {setting['bundle']}"
    peers = [name for name in found["seconds"] if name != "clc"]
    table = Table("ours", "median s", "min s", *(f"over {peer}" for peer in peers), title=about)
    for row, seconds in found["seconds"]["clc"].items():
        ratios = found["ratios"].get(row, {})
        cells = [f"{ratios[peer]:.2f}" if peer in ratios else "" for peer in peers]
        table.add_row(row, f"{statistics.median(seconds):.3f}", f"{min(seconds):.3f}", *cells)
    console.print(table)
    table = Table("peer", "encode, median s", "decode, median s")
    for peer in peers:
        rows = found["seconds"][peer]
        table.add_row(peer, *(f"{statistics.median(rows[row]):.3f}" for row in ("encode", "decode")))
    console.print(table)


def show_further(found: dict[str, Any], console: Console) -> None:
    """What is measured beside the times of coding one picture."""
    table = Table("further", "figure")
    for row, seconds in found["exactness_seconds"].items():
        table.add_row(row, f"{statistics.median(seconds):.3f} s")
    table.add_row("exact path over its float twin", f"{found['exact_over_float']:.2f}")
    table.add_row("from nothing to a loaded codec", f"{statistics.median(found['start_up_seconds']):.2f} s")
    for mode, peak in found["peak_memory_mib"].items():
        table.add_row(f"peak memory, {mode} {MEMORY_SIZE[1]}x{MEMORY_SIZE[0]}", f"{peak:.0f} MiB")
    for size, seconds in found["decode_seconds_a_megapixel"].items():
        table.add_row(f"decode {size}, a megapixel", f"{statistics.median(seconds):.3f} s")
    console.print(table)


def main(arguments: list[str] | None = None) -> int:
    """Measures and prints; returns the exit status."""
    parser = argparse.ArgumentParser(description="Time coding beside peers in the same run.")
    parser.add_argument("picture", type=Path, nargs="?", help="a picture; without it, smooth shapes")
    parser.add_argument("--bundle", type=Path, help="a bundle folder; without it, the shipped one")
    parser.add_argument("--keys", type=Path, metavar="FOLDER", help="key pictures: measure encoding beside them only")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--large", type=int, nargs="*", metavar="MP", help="megapixels: 1, 4, 16 and 64, or these")
    parser.add_argument("--json", type=Path, help="a file for all figures")
    parser.add_argument("--overwrite", action="store_true", help="replace that file if it exists")
    options = parser.parse_args(arguments)
    keep_freed_memory()  # as the commands do; for the peers as well
    options.large = [] if options.large is None else options.large or list(MEGAPIXELS)
    try:
        refuse_existing([options.json] if options.json else [], overwrite=options.overwrite)
        found = measure_beside_keys(options) if options.keys else measure(options)
    except (ClcError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    show(found, Console(width=160))
    if options.json:
        write_bytes(options.json, json.dumps(found, indent=1).encode(), replace=options.overwrite)
    return 0


if __name__ == "__main__":
    sys.exit(main())
