"""What adapting the shipped codec to a collection is worth: real files of pictures that it was not adapted to.

    python bench/adaptation.py --set ../shared/data/correlated/copr --json out.json --minutes 20

By name, the 1st, 3rd, ... picture of the folder are what the codec is adapted to, for so many minutes; some of them are
held out, and which weights are kept is decided on these. The 2nd, 4th, ... are then coded: by the shipped codec and by
the adapted one, without references and beside the pictures of the first half as key pictures. All figures are BD-rates
of PSNR against the shipped codec without references. `--run FOLDER` measures a training that has been made already.
"""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import torch
import typer
from referenced.collection import add_keys
from referenced.curves import Saving, mean_curve, saving, usable
from referenced.rows import ALIGNED, NONE, CodedFile, Job, run_job
from references import numbers, picture_paths, split_odd_even
from rich.console import Console
from rich.table import Table

from clc.bundle.bundle import Bundle
from clc.bundle.export import export_bundle
from clc.codec.files import refuse_existing
from clc.errors import ClcError, InputError
from clc.machine import has_bfloat16, keep_freed_memory
from clc.pictures.images import read_image
from clc.pictures.patches import ENTRY_PX
from clc.references.overlaps import find_overlaps
from clc.training.config import TrainingConfig, adaptation
from clc.training.data import PictureSet, random_patches
from clc.training.loop import Observer
from clc.training.pairs import overlapping_pairs
from clc.training.run_folder import read_weights
from clc.training.train import train
from storage.atomic import write_bytes
from storage.names import shown_name

QUALITIES = "0,25,50,75,100"
ENTRIES = 128
SHIPPED, ADAPTED = "shipped", "adapted"


@dataclass(frozen=True)
class Found:
    """The files that both codecs made, by codec, and what the training says of itself."""

    files: dict[str, list[CodedFile]]
    training: dict[str, Any]

    def savings(self) -> dict[str, Saving]:
        """By codec and mode, against the shipped codec without references."""
        anchor = mean_curve(self.files[SHIPPED], NONE)
        rows = [(codec, mode) for codec in (SHIPPED, ADAPTED) for mode in (NONE, ALIGNED)]
        return {f"{codec}, {mode}": saving(anchor, mean_curve(self.files[codec], mode)) for codec, mode in rows[1:]}

    def by_picture(self) -> dict[str, float | None]:
        """The adapted codec against the shipped one without references, picture by picture."""
        found = {}
        for name in dict.fromkeys(file.name for file in self.files[SHIPPED]):
            own = {codec: [file for file in files if file.name == name] for codec, files in self.files.items()}
            found[name] = saving(mean_curve(own[SHIPPED], NONE), mean_curve(own[ADAPTED], NONE)).percent
        return found

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "training": self.training,
            "bd_rates": {name: one.to_json() for name, one in self.savings().items()},
            "by_picture": self.by_picture(),
        }


def command(
    pictures: Annotated[Path, typer.Option("--set", help="Folder of pictures.")],
    json_file: Annotated[Path, typer.Option("--json", help="File for all figures.")],
    minutes: Annotated[float, typer.Option(help="Minutes of training.", min=0.01)] = 20.0,
    qualities: Annotated[str, typer.Option(help="Qualities of the codec, 0 to 100, by commas.")] = QUALITIES,
    limit: Annotated[int | None, typer.Option(help="Code only the first N pictures.", min=1)] = None,
    processes: Annotated[int, typer.Option(help="Copies of this program to share the coding.", min=1)] = 1,
    run: Annotated[Path | None, typer.Option(help="Folder of a training on the first half; trains none then.")] = None,
    out: Annotated[Path | None, typer.Option(help="Keep the run and the adapted bundle here.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that exist.")] = False,
) -> None:
    """Adapt the shipped codec to half of a folder and measure it on the other half."""
    console = Console()
    try:
        refuse_existing([json_file], overwrite=overwrite)
        for made in () if out is None else (out / "bundle", *([out / "run"] if run is None else [])):
            if made.exists():
                raise InputError(f"{made} exists already; name another folder for --out")
        ladder = numbers(qualities)
        odd, even = split_odd_even(picture_paths(pictures))
        if not even:
            raise InputError(f"{pictures} holds one picture: some to adapt to and some to code are needed")
        even = even[:limit]
        with tempfile.TemporaryDirectory() as scratch:
            folder = out or Path(scratch)
            training = train_on(odd, adaptation(minutes), folder / "run") if run is None else {"run": run.name}
            export_adapted(odd, run or folder / "run", folder / "bundle")
            files = {
                SHIPPED: code(even, odd, Bundle.load().directory, (ladder, processes)),
                ADAPTED: code(even, odd, folder / "bundle", (ladder, processes)),
            }
        found = Found(files, training)
        figures = json.dumps({"set": pictures.name, **found.to_json()}, indent=1)
        write_bytes(json_file, figures.encode(), replace=overwrite)
        show(console, pictures.name, found)
    except ClcError as error:
        Console(stderr=True).print(f"error: {error}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1) from error


def train_on(paths: Sequence[Path], config: TrainingConfig, out: Path) -> dict[str, Any]:
    """Go on from the shipped weights on these pictures; what the log says of the end."""
    shipped, data = Bundle.load(), read_set(paths)
    keep_freed_memory()
    config = replace(config, model=shipped.config, bf16=has_bfloat16(torch.device("cpu")))
    pairs = overlapping_pairs(data, find_overlaps(data.pictures))
    observer = Observer(lambda line: print(json.dumps(line), flush=True))
    result = train(config, data, patches(data), out, pairs=pairs, start=shipped.state(), observer=observer)
    return {"pictures": len(data), "pairs": len(pairs), "steps": result.steps, "kept_step": result.kept_step}


def export_adapted(paths: Sequence[Path], run: Path, out: Path) -> None:
    """The bundle of a run, with patches of the pictures as its dictionary."""
    config, state = read_weights(run)
    entries = patches(read_set(paths))
    export_bundle(out, config, state, entries.pictures, [{"name": photo} for photo in entries.photos])


def patches(pictures: PictureSet) -> PictureSet:
    """A dictionary of about `ENTRIES` random patches, equally many of each picture."""
    rounds = [random_patches(pictures, len(pictures), ENTRY_PX, seed) for seed in range(-(-ENTRIES // len(pictures)))]
    return PictureSet([p for one in rounds for p in one.pictures], [name for one in rounds for name in one.photos])


def read_set(paths: Sequence[Path]) -> PictureSet:
    """Pictures of one folder under their names there."""
    return PictureSet([read_image(path) for path in paths], [shown_name(path.name) for path in paths])


def code(
    coded: Sequence[Path], keys: Sequence[Path], bundle: Path, effort: tuple[tuple[float, ...], int]
) -> list[CodedFile]:
    """Every picture at every quality, without references and beside the key pictures."""
    qualities, processes = effort
    with tempfile.TemporaryDirectory() as folder:
        beside = Path(folder) / "bundle"
        add_keys(bundle, beside, keys, "webp-lossless")
        names = tuple(str(path) for path in coded)
        job = Job(str(beside), names, (NONE, ALIGNED), qualities, len(Bundle.load(bundle).entries))
        files, left_out = usable(run_job(job, processes))
    if left_out:
        raise InputError("; ".join(f"{name}: {reason}" for name, reason in left_out.items()))
    return files


def show(console: Console, title: str, found: Found) -> None:
    """Print the figures."""
    table = Table(title=f"{title}: BD-rate against the shipped codec without references, {found.training}")
    for heading in ("codec, references", "BD-rate", "common range, dB", "mean of bytes at the lowest quality"):
        table.add_column(heading)
    for name, one in found.savings().items():
        codec, mode = name.split(", ")
        own = [file for file in found.files[codec] if file.mode == mode]
        low = min(file.quality for file in own)
        size = fmean(file.size_bytes for file in own if file.quality == low)
        percent = "none" if one.percent is None else f"{one.percent:+.1f} %"
        span = one.rate.reason if one.percent is None else f"{one.rate.low:.1f} to {one.rate.high:.1f}"
        table.add_row(name, percent, span, f"{size:,.0f}")
    console.print(table)
    rates = [f"{name} {rate:+.1f}" for name, rate in found.by_picture().items() if rate is not None]
    console.print("adapted, none, by picture: " + ", ".join(rates), highlight=False)


if __name__ == "__main__":
    typer.run(command)
