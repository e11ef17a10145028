from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clc.archive.change import AddOptions, add
from clc.archive.pack import Packed, PackOptions, pack
from clc.codec.codec import Codec
from tests.conftest import Picture

OPTIONS = PackOptions(quality=40.0, keys=1, effort=1)
ADD_OPTIONS = AddOptions(effort=1)
EXIF_ARTIST = 315


def write_strip(folder: Path, photo: Picture, count: int = 4) -> None:
    """Pictures that overlap like those of a survey: 224 px wide, 32 px further right each; the last has EXIF, alpha."""
    (folder / "strip").mkdir(parents=True)
    for number in range(count):
        left = 32 * number
        image = Image.fromarray(np.ascontiguousarray(photo[40:232, left : left + 224]))
        exif = Image.Exif()
        if number == count - 1:
            exif[EXIF_ARTIST] = "Somebody"
            image.putalpha(Image.linear_gradient("L").resize(image.size))
        image.save(folder / "strip" / f"{number}.png", exif=exif)


@pytest.fixture(scope="session")
def strip(tmp_path_factory: pytest.TempPathFactory, photo: Picture) -> Path:
    """A folder with four overlapping pictures in `strip/`, and a text."""
    folder = tmp_path_factory.mktemp("strip")
    write_strip(folder, photo)
    (folder / "notes.txt").write_text("of the flight")
    return folder


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory, strip: Path, shipped: Codec) -> tuple[Path, Packed]:
    """The strip as an archive with one key picture, which nobody may change, and what packing it told."""
    out = tmp_path_factory.mktemp("packed") / "archive"
    return out, pack(strip, out, shipped, OPTIONS)


@pytest.fixture
def copy(tmp_path: Path, packed: tuple[Path, Packed]) -> Path:
    return Path(shutil.copytree(packed[0], tmp_path / "copy"))


@pytest.fixture(scope="session")
def further(tmp_path_factory: pytest.TempPathFactory, photo: Picture) -> Path:
    """A folder with two more pictures of the strip in `more/`, the second with alpha and EXIF, and a text."""
    folder = tmp_path_factory.mktemp("further")
    (folder / "more").mkdir()
    for number, left in ((4, 16), (5, 48)):
        image = Image.fromarray(np.ascontiguousarray(photo[44:236, left : left + 224]))
        exif = Image.Exif()
        if number == 5:
            exif[EXIF_ARTIST] = "Somebody"
            image.putalpha(Image.linear_gradient("L").resize(image.size))
        image.save(folder / "more" / f"{number}.png", exif=exif)
    (folder / "notes.txt").write_text("of the flight")
    return folder


@pytest.fixture(scope="session")
def extended(
    tmp_path_factory: pytest.TempPathFactory, packed: tuple[Path, Packed], further: Path, shipped: Codec
) -> Path:
    """The packed strip with the further pictures added, which nobody may change."""
    folder = Path(shutil.copytree(packed[0], tmp_path_factory.mktemp("extended") / "archive"))
    told = add(folder, [further], shipped, ADD_OPTIONS)
    assert (told.added, told.there, told.failed) == (("more/4.png", "more/5.png"), (), ())
    assert told.passed_over == {".txt": 1}
    return folder
