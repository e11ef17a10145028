"""A template of a room, rendered inside of the frame that all pages share.

`clc.evaluation.report` and `clc.archive.report` call `render`. The contract: everything that a user may have named is
escaped by the template engine; pictures stand inside of the file as data; the page's policy lets a browser load
nothing, and run no script but those that the page was made with, which it names by their digests. So a name which
slipped through could do nothing either.
"""

import base64
import hashlib
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

FRAME = Path(__file__).parent / "page.html"
"""Templates extend it, and fill its blocks `title`, `style`, `main` and `data`."""

_NOTHING = 0.05
"""What rounds to zero percent."""

_NEXT_UNIT = 999.5
"""What would round to 1,000 of a unit, of which three digits are shown."""


def render(template: Path, scripts: Sequence[str] = (), **values: Any) -> str:
    """Return one HTML document made of a template and what it shows.

    `scripts` are JavaScript of this project or its libraries, never of a user: they run in their order, once the page
    stands. What they read is `data_json` in the template's block `data`.
    """
    environment = Environment(
        loader=FileSystemLoader([template.parent, FRAME.parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters.update(
        number=number, percent=percent, verdict=verdict, size=size, picture=lossless_uri, png=png_uri, json=data_json
    )
    return environment.get_template(template.name).render(
        scripts=[_checked(script) for script in scripts],
        allowed_scripts=" ".join(_digest(script) for script in scripts),
        **values,
    )


def data_json(values: Any) -> str:
    """Return JSON that may stand in a script element of the type application/json unescaped: it has no sign of HTML."""
    text = json.dumps(values, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _checked(script: str) -> str:
    if "</script" in script.lower():
        raise ValueError("a script that holds the end of its element would end there")
    return script


def _digest(script: str) -> str:
    """Return a script's place in the policy (CSP, level 2: hash-source)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode('ascii')}'"


def number(value: float | None, digits: int = 2) -> str:
    """Return a figure with so many digits; a dash for one that is missing."""
    return "–" if value is None or math.isnan(value) else "∞" if math.isinf(value) else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """Return a difference in per cent with its sign; a dash for one that is missing."""
    if value is None:
        return "–"
    return f"{value:+.1f} %".replace("-", "−") if abs(value) >= _NOTHING else "0.0 %"


def verdict(value: float | None) -> str:
    """Return the class that colours a difference in bytes: good, bad, or none where it is missing or nothing."""
    return "" if value is None or abs(value) < _NOTHING else "good" if value < 0 else "bad"


def size(count: int) -> str:
    """Return a number of bytes for readers, in steps of 1,000: 812 B, 30.2 kB, 1.63 MB."""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= _NEXT_UNIT and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.3g} {units[0]}"


def lossless_uri(image_HW3: NDArray[np.uint8]) -> str:
    """Return a picture, uint8 (H, W, 3), as data of a page, pixel for pixel."""
    return _webp_uri(image_HW3, lossless=True, quality=60)


def lossy_uri(image_HW3: NDArray[np.uint8], quality: int) -> str:
    """Return a picture, uint8 (H, W, 3), as data of a page, at WebP's quality 0 to 100."""
    return _webp_uri(image_HW3, lossless=False, quality=quality)


def png_uri(data: bytes) -> str:
    """Return a PNG file as data of a page."""
    return _data_uri("image/png", data)


def kind_of_file(data: bytes) -> str:
    """Return the media type of a file that browsers show: JPEG, WebP, AVIF or PNG by its first bytes; else ""."""
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:12] == b"ftypavif":
        return "image/avif"
    return "image/png" if data.startswith(b"\x89PNG\r\n\x1a\n") else ""


def file_uri(kind: str, data: bytes) -> str:
    """Return a whole file of a media type as data of a page."""
    return _data_uri(kind, data)


def _webp_uri(image_HW3: NDArray[np.uint8], *, lossless: bool, quality: int) -> str:
    buffer = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(image_HW3))
    picture.save(buffer, "WEBP", lossless=lossless, quality=quality, method=4)
    return _data_uri("image/webp", buffer.getvalue())


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
