"""The command line of training: one model for all rates, within a budget of minutes or steps.

    python -m clc.training --data FOLDER [--data FOLDER ...] --out FOLDER --minutes 60

Reads the options and the pictures, and calls `clc.training.train.train`, as the flow `train-codec` does for itself.
`docs/training.md` describes all options, `clc.training.checkpoint` the files in the output folder. The contract: it
imports torch, numpy, Pillow and safetensors and nothing else that is not in the standard library or in this package, so
that a bare worker can run it, alone or under `torchrun`; options that need more import it when they are used.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clc.console import DONE, FAILED, OneLineParser, complain, error_line, say, shown, status_of, steady
from clc.errors import InputError
from clc.exact.checkerboard import PHASES
from clc.machine import flush_denormals, keep_freed_memory
from clc.model.config import ModelConfig
from clc.model.model import Model
from clc.model.objective import MS_SSIM, OBJECTIVES
from clc.pictures.patches import ENTRY_PX
from clc.training.config import CROPS, CROPS_MS_SSIM, GPU_WORKERS, TrainingConfig, adaptation, read_config
from clc.training.data import PictureSet, random_patches, read_folders
from clc.training.distributed import Ranks, joined
from clc.training.growth import grown
from clc.training.klt_start import start_new_latents, start_self_prior
from clc.training.loop import SILENT, Observer
from clc.training.pairs import Pair
from clc.training.run_folder import read_model, refuse_former_run, write_model
from clc.training.train import read_start, train
from clc.training.weight_shards import check_limit, write_shards
from storage.atomic import write_bytes

SELF_PRIOR_WARMUP_STEPS = 900
"""Over so many steps the bits of a new self-generated prior are charged more and more, where no `--config` says how."""
SHARDS, CONFIG = "shards", "config.json"
NAMED = ("minutes", "steps", "learning_rate", "objective", "seed", "device", "workers", "compile", "bf16")
"""The options that are fields of `TrainingConfig`."""


def main(arguments: list[str] | None = None) -> int:
    """Trains as the command line asks; returns the exit status, 1 after an error, which is printed in one line."""
    with steady():
        options = _parser().parse_args(arguments)
        try:
            return _train(options)
        except KeyboardInterrupt as error:
            complain(f"interrupted; what {shown(options.out)} holds is whole, --resume goes on with it")
            return status_of(error)
        # The boundary of the program: whatever is raised is a line.
        except Exception as error:
            complain(error_line(error))
    return FAILED


def _train(options: argparse.Namespace) -> int:
    if options.threads:
        torch.set_num_threads(options.threads)
    flush_denormals()
    keep_freed_memory()
    try:
        if not (options.resume or options.overwrite):
            refuse_former_run(options.out)  # before the processes meet: after that one of them writes
        config = _config(options)
        with joined(os.environ, config.device) as (ranks, device):
            _run(replace(config, device=device), options, ranks)
    finally:
        torch.set_flush_denormal(False)
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="python -m clc.training", description="Train on folders of pictures.")
    parser.add_argument("--data", type=Path, action="append", required=True, help="folder of pictures (repeatable)")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights, state and log")
    parser.add_argument("--config", type=Path, help="JSON of a TrainingConfig, which options go before")
    parser.add_argument("--minutes", type=float, help="time budget; 60")
    parser.add_argument("--steps", type=int, help="budget in steps, if reached before the minutes")
    parser.add_argument("--entries", type=int, default=384, help="random dictionary patches to train with")
    parser.add_argument(
        "--start", type=Path, help="weights to go on from: a file, or the folder of a run, shards or a bundle"
    )
    parser.add_argument(
        "--blocks",
        type=int,
        nargs=2,
        metavar=("EIGHTH", "SIXTEENTH"),
        help="blocks of g_a and g_s at 1/8 and 1/16; beside --start, those that its model lacks start as nothing",
    )
    parser.add_argument(
        "--narrow", type=int, help="channels at 1/8; beside --start, those that its model lacks are new"
    )
    parser.add_argument(
        "--first-phases", type=int, choices=PHASES, help="phases of the first slice; beside --start, as many or more"
    )
    parser.add_argument(
        "--context-blocks", type=int, help="blocks of a slice of the prior; beside --start, new ones start as nothing"
    )
    parser.add_argument("--slice", type=int, help="beside --start, latents to add as a further slice")
    parser.add_argument(
        "--self-prior",
        type=int,
        metavar="N",
        help="a self-generated prior of N latents at 1/32, such as 4; also beside --start",
    )
    former = parser.add_mutually_exclusive_group()
    former.add_argument("--resume", action="store_true", help="go on with the run in --out")
    former.add_argument("--overwrite", action="store_true", help="replace the run in --out, if there is one")
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--objective", choices=OBJECTIVES)
    parser.add_argument("--overlapping", type=Path, action="append", default=[], help="folder of overlapping pictures")
    parser.add_argument("--shards", type=float, metavar="MIB", help="also write the weights in files of so many MiB")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--device", help="cpu or cuda")
    parser.add_argument("--workers", type=int, help="threads that draw batches ahead: 0 on a CPU, 8 beside a GPU")
    parser.add_argument("--compile", action="store_true", default=None, help="compile a part of the model")
    parser.add_argument("--bf16", action="store_true", default=None, help="transforms in bfloat16")
    return parser


def _config(options: argparse.Namespace) -> TrainingConfig:
    """The configuration of `--config`, else of the run to resume, else the default, changed by the other options."""
    kept = options.out / CONFIG
    if options.config:
        config = read_config(options.config)
    elif options.resume and kept.is_file():
        config = read_config(kept)
    else:
        config = adaptation(60.0) if options.start else TrainingConfig()
    given: dict[str, Any] = {name: getattr(options, name) for name in NAMED if getattr(options, name) is not None}
    if given.get("objective") == MS_SSIM and config.crops == CROPS:
        given["crops"] = CROPS_MS_SSIM
    if str(given.get("device", "")).startswith("cuda"):
        given.setdefault("workers", GPU_WORKERS)
    return replace(config, **given)


def _run(config: TrainingConfig, options: argparse.Namespace, ranks: Ranks) -> None:
    model, start = _begun(config.model, options)
    config = replace(config, model=model)
    if options.shards is not None:
        check_limit(Model(config.model).state_dict(), options.shards)
    data = read_folders(options.data)
    if config.model.self_prior and options.self_prior is not None and not options.resume:
        config = replace(config, self_prior_warmup_steps=config.self_prior_warmup_steps or SELF_PRIOR_WARMUP_STEPS)
        start = None if start is None else _with_self_prior(config, start, data)
    if start is not None and options.slice is not None:
        start = _with_new_latents(config, start, data)
    entries = random_patches(data, options.entries, ENTRY_PX, config.seed)
    pairs = _pairs(options.overlapping)
    observer = SILENT
    if ranks.is_first:
        tell = _teller()
        tell(f"{len(data)} pictures, {len(pairs)} pairs, {len(entries)} dictionary patches")
        tell(json.dumps(asdict(config)))
        write_bytes(options.out / CONFIG, json.dumps(asdict(config), indent=1).encode())
        observer = Observer(lambda line: tell(json.dumps(line)))
    result = train(
        config,
        data,
        entries,
        options.out,
        pairs=pairs,
        start=start,
        is_resumed=options.resume,
        observer=observer,
        ranks=ranks,
    )
    if options.shards is not None and ranks.is_first:
        paths = write_shards(options.out / SHARDS, result.weights, options.shards)
        write_model(options.out / SHARDS, config.model)
        say(f"{len(paths)} shards in {shown(options.out / SHARDS)}")


def _teller() -> Callable[[str], None]:
    """A function that says a line on stdout for as long as somebody listens; training goes on without."""
    is_heard = True

    def tell(line: str) -> None:
        nonlocal is_heard
        is_heard = is_heard and say(line)

    return tell


def _begun(model: ModelConfig, options: argparse.Namespace) -> tuple[ModelConfig, dict[str, Tensor] | None]:
    """The model to train, and the weights that it starts from: None for the KLT and for a run that is resumed."""
    if options.resume:
        return read_model(options.out), None
    found, start = read_start(options.start) if options.start else (None, None)
    model = wanted = found or model
    if found is not None and found.self_prior and options.self_prior is not None:
        raise InputError(
            "the model that --start names has a self-generated prior; leave --self-prior out to go on with it"
        )
    if options.blocks:
        wanted = replace(wanted, narrow_blocks=options.blocks[0], wide_blocks=options.blocks[1])
    for name in ("narrow", "first_phases", "context_blocks", "self_prior"):
        if getattr(options, name) is not None:
            wanted = replace(wanted, **{name: getattr(options, name)})
    if options.slice is not None:
        wanted = replace(wanted, slices=(*wanted.slices, options.slice))
    return wanted, start if start is None or wanted == model else grown(model, start, wanted)


def _with_new_latents(config: TrainingConfig, start: dict[str, Tensor], data: PictureSet) -> dict[str, Tensor]:
    """The weights with `clc.training.klt_start.start_new_latents` for the last slice."""
    model = Model(config.model).eval()
    model.load_state_dict(start)
    start_new_latents(model, data.pictures, sum(config.model.slices[:-1]), np.random.default_rng(config.seed))
    return model.state_dict()


def _with_self_prior(config: TrainingConfig, start: dict[str, Tensor], data: PictureSet) -> dict[str, Tensor]:
    """The weights with `clc.training.klt_start.start_self_prior`."""
    model = Model(config.model).eval()
    model.load_state_dict(start)
    start_self_prior(model, data.pictures, np.random.default_rng(config.seed))
    return model.state_dict()


def _pairs(folders: Sequence[Path]) -> list[Pair]:
    if not folders:
        return []
    # Imported here, for finding overlaps needs OpenCV, which a bare worker may lack.
    from clc.references.overlaps import find_overlaps
    from clc.training.pairs import overlapping_pairs

    collections = [read_folders([folder]) for folder in folders]
    return [pair for one in collections for pair in overlapping_pairs(one, find_overlaps(one.pictures))]


if __name__ == "__main__":
    sys.exit(main())
