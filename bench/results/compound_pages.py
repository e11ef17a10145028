"""What a page with photographs in it takes by one way, and by two (`mode` compound), as `clc.encode` makes both.

    python -m bench.results.compound_pages --screens FOLDER --photographs FOLDER [--json FILE] [--limit N]

The pages: two screens with a part of a photograph laid on their middle (512x384), and a drawn page with three
photographs (`bench/rendered/pages.py`). Each is encoded once a quality, at the default effort. What the compound would
have been is taken out of the contest and kept, so that the stream that comes out is that of the other ways. Both are
decoded again. The cost is rate + lambda * distortion, by which the encoder chooses, of the compound over the other
way, in percent; null where the transform shows no rectangle for less, so that none is tried. Seconds are those of a
processor: of trying the compound, and of all else.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image

import clc
from clc.codec.files import refuse_existing
from clc.codec.ways.compound import Compound
from clc.codec.ways.suitability import psnr_of, squared_error_of
from clc.codec.ways.way import Way
from clc.console import complain
from clc.errors import ClcError, InputError
from clc.pictures.images import read_image
from clc.pictures.picture import Picture
from clc.quality import rate_distortion_lambda
from storage.atomic import write_bytes

sys.path.append(str(Path(__file__).parents[1]))  # where the other programs of bench/ find each other
from rendered.drawing import Pen
from rendered.pages import page

QUALITIES = (25.0, 50.0, 75.0, 100.0)
SCREENS = (("01.webp", "kodim05.png"), ("05.webp", "kodim15.png"))
DRAWN_WITH = ("kodim03.png", "kodim20.png", "kodim23.png")
WIDTH, HEIGHT = 512, 384


def pages_of(screens: Path, photographs: Path) -> Iterator[tuple[str, Picture, int]]:
    """Yield title, pixels and number of photographs of each page. Raises `InputError` where a picture is not there."""
    for screen, photograph in SCREENS:
        shown_HW3 = read_image(screens / screen).copy()
        part_HW3 = read_image(photographs / photograph)[:HEIGHT, :WIDTH]
        top, left = (shown_HW3.shape[0] - HEIGHT) // 2, (shown_HW3.shape[1] - WIDTH) // 2
        if min(top, left) < 0:
            raise InputError(f"{screens / screen}: a screen of at least {WIDTH}x{HEIGHT} is wanted")
        shown_HW3[top : top + HEIGHT, left : left + WIDTH] = part_HW3
        yield f"screen {Path(screen).stem} with {Path(photograph).stem}", shown_HW3, 1
    chosen = [Image.fromarray(read_image(photographs / name)) for name in DRAWN_WITH]
    drawn = page(Pen(np.random.default_rng([0, 7]), is_training=False), chosen)
    yield "a drawn page, three photographs", np.asarray(drawn.image.convert("RGB")), len(drawn.places)


def measure(title: str, image_HW3: Picture, photographs: int, quality: float) -> dict[str, Any]:
    """Encode a page once, and return what it takes by the other ways and as a compound."""
    tried: list[Way | None] = []
    seconds: list[float] = []
    original = Compound.best_at

    def kept(self: Compound, *arguments: Any) -> None:
        began_s = time.process_time()
        tried.append(original(self, *arguments))
        seconds.append(time.process_time() - began_s)

    began_s = time.process_time()
    with patch.object(Compound, "best_at", kept):
        alone = clc.encode(image_HW3, quality=quality)
    whole_s = time.process_time() - began_s
    way = tried[-1] if tried else None
    alone_cost, alone_psnr = _cost_and_psnr(alone, image_HW3, quality)
    found: dict[str, Any] = {
        "page": title,
        "quality": quality,
        "size": [image_HW3.shape[1], image_HW3.shape[0]],
        "photographs": photographs,
        "alone_bytes": len(alone),
        "alone_psnr_db": alone_psnr,
        "alone_mode": clc.info(alone).mode,
        "trying_seconds": sum(seconds),
        "else_seconds": whole_s - sum(seconds),
        **dict.fromkeys(("compound_bytes", "compound_psnr_db", "rectangles", "cost_percent")),
    }
    if way is None:
        return found
    cost, psnr = _cost_and_psnr(way.data, image_HW3, quality)
    rectangles = len(clc.info(way.data).insets)
    percent = 100 * (cost / alone_cost - 1)
    return {
        **found,
        "compound_bytes": len(way.data),
        "compound_psnr_db": psnr,
        "rectangles": rectangles,
        "cost_percent": percent,
    }


def _cost_and_psnr(data: bytes, image_HW3: Picture, quality: float) -> tuple[float, float]:
    """Rate + lambda * distortion in bits a pixel, and PSNR in dB, of a stream that is decoded again."""
    squared_error = squared_error_of(clc.decode(data), image_HW3)
    pixels = image_HW3.shape[0] * image_HW3.shape[1]
    return 8 * len(data) / pixels + rate_distortion_lambda(quality) * squared_error, psnr_of(squared_error)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(description="Pages with photographs in them, by one way and by two.")
    parser.add_argument("--screens", type=Path, required=True, metavar="FOLDER", help="screens 01.webp and 05.webp")
    parser.add_argument("--photographs", type=Path, required=True, metavar="FOLDER", help="the Kodak suite")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rows")
    parser.add_argument("--limit", type=int, metavar="N", help="the first so many pages")
    options = parser.parse_args(arguments)
    try:
        refuse_existing([options.json] if options.json else [], overwrite=False)
        rows = []
        for title, image_HW3, photographs in list(pages_of(options.screens, options.photographs))[: options.limit]:
            for quality in QUALITIES:
                rows.append(measure(title, image_HW3, photographs, quality))
                print(json.dumps(rows[-1]), flush=True)
        if options.json is not None:
            write_bytes(options.json, json.dumps({"rows": rows}, indent=1).encode(), replace=False)
    except ClcError as error:
        complain(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
