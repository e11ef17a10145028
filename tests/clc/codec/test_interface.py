"""`clc.encode` and `clc.decode` take what callers have in hand, and refuse the rest with the way out."""

import io
import mmap
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import clc
from clc.bitstream.container import with_sections
from clc.bitstream.sections import Section
from clc.bundle.bundle import Bundle
from clc.bundle.identity import SHIPPED
from clc.codec import Codec, codecs, interface
from clc.pictures.images import png_bytes

RGB = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
ALPHA = np.tile(np.linspace(0, 255, 20).astype(np.uint8), (12, 1))
RGBA = np.dstack((RGB, ALPHA))
EXIF = b"II*\0\x08\0\0\0\x01\0\x0f\x01\x02\0\x04\0\0\0Cam\0\0\0\0\0"
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
FAST: dict[str, Any] = {"references": "none", "effort": 0, "mode": "learned"}


@pytest.fixture(scope="module")
def codec(shipped: Codec) -> Codec:
    """The shipped codec, for `bundle=` too, so that it is loaded once in all tests."""
    codecs._loaded.cache_clear()
    return shipped


@pytest.fixture(autouse=True)
def _one_codec(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Codec, "shipped", staticmethod(lambda: codec))


@pytest.fixture(scope="module")
def stream(codec: Codec) -> bytes:
    return codec.encode(RGB, 50, "none", effort=0)


def test_metadata_beside_a_picture_say_upright_where_its_pixels_are_turned() -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    sideways = io.BytesIO()
    Image.fromarray(RGB).save(sideways, "PNG", exif=tags)
    given = clc.Metadata(tags.tobytes(), b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"/>')
    for source, size, orientation in ((sideways.getvalue(), (20, 12), 1), (RGB, (12, 20), 6)):
        decoded = clc.decode_picture(clc.encode(source, 50, metadata=given, **FAST))
        assert decoded.image_HW3.shape[:2] == size
        assert decoded.metadata.exif.startswith((b"II*", b"MM\0*"))  # as streams hold EXIF, whatever stood before it
        found = Image.Exif()
        found.load(decoded.metadata.exif)
        assert found[0x0112] == orientation
        assert f'Orientation="{orientation}"'.encode() in decoded.metadata.xmp


def test_broken_metadata_beside_a_picture_are_refused() -> None:
    with pytest.raises(clc.InputError, match="EXIF data are broken"):
        clc.encode(RGB, 50, metadata=clc.Metadata(b"no TIFF structure"), **FAST)
    with pytest.raises(clc.InputError, match="MaskedArray"):
        clc.encode(RGB, 50, alpha_HW=np.ma.masked_array(ALPHA, ALPHA > 9), **FAST)


def mapped(data: bytes, folder: Path) -> mmap.mmap:
    (folder / "mapped").write_bytes(data)
    with (folder / "mapped").open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


@pytest.mark.parametrize(
    "array",
    [
        RGB.astype(">u1"),
        np.asfortranarray(RGB),
        np.ascontiguousarray(RGB[::-1, ::-1])[::-1, ::-1],
        np.ascontiguousarray(RGB[..., ::-1])[..., ::-1],
        np.repeat(RGB, 2, axis=0)[::2],
        np.frombuffer(RGB.tobytes(), np.uint8).reshape(RGB.shape),
    ],
    ids=["big-endian", "Fortran", "negative strides", "BGR view", "every second row", "read-only"],
)
def test_an_array_is_coded_however_it_lies_in_memory_and_is_left_as_it_was(array: Any, stream: bytes) -> None:
    before, flags = array.copy(), str(array.flags)
    assert clc.encode(array, 50, **FAST) == stream
    assert np.array_equal(array, before)
    assert str(array.flags) == flags


def test_grey_arrays_are_coded_as_grey_pictures() -> None:
    grey = RGB[..., 0]
    expected = clc.encode(np.dstack((grey, grey, grey)), 50, **FAST)
    assert clc.encode(grey, 50, **FAST) == expected
    assert clc.encode(grey[..., None], 50, **FAST) == expected


def test_the_fourth_channel_of_an_array_is_its_transparency(stream: bytes) -> None:
    decoded = clc.decode_picture(clc.encode(RGBA, 50, **FAST))
    assert np.array_equal(decoded.image_HW3, clc.decode(stream))
    assert np.array_equal(decoded.alpha_HW, ALPHA)
    assert clc.encode(RGB, 50, alpha_HW=ALPHA, **FAST) == clc.encode(RGBA, 50, **FAST)


def test_metadata_that_are_given_come_back(stream: bytes) -> None:
    data = clc.encode(RGB, 50, metadata=clc.Metadata(EXIF, XMP), **FAST)
    decoded = clc.decode_picture(data)
    assert decoded.metadata == clc.Metadata(EXIF, XMP)
    assert decoded.alpha_HW is None
    assert np.array_equal(clc.decode(data), clc.decode(stream))


def test_a_picture_of_pillow_a_path_bytes_and_an_open_file_are_one_picture(stream: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes(RGB))
    sources: list[Any] = [Image.fromarray(RGB), path, str(path), path.read_bytes(), bytearray(path.read_bytes())]
    sources += [memoryview(path.read_bytes()), io.BytesIO(path.read_bytes())]
    with path.open("rb") as file, Image.open(path) as image:
        assert [clc.encode(source, 50, **FAST) for source in [*sources, file, image]] == [stream] * 9


def test_what_a_picture_of_pillow_has_beside_its_colours_is_kept() -> None:
    image = Image.fromarray(RGBA)
    image.info["exif"], image.info["xmp"] = b"Exif\0\0" + EXIF, XMP
    decoded = clc.decode_picture(clc.encode(image, 50, **FAST))
    assert np.array_equal(decoded.alpha_HW, ALPHA)
    assert decoded.metadata == clc.Metadata(EXIF, XMP)
    without = clc.decode_picture(clc.encode(image, 50, metadata=clc.Metadata(), **FAST))
    assert not without.metadata


class Text(io.StringIO):
    """A file that was opened in text mode."""


@pytest.mark.parametrize(
    ("source", "way"),
    [
        (RGB.tolist(), "convert it"),
        (None, "not None"),
        (5, "type int"),
        (RGB.astype(np.float32) / 255, "np.rint"),
        (RGB.astype(np.float64), "np.rint"),
        (RGB.astype(np.uint16), "/ 257"),
        (RGB.astype(np.int8), "dtype to uint8"),
        (RGB > 127, "np.uint8\\(255\\)"),
        (RGB.astype(object), "dtype to uint8"),
        (RGB.transpose(2, 0, 1), "transpose"),
        (RGB[None], "one picture"),
        (RGB[..., :2], "RGB"),
        (RGB[:0], "at least 1 px"),
        (RGB[0, 0], "one picture"),
        (np.array(5, np.uint8), "one picture"),
        (np.ma.masked_array(RGB, RGB > 100), "fill it"),
        (Text("text"), "binary mode"),
        (b"", "empty"),
        (b"no picture", "not a readable picture"),
        ("missing.png", "does not exist"),
        ("a\0b.png", "cannot be read|does not exist"),
    ],
)
def test_what_is_no_picture_is_refused_with_the_way_out(source: Any, way: str) -> None:
    with pytest.raises(clc.InputError, match=way):
        clc.encode(source)


@pytest.mark.parametrize("quality", ["50", None, True, np.True_, float("nan"), -0.1, 100.1, float("inf"), 1j, [50]])
def test_what_is_no_quality_is_refused(quality: Any, codec: Codec) -> None:
    for encode in (clc.encode, codec.encode):
        with pytest.raises(clc.InputError, match="quality must"):
            encode(RGB, quality, "none")


@pytest.mark.parametrize("quality", [50, 50.0, np.float32(50), np.float64(50), np.int16(50), np.uint8(50)])
def test_a_number_of_any_kind_is_a_quality(quality: Any, stream: bytes) -> None:
    assert clc.encode(RGB, quality, **FAST) == stream


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"references": "some"}, "references must be auto"),
        ({"references": 6}, "references must be auto"),
        ({"references": -1}, "references must be auto"),
        ({"references": 1.0}, "references must be auto"),
        ({"references": True}, "references must be auto"),
        ({"references": None}, "references must be auto"),
        ({"references": ["auto"]}, "references must be auto"),
        ({"references": np.array(["auto", "none"])}, "references must be auto"),
        ({"effort": 10}, "effort must be"),
        ({"effort": 5.0}, "effort must be"),
        ({"effort": "5"}, "effort must be"),
        ({"effort": True}, "effort must be"),
        ({"effort": None}, "effort must be"),
        ({"bundle": 5}, "a bundle is a folder"),
        ({"bundle": []}, "a bundle is a folder"),
        ({"bundle": [None]}, "a bundle is a folder"),
        ({"bundle": "missing"}, "missing: no folder"),
        ({"metadata": {"exif": EXIF}}, "metadata are"),
        ({"metadata": clc.Metadata("text")}, "metadata are"),  # type: ignore[arg-type]
        ({"alpha_HW": ALPHA.tolist()}, "alpha plane is a uint8 array"),
        ({"alpha_HW": ALPHA[:-1]}, "alpha plane is uint8"),
        ({"alpha_HW": ALPHA.astype(np.float32)}, "alpha plane is uint8"),
    ],
)
def test_an_option_of_another_type_or_out_of_range_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(clc.InputError, match=message):
        clc.encode(RGB, **options)


def test_transparency_given_twice_is_refused() -> None:
    with pytest.raises(clc.InputError, match="either that or alpha_HW"):
        clc.encode(RGBA, alpha_HW=ALPHA)


@pytest.mark.parametrize("references", [np.int64(2), np.uint8(2)])
def test_numpy_counts_references_and_effort_as_python_does(references: Any, codec: Codec) -> None:
    expected = codec.encode(RGB, 50, 2, effort=1)
    assert clc.encode(RGB, 50, references, effort=np.int32(1), mode="learned") == expected  # type: ignore[arg-type]


def test_entries_that_are_no_numbers_are_refused(codec: Codec) -> None:
    for entries in (5, "12", [1.5], [True], [None]):
        with pytest.raises(clc.InputError, match="entries must be whole numbers"):
            codec.encode(RGB, entries=entries)  # type: ignore[arg-type]


def test_a_stream_is_decoded_from_any_buffer_a_path_and_an_open_file(stream: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.clc"
    path.write_bytes(stream)
    doubled = memoryview(np.repeat(np.frombuffer(stream, np.uint8), 2))[::2]
    sources: list[Any] = [stream, bytearray(stream), memoryview(stream), doubled, np.frombuffer(stream, np.uint8)]
    sources += [pa.py_buffer(stream), mapped(stream, tmp_path), path, str(path), io.BytesIO(stream)]
    expected = clc.decode(stream)
    for source in sources:
        assert np.array_equal(clc.decode(source), expected)
    for source in [*sources[:-1], io.BytesIO(stream)]:
        assert clc.info(source).width == 20
    assert expected.dtype == np.uint8
    assert expected.flags.writeable


def test_the_codec_itself_takes_any_buffer(stream: bytes, codec: Codec) -> None:
    for data in (bytearray(stream), memoryview(stream), pa.py_buffer(stream)):
        assert np.array_equal(codec.decode(data), codec.decode(stream))
        assert codec.info(data) == codec.info(stream)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "not None"),
        (5, "type int"),
        ([1, 2], "type list"),
        (np.zeros(4, np.float32), "items of 4 bytes"),
        (Text("text"), "binary mode"),
        ("missing.clc", "No such file"),
        (".", "is a folder"),
        ("a\0b", "null byte"),
    ],
)
def test_what_is_no_stream_is_refused(source: Any, message: str) -> None:
    for use in (clc.decode, clc.decode_picture, clc.info):
        with pytest.raises(clc.InputError, match=message):
            use(source)


def test_a_closed_file_and_a_closed_map_say_so(stream: bytes, tmp_path: Path) -> None:
    closed_map, closed_file = mapped(stream, tmp_path), io.BytesIO(stream)
    closed_map.close()
    closed_file.close()
    for source in (closed_map, closed_file):
        with pytest.raises(clc.InputError, match="cannot be read"):
            clc.decode(source)


def test_what_this_release_does_not_know_in_a_stream_is_told(stream: bytes) -> None:
    later = with_sections(stream, (Section.of(99, b"of a later release"),))
    with pytest.warns(clc.LossWarning, match="kind 99"):
        decoded = clc.decode_picture(later)
    assert decoded.left_out
    assert np.array_equal(decoded.image_HW3, clc.decode(stream))


def test_a_bundle_is_named_by_its_folder_its_id_loaded_or_in_a_list(codec: Codec, stream: bytes) -> None:
    folder = codec.bundle.directory
    expected = clc.decode(stream)
    for bundle in (folder, str(folder), codec.bundle.bundle_id, codec.bundle, [folder], (codec.bundle, folder)):
        assert np.array_equal(clc.decode(stream, bundle), expected)
        assert clc.encode(RGB, 50, bundle=bundle, **FAST) == stream
    assert interface.codec_of(str(folder)) is interface.codec_of(None) is codec
    assert interface.codec_of(codec.bundle) is interface.codec_for(stream, [codec.bundle])


@pytest.fixture
def other(codec: Codec, tmp_path: Path) -> Bundle:
    """A bundle with another id: the same files behind a manifest with one more space."""
    folder = tmp_path / "bundles" / "other"
    shutil.copytree(codec.bundle.directory, folder)
    with (folder / "manifest.json").open("a") as manifest:
        manifest.write(" ")
    return Bundle.load(folder)


def test_of_several_bundles_the_one_that_the_stream_names_decodes(
    codec: Codec, stream: bytes, other: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, named = other.directory, [codec.bundle.directory, other.directory]
    assert other.bundle_id != codec.bundle.bundle_id
    theirs = clc.encode(RGB, 50, bundle=[folder, codec.bundle.directory], **FAST)
    assert clc.info(theirs).bundle_id == other.bundle_id
    assert clc.encode(RGB, 50, bundle=named, **FAST) == stream
    with pytest.raises(clc.DictionaryMismatch, match=f"needs bundle {other.bundle_id}"):
        clc.decode(theirs)
    expected = clc.decode(stream)
    for bundle in (folder, named, other, [codec.bundle, other], folder.parent):
        assert np.array_equal(clc.decode(theirs, bundle), expected)
        assert np.array_equal(clc.decode(stream, bundle), expected)
    monkeypatch.setenv("CLC_BUNDLES", str(folder.parent))
    assert np.array_equal(clc.decode(theirs), expected)
    with Image.open(io.BytesIO(theirs)) as image:
        assert np.array_equal(np.asarray(image), expected)


def test_a_folder_that_holds_another_bundle_now_gives_that_one(stream: bytes, other: Bundle) -> None:
    folder = other.directory
    theirs = clc.encode(RGB, 50, bundle=folder, **FAST)
    shutil.copy(SHIPPED / "manifest.json", folder)
    assert clc.encode(RGB, 50, bundle=folder, **FAST) == stream
    assert np.array_equal(clc.decode(stream, folder), clc.decode(theirs, other))


def test_a_stream_of_none_of_the_bundles_is_refused(stream: bytes, codec: Codec) -> None:
    other = bytearray(stream)
    with pytest.raises(clc.BitstreamError):
        clc.decode(other[:-1], bundle=[codec.bundle])


def test_info_and_version_cost_no_torch(stream: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.clc").write_bytes(stream)
    program = (
        f"import sys, clc; print(clc.__version__, clc.info({str(tmp_path / 'a.clc')!r}).width, 'torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    version, width, has_torch = run.stdout.split()
    assert version[0].isdigit()
    assert (width, has_torch) == ("20", "False")


def test_every_name_that_clc_offers_exists() -> None:
    for name in clc.__all__:
        assert getattr(clc, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = clc.nothing
