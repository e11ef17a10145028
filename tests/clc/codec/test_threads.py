"""One codec, many threads: the same bytes and pixels as one call after the other."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from clc.bundle.extend import add_pictures
from clc.codec import Codec, stream_info
from tests.conftest import Picture

THREADS = 8
SIZE = 96, 128


@pytest.fixture(scope="module")
def scene(photo: Picture) -> Picture:
    return np.ascontiguousarray(np.tile(photo, (2, 2, 1))[:320, :320])


@pytest.fixture(scope="module")
def bundle(scene: Picture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with key pictures that show three parts of the scene."""
    folder = tmp_path_factory.mktemp("threads") / "bundle"
    parts = [
        np.ascontiguousarray(scene[top : top + 200, left : left + 220]) for top, left in ((0, 0), (60, 80), (110, 10))
    ]
    provenance = [{"name": f"part {number}", "source": "test", "licence": "CC0"} for number in range(len(parts))]
    add_pictures(Codec.load().bundle.directory, folder, parts, provenance)
    return folder


@pytest.fixture(scope="module")
def views(scene: Picture) -> list[Picture]:
    """Eight pictures of the scene, all different, of which several overlap the same key picture."""
    places = [(20 * number, 17 * number + 9) for number in range(THREADS)]
    return [np.ascontiguousarray(scene[top : top + SIZE[0], left : left + SIZE[1]]) for top, left in places]


def test_eight_threads_encode_and_decode_the_same_bytes_as_one(bundle: Path, views: list[Picture]) -> None:
    def there_and_back(codec: Codec, number: int) -> tuple[bytes, Picture]:
        data = codec.encode(views[number], 30 + 5 * number)
        return data, codec.decode(data)

    alone = Codec.load(bundle)
    expected = [there_and_back(alone, number) for number in range(THREADS)]
    assert sum(bool(stream_info(data).aligned) for data, _ in expected) >= 2, "no key picture was used"
    shared = Codec.load(bundle)
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(lambda number: there_and_back(shared, number), range(THREADS)))
    for (data, picture), (expected_data, expected_picture) in zip(found, expected, strict=True):
        assert data == expected_data
        assert np.array_equal(picture, expected_picture)
