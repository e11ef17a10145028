"""Pictures of every kind of file are read right: samples as they were written, or as Pillow's decoders give them."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from clc.pictures.images import read_picture
from tests.made_pictures import Made, every_picture

EVERY_PICTURE = every_picture()


def test_there_are_hundreds_of_them_and_no_two_are_alike() -> None:
    assert (
        len({made.name for made in EVERY_PICTURE}) == len({made.data for made in EVERY_PICTURE}) == len(EVERY_PICTURE)
    )
    assert len(EVERY_PICTURE) >= 300


@pytest.mark.parametrize("made", EVERY_PICTURE, ids=[made.name for made in EVERY_PICTURE])
def test_a_picture_is_read_within_a_level(made: Made) -> None:
    read = read_picture(made.data, made.name)
    colours_HW3, alpha_HW = made.colours_HW3, made.alpha_HW
    if colours_HW3 is None:
        with Image.open(io.BytesIO(made.data)) as image:
            colours_HW3 = np.asarray(image.convert("RGB"))
            alpha_HW = np.asarray(image.getchannel("A")) if image.mode == "RGBA" else None
    assert read.image_HW3.shape == colours_HW3.shape
    # Levels that were only rounded are right to the bit, 16 bits of RGB like those of grey; a sum may fall either way.
    tolerance = 1 if re.search("CMYK|YCbCr|premultiplied|BMP, 16", made.name) else 0
    assert np.abs(read.image_HW3.astype(int) - colours_HW3).max() <= tolerance
    if alpha_HW is None:
        assert read.alpha_HW is None
    else:
        assert read.alpha_HW is not None
        assert np.array_equal(read.alpha_HW, alpha_HW)
