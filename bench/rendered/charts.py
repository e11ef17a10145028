"""Figures by Matplotlib of a random size, style and resolution, for all kinds that are charts."""

from __future__ import annotations

import io
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from PIL import Image

from rendered.drawing import Colour, Pen

FAMILIES = {True: ("DejaVu Sans", "DejaVu Serif"), False: ("STIXGeneral",)}


def figure(pen: Pen) -> tuple[Figure, Any, list[str]]:
    """A figure with one pair of axes, and the colours of its series."""
    style = {"font.family": pen.one_of(FAMILIES[pen.is_training]), "font.size": pen.number(7, 13)}
    if pen.chance(0.3):
        style |= {"axes.facecolor": "#20242a", "figure.facecolor": "#16181c", "text.color": "w", "axes.labelcolor": "w"}
        style |= {"xtick.color": "w", "ytick.color": "w"}
    with mpl.rc_context(style):
        made = Figure((pen.number(4, 8), pen.number(3, 6)), dpi=pen.number(80, 130))
        axes = made.subplots()
    return made, axes, [_hex(colour) for colour in pen.palette(pen.whole(1, 5))]


def finished(made: Figure, axes: Any, pen: Pen) -> Image.Image:
    """The figure as a picture, with a title and, in half of the cases, a grid."""
    axes.set_title(pen.words(4).replace("$", ""))
    axes.grid(pen.chance(0.5))
    file = io.BytesIO()
    made.savefig(file, format="png")
    with Image.open(file) as image:
        return image.convert("RGB")


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
