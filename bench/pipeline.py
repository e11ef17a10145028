"""What an ingest costs beside bare decoding, and features beside the bare backbone: N JPEGs of 512x512, made here.

    python bench/pipeline.py --pictures 2000 --json pipeline.json
    python bench/pipeline.py --pictures 1000 --pictures 5000 --pictures 20000 --prefect --features --plot cost.svg

Bare decoding is `Image.open(...).convert("RGB")` over the same files, in as many processes as the ingest has workers,
which are started before the clock is. It is measured before and after the ingest, and the mean counts. The ingest is
the function of the flow `ingest-images` in a new workspace; what it starts is started within its time. On a machine
that has other work, seconds of a processor say more than those of the clock. The keys of the JSON, for each size:

- `ingest_seconds`, `bare_seconds`, and `ratio`, the first over the second; the same with `cpu` in their names are
  seconds of a processor, of all processes together. What is imported before either begins is in none of them.
- `start_seconds`: what an ingest of a handful of pictures takes. `ratio_beyond_start` is without it: what a further
  picture costs, over what bare decoding of it costs.
- `again_seconds`: the same once more with a tenth of new pictures, of which alone it decodes.
- `prefect_seconds`, with `--prefect`, where the ingest is the flow itself beside a Prefect server, whose start is not
  counted: what of its seconds is spent outside of its function, or within it to tell the server something, and
  `prefect_percent`, the share.
- `features_seconds`, with `--features`, of the first size: the function of the flow `extract-features` over the
  dictionary part, with the codec's own transform. `bare_features_seconds`: the same transform over the same pictures
  and patches as arrays, in as many processes of a thread each, which have opened it before the clock is started.
  `features_ratio_beyond_start` is without what the extraction of a handful of pictures takes.
- `source_bytes` of the files, and `workspace_bytes` of blobs and tables after the first ingest.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from PIL import Image

from clc.codec.files import refuse_existing
from clc.collection.patches import PatchReader
from clc.dictionary.extraction import open_descriptor
from clc.evaluation.plot import LIGHT
from flows.items import Item, read_items
from flows.runtime.prefect_server import API_VARIABLE, prefect_server, run_environment
from flows.runtime.stage import resolve
from flows.runtime.workspace import VARIABLE, Workspace
from storage.atomic import write_bytes
from storage.blobs import BlobStore

SIDE_PX = 512
QUALITY = 85
HANDFUL = 130  # just more than a shard, so that workers are started
CHUNK = 32
FEW = "few-workspace"
_READY_S = 600.0
PART = "dictionary"
_TIMED = """
import json, resource, sys, time
from flows.runtime import artifacts
{imports}

spent = {{"seconds": 0.0, "cpu_seconds": 0.0, "inner_seconds": 0.0, "told_seconds": 0.0}}

def cpu():
    both = (resource.getrusage(one) for one in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in both)

def timed(name, function):
    def call(*given, **named):
        start = time.perf_counter()
        try:
            return function(*given, **named)
        finally:
            spent[name] += time.perf_counter() - start
    return call

artifacts._publish, artifacts._update = (timed("told_seconds", one) for one in (artifacts._publish, artifacts._update))
if __name__ == "__main__":
    flow, options = {flow}, json.loads(sys.argv[2])
    if hasattr(sys.modules[flow.fn.__module__], "publish"):
        module = sys.modules[flow.fn.__module__]
        module.publish = timed("told_seconds", module.publish)
    flow.fn = timed("inner_seconds", flow.fn)
    before, start = cpu(), time.perf_counter()
    (flow if sys.argv[1] == "flow" else flow.fn)(**options)
    spent["seconds"], spent["cpu_seconds"] = time.perf_counter() - start, cpu() - before
    print(json.dumps(spent))
"""
INGEST = _TIMED.format(imports="from flows.ingest import ingest_images", flow="ingest_images")
FEATURES = _TIMED.format(imports="from flows.features import extract_features", flow="extract_features")


class Spent(NamedTuple):
    """Seconds of the clock, and of a processor in all processes together."""

    seconds: float
    cpu_seconds: float


def make_pictures(folder: Path, numbers: range) -> list[Path]:
    """Write one JPEG a number: soft shapes, edges and a little noise, as photographs have them. Return their paths."""
    folder.mkdir(exist_ok=True)
    noise_HW3 = np.random.default_rng(0).normal(0.0, 6.0, (SIDE_PX, SIDE_PX, 3)).astype(np.int16)
    made = []
    for number in numbers:
        generator = np.random.default_rng(number % 2**32)
        coarse = generator.integers(0, 256, (24, 24, 3), dtype=np.uint8)
        soft = Image.fromarray(coarse).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
        edges = Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((SIDE_PX, SIDE_PX))
        shapes_HW3 = np.asarray(Image.blend(soft, edges.rotate(number % 90), 0.3), np.int16)
        shift = tuple(generator.integers(0, SIDE_PX, 2))
        pixels_HW3 = np.clip(shapes_HW3 + np.roll(noise_HW3, shift, (0, 1)), 0, 255).astype(np.uint8)
        made.append(folder / f"{generator.integers(2**40):011x}.jpg")
        Image.fromarray(pixels_HW3).save(made[-1], quality=QUALITY)
    return made


def decode(paths: Sequence[str]) -> float:
    """Decode files as one does who wants no more than their pixels; return the seconds of a processor that it took."""
    start = time.process_time()
    for path in paths:
        with Image.open(path) as image:
            image.convert("RGB")
    return time.process_time() - start


def bare(folder: Path, workers: int) -> Spent:
    """Return how long bare decoding of a folder takes in so many processes, once these are there."""
    paths = sorted(map(str, folder.iterdir()))
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        pool.map(decode, [paths[:4]] * workers, chunksize=1)
        start = time.perf_counter()
        cpu_s = sum(pool.imap_unordered(decode, chunks))
        return Spent(time.perf_counter() - start, cpu_s)


def run_flow(program: str, workspace: Workspace, address: str = "", **options: Any) -> dict[str, float]:
    """Return what `program` measures of a flow's function in a process of its own, with these parameters.

    It is the flow, and its function within it, where `address` is that of a Prefect API.
    """
    environment = {**run_environment(workspace), "PREFECT_LOGGING_LEVEL": "WARNING"}
    if address:
        environment[API_VARIABLE] = address
    command = [sys.executable, "-c", program, "flow" if address else "function", json.dumps(options)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def ingest(folder: Path, workspace: Workspace, workers: int) -> Spent:
    """Return how long the function of `ingest-images` takes over a folder, in a process of its own."""
    measured = run_flow(INGEST, workspace, source=str(folder), workers=workers)
    return Spent(measured["seconds"], measured["cpu_seconds"])


def ingest_as_flow(folder: Path, workspace: Workspace, workers: int) -> tuple[Spent, dict[str, float]]:
    """Return the same of the flow, beside a Prefect server, and what of its time is Prefect's."""
    with prefect_server(workspace) as address:
        measured = run_flow(INGEST, workspace, address, source=str(folder), workers=workers)
    prefect_s = measured["seconds"] - measured["inner_seconds"] + measured["told_seconds"]
    figures = {
        "prefect_seconds": round(prefect_s, 2),
        "prefect_percent": round(100 * prefect_s / measured["seconds"], 1),
    }
    return Spent(measured["seconds"], measured["cpu_seconds"]), figures


def describe(items: Sequence[Item], blobs_root: Path, barrier: Any) -> tuple[float, float, float]:
    """Describe items from arrays in memory, once all processes are ready; return begin, end, and processor seconds."""
    descriptor, reader = open_descriptor("codec"), PatchReader(BlobStore(blobs_root))
    images = [reader.read(item.blob, item.rectangle) for item in items]
    descriptor.vectors(images[:1])
    barrier.wait(_READY_S)
    begin, cpu_s = time.monotonic(), time.process_time()
    for image_HW3 in images:
        descriptor.vectors([image_HW3])
    return begin, time.monotonic(), time.process_time() - cpu_s


def bare_features(workspace: Workspace, workers: int) -> tuple[Spent, int]:
    """Return how long the backbone alone takes over the items of the newest ingest, and how many these are."""
    items = read_items(resolve(workspace, "ingest-images").directory, PART)
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # as Dask has it for its workers
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, context.Pool(workers) as pool:
        barrier = manager.Barrier(workers)
        shares = [(items[worker::workers], workspace.blobs.root, barrier) for worker in range(workers)]
        begins, ends, cpu_s = zip(*pool.starmap(describe, shares, chunksize=1), strict=True)
    return Spent(max(ends) - min(begins), sum(cpu_s)), len(items)


def features_figures(few: Workspace, workspace: Workspace, workers: int) -> dict[str, float]:
    """Measure the extraction of features of the newest ingests beside the bare backbone."""
    before, count = bare_features(workspace, workers)
    measured = run_flow(FEATURES, workspace, part=PART, workers=workers)
    after, _ = bare_features(workspace, workers)
    bare_s, bare_cpu_s = _mean(before, after)
    further = count - len(read_items(resolve(few, "ingest-images").directory, PART))
    beyond_s = measured["seconds"] - run_flow(FEATURES, few, part=PART, workers=workers)["seconds"]
    return {
        "features_items": count,
        "features_ratio_beyond_start": round(beyond_s / (bare_s / count * further), 3),
        "features_seconds": round(measured["seconds"], 2),
        "bare_features_seconds": round(bare_s, 2),
        "features_ratio": round(measured["seconds"] / bare_s, 3),
        "features_cpu_ratio": round(measured["cpu_seconds"] / bare_cpu_s, 3),
    }


def measure(
    folder: Path, scratch: Path, workers: int, start_s: float, *, has_prefect: bool, has_features: bool
) -> dict[str, Any]:
    """Measure all of it on the pictures of `folder`, with workspaces below `scratch` that are removed."""
    count = len(list(folder.iterdir()))
    source_bytes = sum(path.stat().st_size for path in folder.iterdir())
    workspace = Workspace(scratch / "workspace")
    before = bare(folder, workers)
    if has_prefect:
        spent, further = ingest_as_flow(folder, workspace, workers)
    else:
        spent, further = ingest(folder, workspace, workers), {}
    after = bare(folder, workers)
    bare_s, bare_cpu_s = _mean(before, after)
    kept = [path for place in (workspace.blobs.root, workspace.stages) for path in place.rglob("*") if path.is_file()]
    workspace_bytes = sum(path.stat().st_size for path in kept)
    if has_features:
        further |= features_figures(Workspace(scratch / FEW), workspace, workers)
    added = make_pictures(folder, range(-HANDFUL - max(1, count // 10), -HANDFUL))
    again = ingest(folder, workspace, workers)
    for path in added:
        path.unlink()
    shutil.rmtree(workspace.root)
    return {
        "pictures": count,
        "bare_seconds": round(bare_s, 2),
        "bare_seconds_each": [round(one.seconds, 2) for one in (before, after)],
        "ingest_seconds": round(spent.seconds, 2),
        "ratio": round(spent.seconds / bare_s, 2),
        "bare_cpu_seconds": round(bare_cpu_s, 2),
        "ingest_cpu_seconds": round(spent.cpu_seconds, 2),
        "cpu_ratio": round(spent.cpu_seconds / bare_cpu_s, 2),
        "ratio_beyond_start": round((spent.seconds - start_s) / bare_s, 2),
        "again_seconds": round(again.seconds, 2),
        **further,
        "source_bytes": source_bytes,
        "workspace_bytes": workspace_bytes,
    }


def _mean(a: Spent, b: Spent) -> Spent:
    return Spent((a.seconds + b.seconds) / 2, (a.cpu_seconds + b.cpu_seconds) / 2)


def draw(sizes: Sequence[dict[str, Any]]) -> bytes:
    """Draw seconds over pictures, the ingest's beside those of bare decoding, and return the SVG file."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.8), facecolor=LIGHT.paper, layout="constrained")
    axes = figure.add_subplot()
    counts = [one["pictures"] for one in sizes]
    for key, name, colour in (("ingest", "ingest", LIGHT.own), ("bare", "bare decoding", LIGHT.others[1])):
        for kind, style in (("seconds", "-"), ("cpu_seconds", (0, (4, 2)))):
            seconds = [one[f"{key}_{kind}"] for one in sizes]
            label = f"{name}, of {'the clock' if kind == 'seconds' else 'a processor'}"
            axes.plot(counts, seconds, color=colour, linestyle=style, linewidth=2, marker="o", label=label)
    axes.set(xlim=(0, None), ylim=(0, None), xlabel=f"JPEG pictures of {SIDE_PX}x{SIDE_PX} px", ylabel="seconds")
    axes.grid(color=LIGHT.faint, linewidth=0.8)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "clc", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", facecolor=LIGHT.paper, metadata={"Date": None})
    return buffer.getvalue()


def main(
    pictures: Annotated[list[int] | None, typer.Option(help="How many to make and ingest; several times.")] = None,
    workers: Annotated[int, typer.Option(help="Processes.", min=1)] = 2,
    prefect: Annotated[bool, typer.Option("--prefect", help="Measure the flow, with a Prefect server.")] = False,
    features: Annotated[bool, typer.Option("--features", help="Measure features of the first size, too.")] = False,
    json_path: Annotated[Path | None, typer.Option("--json", help="Where to write the figures.")] = None,
    plot_path: Annotated[Path | None, typer.Option("--plot", help="Where to draw seconds over pictures (SVG).")] = None,
    scratch_folder: Annotated[Path | None, typer.Option("--scratch", help="Where there is room for all of it.")] = None,
) -> None:
    """Measure ingests beside bare decoding, and print the figures."""
    counts = sorted(set(pictures or [2000]))
    if counts[0] < 8:
        raise typer.BadParameter("at least 8 pictures are wanted", param_hint="--pictures")
    refuse_existing([path for path in (json_path, plot_path) if path is not None], overwrite=False)
    os.environ.pop(VARIABLE, None)
    sizes: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="clc-pipeline-", dir=scratch_folder) as name:
        scratch, made = Path(name), 0
        make_pictures(scratch / "few", range(-HANDFUL, 0))
        start_s = ingest(scratch / "few", Workspace(scratch / FEW), workers).seconds
        for count in counts:
            make_pictures(scratch / "pictures", range(made, count))
            made = count
            has_features = features and not sizes
            figures = measure(
                scratch / "pictures", scratch, workers, start_s, has_prefect=prefect, has_features=has_features
            )
            sizes.append(figures)
            typer.echo(json.dumps(figures))
    whole = json.dumps({"workers": workers, "start_seconds": round(start_s, 2), "sizes": sizes}, indent=1)
    typer.echo(whole)
    if json_path is not None:
        write_bytes(json_path, whole.encode())
    if plot_path is not None:
        write_bytes(plot_path, draw(sizes))


if __name__ == "__main__":
    typer.run(main)
