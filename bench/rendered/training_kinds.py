"""Kinds of graphics that a model may be trained on: each draws one picture of a random size from a pen's choices."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from PIL import Image

from rendered.charts import figure, finished
from rendered.drawing import Canvas, Pen, on_stripes, paragraph, scanned

Kind = Callable[[Pen], Image.Image]


def page(pen: Pen) -> Image.Image:
    """A printed page: a headline, columns of text, now and then a coloured box."""
    paper, ink = pen.paper_and_ink()
    canvas = Canvas(pen.whole(400, 900), pen.whole(400, 900), paper)
    margin, y = pen.whole(12, 50), pen.whole(10, 40)
    canvas.text(margin, y, pen.words(4), pen.font(pen.whole(24, 56)), pen.colour(0, 200) if pen.chance(0.4) else ink)
    columns, top = pen.whole(1, 3), y + 80
    width = (canvas.width - margin * (columns + 1)) // columns
    letters = pen.font(pen.whole(9, 22))
    for column in range(columns):
        left = margin + column * (width + margin)
        box = (left, top, left + width, canvas.height - margin)
        if pen.chance(0.2):
            canvas.draw.rectangle(box, pen.colour(180, 255))
        paragraph(canvas, pen, box, letters, ink)
    return canvas.finished()


def code(pen: Pen) -> Image.Image:
    """An editor: indented lines of coloured words, numbers at the side, a bar."""
    is_dark = pen.chance(0.6)
    ground = pen.colour(15, 50) if is_dark else pen.colour(240, 255)
    colours = [pen.colour(140, 255) if is_dark else pen.colour(0, 130) for _ in range(5)]
    canvas = Canvas(pen.whole(450, 1000), pen.whole(350, 800), ground)
    letters = pen.mono(pen.whole(10, 18))
    step, advance = round(letters.size * 1.4), letters.getlength("m")
    canvas.draw.rectangle((0, 0, 5 * advance, canvas.height), pen.colour(30, 70) if is_dark else pen.colour(225, 245))
    depth = 0
    for row in range(canvas.height // step):
        depth = max(0, min(6, depth + pen.whole(-1, 1)))
        canvas.text(advance, row * step, f"{row + 1:3}", letters, colours[0])
        x = (6 + 4 * depth) * advance
        for _ in range(pen.whole(0, 9)):
            word = pen.word() + pen.one_of(("(", ")", " =", ":", "[0]", ".", ",", " +", "", ""))
            canvas.text(x, row * step, word, letters, colours[pen.whole(0, 4)])
            x += (len(word) + 1) * advance
    return canvas.finished()


def table(pen: Pen) -> Image.Image:
    """A spreadsheet: a grid of numbers and words, some cells coloured."""
    paper, ink = pen.paper_and_ink()
    canvas = Canvas(pen.whole(400, 900), pen.whole(300, 700), paper)
    letters = pen.font(pen.whole(10, 17))
    height, width = round(letters.size * pen.number(1.4, 2.2)), pen.whole(50, 130)
    line = tuple((a + b) // 2 for a, b in zip(paper, ink, strict=True))
    tint = pen.colour(170, 250)
    for row, y in enumerate(range(0, canvas.height, height)):
        for x in range(0, canvas.width, width):
            is_tinted = row == 0 or pen.chance(0.04)
            canvas.draw.rectangle((x, y, x + width, y + height), tint if is_tinted else paper, line)
            text = pen.word() if row == 0 or x == 0 else f"{pen.number(-999, 9999):.{pen.whole(0, 2)}f}"
            canvas.text(x + 4, y + 2, text, letters, (0, 0, 0) if is_tinted else ink)
    return canvas.finished()


def window(pen: Pen) -> Image.Image:
    """A program's window: title, buttons, a list, icons and a gradient; letters on the stripes of a screen or not."""
    has_stripes, is_dark = pen.chance(0.5), pen.chance(0.4)
    ground = pen.colour(25, 60) if is_dark else pen.colour(228, 250)
    ink = pen.colour(200, 255) if is_dark else pen.colour(0, 60)
    wide = 3 if has_stripes else 1
    width, height = pen.whole(400, 960), pen.whole(320, 680)
    canvas = Canvas(width, height, ground, 3 if has_stripes else 1)
    accent, letters = pen.colour(30, 220), pen.font(pen.whole(11, 16))
    canvas.draw.rectangle(canvas.at(0, 0, width, 30), accent)
    canvas.text(8, 6, pen.words(3), letters, (255, 255, 255))
    side = pen.whole(90, 200)
    canvas.draw.line(canvas.at(side, 30, side, height), ink, wide)
    for y in range(38, height - 20, pen.whole(20, 32)):
        canvas.draw.ellipse(canvas.at(8, y + 2, 20, y + 14), pen.colour())
        canvas.text(26, y, pen.word(), letters, ink)
    for _ in range(pen.whole(3, 9)):
        x, y = pen.whole(side + 10, width - 60), pen.whole(40, height - 40)
        box = canvas.at(x, y, x + pen.whole(60, 140), y + 26)
        canvas.draw.rounded_rectangle(box, 5 * canvas.scale, accent if pen.chance(0.4) else ground, ink, wide)
        canvas.text(x + 8, y + 5, pen.word(), letters, (255, 255, 255) if pen.chance(0.3) else ink)
    paragraph(canvas, pen, (side + 14, height // 2, width - 12, height - 12), letters, ink)
    if not has_stripes:
        return canvas.finished()
    return on_stripes(canvas.image.resize((3 * width, height), Image.Resampling.BOX))


def chart(pen: Pen) -> Image.Image:
    """A chart by Matplotlib: lines, bars, shares, a heat map or contours."""
    made, axes, colours = figure(pen)
    kind, count = pen.whole(0, 4), pen.whole(3, 9)
    x = np.arange(pen.whole(6, 60))
    if kind == 0:
        for colour in colours:
            axes.plot(
                x, np.cumsum(pen.generator.normal(size=x.size)), color=colour, label=pen.word(), lw=pen.number(0.7, 3)
            )
        axes.legend()
    elif kind == 1:
        axes.bar([pen.word() for _ in range(count)], pen.generator.uniform(1, 9, count), color=colours[0])
    elif kind == 2:
        axes.pie(pen.generator.uniform(1, 9, count), labels=[pen.word() for _ in range(count)], autopct="%1.1f%%")
    else:
        grid_HW = np.cumsum(np.cumsum(pen.generator.normal(size=(24, 32)), 0), 1)
        name = pen.one_of(("viridis", "coolwarm", "magma", "Greys", "tab20"))
        drawn = axes.imshow(grid_HW, cmap=name) if kind == 3 else axes.contourf(grid_HW, cmap=name, levels=count)
        made.colorbar(drawn)
    return finished(made, axes, pen)


def street_map(pen: Pen) -> Image.Image:
    """A map: areas, water, streets with borders, names along them."""
    canvas = Canvas(pen.whole(400, 900), pen.whole(400, 900), pen.colour(225, 248), 2)
    for colour in [pen.colour(150, 235) for _ in range(pen.whole(4, 10))]:
        canvas.draw.polygon(canvas.at(*_blob(pen, canvas, pen.number(40, 220))), colour)
    for _ in range(pen.whole(6, 22)):
        start, end = (_place(pen, canvas) for _ in range(2))
        middle = _place(pen, canvas)
        path = [
            (1 - t) ** 2 * start[i] + 2 * t * (1 - t) * middle[i] + t * t * end[i]
            for t in np.linspace(0, 1, 24).tolist()
            for i in range(2)
        ]
        width, colour = pen.whole(2, 12), pen.colour(200, 255)
        canvas.draw.line(canvas.at(*path), pen.colour(90, 170), (width + 2) * canvas.scale, "curve")
        canvas.draw.line(canvas.at(*path), colour, width * canvas.scale, "curve")
    for _ in range(pen.whole(8, 30)):
        x, y = _place(pen, canvas)
        canvas.text(x, y, pen.word(), pen.font(pen.whole(9, 18)), pen.colour(0, 110))
    return canvas.finished()


def line_art(pen: Pen) -> Image.Image:
    """Drawn lines: outlines, hatching and circles, as in a drawing or a patent."""
    paper, ink = pen.paper_and_ink()
    canvas = Canvas(pen.whole(300, 800), pen.whole(300, 800), paper, pen.whole(1, 3))
    for _ in range(pen.whole(8, 40)):
        width = pen.whole(1, 4) * canvas.scale
        x, y = _place(pen, canvas)
        radius = pen.number(8, 160)
        match pen.whole(0, 3):
            case 0:
                canvas.draw.arc(
                    canvas.at(x - radius, y - radius, x + radius, y + radius), pen.number(0, 180), 360, ink, width
                )
            case 1:
                points = _blob(pen, canvas, radius)
                canvas.draw.line(canvas.at(*points, *points[:2]), ink, width, "curve")
            case 2:
                for shift in np.arange(0, radius, pen.number(3, 9)).tolist():
                    canvas.draw.line(canvas.at(x + shift, y, x + shift + radius / 2, y + radius), ink, canvas.scale)
            case _:
                canvas.draw.rectangle(canvas.at(x, y, x + radius, y + radius * pen.number(0.3, 1.5)), None, ink, width)
    return canvas.finished()


def scan(pen: Pen) -> Image.Image:
    """A scanned page, table or drawing."""
    kinds: tuple[Kind, ...] = (page, table, line_art)
    return scanned(kinds[pen.whole(0, 2)](pen), pen)


def pixel_art(pen: Pen) -> Image.Image:
    """Sprites and tiles of a few colours, each of their pixels some pixels wide."""
    colours = np.array([pen.colour() for _ in range(pen.whole(4, 24))], np.uint8)
    tiles_NHW = pen.generator.integers(0, len(colours), (pen.whole(2, 8), 16, 16))
    for i, tile_HW in enumerate(tiles_NHW):  # plain areas, and sprites that are their own mirror image
        tile_HW[pen.generator.random((16, 16)) < pen.number(0.3, 0.9)] = i % len(colours)
        tile_HW[:, 8:] = tile_HW[:, 7::-1]
    rows, columns, side = pen.whole(6, 14), pen.whole(6, 14), pen.whole(2, 5)
    chosen = pen.generator.integers(0, len(tiles_NHW), (rows, columns))
    indexes_HW = tiles_NHW[chosen].swapaxes(1, 2).reshape(16 * rows, 16 * columns)
    picture = colours[indexes_HW].repeat(side, 0).repeat(side, 1)
    return Image.fromarray(picture[: pen.whole(300, 900), : pen.whole(300, 900)])


def logo(pen: Pen) -> Image.Image:
    """Large letters and shapes over a gradient or a plain ground."""
    width, height = pen.whole(300, 800), pen.whole(250, 600)
    canvas = Canvas(width, height, pen.colour(), 3)
    if pen.chance(0.6):
        ends = np.array([pen.colour(), pen.colour()], np.float32)
        t_HW1 = (np.add.outer(np.arange(3 * height), np.arange(3 * width)) / (3 * (height + width)))[..., None]
        canvas.image.paste(Image.fromarray((ends[0] * (1 - t_HW1) + ends[1] * t_HW1).round().astype(np.uint8)))
    for _ in range(pen.whole(2, 8)):
        x, y = _place(pen, canvas)
        radius = pen.number(20, 180)
        if pen.chance(0.5):
            canvas.draw.ellipse(canvas.at(x - radius, y - radius, x + radius, y + radius), pen.colour())
        else:
            canvas.draw.polygon(canvas.at(*_blob(pen, canvas, radius)), pen.colour())
    for _ in range(pen.whole(1, 4)):
        x, y = pen.number(0, width / 2), pen.number(0, height - 60)
        canvas.text(x, y, pen.word().upper(), pen.font(pen.whole(36, 120)), pen.colour())
    return canvas.finished()


def _place(pen: Pen, canvas: Canvas) -> tuple[float, float]:
    return pen.number(0, canvas.width), pen.number(0, canvas.height)


def _blob(pen: Pen, canvas: Canvas, radius: float) -> list[float]:
    """Corners, x and y by turns, of an area around a random place."""
    x, y = _place(pen, canvas)
    count = pen.whole(3, 14)
    radii = pen.generator.uniform(0.5, 1.0, count) * radius
    angles = [2 * math.pi * i / count for i in range(count)]
    return [c for r, a in zip(radii.tolist(), angles, strict=True) for c in (x + r * math.cos(a), y + r * math.sin(a))]


TRAINING_KINDS: dict[str, Kind] = {
    kind.__name__: kind for kind in (page, code, table, window, chart, street_map, line_art, scan, pixel_art, logo)
}
