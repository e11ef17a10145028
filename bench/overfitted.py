"""Measures the overfitted mode beside the codec and AVIF at equal bytes, on pictures of a folder.

    python bench/overfitted.py --autoencoder FOLDER --pictures ../shared/data/kodak --rows rows.jsonl

For each picture: an overfitted stream at `--quality`, decoded by a fresh process; the codec and AVIF at the size
nearest to it; PSNR, MS-SSIM, SSIMULACRA2 and shift-tolerant LPIPS of each (the last two need the extra `perceptual`,
and are left out without it). Seconds are the processor's, of one thread.

For the pictures of `--studied`, fits of two kinds. Plain ones have the squared error of the latents in their cost: a
KLT of the latents with Laplace-coded coefficients, rounded to the same squared error, says what each of them saves. The
others weigh that error by its importance, as the mode does, and stand beside the PSNR of a plain fit at equal bytes.

A picture that has a row in `--rows` is not measured again, so a run that was stopped goes on; `--study-again` measures
the studies of all rows anew. Tables of docs/overfitted.md come from here.
"""

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import torch
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor

from clc.bitstream.container import parse, parse_with_fields
from clc.codec import Codec
from clc.codec.overfitted import ITERATIONS, Fitting, OverfittedCodec, weight_of, y_hat_of
from clc.codec.rate_control import encode_to_size
from clc.errors import ClcError
from clc.evaluation.coders import find_baselines
from clc.evaluation.metrics import ms_ssim, psnr_db
from clc.evaluation.perceptual import Measure, find_perceptual
from clc.overfitted.coding import encode_function
from clc.overfitted.fit import Fitter
from clc.overfitted.function import laplace_bits
from clc.overfitted.importance import Importance
from clc.pictures.images import read_image
from clc.pictures.picture import Picture
from storage.atomic import write_bytes

PICTURES = "kodim01,kodim05,kodim08,kodim13,kodim15,kodim20,kodim23,kodim24"
STUDIED = "kodim13,kodim20,kodim23"
PLAIN_WEIGHTS = (1.0, 2.0, 4.0, 8.0)
"""Bits for a squared error of 1 in a latent, of the fits without importance."""

WEIGHED_SHARES = (0.2, 1.0)
"""Weights of the fits with importance, as shares of the one of `--quality`."""

MEASURES = ("psnr", "ms_ssim", "ssimulacra2", "st_lpips")
Made = TypeVar("Made")


def command(
    autoencoder: Annotated[Path, typer.Option(help="Folder of the autoencoder.")],
    pictures: Annotated[Path, typer.Option(help="Folder of PNG pictures.")] = Path("../shared/data/kodak"),
    names: Annotated[str, typer.Option(help="Which of them, by commas.")] = PICTURES,
    studied: Annotated[str, typer.Option(help="Which of these the fit is studied on.")] = STUDIED,
    quality: Annotated[float, typer.Option(help="Quality of the overfitted streams.")] = 20.0,
    effort: Annotated[int, typer.Option(help="Effort of the overfitted streams.", min=0, max=9)] = 5,
    codec_effort: Annotated[int, typer.Option(help="Effort of the codec beside them.", min=0, max=9)] = 5,
    rows: Annotated[Path, typer.Option(help="File of rows, one JSON object a line; it is added to.")] = Path(
        "rows.jsonl"
    ),
    decoded: Annotated[Path | None, typer.Option(help="Folder for the decoded pictures.")] = None,
    study_again: Annotated[bool, typer.Option("--study-again", help="Study the fits of all rows anew.")] = False,
) -> None:
    """Measure, and print the tables."""
    torch.set_num_threads(1)
    console = Console()
    try:
        done = [json.loads(line) for line in rows.read_text().splitlines()] if rows.exists() else []
        for row in done:
            if study_again:
                row.pop("study", None)
        for name in names.split(","):
            image = read_image(pictures / f"{name}.png")
            row = next((one for one in done if one["name"] == name), None)
            if row is None:
                row = _row(name, image, autoencoder, (quality, effort, codec_effort), decoded)
                done.append(row)
            elif "study" in row or name not in studied.split(","):
                continue
            if name in studied.split(","):
                row["study"] = _study(image, autoencoder, quality, effort)
            write_bytes(rows, "".join(json.dumps(one) + "\n" for one in done).encode())
            console.print(f"measured {name}", highlight=False)
        _print(console, done)
    except ClcError as error:
        Console(stderr=True).print(f"error: {error}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1) from error


def _row(
    name: str, image: Picture, folder: Path, settings: tuple[float, int, int], decoded: Path | None
) -> dict[str, Any]:
    """One picture: the three coders at the bytes of the overfitted stream, and seconds of both directions."""
    quality, effort, codec_effort = settings
    opened = OverfittedCodec.load(folder)
    opened.autoencoder.decode(torch.zeros(opened.autoencoder.latents_shape(8, 8))[None], 8, 8)  # loaded by now
    fit_s, fitting = _timed(lambda: Fitting(opened.autoencoder, image, effort))
    more_s, (data, fitted) = _timed(lambda: fitting.fitted(quality))
    parsed = parse_with_fields(data)
    payload_s, _ = _timed(lambda: y_hat_of(opened.integers(parsed)))
    row: dict[str, Any] = {
        "name": name,
        "bytes": len(data),
        "estimated_bytes": fitted.estimated_bits / 8,
        "weights_bpp": fitted.weight_bits / (image.size / 3),
        "prepare_s": fit_s,
        "fit_s": more_s,
        "decode_without_autoencoder_s": payload_s,
    }
    made = {"overfitted": (len(data), _fresh(data, folder))}
    codec = Codec.shipped()
    beside = encode_to_size(lambda q: codec.encode(image, q, "none", effort=codec_effort), len(data)).data
    made["clc"] = (len(beside), codec.decode(beside))
    avif = find_baselines(["avif"]).available[0]
    nearest = _nearest(lambda q: avif.encode(image, q), len(data))
    made["avif"] = (len(nearest), avif.decode(nearest))
    measures = _measures()
    row["coders"] = {
        coder: {"bytes": size} | {key: measure(image, picture) for key, measure in measures.items()}
        for coder, (size, picture) in made.items()
    }
    if decoded is not None:
        decoded.mkdir(parents=True, exist_ok=True)
        for coder, (_, picture) in made.items():
            Image.fromarray(picture).save(decoded / f"{name}-{coder}.png")
    return row


def _nearest(encode: Callable[[int], bytes], size_bytes: int) -> bytes:
    """The file at a whole quality of 0 to 100 whose size is nearest to `size_bytes`, by bisection."""
    low, high, files = 0, 100, []
    while low <= high:
        middle = (low + high) // 2
        files.append(encode(middle))
        low, high = (low, middle - 1) if len(files[-1]) > size_bytes else (middle + 1, high)
    return min(files, key=lambda one: abs(len(one) - size_bytes))


def _fresh(data: bytes, folder: Path) -> Picture:
    """The picture that another process makes of a stream's file."""
    with tempfile.TemporaryDirectory() as made:
        stream, png = Path(made) / "a.clc", Path(made) / "a.png"
        stream.write_bytes(data)
        program = [sys.executable, "-m", "clc.codec", "decode", str(stream), str(png), "--autoencoder", str(folder)]
        subprocess.run(program, check=True, capture_output=True)
        return read_image(png)


def _study(image: Picture, folder: Path, quality: float, effort: int) -> dict[str, list[dict[str, float]]]:
    """Fits of one picture with importance and without, the latter beside a KLT at equal error of the latents."""
    autoencoder = OverfittedCodec.load(folder).autoencoder
    y = autoencoder.encode(image)
    importance = autoencoder.importance(y)
    overhead = len(_stream_without(image, autoencoder.id_bytes))
    plain = Importance(torch.eye(y.shape[1]), torch.ones(y.shape[2:]))

    def fits(importance: Importance, weights: Sequence[float]) -> list[dict[str, float]]:
        fitter, found = Fitter(y, importance, ITERATIONS[effort]), []
        for weight in weights:
            fitted = fitter.fit(weight)
            y_hat = y_hat_of(fitted.integers)
            picture = autoencoder.decode(y_hat, image.shape[1], image.shape[0])
            size_bytes = len(encode_function(fitted.integers)) + overhead
            error = float((y_hat - y).square().mean())
            found.append({"bytes": size_bytes, "psnr": psnr_db(image, picture), "latent_error": error})
        return found

    beside = fits(plain, PLAIN_WEIGHTS)
    for one in beside:
        one["saved_beside_klt"] = 1.0 - 8 * one["bytes"] / klt_bits(y, one["latent_error"])
    return {"weighed": fits(importance, [share * weight_of(quality) for share in WEIGHED_SHARES]), "plain": beside}


def plain_psnr(study: dict[str, list[dict[str, float]]], size_bytes: float) -> float | None:
    """The PSNR of a fit without importance at some bytes, between those that were made; None beyond them."""
    logs, levels = zip(*sorted((math.log(one["bytes"]), one["psnr"]) for one in study["plain"]), strict=True)
    is_between = logs[0] <= math.log(size_bytes) <= logs[-1]
    return float(np.interp(math.log(size_bytes), logs, levels)) if is_between else None


def klt_bits(y_1Chw: Tensor, error: float) -> float:
    """The bits of the latents' KLT coefficients, rounded with one step so that their mean squared error is `error`.

    Each coefficient's channel is coded under the Laplace distribution that suits it best; neither the transform nor the
    distributions are counted.
    """
    y_CN = y_1Chw[0].flatten(1).double()
    centred = y_CN - y_CN.mean(dim=1, keepdim=True)
    _, basis = torch.linalg.eigh(centred @ centred.t())
    coefficients = basis.t() @ centred
    low, high = 1e-3, 100.0
    for _ in range(40):
        step = math.sqrt(low * high)
        found = float((torch.round(coefficients / step) * step - coefficients).square().mean())
        low, high = (low, step) if found > error else (step, high)
    values = torch.round(coefficients / step).float()
    costs = [
        laplace_bits(values, torch.zeros(1), torch.tensor(level)).sum(dim=1) for level in np.arange(-4.0, 5.01, 0.25)
    ]
    return float(torch.stack(costs).amin(dim=0).sum())


def _stream_without(image: Picture, autoencoder_id: bytes) -> bytes:
    """The header of a stream, of the length that it has around a payload of some kilobytes."""
    from clc.bitstream.container import pack
    from clc.bitstream.stream import OVERFITTED_PROFILE, Stream

    height, width = image.shape[:2]
    whole = pack(Stream(OVERFITTED_PROFILE, width, height, 0, autoencoder_id, (), 0, bytes(4096)))
    return whole[: len(whole) - len(parse(whole).payload)]


def _measures() -> dict[str, Measure]:
    return {"psnr": psnr_db, "ms_ssim": ms_ssim, **find_perceptual().available}


def _timed(run: Callable[[], Made]) -> tuple[float, Made]:
    began = time.process_time()
    made = run()
    return time.process_time() - began, made


def _print(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    quality = Table("picture", "coder", "bytes", *MEASURES)
    for row in rows:
        for coder, one in row["coders"].items():
            figures = [f"{one[key]:.4g}" if key in one else "-" for key in MEASURES]
            quality.add_row(row["name"], coder, str(one["bytes"]), *figures)
    console.print(quality)
    costs = Table("picture", "bytes / estimate", "weights, bpp", "prepare s", "fit s", "decode s, no autoencoder")
    for row in rows:
        times = [f"{row[key]:.2f}" for key in ("prepare_s", "fit_s", "decode_without_autoencoder_s")]
        costs.add_row(row["name"], f"{row['bytes'] / row['estimated_bytes']:.4f}", f"{row['weights_bpp']:.4f}", *times)
    console.print(costs)
    studies = Table("picture", "fit", "bytes", "latent error", "saved beside KLT", "PSNR", "plain PSNR at its bytes")
    for row in rows:
        for kind, fits in row.get("study", {}).items():
            for one in fits:
                saved = f"{one['saved_beside_klt']:.1%}" if "saved_beside_klt" in one else "-"
                beside = plain_psnr(row["study"], one["bytes"]) if kind == "weighed" else None
                figures = [f"{one['bytes']:.0f}", f"{one['latent_error']:.3f}", saved, f"{one['psnr']:.2f}"]
                studies.add_row(row["name"], kind, *figures, "-" if beside is None else f"{beside:.2f}")
    console.print(studies)


if __name__ == "__main__":
    typer.run(command)
