"""Do references pay? Real files with and without them, beside x265 with the same reference.

    python bench/references.py --set ../shared/data/correlated/copr --json out.json --x265
    python bench/references.py --set ../shared/data/kodak --json out.json
    python bench/references.py --set ../shared/data/correlated/copr --json out.json --collection

By name, the 1st, 3rd, ... picture of the folder become key pictures of the dictionary and the 2nd, 4th, ... are coded,
each in the modes of `referenced/rows.py`; `--key-pictures none` (the default for a folder named kodak, whose pictures
must be in no dictionary) codes all with the dictionary as it is. The keys `tokens`, `random`, `aligned` and `oracle` of
the JSON are BD-rates of PSNR in per cent against `none`, see `referenced/curves.py` for their conditions.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from hevc import Hevc
from referenced.collection import Measure, add_keys, measure_collection
from referenced.rows import MODES, NONE, ORACLE, Job, run_job
from referenced.summary import Summary, print_collection, print_summary, summarise
from rich.console import Console

from clc.bundle.bundle import Bundle
from clc.codec.files import refuse_existing
from clc.errors import ClcError, InputError
from clc.pictures.picture import PICTURE_SUFFIXES
from storage.atomic import write_bytes
from storage.names import shown_name

QUALITIES = "0,10,20,35,50,65,80,95"
LOSSLESS = "webp-lossless"


@dataclass(frozen=True)
class Dear:
    """On how many pictures the two dear measurements are made."""

    oracle: int = 0
    x265: int = 0


@dataclass(frozen=True)
class Plan:
    """What is measured on a set: paths of the key pictures and of those to code, modes, qualities, format of keys."""

    keys: Sequence[Path]
    coded: Sequence[Path]
    modes: tuple[str, ...]
    qualities: tuple[float, ...]
    picture_format: str = LOSSLESS
    dear: Dear = Dear()


def command(
    pictures: Annotated[Path, typer.Option("--set", help="Folder of pictures.")],
    json_file: Annotated[Path, typer.Option("--json", help="File for all figures.")],
    bundle: Annotated[Path | None, typer.Option(help="Bundle folder; the shipped one by default.")] = None,
    qualities: Annotated[str, typer.Option(help="Qualities of the codec, 0 to 100, by commas.")] = QUALITIES,
    modes: Annotated[str, typer.Option(help="Modes beside none, by commas.")] = "tokens,random,aligned,oracle",
    limit: Annotated[int | None, typer.Option(help="Code only the first N pictures.", min=1)] = None,
    processes: Annotated[int, typer.Option(help="Copies of this program to share the pictures.", min=1)] = 1,
    key_pictures: Annotated[str, typer.Option(help="odd or none; by default odd, none for kodak.")] = "",
    picture_format: Annotated[str, typer.Option(help="How key pictures are stored.")] = LOSSLESS,
    oracle_limit: Annotated[int, typer.Option(help="Pictures for the oracle, which tries every key.", min=0)] = 4,
    x265: Annotated[bool, typer.Option(help="Measure x265 with the same references.")] = False,
    x265_limit: Annotated[int, typer.Option(help="Pictures for x265.", min=1)] = 7,
    collection: Annotated[bool, typer.Option(help="Measure the whole collection instead.")] = False,
    keys: Annotated[str, typer.Option(help="Numbers of key pictures to try for it, by commas.")] = "1,2,4,8",
    key_formats: Annotated[str, typer.Option(help="Formats to try for it, by commas.")] = "webp-60,webp-80,webp-95",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that exist.")] = False,
) -> None:
    """Measure what references save on a folder of pictures."""
    console = Console()
    try:
        refuse_existing([json_file], overwrite=overwrite)
        paths = picture_paths(pictures)
        ladder = numbers(qualities)
        if collection:
            tries = [(int(count), name) for count in numbers(keys) for name in key_formats.split(",")]
            whole = measure_collection(paths[:limit], bundle, ladder, tries, lambda job: run_job(job, processes))
            _write(json_file, {"set": pictures.name, "collection": whole.to_json()}, replace=overwrite)
            print_collection(console, whole)
            return
        keys_of, coded = split_odd_even(paths) if _has_keys(key_pictures, pictures) else ([], list(paths))
        if not coded:
            raise InputError(f"{pictures} holds one picture: a key picture and one to code are needed")
        dear = Dear(oracle_limit if keys_of else 0, x265_limit if x265 and keys_of else 0)
        plan = Plan(keys_of, coded[:limit], _modes(modes), ladder, picture_format, dear)
        summary = measure_set(plan, bundle, lambda job: run_job(job, processes))
        _write(json_file, {"set": pictures.name, **summary.to_json()}, replace=overwrite)
        print_summary(console, pictures.name, summary)
    except ClcError as error:
        Console(stderr=True).print(f"error: {error}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1) from error


def measure_set(plan: Plan, bundle: Path | None, measure: Measure) -> Summary:
    """Add the key pictures to the bundle, code the pictures in every mode, and take the figures.

    Raises `InputError` before anything is coded where x265 is asked for and missing.
    """
    if plan.dear.x265:
        Hevc.find()
    base = Bundle.load(bundle)
    names = [shown_name(path.name) for path in plan.coded]
    with tempfile.TemporaryDirectory() as folder:
        used = base.directory
        if plan.keys:
            used = Path(folder) / "bundle"
            add_keys(base.directory, used, plan.keys, plan.picture_format)
        job = Job(
            bundle=str(used),
            pictures=tuple(str(path) for path in plan.coded),
            modes=plan.modes,
            qualities=plan.qualities,
            first_key=len(base.entries),
            keys=tuple(str(path) for path in plan.keys),
            oracle=tuple(names[: plan.dear.oracle]) if ORACLE in plan.modes else (),
            x265=tuple(names[: plan.dear.x265]),
        )
        files = measure(job)
    return summarise(files, base.bundle_id, [shown_name(path.name) for path in plan.keys], len(base.entries))


def picture_paths(folder: Path) -> list[Path]:
    """The pictures of a folder by name; `InputError` if there is none."""
    if not folder.is_dir():
        raise InputError(f"no folder {folder.absolute()}; name a folder of pictures with --set")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
    if not paths:
        raise InputError(f"{folder.absolute()} holds no picture")
    return paths


def split_odd_even(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The 1st, 3rd, ... and the 2nd, 4th, ... of the paths."""
    return list(paths[::2]), list(paths[1::2])


def _has_keys(key_pictures: str, folder: Path) -> bool:
    if key_pictures not in ("", "odd", "none"):
        raise InputError(f"--key-pictures is odd or none, not {key_pictures!r}")
    return key_pictures == "odd" if key_pictures else "kodak" not in folder.resolve().name.lower()


def _modes(text: str) -> tuple[str, ...]:
    asked = {NONE, *(name for name in text.split(",") if name)}
    if asked - set(MODES):
        raise InputError(f"unknown modes {sorted(asked - set(MODES))}: choose from {', '.join(MODES)}")
    return tuple(mode for mode in MODES if mode in asked)


def numbers(text: str) -> tuple[float, ...]:
    """Numbers with commas between them, sorted, each once; `InputError` for anything else."""
    try:
        return tuple(sorted({float(number) for number in text.split(",")}))
    except ValueError as error:
        raise InputError(f"numbers with commas between them are needed, not {text!r}") from error


def _write(path: Path, values: Mapping[str, Any], *, replace: bool) -> None:
    write_bytes(path, json.dumps(values, indent=1, allow_nan=False).encode(), replace=replace)


if __name__ == "__main__":
    typer.run(command)
