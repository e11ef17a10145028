"""Pillow opens and saves `.clc` files as it does any format, and its users catch the errors that they know."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

import clc  # noqa: F401 - registers the format
from clc.bitstream.container import MAGIC
from clc.codec import Codec, pillow_plugin
from clc.errors import BitstreamError, InputError, LossWarning
from tests.conftest import Picture

RED = np.full((6, 9, 3), (200, 30, 40), np.uint8)


@pytest.fixture
def codec(container_codec: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The stand-in, for whatever bundle is asked for."""
    container_codec.bundles = []

    def load(bundle: Path | str | None, data: bytes | None) -> Any:
        container_codec.bundles.append(bundle)
        return container_codec

    monkeypatch.setattr(pillow_plugin, "_codec", load)
    return container_codec


@pytest.fixture
def stream(codec: Any) -> bytes:
    return codec.encode(RED, 90)


def test_importing_clc_registers_the_format_and_imports_neither_torch_nor_numpy() -> None:
    program = (
        "import sys, clc; from PIL import Image; "
        "print(Image.EXTENSION['.clc'], Image.MIME['CLC'], [m for m in ('torch', 'numpy', 'cv2') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split(maxsplit=2) == ["CLC", "image/x-clc", "[]\n"]


def test_the_magic_is_that_of_the_container() -> None:
    assert pillow_plugin._MAGIC == MAGIC


def test_a_real_picture_is_saved_and_opened(
    tmp_path: Path, shipped: Codec, photo: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pillow_plugin, "_codec", lambda bundle, data: shipped)
    image_HW3 = np.ascontiguousarray(photo[:40, :56])
    Image.fromarray(image_HW3).save(tmp_path / "a.clc", quality=60, references="none", mode="learned")
    data = (tmp_path / "a.clc").read_bytes()
    assert data == shipped.encode(image_HW3, 60, "none")
    with Image.open(tmp_path / "a.clc") as image:
        assert np.array_equal(np.asarray(image), shipped.decode(data))


def test_opening_reads_the_header_and_using_the_pixels_decodes_once(codec: Any, stream: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.clc").write_bytes(stream)
    with Image.open(tmp_path / "a.clc") as image:
        assert (image.format, image.mode, image.size, image.get_format_mimetype()) == (
            "CLC",
            "RGB",
            (9, 6),
            "image/x-clc",
        )
        assert codec.bundles == []
        assert np.array_equal(np.asarray(image), codec.decode(stream))
        assert image.getpixel((3, 3)) == image.crop((3, 3, 4, 4)).getpixel((0, 0))
        assert codec.bundles == [None]
    assert image.size == (9, 6)


def test_the_format_is_known_by_its_first_bytes_not_by_its_name(codec: Any, stream: bytes) -> None:
    with Image.open(io.BytesIO(stream)) as image:
        assert image.format == "CLC"
        assert np.array_equal(np.asarray(image), codec.decode(stream))


def test_options_reach_the_encoder_and_a_bundle_both_ways(codec: Any, tmp_path: Path) -> None:
    Image.fromarray(RED).save(tmp_path / "a.clc")
    Image.fromarray(RED).save(tmp_path / "a.clc", quality=70, references=2, bundle=tmp_path)
    assert codec.asked_for == [(50.0, "auto"), (70.0, 2)]
    with Image.open(tmp_path / "a.clc") as image:
        image.bundle = tmp_path
        image.load()
    assert codec.bundles == [None, tmp_path, tmp_path]


def test_a_stream_is_saved_into_a_buffer_by_its_format(codec: Any) -> None:
    buffer = io.BytesIO()
    Image.fromarray(RED).save(buffer, "CLC", quality=90)
    assert buffer.getvalue() == codec.encode(RED, 90)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_mode_that_a_file_may_have_can_be_saved(codec: Any, mode: str, tmp_path: Path) -> None:
    Image.new(mode, (8, 5)).save(tmp_path / "a.clc")
    with Image.open(tmp_path / "a.clc") as image:
        assert (image.size, image.mode) == ((8, 5), "RGBA" if mode in ("LA", "RGBA") else "RGB")
        assert np.asarray(image).mean() == pytest.approx(0, abs=3)


@pytest.mark.parametrize(("mode", "loss", "level"), [("CMYK", "CMYK", 255), ("I;16", "8 bits", 0)])
def test_what_a_mode_loses_is_told(codec: Any, mode: str, loss: str, level: int, tmp_path: Path) -> None:
    with pytest.warns(LossWarning, match=rf"{loss}|rounded to 8") as told:
        Image.new(mode, (8, 5)).save(tmp_path / "a.clc")
    assert {warning.filename for warning in told} == {__file__}, "the user's line is named"
    with Image.open(tmp_path / "a.clc") as image:
        assert np.asarray(image).mean() == pytest.approx(level, abs=3)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:4] + b"\x09" + data[5:], "version 9"),
        (lambda data: data[:7], "get the whole file"),
        (lambda data: data[:6] + b"\xff\xff\x03\xff\xff\x03" + data[8:], "Mi pixels"),
    ],
    ids=["another version", "cut in the header", "too large"],
)
def test_a_stream_that_cannot_be_opened_is_unidentified_with_the_reason(
    stream: bytes, tmp_path: Path, damage: Any, message: str
) -> None:
    path = tmp_path / "bad.clc"
    path.write_bytes(damage(stream))
    with pytest.raises(UnidentifiedImageError, match=rf"bad\.clc: .*{message}"):
        Image.open(path)


def test_a_stream_that_is_damaged_further_in_fails_when_its_pixels_are_used(stream: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.clc"
    for data, message in (
        (stream[:-3], "3 of the stream's"),
        (stream[:-1] + bytes([stream[-1] ^ 1]), "checksum"),
    ):
        path.write_bytes(data)
        with Image.open(path) as image, pytest.raises(OSError, match=rf"bad\.clc: .*{message}") as caught:
            image.load()
        assert isinstance(caught.value.__cause__, BitstreamError)
        with Image.open(path) as image, pytest.raises(OSError, match=message):
            image.verify()


def test_a_sound_stream_verifies_without_decoding(codec: Any, stream: bytes) -> None:
    with Image.open(io.BytesIO(stream)) as image:
        image.verify()
    assert codec.bundles == []


def test_a_closed_file_says_so(stream: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.clc").write_bytes(stream)
    with Image.open(tmp_path / "a.clc") as image:
        pass
    with pytest.raises(OSError, match="closed before its pixels were used"):
        image.load()


def test_what_cannot_be_saved_is_an_os_error_and_no_file(codec: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.clc"
    with pytest.raises(OSError, match="mode F cannot be coded") as caught:
        Image.new("F", (4, 4)).save(path)
    assert isinstance(caught.value.__cause__, InputError)
    with pytest.raises(OSError, match="quality must lie within 0 and 100"):
        Image.fromarray(RED).save(path, quality=101)
    assert not path.exists()


def test_another_picture_still_opens_as_what_it_is(tmp_path: Path) -> None:
    Image.fromarray(RED).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "PNG"
