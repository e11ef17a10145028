"""Archives of at most so many bytes, and of at least so many dB."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clc.archive.layout import WORK_FOLDER, Archive
from clc.archive.pack import Packed, PackOptions, pack
from clc.archive.packing.aim import NEAR_BYTES, NEAR_DB
from clc.archive.unpack import ArchiveReader
from clc.codec.codec import Codec
from clc.errors import InputError
from clc.pictures.images import read_picture
from tests.clc.archive.conftest import OPTIONS

QUICK = replace(OPTIONS, effort=0)


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("share", [0.7, 1.6])
def test_an_archive_takes_no_more_than_it_may(
    share: float, tmp_path: Path, strip: Path, packed: tuple[Path, Packed], shipped: Codec
) -> None:
    wanted = round(share * size_of(packed[0]))
    told = pack(strip, tmp_path / "out", shipped, replace(QUICK, target_bytes=wanted))
    assert NEAR_BYTES * wanted <= size_of(tmp_path / "out") == told.archive_bytes <= wanted
    assert len(told.keys) == 1


def test_an_archive_has_the_psnr_that_was_asked_for(tmp_path: Path, strip: Path, shipped: Codec) -> None:
    told = pack(strip, tmp_path / "out", shipped, replace(QUICK, target_psnr_db=33.0))
    archive = Archive(tmp_path / "out")
    reader, error, values = ArchiveReader(archive, archive.codec()), 0.0, 0
    for picture in archive.manifest.pictures:
        source, decoded = read_picture(strip / picture.name).image_HW3, reader.decode(picture).image_HW3
        error += float(np.square(source.astype(float) - decoded).sum())
        values += source.size
    measured = 10 * np.log10(255**2 * values / error)
    assert measured == pytest.approx(told.psnr_db, abs=0.01)
    assert 33.0 <= told.psnr_db <= 33.0 + NEAR_DB


@pytest.mark.parametrize(
    ("aim", "message"),
    [({"target_bytes": 500}, "bytes even at quality 0"), ({"target_psnr_db": 60.0}, "dB even at quality 100")],
)
def test_what_no_quality_gives_is_refused(
    aim: dict[str, float], message: str, tmp_path: Path, strip: Path, shipped: Codec
) -> None:
    options = replace(QUICK, levels=1, **aim)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=message):
        pack(strip, tmp_path / "out", shipped, options)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {WORK_FOLDER}


def test_a_folder_of_pictures_that_cannot_be_read_is_told(tmp_path: Path, shipped: Codec) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n, cut short")
    with pytest.raises(InputError, match="could be read"):
        pack(tmp_path / "in", tmp_path / "out", shipped, PackOptions(target_bytes=1000, effort=0))
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
