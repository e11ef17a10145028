"""Pages with photographs in them, small and the same everywhere, and streams of container version 7 of these."""

from collections.abc import Sequence

import numpy as np

from clc.bitstream.embedding import Embedding, Reason
from clc.bitstream.insets import Inset
from clc.codec import Codec
from clc.codec.embedded import Insets, sealed
from clc.codec.search.contest import UNALIGNED
from clc.codec.ways.compound import blanked
from clc.payloads.exact import Payload, exact_payload
from clc.pictures.picture import Picture

Place = tuple[int, int, int, int]
"""Left, top, width and height of a rectangle, px."""


def page_with(photo_HW3: Picture, places: Sequence[Place], height: int = 224, width: int = 352) -> Picture:
    """A page of bars and words, with parts of a photograph laid on it."""
    page = np.full((height, width, 3), (250, 250, 245), np.uint8)
    page[:20] = (40, 70, 120)
    for row in range(28, height - 6, 12):
        for word in range(8, width - 40, 44):
            page[row : row + 6, word : word + 10 + (row * 7 + word) % 24 : 3] = (30, 30, 30)
    for number, (left, top, w, h) in enumerate(places):
        at = 20 + 30 * number
        page[max(0, top - 6) : top + h + 6, max(0, left - 6) : left + w + 6] = (250, 250, 245)
        page[top : top + h, left : left + w] = photo_HW3[at : at + h, 60 + at : 60 + at + w]
    return page


def insets_of(codec: Codec, page_HW3: Picture, places: Sequence[Place], quality_q6: int = 3200) -> tuple[Inset, ...]:
    """Those rectangles of a page as the codec's model shows them."""
    found = []
    for left, top, width, height in places:
        part = codec.encoding(np.ascontiguousarray(page_HW3[top : top + height, left : left + width]))
        stream = part.code(quality_q6, UNALIGNED).stream
        found.append(Inset(left, top, width, height, quality_q6, stream.latents_crc32, stream.payload))
    return tuple(found)


def compound_stream(
    codec: Codec, page_HW3: Picture, insets: tuple[Inset, ...], payload: Payload | None = None, quality_q6: int = 3200
) -> bytes:
    """The stream of a page with insets over a payload, by default one of exact samples."""
    rest_HW3 = blanked(page_HW3, insets)
    payload = exact_payload(rest_HW3) if payload is None else payload
    embedding = Embedding(Reason.CHEAPER, quality_q6)
    of = Insets(codec.bundle.id_bytes, insets)
    return sealed(rest_HW3, None, payload, embedding, (), insets=of)[0]
