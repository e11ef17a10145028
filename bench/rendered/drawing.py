"""What all kinds of rendered graphics draw with: a canvas, fonts, words, colours, and what makes a screen or a scan.

Fonts are those that come with Matplotlib, so a seed gives the same picture wherever the libraries are the same. Two
sets of them have no family in common: `TRAINING_FONTS`, and `HELD_OUT_FONTS` for what no model was trained on.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont

TRAINING_FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSerif", "cmss10")
HELD_OUT_FONTS = ("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "cmr10", "cmtt10", "cmb10")
MONO = {True: "DejaVuSansMono", False: "cmtt10"}
"""The font for code and figures, by whether it may be trained on."""

_ONSETS = ("b", "br", "c", "d", "dr", "f", "g", "h", "k", "l", "m", "n", "p", "pl", "r", "s", "st", "t", "tr", "v", "w")
_VOWELS = ("a", "e", "i", "o", "u", "ea", "io", "ou")
_ENDS = ("", "", "n", "r", "s", "t", "l", "ng", "rd")
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


@cache
def font(name: str, size_px: int) -> Font:
    """One of Matplotlib's fonts, by the name of its file without the ending."""
    return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf", size_px)


class Pen:
    """Random choices of one picture: words, fonts and colours of its side, training or held out."""

    def __init__(self, generator: np.random.Generator, *, is_training: bool) -> None:
        self.generator, self.is_training = generator, is_training
        self._fonts = TRAINING_FONTS if is_training else HELD_OUT_FONTS

    def number(self, low: float, high: float) -> float:
        """A number from [low, high)."""
        return float(self.generator.uniform(low, high))

    def whole(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return int(self.generator.integers(low, high + 1))

    def chance(self, share: float) -> bool:
        """True in a share of the cases."""
        return bool(self.generator.random() < share)

    def one_of(self, things: Sequence[str]) -> str:
        """One of some texts."""
        return things[int(self.generator.integers(len(things)))]

    def font(self, size_px: int) -> Font:
        """A font of this side."""
        return font(self.one_of(self._fonts), size_px)

    def mono(self, size_px: int) -> Font:
        """The font of this side whose letters are equally wide."""
        return font(MONO[self.is_training], size_px)

    def word(self) -> str:
        """A word that can be spoken and means nothing; seldom a number."""
        if self.chance(0.08):
            return str(self.whole(0, 99999))
        parts = [self.one_of(_ONSETS) + self.one_of(_VOWELS) + self.one_of(_ENDS) for _ in range(self.whole(1, 3))]
        word = "".join(parts)
        return word.capitalize() if self.chance(0.15) else word

    def words(self, count: int) -> str:
        """Words with blanks between, now and then a mark."""
        return " ".join(
            self.word() + (self.one_of((",", ".", ";", ":", "?")) if self.chance(0.1) else "") for _ in range(count)
        )

    def colour(self, low: int = 0, high: int = 255) -> Colour:
        """A colour with each sample from low to high."""
        red, green, blue = self.generator.integers(low, high + 1, 3).tolist()
        return red, green, blue

    def paper_and_ink(self) -> tuple[Colour, Colour]:
        """A ground and what is readable on it: mostly dark on light, as most of what is written."""
        kind = self.number(0, 1)
        if kind < 0.4:
            return WHITE, BLACK
        if kind < 0.7:
            return self.colour(215, 255), self.colour(0, 90)
        return self.colour(0, 60), self.colour(170, 255)

    def palette(self, count: int) -> list[Colour]:
        """Colours that differ, for the series of a chart or the areas of a map."""
        start = self.number(0, 1)
        hues = [(start + i / count) % 1.0 for i in range(count)]
        saturation, value = self.number(0.3, 1.0), self.number(0.5, 1.0)
        colours = [colorsys.hsv_to_rgb(hue, saturation, value) for hue in hues]
        return [(round(255 * red), round(255 * green), round(255 * blue)) for red, green, blue in colours]


class Canvas:
    """A picture to draw on, `scale` times as large as what `finished` gives, so that edges are smooth."""

    def __init__(self, width: int, height: int, ground: Colour, scale: int = 1) -> None:
        self.width, self.height, self.scale = width, height, scale
        self.image = Image.new("RGB", (width * scale, height * scale), ground)
        self.draw = ImageDraw.Draw(self.image)

    def at(self, *numbers: float) -> list[float]:
        """Coordinates of the finished picture as those of the canvas."""
        return [number * self.scale for number in numbers]

    def text(self, x: float, y: float, text: str, letters: Font, colour: Colour) -> None:
        """Writes one line with its upper left corner at (x, y)."""
        large = letters if self.scale == 1 else letters.font_variant(size=letters.size * self.scale)
        self.draw.text((x * self.scale, y * self.scale), text, colour, large)

    def finished(self) -> Image.Image:
        """The picture at its own size."""
        return self.image.resize((self.width, self.height), Image.Resampling.BOX) if self.scale > 1 else self.image


def paragraph(canvas: Canvas, pen: Pen, box: tuple[int, int, int, int], letters: Font, colour: Colour) -> None:
    """Fills (left, top, right, bottom) with lines of words; a letter is taken to be 0.55 as wide as high."""
    left, top, right, bottom = box
    step = round(letters.size * 1.35)
    of_a_line = max(1, int((right - left) / (letters.size * 0.55)))
    for y in range(top, bottom - step, step):
        if not pen.chance(0.07):
            canvas.text(left, y, pen.words(of_a_line // 4 + 1)[:of_a_line], letters, colour)


def on_stripes(image: Image.Image) -> Image.Image:
    """A picture three times as wide, as a screen shows it whose pixels are red, green and blue stripes."""
    samples_HWS3 = np.asarray(image, np.float32).reshape(image.height, image.width // 3, 3, 3)
    third = 1 / 3
    flat = np.pad(samples_HWS3.reshape(image.height, image.width // 3 * 3, 3), ((0, 0), (1, 1), (0, 0)), "edge")
    smooth = third * (flat[:, :-2] + flat[:, 1:-1] + flat[:, 2:])
    stripes = [smooth[:, stripe::3, stripe] for stripe in range(3)]
    return Image.fromarray(np.stack(stripes, 2).round().astype(np.uint8))


def scanned(image: Image.Image, pen: Pen) -> Image.Image:
    """A page as a scanner sees it: a little turned and soft, unevenly lit, with the noise of paper and sensor."""
    turned = image.rotate(pen.number(-1.5, 1.5), Image.Resampling.BICUBIC, fillcolor=image.getpixel((0, 0)))
    soft_HW3 = np.asarray(turned.filter(ImageFilter.GaussianBlur(pen.number(0.3, 1.1))), np.float32)
    height, width = soft_HW3.shape[:2]
    light_HW: npt.NDArray[np.float32] = np.linspace(
        pen.number(0.85, 1.0), pen.number(0.85, 1.0), width, dtype=np.float32
    )
    light_HW = light_HW[None] * np.linspace(1.0, pen.number(0.9, 1.0), height, dtype=np.float32)[:, None]
    noise_HW3 = pen.generator.normal(0.0, pen.number(0.5, 4.0), soft_HW3.shape).astype(np.float32)
    return Image.fromarray(np.clip(soft_HW3 * light_HW[..., None] + noise_HW3, 0, 255).round().astype(np.uint8))
