"""What is learnt of a picture is that of the array that every other stage reads, whichever way its samples came."""

import hashlib

import numpy as np
import pytest

from clc.collection.examination import Examined, Refused, examine
from clc.errors import ClcError
from clc.pictures.images import read_image
from clc.pictures.near_duplicates import fingerprint, perceptual_hash
from tests.made_pictures import Made, every_picture

SOME = every_picture()[::7]


@pytest.mark.parametrize("made", SOME, ids=[made.name for made in SOME])
def test_digest_size_and_likeness_are_those_of_the_picture_as_an_array(made: Made) -> None:
    try:
        image_HW3 = read_image(made.data)
    except ClcError:
        assert isinstance(examine(made.data, made.name), Refused)
        return
    found = examine(made.data, made.name)
    assert isinstance(found, Examined)
    assert (found.height, found.width, 3) == image_HW3.shape
    assert found.content == hashlib.sha256(repr(image_HW3.shape).encode() + image_HW3.tobytes()).hexdigest()
    assert found.perceptual_hash == perceptual_hash(image_HW3)
    np.testing.assert_array_equal(
        np.frombuffer(found.thumbnail, np.uint8).reshape(64, 64), fingerprint("", image_HW3).thumbnail
    )
