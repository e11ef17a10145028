"""Graphics as files: text, charts, maps, screens, drawings, scans and pixel art, drawn from random numbers.

    python bench/graphics.py --out graphics --count 400
    python bench/graphics.py --out held-out --count 40 --held-out

The first are to train on: give the folder to `clc.training` as one of its `--data`, and a share of the crops is taken
from it by its share of pixels. Those of `--held-out` are of other kinds and in other fonts, to measure on
(`bench/range.py --graphics N` draws the same ones). A number gives the same picture each time with the same versions of
Pillow and Matplotlib. Nothing is fetched; fonts are Matplotlib's (DejaVu, Computer Modern, STIX), which may be used
freely.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image
from rendered.drawing import Pen
from rendered.held_out_kinds import HELD_OUT_KINDS
from rendered.training_kinds import TRAINING_KINDS

from clc.console import complain


def graphics(count: int, *, is_training: bool) -> Iterator[tuple[str, Image.Image]]:
    """Pictures with names, kind after kind in turn; picture i is the same whatever `count` is."""
    kinds = list((TRAINING_KINDS if is_training else HELD_OUT_KINDS).items())
    for i in range(count):
        name, kind = kinds[i % len(kinds)]
        yield f"{i:05}-{name}.png", kind(Pen(np.random.default_rng([i, is_training]), is_training=is_training))


def main(
    out: Annotated[Path, typer.Option(help="A new folder for them.")],
    count: Annotated[int, typer.Option(help="How many pictures.", min=1)] = 400,
    held_out: Annotated[bool, typer.Option("--held-out", help="Those to measure on.")] = False,
) -> None:
    """Draw the pictures as PNG files."""
    if out.exists() and not (out.is_dir() and next(out.iterdir(), None) is None):
        complain(f"error: {out} is there already; name a new folder")
        raise typer.Exit(1)
    out.mkdir(parents=True, exist_ok=True)
    for name, image in graphics(count, is_training=not held_out):
        image.save(out / name)


if __name__ == "__main__":
    typer.run(main)
