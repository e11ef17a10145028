"""Pages with photographs in them, as articles, shops and slides have: text and rules around pictures of a folder.

The photographs are the caller's, and are pasted as they are, cut to their place, so a page is theirs where they lie and
drawn everywhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image

from rendered.drawing import Canvas, Pen, paragraph

_EDGE_PX, _GAP_PX, _BAR_PX, _CAPTION_PX = 32, 24, 56, 40


class Page(NamedTuple):
    """A page, and where its photographs lie: left, top, right and bottom in px."""

    image: Image.Image
    places: tuple[tuple[int, int, int, int], ...]


def page(pen: Pen, photographs: Sequence[Image.Image]) -> Page:
    """A bar, then rows of two columns; in each cell a photograph with its caption, or a paragraph.

    `photographs` of mode RGB are taken in turn, each once at most.
    """
    paper, ink = pen.paper_and_ink()
    width, rows = pen.whole(880, 1200), pen.whole(2, 3)
    row_px = pen.whole(220, 320)
    canvas = Canvas(width, _BAR_PX + _EDGE_PX + rows * (row_px + _GAP_PX), paper)
    canvas.draw.rectangle((0, 0, width, _BAR_PX), pen.colour(30, 160))
    canvas.text(_EDGE_PX, 16, pen.words(3), pen.font(22), (255, 255, 255))
    letters, middle = pen.font(pen.whole(13, 18)), pen.whole(2 * width // 5, 3 * width // 5)
    left, places = list(photographs), []
    for row in range(rows):
        top = _BAR_PX + _EDGE_PX + row * (row_px + _GAP_PX)
        with_photograph = pen.whole(0, 1)
        for column, (start, stop) in enumerate(((_EDGE_PX, middle - _GAP_PX), (middle, width - _EDGE_PX))):
            box = start, top, stop, top + row_px
            if column == with_photograph and left:
                places.append(_pasted(canvas, left.pop(0), box))
                canvas.text(start, places[-1][3] + 8, pen.words(4), letters, ink)
            else:
                paragraph(canvas, pen, box, letters, ink)
    return Page(canvas.finished(), tuple(places))


def _pasted(canvas: Canvas, photograph: Image.Image, box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Lays the middle of a photograph at the upper left of a box, as large as both allow."""
    width = min(photograph.width, box[2] - box[0])
    height = min(photograph.height, box[3] - box[1] - _CAPTION_PX)
    left, top = (photograph.width - width) // 2, (photograph.height - height) // 2
    canvas.image.paste(photograph.crop((left, top, left + width, top + height)), box[:2])
    return box[0], box[1], box[0] + width, box[1] + height
