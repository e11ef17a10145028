"""How packing scales on the workers of a Dask cluster: a folder of many pictures, as `pack-archive` packs it.

    python bench/pack_scale.py --set ../shared/data/train --workers 2 --json scale.json

The archive is made in a temporary folder, or under `--out`, where it stays and an interrupted run goes on (its figures
are then those of the rest). Bare encoding is what coding a sample of the pictures alone takes in this one process, by
the same calls that packing makes, before any worker is started. The keys of the JSON:

- `pictures_per_second` of the whole run; `seconds` from the first call to the finished archive, `start_seconds` before
  that until the workers are there.
- `worker_peak_bytes`: the most memory that each worker took, resident; `flow_peak_bytes`: this process.
- `alone_cpu_seconds` a picture in a worker, `bare_cpu_seconds` in one process, and `alone_over_bare`, the ratio of both
  on the sample: above 1 is what working side by side costs.
- `overhead_percent`: how much longer the workers were there than they worked: hand-over, waiting, and what this process
  does itself. `processor_percent`: the share of a core that a call had while it was worked on; well below 100 the
  machine has fewer free cores than workers, and the figures by the clock tell of that.
- `seconds_over_bare`: seconds of the run, times workers, over those of coding every picture alone in one process.
- `steps`: of each kind of call, how many, their seconds and the processor's, and the share of all; "writing" is what
  this process spent on streams and table.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from clc.archive.pack import PackOptions, pack
from clc.archive.packed import Progress
from clc.archive.packing.tasks import Call, Job, Worker
from clc.archive.sources import Sources
from clc.archive.work import WorkFolder
from clc.codec.codec import Codec
from clc.codec.files import refuse_existing
from clc.errors import ClcError
from clc.machine import keep_freed_memory, use_one_thread
from clc.quality import to_q6
from flows.archive.work import OnDask, Spent, forget, peak_bytes
from flows.runtime.dask_cluster import count_workers, dask_client
from storage.atomic import write_bytes

WRITING = "writing"


class Clock:
    """Takes what packing tells, and how long each of its steps took by the clock."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._at = time.perf_counter()

    def __call__(self, progress: Progress) -> None:
        """Adds the time since the last call to a step, and says how far it is now and then."""
        now = time.perf_counter()
        self.seconds[progress.step] = self.seconds.get(progress.step, 0.0) + now - self._at
        self._at = now
        if progress.done == progress.of or progress.done % 50 == 0:
            typer.echo(f"{progress.step}: {progress.done} of {progress.of}", err=True)


def bare(folder: Path, codec: Codec, options: PackOptions, sample: int) -> dict[str, float]:
    """Seconds of the processor that coding each of a sample of the pictures alone takes here, by name."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as temporary:
        work = WorkFolder(Path(temporary) / "archive")
        files = [file for file in Sources(folder, work.out).files if file.sha256]
        places = np.unique(np.linspace(0, len(files) - 1, min(sample + 1, len(files))).round().astype(int))
        job = Job(str(work.path), str(codec.bundle.directory), "cpu", options.effort, options.background)
        worker = Worker(job, codec)
        for number, place in enumerate(places):
            begun = time.process_time()
            told = worker.run(Call("alone", (files[place], to_q6(options.quality))))
            if number and told.coded is not None:  # the first one warms up
                found[files[place].name] = time.process_time() - begun
    return found


def measure(
    folder: Path, out: Path, codec: Codec, options: PackOptions, workers: int, scheduler: str | None
) -> tuple[dict[str, Any], list[Spent]]:
    """Packs a folder; returns what was measured, and what each call took."""
    started = time.perf_counter()
    with dask_client(workers, scheduler) as client:
        executor, clock = OnDask(client, codec), Clock()
        begun = time.perf_counter()
        packed = pack(folder, out, codec, options, clock, executor)
        seconds = time.perf_counter() - begun
        count = count_workers(client)
        peaks = sorted(int(one) for one in client.run(peak_bytes).values())
        forget(client)
    busy, computed = (sum(getattr(one, what) for one in executor.spent) for what in ("seconds", "cpu_seconds"))
    return {
        "pictures": len(packed.manifest.pictures),
        "failed": len(packed.failed),
        "workers": count,
        "start_seconds": begun - started,
        "seconds": seconds,
        "pictures_per_second": len(packed.manifest.pictures) / seconds,
        "worker_peak_bytes": peaks,
        "flow_peak_bytes": peak_bytes(),
        "overhead_percent": 100 * (seconds * count / busy - 1) if busy else 0.0,
        "processor_percent": 100 * computed / busy if busy else 0.0,
        "archive_bytes": packed.archive_bytes,
        "alone_bytes": sum(picture.alone_bytes for picture in packed.manifest.pictures),
        "source_bytes": sum(picture.source_bytes for picture in packed.manifest.pictures),
        "key_pictures": len(packed.keys),
        "wall_seconds_of_steps": clock.seconds,
        "steps": steps(executor.spent, clock.seconds.get(WRITING, 0.0)),
    }, executor.spent


def steps(spent: Sequence[Spent], writing_seconds: float) -> dict[str, dict[str, float]]:
    """Of each kind of call, how many there were, what they took together, and their share of all seconds."""
    found: dict[str, dict[str, float]] = {}
    for one in spent:
        told = found.setdefault(one.what, {"calls": 0, "seconds": 0.0, "cpu_seconds": 0.0})
        told["calls"] += 1
        told["seconds"] += one.seconds
        told["cpu_seconds"] += one.cpu_seconds
    found[WRITING] = {"calls": 1, "seconds": writing_seconds, "cpu_seconds": writing_seconds}
    total = sum(told["seconds"] for told in found.values())
    return {what: {**told, "share": told["seconds"] / max(total, 1e-9)} for what, told in found.items()}


def against_bare(figures: dict[str, Any], spent: Sequence[Spent], bare_seconds: dict[str, float]) -> dict[str, Any]:
    """What a worker's coding of pictures alone takes beside the same in one process."""
    alone = [one for one in spent if one.what == "alone"]
    same = [one for one in alone if one.name in bare_seconds]
    if not same:
        return {}
    there, here = sum(one.cpu_seconds for one in same), sum(bare_seconds[one.name] for one in same)
    bare_mean = here / len(same)
    return {
        "alone_cpu_seconds": sum(one.cpu_seconds for one in alone) / len(alone),
        "bare_cpu_seconds": bare_mean,
        "bare_sample": len(same),
        "alone_over_bare": there / here,
        "seconds_over_bare": figures["seconds"] * figures["workers"] / (bare_mean * figures["pictures"]),
    }


def main(
    pictures: Annotated[Path, typer.Option("--set", help="The folder of pictures.")],
    count: Annotated[int, typer.Option(help="The first so many pictures by name; 0: all.", min=0)] = 0,
    workers: Annotated[int, typer.Option(help="Dask workers on this machine.", min=1)] = 2,
    scheduler: Annotated[str | None, typer.Option(help="Address of a running Dask scheduler instead.")] = None,
    quality: Annotated[float, typer.Option(help="Quality, 0 to 100.")] = 50.0,
    effort: Annotated[int, typer.Option(help="0 to 9.")] = 5,
    sample: Annotated[int, typer.Option(help="Pictures of which bare encoding is measured.", min=1)] = 8,
    out: Annotated[Path | None, typer.Option(help="Where the archive is made and stays.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Where the figures go; else standard output.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
) -> None:
    """Pack many pictures on Dask workers and measure it."""
    try:
        refuse_existing([] if json_file is None else [json_file], overwrite=overwrite)
        options = PackOptions(quality=quality, effort=effort)
        keep_freed_memory()
        use_one_thread()
        codec = Codec.load()
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(first(pictures.resolve(), count))
            temporary = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            bare_seconds = bare(folder, codec, options, sample)
            goal = (out or temporary / "archive").resolve()
            figures, spent = measure(folder, goal, codec, options, workers, scheduler)
        figures |= against_bare(figures, spent, bare_seconds)
        figures |= {"set": str(pictures), "quality": quality, "effort": effort}
    except ClcError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    text = json.dumps(figures, indent=1)
    if json_file is None:
        typer.echo(text)
    else:
        write_bytes(json_file, text.encode(), replace=overwrite)


@contextlib.contextmanager
def first(folder: Path, count: int) -> Iterator[Path]:
    """A folder of links to the first `count` pictures of another one by name; that one itself where `count` is 0."""
    if not count:
        yield folder
        return
    with tempfile.TemporaryDirectory() as temporary:
        chosen = Path(temporary) / "pictures"
        for file in Sources(folder, Path(temporary) / "archive").files[:count]:
            link = chosen / file.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file.path)
        yield chosen


if __name__ == "__main__":
    typer.run(main)
