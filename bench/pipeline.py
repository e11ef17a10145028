"""What an ingest costs beside bare decoding: N photographs of 512x512 as JPEG, made here, on the same cores.

    python bench/pipeline.py --pictures 2000 --json pipeline.json

Bare decoding is `Image.open(...).convert("RGB")` over the same files, in as many processes as the ingest has workers,
which are started before the clock is. The ingest is the function of the flow `ingest-images` in a new workspace; Dask's
workers are started within its time. The keys of the JSON:

- `ingest_seconds`, `bare_seconds`, and `ratio`, the first over the second.
- `start_seconds`: what an ingest of a handful of pictures takes through a cluster. `ratio_beyond_start` is without it:
  what a further picture costs, over what bare decoding of it costs.
- `again_seconds`: the same once more with a tenth of new pictures, of which alone it decodes.
- `flow_seconds`, with `--prefect`: the flow in another workspace, with a Prefect server whose start is not counted.
- `source_bytes` of the files, and `workspace_bytes` of blobs and tables after the first ingest.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from clc.codec.files import refuse_existing
from flows.runtime.prefect_server import API_VARIABLE, prefect_server, run_environment
from flows.runtime.workspace import VARIABLE, Workspace
from storage.atomic import write_bytes

SIDE_PX = 512
QUALITY = 85
HANDFUL = 130  # just more than a shard, so that workers are started
_TIMED = """
import json, sys, time
from flows.ingest import ingest_images
call = ingest_images if sys.argv[2] == "flow" else ingest_images.fn
start = time.perf_counter()
call(sys.argv[1], workers=int(sys.argv[3]))
print(json.dumps(time.perf_counter() - start))
"""


def make_pictures(folder: Path, numbers: range) -> None:
    """Write one JPEG a number: soft shapes, edges and a little noise, as photographs have them."""
    folder.mkdir(exist_ok=True)
    noise_HW3 = np.random.default_rng(0).normal(0.0, 6.0, (SIDE_PX, SIDE_PX, 3)).astype(np.int16)
    for number in numbers:
        generator = np.random.default_rng(number % 2**32)
        coarse = generator.integers(0, 256, (24, 24, 3), dtype=np.uint8)
        soft = Image.fromarray(coarse).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
        edges = Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((SIDE_PX, SIDE_PX))
        shapes_HW3 = np.asarray(Image.blend(soft, edges.rotate(number % 90), 0.3), np.int16)
        shift = tuple(generator.integers(0, SIDE_PX, 2))
        pixels_HW3 = np.clip(shapes_HW3 + np.roll(noise_HW3, shift, (0, 1)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels_HW3).save(folder / f"{generator.integers(2**40):011x}.jpg", quality=QUALITY)


def decode(path: str) -> int:
    """Decode a file as one does who wants no more than its pixels."""
    with Image.open(path) as image:
        return image.convert("RGB").width


def bare_seconds(folder: Path, workers: int) -> float:
    """Return how long bare decoding of a folder takes in so many processes, once these are there."""
    paths = sorted(map(str, folder.iterdir()))
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        pool.map(decode, paths[: 4 * workers], chunksize=1)
        start = time.perf_counter()
        pool.map(decode, paths, chunksize=32)
        return time.perf_counter() - start


def ingest_seconds(folder: Path, workspace: Workspace, workers: int, address: str = "") -> float:
    """Return how long an ingest takes in a process of its own, as a flow where `address` is that of a Prefect API."""
    environment = {**run_environment(workspace), "PREFECT_LOGGING_LEVEL": "WARNING"}
    if address:
        environment[API_VARIABLE] = address
    command = [sys.executable, "-c", _TIMED, str(folder), "flow" if address else "function", str(workers)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def measure(folder: Path, scratch: Path, count: int, workers: int, *, has_prefect: bool) -> dict[str, Any]:
    """Measure all of it on the pictures of `folder`, with workspaces below `scratch`."""
    few = scratch / "few"
    make_pictures(few, range(-HANDFUL, 0))
    source_bytes = sum(path.stat().st_size for path in folder.iterdir())
    start_s = ingest_seconds(few, Workspace(scratch / "first"), workers)
    bare_s = bare_seconds(folder, workers)
    workspace = Workspace(scratch / "workspace")
    ingest_s = ingest_seconds(folder, workspace, workers)
    kept = [path for place in (workspace.blobs.root, workspace.stages) for path in place.rglob("*") if path.is_file()]
    workspace_bytes = sum(path.stat().st_size for path in kept)
    further: dict[str, float] = {}
    if has_prefect:
        with prefect_server(Workspace(scratch / "flow")) as address:
            further["flow_seconds"] = round(ingest_seconds(folder, Workspace(scratch / "flow"), workers, address), 2)
    make_pictures(folder, range(count, count + max(1, count // 10)))
    return {
        "pictures": count,
        "workers": workers,
        "bare_seconds": round(bare_s, 2),
        "ingest_seconds": round(ingest_s, 2),
        "ratio": round(ingest_s / bare_s, 2),
        "start_seconds": round(start_s, 2),
        "ratio_beyond_start": round((ingest_s - start_s) / bare_s, 2),
        "again_seconds": round(ingest_seconds(folder, workspace, workers), 2),
        **further,
        "source_bytes": source_bytes,
        "workspace_bytes": workspace_bytes,
    }


def main(
    pictures: Annotated[int, typer.Option(help="How many pictures to make and ingest.", min=8)] = 2000,
    workers: Annotated[int, typer.Option(help="Processes.", min=1)] = 2,
    prefect: Annotated[bool, typer.Option("--prefect", help="Measure the flow with a Prefect server, too.")] = False,
    json_path: Annotated[Path | None, typer.Option("--json", help="Where to write the figures.")] = None,
) -> None:
    """Measure an ingest beside bare decoding, and print the figures."""
    if json_path is not None:
        refuse_existing([json_path], overwrite=False)
    os.environ.pop(VARIABLE, None)
    with tempfile.TemporaryDirectory(prefix="clc-pipeline-") as scratch:
        folder = Path(scratch) / "pictures"
        make_pictures(folder, range(pictures))
        figures = measure(folder, Path(scratch), pictures, workers, has_prefect=prefect)
    typer.echo(json.dumps(figures, indent=1))
    if json_path is not None:
        write_bytes(json_path, json.dumps(figures, indent=1).encode())


if __name__ == "__main__":
    typer.run(main)
