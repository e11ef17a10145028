"""Alpha planes come back bit by bit, and a file that is no plane of the size is refused."""

import io

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from clc.errors import CorruptStream
from clc.pictures.alpha import alpha_bytes, read_alpha

Plane = npt.NDArray[np.uint8]


def mask(height: int, width: int) -> Plane:
    """A disc with soft edges."""
    rows, columns = np.indices((height, width))
    distance = np.hypot(rows - height / 2, columns - width / 2)
    return np.clip(40 * (min(height, width) / 3 - distance), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "alpha_HW",
    [
        mask(120, 90),
        np.random.default_rng(0).integers(0, 256, (37, 41), dtype=np.uint8),
        np.zeros((1, 1), np.uint8),
        np.tile(np.arange(256, dtype=np.uint8), (3, 65))[:, :16_500],
        mask(64, 64)[:, ::2],
    ],
    ids=["disc", "noise", "one pixel", "wider than WebP", "not contiguous"],
)
def test_a_plane_comes_back(alpha_HW: Plane) -> None:
    read = read_alpha(alpha_bytes(alpha_HW), alpha_HW.shape)
    assert read.dtype == np.uint8
    assert np.array_equal(read, alpha_HW)


def test_it_is_no_larger_than_a_png() -> None:
    buffer = io.BytesIO()
    Image.fromarray(mask(400, 300)).save(buffer, "PNG", optimize=True)
    assert len(alpha_bytes(mask(400, 300))) < len(buffer.getvalue())


def saved(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no picture",
        alpha_bytes(mask(9, 8)),
        alpha_bytes(mask(8, 9))[:-9],
        saved(Image.new("L", (9, 8)), "JPEG"),
        saved(Image.new("RGBA", (9, 8)), "PNG"),
        saved(Image.new("I;16", (9, 8)), "PNG"),
    ],
    ids=["empty", "junk", "turned", "cut short", "JPEG", "RGBA", "16 bits"],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptStream, match="alpha plane"):
        read_alpha(data, (8, 9))
