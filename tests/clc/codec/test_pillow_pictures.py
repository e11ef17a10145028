"""What one may do with any picture that Pillow opened, one may do with a `.clc`: each is tried on a PNG beside it."""

import copy
import io
import os
import pickle
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps, ImageSequence, UnidentifiedImageError

from clc.codec import pillow_plugin
from clc.errors import LossWarning
from clc.pictures import losses

EXIF = Image.Exif()
EXIF[0x010F] = "Maker"
GPS = EXIF.get_ifd(0x8825)
GPS[1] = "N"
EXIF[0x8825] = GPS
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
TURN, UPRIGHT = 6, 1
ORIENTATION = 0x0112


@pytest.fixture
def codec(container_codec: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The stand-in, for whatever bundle is asked for."""
    monkeypatch.setattr(pillow_plugin, "_codec", lambda bundle, data: container_codec)
    return container_codec


def made(side: int, *, has_alpha: bool = False) -> Image.Image:
    """A picture of one colour, which a stand-in's WebP keeps within a level, with a clear corner."""
    image = Image.new("RGBA" if has_alpha else "RGB", (side + 1, side), (9, 99, 200, 255)[: 4 if has_alpha else 3])
    if has_alpha:
        image.putpixel((0, 0), (9, 99, 200, 40))
    return image


def stream_of(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "CLC", **options)
    return buffer.getvalue()


@pytest.fixture(params=["RGB", "RGBA"])
def stream(codec: Any, request: pytest.FixtureRequest) -> bytes:
    return stream_of(made(16, has_alpha=request.param == "RGBA"), quality=90)


def pixels(data: bytes) -> np.ndarray[Any, Any]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


@pytest.mark.parametrize("is_loaded", [False, True])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_picture_is_pickled_before_and_after_its_pixels_were_used(
    stream: bytes, is_loaded: bool, protocol: int
) -> None:
    image = Image.open(io.BytesIO(stream))
    if is_loaded:
        image.load()
    again = pickle.loads(pickle.dumps(image, protocol))  # noqa: S301 - our own bytes
    assert (again.mode, again.size, again.info) == (image.mode, image.size, image.info)
    assert np.array_equal(np.asarray(again), pixels(stream))
    again.load()
    assert again.getpixel((1, 1)) == image.getpixel((1, 1))
    assert pickle.loads(pickle.dumps(again)).tobytes() == image.tobytes()  # noqa: S301


@pytest.mark.parametrize("is_loaded", [False, True])
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, Image.Image.copy])
def test_a_picture_is_copied_deeply_or_not(stream: bytes, is_loaded: bool, copied: Callable[[Any], Any]) -> None:
    image = Image.open(io.BytesIO(stream))
    if is_loaded:
        image.load()
    again = copied(image)
    again.putpixel((2, 2), (1, 2, 3))
    assert again.getpixel((2, 2))[:3] == (1, 2, 3)
    assert np.array_equal(np.asarray(image), pixels(stream))


@pytest.mark.parametrize("side", [1, 2, 16, 60])
@pytest.mark.parametrize("chunk", [1, 7, 63, 64, 65, 1 << 20])
@pytest.mark.parametrize("has_metadata", [False, True])
def test_pillows_parser_gives_the_picture_whatever_the_chunks(
    codec: Any, side: int, chunk: int, has_metadata: bool
) -> None:
    options: dict[str, Any] = {"exif": EXIF, "xmp": os.urandom(300).hex()} if has_metadata else {}
    data = stream_of(made(side, has_alpha=has_metadata), **options)
    parser = ImageFile.Parser()
    for start in range(0, len(data), chunk):
        parser.feed(data[start : start + chunk])
    image = parser.close()
    assert (image.format, image.size) == ("CLC", (side + 1, side))
    assert np.array_equal(np.asarray(image), pixels(data))


@pytest.mark.parametrize("kept", [0, 3, 5, 20, -1])
def test_pillows_parser_refuses_a_stream_that_is_cut_short(stream: bytes, kept: int) -> None:
    parser = ImageFile.Parser()
    parser.feed(stream[:kept])
    with pytest.raises(OSError, match=r"parse|truncated|of the stream's|get the whole"):
        parser.close()


class Pipe(io.RawIOBase):
    """A file that cannot be seeked and gives a few bytes at a time."""

    def __init__(self, data: bytes) -> None:
        self._left = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._left.read(min(5, len(buffer)))
        buffer[: len(part)] = part
        return len(part)


def test_a_pipe_is_opened(stream: bytes) -> None:
    with Image.open(io.BufferedReader(Pipe(stream))) as image:
        assert np.array_equal(np.asarray(image), pixels(stream))
    read_end, write_end = os.pipe()
    writer = threading.Thread(target=lambda: (os.write(write_end, stream), os.close(write_end)))
    writer.start()
    with os.fdopen(read_end, "rb") as file, Image.open(file) as image:
        assert np.array_equal(np.asarray(image), pixels(stream))
    writer.join()


class Sips(io.BytesIO):
    """A file that gives a few bytes at a time."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(3 if size is None or size < 0 else min(size, 3))


def test_a_file_that_gives_less_than_is_asked_for_is_read_whole(stream: bytes) -> None:
    file = Sips(stream)
    assert np.array_equal(np.asarray(pillow_plugin.ClcImageFile(file)), pixels(stream))


def test_every_truncation_is_an_error_that_users_of_pillow_catch(stream: bytes) -> None:
    for kept in range(len(stream)):
        with pytest.raises(OSError, match=r"."):
            Image.open(io.BytesIO(stream[:kept])).load()


def test_there_is_one_frame(stream: bytes) -> None:
    image = Image.open(io.BytesIO(stream))
    assert (image.n_frames, image.is_animated, image.tell()) == (1, False, 0)
    image.seek(0)
    with pytest.raises(EOFError):
        image.seek(1)
    assert [np.asarray(frame).shape for frame in ImageSequence.all_frames(image)] == [pixels(stream).shape]
    assert np.array_equal(np.asarray(image), pixels(stream))


def test_a_picture_is_verified_and_opened_again(stream: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.clc").write_bytes(stream)
    for source in (tmp_path / "a.clc", io.BytesIO(stream)):
        image = Image.open(source)
        image.verify()
        with pytest.raises(OSError, match="open it again"):
            image.load()
        with Image.open(source) as again:
            assert np.array_equal(np.asarray(again), pixels(stream))


def test_thumbnail_and_draft_work_on_a_picture_that_is_not_decoded_yet(stream: bytes) -> None:
    image = Image.open(io.BytesIO(stream))
    assert image.draft("L", (4, 4)) is None
    image.thumbnail((8, 8))
    assert image.size == (8, 8)
    assert image.getpixel((4, 4))[:3] == pytest.approx((9, 99, 200), abs=6)
    image.thumbnail((4, 4))
    assert (image.size, np.asarray(image).shape[:2]) == ((4, 4), (4, 4))


def test_a_closed_picture_keeps_what_was_decoded_and_says_what_was_not(stream: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.clc"
    path.write_bytes(stream)
    with Image.open(path) as image:
        image.load()
    assert image.getpixel((1, 1))[:3] == pytest.approx((9, 99, 200), abs=3)
    with Image.open(path) as image:
        pass
    with pytest.raises(OSError, match=r"a\.clc: the file was closed"):
        image.load()
    with path.open("rb") as file:
        image = Image.open(file)
    with pytest.raises(OSError, match="the file was closed"):
        image.load()
    image = Image.open(path)
    image.load()
    image.close()
    with pytest.raises(ValueError, match="closed image"):
        image.getpixel((1, 1))


def test_a_picture_is_saved_over_itself(stream: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.clc"
    path.write_bytes(stream)
    with Image.open(path) as image:
        image.save(path, quality=90)
    with Image.open(path) as image:
        assert np.abs(np.asarray(image).astype(int) - pixels(stream)).max() <= 4


def test_what_a_stream_says_of_itself_is_known_before_its_pixels_are(stream: bytes) -> None:
    image = Image.open(io.BytesIO(stream))
    assert image.info == {"quality": 90.0, "bundle_id": "00112233445566ff"}
    assert dict(image.getexif()) == {}


@pytest.mark.parametrize("exif", [EXIF, EXIF.tobytes(), EXIF.tobytes().removeprefix(b"Exif\0\0")])
def test_metadata_that_are_saved_are_there_when_it_is_opened(codec: Any, exif: Any) -> None:
    data = stream_of(made(8), exif=exif, xmp=XMP)
    image = Image.open(io.BytesIO(data))
    assert (image.info["exif"], image.info["xmp"]) == (EXIF.tobytes(), XMP)
    assert image.getexif()[0x010F] == "Maker"
    assert image.getexif().get_ifd(0x8825) == {1: "N"}
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", exif=image.info["exif"])
    with Image.open(jpeg) as again:
        assert again.info["exif"] == EXIF.tobytes()
    assert Image.open(io.BytesIO(stream_of(made(8), xmp=XMP.decode()))).info["xmp"] == XMP


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_metadata_of_a_file_travel_by_themselves_and_can_be_left_out(codec: Any, image_format: str) -> None:
    file = io.BytesIO()
    made(8).save(file, image_format, exif=EXIF)
    with Image.open(file) as image:
        kept = Image.open(io.BytesIO(stream_of(image)))
        assert kept.getexif()[0x010F] == "Maker"
        assert kept.getexif().get_ifd(0x8825) == {1: "N"}
        assert 0x0100 not in kept.getexif()
        left_out = Image.open(io.BytesIO(stream_of(image, exif=b"", xmp=b"")))
        assert "exif" not in left_out.info


def test_a_very_large_metadata_block_is_read_when_it_is_opened(codec: Any, tmp_path: Path) -> None:
    xmp = os.urandom(200_000).hex().encode()
    (tmp_path / "a.clc").write_bytes(stream_of(made(8), xmp=xmp))
    with Image.open(tmp_path / "a.clc") as image:
        assert image.info["xmp"] == xmp
        assert image.getpixel((1, 1)) == pytest.approx((9, 99, 200), abs=4)


def test_alpha_travels_from_every_mode_that_has_it(codec: Any) -> None:
    rgba = made(16, has_alpha=True)
    palette = Image.new("P", (4, 3), 1)
    palette.putpalette([0, 0, 0, 200, 100, 50])
    palette.info["transparency"] = 1
    for image, alpha in ((rgba, rgba.getchannel("A")), (rgba.convert("LA"), rgba.getchannel("A")), (palette, None)):
        again = Image.open(io.BytesIO(stream_of(image)))
        assert again.mode == "RGBA"
        expected = np.asarray(alpha) if alpha is not None else np.zeros((3, 4))
        assert np.array_equal(np.asarray(again)[..., 3], expected)


def marked() -> Image.Image:
    """A wide picture, dark on its left half, as EXIF data say to be turned."""
    image = Image.new("RGB", (16, 8), (240, 240, 240))
    image.paste((10, 10, 10), (0, 0, 8, 8))
    return image


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif[ORIENTATION] = TURN
    return exif


def opened(image_format: str = "PNG") -> Image.Image:
    file = io.BytesIO()
    marked().save(file, image_format, exif=turned())
    return Image.open(file)


def looks_like(data: bytes, expected: Image.Image) -> bool:
    image = Image.open(io.BytesIO(data))
    if image.getexif().get(ORIENTATION, UPRIGHT) != UPRIGHT or image.size != expected.size:
        return False
    return bool(np.abs(np.asarray(image).astype(int) - np.asarray(expected.convert("RGB"))).max() < 30)


def test_a_file_is_turned_upright_as_its_metadata_say_and_they_then_say_so(codec: Any) -> None:
    upright = ImageOps.exif_transpose(opened())
    for image_format in ("PNG", "TIFF"):
        data = stream_of(opened(image_format), quality=95)
        assert looks_like(data, upright)
        assert Image.open(io.BytesIO(data)).getexif()[0x010F] == "Maker"


def test_metadata_that_are_given_turn_the_picture_too(codec: Any) -> None:
    upright = ImageOps.exif_transpose(opened())
    for image in (marked(), opened(), opened().copy()):
        assert looks_like(stream_of(image, exif=turned(), quality=95), upright)
    assert looks_like(stream_of(opened(), exif=b"", quality=95), marked())
    assert looks_like(stream_of(opened(), xmp=XMP, quality=95), upright)


def test_a_picture_that_was_turned_by_hand_is_not_turned_again(codec: Any) -> None:
    by_hand = opened().rotate(-90, expand=True)
    assert by_hand.getexif()[ORIENTATION] == TURN, "Pillow leaves the tag"
    for image in (by_hand, ImageOps.exif_transpose(opened())):
        data = stream_of(image, quality=95)
        assert looks_like(data, by_hand)
        assert Image.open(io.BytesIO(data)).getexif()[0x010F] == "Maker"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quality": "50"}, "quality must"),
        ({"quality": float("nan")}, "quality must"),
        ({"quality": None}, "quality must"),
        ({"exif": {"a": 1}}, "exif must be bytes"),
        ({"exif": "text"}, "exif must be bytes"),
        ({"exif": b"no TIFF structure"}, "EXIF data are broken"),
        ({"xmp": 5}, "xmp must be bytes"),
        ({"xmp": b"\x81\x82"}, "XMP data are no text"),
    ],
)
def test_an_option_of_another_type_is_an_os_error_and_no_file(
    codec: Any, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(OSError, match=message):
        made(8).save(tmp_path / "a.clc", **options)
    assert not (tmp_path / "a.clc").exists()


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("options", [{}, {"xmp": XMP}])
def test_frames_that_pillow_knows_of_are_told_and_left_as_they_are(
    codec: Any, image_format: str, options: dict[str, Any]
) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    for n_frames, frame, told in ((1, 0, None), (3, 0, losses.FRAMES), (3, 1, losses.ONE_FRAME)):
        file = io.BytesIO()
        frames[0].save(file, image_format, save_all=True, append_images=frames[1:n_frames])
        with Image.open(file) as image:
            image.seek(frame)
            image.paste(0, (0, 0, 4, 4))
            drawn = np.array(image)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", LossWarning)
                stream_of(image, **options)
            lines = [str(one.message) for one in caught if one.category is LossWarning]
            assert [line.rpartition(": ")[2] for line in lines] == ([told] if told else [])
            assert np.array_equal(np.array(image), drawn)
            assert image.tell() == frame


def test_a_gif_whose_file_is_closed_is_saved(codec: Any, tmp_path: Path) -> None:
    made(16).save(tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as image:
        image.load()
    assert pixels(stream_of(image)).shape == (16, 17, 3)


def test_broken_metadata_of_a_picture_are_left_out_and_told(codec: Any) -> None:
    image = made(8)
    image.info["exif"] = b"Exif\0\0no TIFF structure"
    with pytest.warns(LossWarning, match="EXIF data are broken"):
        data = stream_of(image)
    assert "exif" not in Image.open(io.BytesIO(data)).info


def test_a_stream_with_damaged_metadata_is_refused_at_once(codec: Any) -> None:
    data = bytearray(stream_of(made(8), xmp=b"plain text that stays as it is?"))
    at = data.index(b"plain")
    data[at] ^= 1
    with pytest.raises(UnidentifiedImageError, match="checksum"):
        Image.open(io.BytesIO(bytes(data)))
