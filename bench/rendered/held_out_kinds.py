"""Kinds of graphics to measure on, of which no model has seen one: other motifs and fonts than those of training."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from PIL import Image

from rendered.charts import figure, finished
from rendered.drawing import BLACK, WHITE, Canvas, Pen, on_stripes, paragraph
from rendered.training_kinds import Kind


def invoice(pen: Pen) -> Image.Image:
    """A letter with addresses, a table of positions and a total."""
    canvas = Canvas(pen.whole(600, 900), pen.whole(700, 1000), WHITE)
    letters, figures, accent = pen.font(pen.whole(13, 18)), pen.mono(14), pen.colour(20, 160)
    canvas.draw.rectangle((0, 0, canvas.width, 14), accent)
    for x in (40, canvas.width // 2 + 40):
        for line in range(4):
            canvas.text(x, 50 + 22 * line, pen.words(3), letters, BLACK)
    for row in range(pen.whole(5, 14)):
        y = 190 + 30 * row
        canvas.draw.line((40, y + 24, canvas.width - 40, y + 24), (190, 190, 190))
        canvas.text(44, y, f"{row + 1}", figures, BLACK)
        canvas.text(80, y, pen.words(3), letters, BLACK)
        canvas.text(canvas.width - 130, y, f"{pen.number(1, 9999):9.2f}", figures, BLACK)
    paragraph(canvas, pen, (40, canvas.height - 140, canvas.width - 40, canvas.height - 30), pen.font(12), (90, 90, 90))
    return canvas.finished()


def scatter(pen: Pen) -> Image.Image:
    """Points of several groups, a histogram or a rose."""
    made, axes, colours = figure(pen)
    if pen.chance(0.5):
        for colour in colours:
            x, y = pen.generator.normal(pen.number(-4, 4), 1, (2, pen.whole(30, 250)))
            axes.scatter(x, y, s=pen.number(4, 60), c=colour, alpha=pen.number(0.4, 1), edgecolors="k", linewidths=0.4)
    else:
        axes.hist(pen.generator.gamma(2, 2, (400, len(colours))), bins=pen.whole(8, 30), color=colours, stacked=True)
    return finished(made, axes, pen)


def flow_diagram(pen: Pen) -> Image.Image:
    """Boxes with words, and arrows between them."""
    canvas = Canvas(pen.whole(500, 900), pen.whole(400, 800), WHITE, 2)
    letters, colours = pen.font(pen.whole(13, 20)), pen.palette(4)
    places = [(x, y) for y in range(30, canvas.height - 70, 130) for x in range(30, canvas.width - 150, 190)]
    for (x0, y0), (x1, y1) in pairwise(places):
        line = (
            canvas.at(x0 + 75, y0 + 30, x1 + 75, y0 + 30, x1 + 75, y1 + 30)
            if y0 != y1
            else canvas.at(x0, y0 + 30, x1, y1 + 30)
        )
        canvas.draw.line(line, (70, 70, 70), 2 * canvas.scale)
        if y0 == y1:
            canvas.draw.polygon(canvas.at(x1, y1 + 30, x1 - 10, y1 + 24, x1 - 10, y1 + 36), (70, 70, 70))
    for x, y in places:
        canvas.draw.rounded_rectangle(
            canvas.at(x, y, x + 150, y + 60), 12 * canvas.scale, colours[pen.whole(0, 3)], BLACK, canvas.scale
        )
        canvas.text(x + 12, y + 20, pen.words(2)[:16], letters, BLACK)
    return canvas.finished()


def floor_plan(pen: Pen) -> Image.Image:
    """Walls, doors, measures and hatched areas of a building."""
    canvas = Canvas(pen.whole(500, 900), pen.whole(400, 800), WHITE, 2)
    letters = pen.font(13)
    columns = sorted({30, canvas.width - 30, *(pen.whole(80, canvas.width - 80) for _ in range(4))})
    rows = sorted({30, canvas.height - 30, *(pen.whole(80, canvas.height - 80) for _ in range(3))})
    for left, right in pairwise(columns):
        for top, bottom in pairwise(rows):
            canvas.draw.rectangle(canvas.at(left, top, right, bottom), None, BLACK, pen.whole(2, 5) * canvas.scale)
            if pen.chance(0.3):
                for shift in range(0, min(right - left, bottom - top), 7):
                    canvas.draw.line(canvas.at(left + shift, top, left, top + shift), (120, 120, 120), canvas.scale)
            if pen.chance(0.6):
                canvas.draw.pieslice(canvas.at(left, top, left + 60, top + 60), 0, 90, WHITE, BLACK, canvas.scale)
            canvas.text(
                left + 8, (top + bottom) / 2, f"{(right - left) / 40:.2f} x {(bottom - top) / 40:.2f}", letters, BLACK
            )
    return canvas.finished()


def chat(pen: Pen) -> Image.Image:
    """A phone's screen with messages in bubbles, on the stripes of its pixels."""
    width, height = pen.whole(380, 520), pen.whole(700, 1000)
    is_dark = pen.chance(0.5)
    canvas = Canvas(width, height, pen.colour(10, 35) if is_dark else pen.colour(225, 245), 3)
    letters, colours = pen.font(pen.whole(14, 20)), [pen.colour(60, 110), pen.colour(150, 230)]
    canvas.text(12, 6, f"{pen.whole(0, 23):02}:{pen.whole(0, 59):02}", letters, WHITE if is_dark else BLACK)
    y = 50
    while y < height - 60:
        lines, is_mine = pen.whole(1, 4), pen.chance(0.5)
        bubble = pen.whole(140, width - 110)
        x, step = width - bubble - 14 if is_mine else 14, round(letters.size * 1.4)
        canvas.draw.rounded_rectangle(
            canvas.at(x, y, x + bubble, y + lines * step + 18), 14 * canvas.scale, colours[is_mine]
        )
        for line in range(lines):
            text = pen.words(5)[: max(3, int((bubble - 20) / (letters.size * 0.5)))]
            canvas.text(x + 10, y + 8 + line * step, text, letters, BLACK if is_mine else WHITE)
        y += lines * step + 34
    return on_stripes(canvas.image.resize((3 * width, height), Image.Resampling.BOX))


def comic(pen: Pen) -> Image.Image:
    """Panels with outlined shapes, printed dots and words in balloons."""
    canvas = Canvas(pen.whole(450, 800), pen.whole(450, 800), WHITE, 2)
    half_x, half_y = canvas.width // 2, canvas.height // 2
    for left, top in ((8, 8), (half_x + 4, 8), (8, half_y + 4), (half_x + 4, half_y + 4)):
        right, bottom = left + half_x - 16, top + half_y - 16
        canvas.draw.rectangle(canvas.at(left, top, right, bottom), pen.colour(150, 255), BLACK, 3 * canvas.scale)
        step, dot = pen.whole(6, 10), pen.colour(60, 220)
        for x in range(left + step, right - step, step):
            for y in range(top + step, bottom - step, step):
                radius = step * 0.48 * abs(math.sin((x + y) / pen.number(80, 82)))
                canvas.draw.ellipse(canvas.at(x - radius, y - radius, x + radius, y + radius), dot)
        x, y = pen.whole(left + 60, right - 60), pen.whole((top + bottom) // 2, bottom - 50)
        canvas.draw.ellipse(canvas.at(x - 50, y - 45, x + 50, y + 45), pen.colour(120, 255), BLACK, 3 * canvas.scale)
        canvas.draw.ellipse(canvas.at(left + 12, top + 12, right - 12, top + 62), WHITE, BLACK, 2 * canvas.scale)
        canvas.text(left + 34, top + 26, pen.words(4)[:24].upper(), pen.font(14), BLACK)
    return canvas.finished()


def barcodes(pen: Pen) -> Image.Image:
    """A label: bars, a square code, large and small print."""
    canvas = Canvas(pen.whole(400, 700), pen.whole(300, 500), WHITE)
    x, module = 24.0, pen.whole(2, 4)
    while x < canvas.width - 24:
        bar = module * pen.whole(1, 4)
        canvas.draw.rectangle((x, 24, x + bar - 1, 120), BLACK)
        x += bar + module * pen.whole(1, 3)
    side, modules_HW = pen.whole(3, 6), pen.generator.integers(0, 2, (25, 25))
    code_HW = Image.fromarray((255 * modules_HW).astype(np.uint8)).resize(
        (25 * side, 25 * side), Image.Resampling.NEAREST
    )
    canvas.image.paste(code_HW.convert("RGB"), (24, 150))
    canvas.text(40 + 25 * side, 150, pen.word().upper(), pen.font(40), BLACK)
    paragraph(canvas, pen, (40 + 25 * side, 210, canvas.width - 10, canvas.height - 10), pen.mono(12), BLACK)
    return canvas.finished()


def sheet_music(pen: Pen) -> Image.Image:
    """Staves with notes and words below."""
    canvas = Canvas(pen.whole(600, 900), pen.whole(500, 900), pen.colour(240, 255), 3)
    gap, letters = pen.whole(6, 10), pen.font(15)
    for top in range(40, canvas.height - 100, 12 * gap):
        for line in range(5):
            y = top + line * gap
            canvas.draw.line(canvas.at(30, y, canvas.width - 30, y), BLACK, canvas.scale)
        for x in range(60, canvas.width - 50, pen.whole(26, 44)):
            y = top + pen.whole(0, 8) * gap / 2
            canvas.draw.ellipse(
                canvas.at(x, y - gap * 0.45, x + gap * 1.3, y + gap * 0.45),
                BLACK if pen.chance(0.7) else None,
                BLACK,
                canvas.scale,
            )
            canvas.draw.line(canvas.at(x + gap * 1.3, y, x + gap * 1.3, y - 3.5 * gap), BLACK, canvas.scale)
        canvas.text(60, top + 6 * gap, pen.words(7), letters, BLACK)
    return canvas.finished()


HELD_OUT_KINDS: dict[str, Kind] = {
    kind.__name__: kind for kind in (invoice, scatter, flow_diagram, floor_plan, chat, comic, barcodes, sheet_music)
}
