"""What a self-generated prior is worth: a model trained with and without it at matched steps, and the curves of both.

    python bench/self_prior.py --data FOLDER --pictures FOLDER --state STATE --steps 8000
    python bench/self_prior.py --data FOLDER --pictures FOLDER --state STATE --steps 8000 --measure

Both legs start from the shipped weights (`--klt`: from the KLT and the same random numbers), and see the same crops.
They take turns of `--turn` steps, and both are saved in STATE after every few turns, so that the program may be stopped
at any moment: typed again it goes on. When the steps are made, or with `--measure` at once, it prints for pictures that
no leg was trained on: the bits of p, the loss, BD-rates against the leg without, at all qualities and at low ones, and
the same with the exit into g_a and that into the prior closed. Rates are estimates; `train-codec` makes bundles of the
folders in STATE.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file

from clc.bundle.bundle import Bundle
from clc.errors import ClcError
from clc.evaluation.bd_rate import RateCurve, bd_rate
from clc.machine import flush_denormals, has_bfloat16, keep_freed_memory
from clc.model.model import STRIDE_Z, Model
from clc.model.objective import rate_distortion_loss
from clc.model.prior.self_generated import STRUCTURE
from clc.pictures.patches import ENTRY_PX
from clc.pictures.picture import Picture
from clc.quality import from_q6
from clc.training.checkpoint import resume_checkpoint, save_checkpoint
from clc.training.config import TrainingConfig, adaptation
from clc.training.data import PictureSet, random_patches, read_folders
from clc.training.growth import grown
from clc.training.klt_start import start_self_prior
from clc.training.run_folder import STATE, WEIGHTS, read_model
from clc.training.trainer import Trainer

LATENTS, WARMUP_STEPS, ENTRIES, SAVE_EVERY = 4, 900, 64, 5
WITHOUT, WITH = "without", "with"
QUALITIES, LOW = (0, 5, 10, 25, 50, 75, 100), 4
"""The qualities of a curve; the first `LOW` of them are the low ones."""
SEED = 33


@dataclass(frozen=True)
class Measured:
    """Of each picture and quality (pictures, qualities): rate and PSNR, the loss, and the bits a pixel of p."""

    bpp: np.ndarray
    psnr_db: np.ndarray
    loss: np.ndarray
    p_bpp: np.ndarray

    def curve(self, picture: int, count: int) -> RateCurve:
        """The curve of a picture over the first `count` qualities."""
        return RateCurve.of(str(picture), self.bpp[picture, :count], self.psnr_db[picture, :count])


def legs(data: PictureSet, folder: Path, options: argparse.Namespace) -> dict[str, Trainer]:
    """Both trainings, begun or resumed from `folder`."""
    base = Bundle.load()
    config = adaptation(1e9) if not options.klt else TrainingConfig(minutes=1e9)
    config = replace(config, steps=options.steps, batch_px=options.crops * 128**2, crops=((0.0, 128),), seed=SEED)
    config = replace(config, aligned_share=0.0, start_share=0.0, bf16=has_bfloat16(torch.device("cpu")))
    entries = random_patches(data, ENTRIES, ENTRY_PX, SEED)
    made: dict[str, Trainer] = {}
    for name, latents in ((WITHOUT, 0), (WITH, LATENTS)):
        model = replace(base.config, self_prior=latents)
        one = replace(config, model=model, self_prior_warmup_steps=WARMUP_STEPS if latents else 0)
        made[name] = trainer = Trainer(one, data, entries, folder / name)
        if (folder / name / STATE).is_file():
            resume_checkpoint(trainer, folder / name)
        elif not latents and options.klt:
            trainer.start_fresh()
        else:
            # From the KLT, too, the leg with a prior is the other one grown: all that both have is then the same.
            weights = base.state() if not options.klt else made[WITHOUT].average_state()
            trainer.hyper_warmup_steps = made[WITHOUT].hyper_warmup_steps if latents else 0
            trainer.start_from(_grown(base.config, weights, trainer, data) if latents else weights)
    return made


def _grown(config, weights: dict[str, torch.Tensor], trainer: Trainer, data: PictureSet) -> dict[str, torch.Tensor]:
    torch.manual_seed(SEED)
    model = Model(trainer.config.model).eval()
    model.load_state_dict(grown(config, weights, trainer.config.model))
    start_self_prior(model, data.pictures, np.random.default_rng(SEED))
    return model.state_dict()


def train(trainers: dict[str, Trainer], steps: int, turn: int) -> None:
    """Makes the steps that are left, turn by turn, and prints the means of each turn."""
    turns = 0
    while any(trainer.step < steps for trainer in trainers.values()):
        behind = min(trainer.step for trainer in trainers.values())
        for name, trainer in trainers.items():
            wanted = min(steps, (behind // turn + 1) * turn)
            lines = [trainer.train_step() for _ in range(wanted - trainer.step)]
            if lines:
                means = {key: float(np.mean([line[key] for line in lines])) for key in lines[0]}
                told = " ".join(f"{key}={value:.5f}" for key, value in means.items())
                print(f"{name} step={trainer.step} {told}", flush=True)
        turns += 1
        if turns % SAVE_EVERY == 0 or all(trainer.step >= steps for trainer in trainers.values()):
            for trainer in trainers.values():
                save_checkpoint(trainer, trainer.out)


@torch.no_grad()
def measure(model: Model, pictures: Sequence[Picture]) -> Measured:
    """The estimated curves of the pictures, cropped to multiples of 64 px."""
    rows = []
    for image in pictures:
        height, width = (side // STRIDE_Z * STRIDE_Z for side in image.shape[:2])
        x = torch.from_numpy(image[:height, :width].copy()).permute(2, 0, 1)[None] / 255.0
        for quality in QUALITIES:
            quality_q6 = torch.tensor([64 * quality])
            generated = model.generate_prior(x, quality_q6)
            tokens, absent = torch.zeros(1, 0, model.config.token), torch.zeros(1, dtype=torch.bool)
            noise = torch.Generator().manual_seed(SEED)
            y = model.analysis(x, None, generated)
            result = model(y, quality_q6, tokens, absent, generator=noise, generated=generated)
            loss = rate_distortion_loss(result._replace(x_hat=result.x_hat.clamp(0, 1)), x, from_q6(quality_q6))
            p_bpp = 0.0 if generated is None else generated.bits.item() / (height * width)
            rows.append((loss.bpp.item(), -10.0 * np.log10(loss.mse.item()), loss.total.item(), p_bpp))
    table = np.array(rows).reshape(len(pictures), len(QUALITIES), 4)
    return Measured(*np.moveaxis(table, 2, 0))


@torch.no_grad()
def variants(folder: Path) -> Iterator[tuple[str, Model]]:
    """The averages of both legs, and that with a prior with one of its exits closed."""
    for name in (WITHOUT, WITH):
        yield name, _loaded(folder / name)
    model = _loaded(folder / WITH)
    if model.self_prior is not None:
        for parameter in model.self_prior.to_g_a.parameters():
            parameter.zero_()
    yield f"{WITH}, not into g_a", model
    model = _loaded(folder / WITH)
    for layer in (model.prior.h_s.leave, *(net.enter for net in model.prior.nets)):
        layer.weight[:, -STRUCTURE:] = 0.0
    yield f"{WITH}, not into the prior", model


def _loaded(folder: Path) -> Model:
    # Not `read_weights`: nothing is validated here, so the best weights in the folder are those of the start.
    model = Model(read_model(folder)).eval()
    model.load_state_dict(load_file(folder / WEIGHTS))
    return model


def table_of(found: dict[str, Measured]) -> Table:
    """A row for each variant: means over the pictures."""
    table = Table(
        "model", "loss", "p bpp at 0, 50, 100", "BD-rate", f"at {QUALITIES[0]} to {QUALITIES[LOW - 1]}", "better"
    )
    anchor = found[WITHOUT]
    for name, one in found.items():
        rates = []
        for count in (len(QUALITIES), LOW):
            each = [bd_rate(anchor.curve(i, count), one.curve(i, count)).percent for i in range(len(one.bpp))]
            rates.append([rate for rate in each if rate is not None])
        means = [f"{np.mean(rate):+.2f} %" if rate else "none" for rate in rates]
        p_bpp = ", ".join(f"{one.p_bpp[:, QUALITIES.index(q)].mean():.5f}" for q in (0, 50, 100))
        better = f"{sum(rate < 0 for rate in rates[0])} of {len(rates[0])}"
        table.add_row(name, f"{one.loss.mean():.5f}", p_bpp, *means, better)
    return table


def main() -> int:
    """Train what is left and print the table; exit status 1 after an error, which is one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, action="append", required=True, help="pictures to train on")
    parser.add_argument("--pictures", type=Path, required=True, help="pictures to measure on, never trained on")
    parser.add_argument("--state", type=Path, required=True, help="folder of both legs")
    parser.add_argument("--steps", type=int, default=8000, help="of each leg")
    parser.add_argument("--turn", type=int, default=20, help="steps that a leg makes before the other one")
    parser.add_argument("--crops", type=int, default=8, help="crops of 128 px a step")
    parser.add_argument("--count", type=int, default=12, help="pictures to measure on at most, evenly apart")
    parser.add_argument("--klt", action="store_true", help="start from the KLT instead of the shipped weights")
    parser.add_argument("--measure", action="store_true", help="measure what STATE holds, and train nothing")
    options = parser.parse_args()
    keep_freed_memory()
    try:
        if not options.measure:
            flush_denormals()
            train(legs(read_folders(options.data), options.state, options), options.steps, options.turn)
        pictures = read_folders([options.pictures]).pictures
        pictures = pictures[:: -(-len(pictures) // options.count)]
        found = {}
        for name, model in variants(options.state):
            found[name] = measure(model, pictures)
            print(f"{name} measured on {len(pictures)} pictures", flush=True)
        Console(width=120).print(table_of(found))
    except ClcError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
