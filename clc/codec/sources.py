"""Pictures and streams in whatever form callers of the Python interface have them. It needs no torch.

A picture is an array, a picture of Pillow's, a path, the bytes of a picture file, or a file open in binary mode. Paths,
bytes and files are read as `clc.pictures.images.read_picture` reads them. A stream is a buffer of bytes, a path, or a
file open in binary mode. All else is an `InputError`, because a guess could code another picture than was meant.

The pixels of a stream are upright. A picture that Pillow opened is turned as its EXIF orientation says. One that Pillow
made of another (a copy, `convert`, `rotate`) is taken as it lies, because Pillow leaves it the EXIF data of the first,
turned or not. In both cases the tag then says upright.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, TiffImagePlugin

from clc.codec.buffers import is_pipe, kind_of, read_file, read_path, read_stream, stream_bytes
from clc.errors import InputError, LossWarning
from clc.limits import MAX_PICTURE_FILE_BYTES, MAX_STREAM_BYTES, check_size
from clc.pictures.decoding import further_frames
from clc.pictures.exif import Structure, bare, of_tiff, upright
from clc.pictures.images import ReadPicture, picture_of, read_picture
from clc.pictures.losses import EXIF as BROKEN_EXIF
from clc.pictures.metadata import NO_METADATA, Metadata
from clc.pictures.metadata_reading import find, kept
from clc.pictures.picture import Picture, Plane
from clc.pictures.xmp import upright as upright_xmp

if TYPE_CHECKING:
    from typing_extensions import Buffer

    StreamSource = Buffer | npt.NDArray[np.uint8] | str | os.PathLike[str] | IO[bytes]
    PictureSource = StreamSource | Image.Image

CHANNELS = {1: "grey", 3: "RGB", 4: "RGBA"}
"""What the last axis of an array may hold."""


@dataclass(frozen=True, eq=False)
class Source:
    """A picture that a caller gave: uint8 (H, W, 3), its alpha plane, uint8 (H, W) or None, and its metadata.

    `losses` are sentences: what of the source is lost. `name` is for messages.
    """

    name: str
    image_HW3: Picture
    alpha_HW: Plane | None = None
    metadata: Metadata = NO_METADATA
    losses: tuple[str, ...] = ()
    is_moved: bool = False
    """Whether a colour profile moved samples."""


def picture_from(source: PictureSource) -> Source:
    """Return the picture that a caller gave; nothing of the source itself is changed.

    Arrays are uint8: (H, W) or (H, W, 1) grey, (H, W, 3) RGB, (H, W, 4) RGBA. Raises `InputError` for what is no
    picture, and `LimitError` for one over `clc.limits`.
    """
    if isinstance(source, np.ndarray):
        return _of_array(source)
    if isinstance(source, Image.Image):
        return pillow_source(source)
    if isinstance(source, str | os.PathLike):
        path = Path(os.fsdecode(source))
        return _of_read(read_picture_file(path), str(path))
    if isinstance(source, bytes | bytearray | memoryview):
        return _of_read(read_picture(bytes(source)), "the picture")
    if callable(getattr(source, "read", None)):
        name = _name_of(source, "the picture")
        return _of_read(read_picture(read_file(source, name, MAX_PICTURE_FILE_BYTES + 1), name), name)
    raise InputError(
        f"a picture is a uint8 array (H, W, 3), a picture of Pillow's, a path, or the bytes of a picture file, not "
        f"{kind_of(source)}; convert it to one of them"
    )


def read_picture_file(path: Path, background: str | None = None) -> ReadPicture:
    """Return the picture of a file as `clc.pictures.images.read_picture` does, or that which comes out of a pipe."""
    if is_pipe(path):
        data = read_path(path, MAX_PICTURE_FILE_BYTES, "scale or compress the picture first")
        return read_picture(data, str(path), background=background)
    return read_picture(path, background=background)


def stream_from(source: StreamSource) -> bytes:
    """Return the bytes of a stream that a caller gave. Raises `InputError` for what is none and cannot be read."""
    if isinstance(source, str | os.PathLike):
        return read_stream(Path(os.fsdecode(source)))
    if callable(getattr(source, "read", None)) and not _is_buffer(source):
        return read_file(source, _name_of(source, "the stream"), MAX_STREAM_BYTES + 1)
    return stream_bytes(cast("Buffer", source))


def pillow_source(image: Image.Image, exif: bytes | None = None, xmp: bytes | None = None) -> Source:
    """Return the picture that Pillow holds, with `exif` and `xmp` in place of its own where they are given.

    The orientation in an `exif` that is given turns the picture, whatever made it. Raises `InputError` for what cannot
    be decoded or converted, and for EXIF data and XMP that are given and broken.
    """
    name = _name_of(image, "the picture")
    is_opened, is_tiff = isinstance(image, ImageFile.ImageFile), isinstance(image, TiffImagePlugin.TiffImageFile)
    if exif is None and xmp is None and is_opened and not is_tiff:
        return _of_read(picture_of(image), name)
    given = kept(exif or b"", xmp or b"")
    if given.losses:
        raise InputError(f"{name}: {given.losses[0]}; give others, or none at all")
    try:
        own, view = find(image), image.copy()
        own = own._replace(exif=_exif_of_tags(image)) if is_tiff and not own.exif else own
    except MemoryError:
        raise
    except Exception as error:  # whatever a decoder raises over outside bytes
        raise InputError(f"{name}: the picture cannot be decoded ({error}); open a sound one again") from error
    carried = kept(own.exif if exif is None else b"", own.xmp if xmp is None else b"")
    view.info["exif"] = exif if exif is not None else own.exif if is_opened else carried.metadata.exif
    view.info["xmp"] = (carried if xmp is None else given).metadata.xmp
    read = picture_of(view)
    losses = tuple(dict.fromkeys((*further_frames(image), *own.losses, *carried.losses, *read.losses)))
    return Source(name, read.image_HW3, read.alpha_HW, read.metadata, losses, read.is_moved)


def _exif_of_tags(image: Image.Image) -> bytes:
    """The EXIF data among the tags of an open TIFF picture, which Pillow has turned upright already."""
    structure = Structure.of(bare(image.getexif().tobytes()))
    return b"" if structure is None else of_tiff(structure, structure.directory(structure.first))


def given_metadata(metadata: Metadata, *, is_upright: bool) -> Metadata:
    """Return metadata that a caller gives beside a picture, as a stream holds them; what is no `Metadata` as it is.

    `is_upright` says that the pixels were turned, whatever the metadata say, which then say upright. Raises
    `InputError` for broken EXIF data.
    """
    if (
        not isinstance(metadata, Metadata)
        or not isinstance(metadata.exif, bytes)
        or not isinstance(metadata.xmp, bytes)
    ):
        return metadata
    exif = bare(metadata.exif)
    try:
        turned = upright(exif) if exif else b""
    except ValueError as error:
        raise InputError(f"{BROKEN_EXIF}; give others, or none at all") from error
    return Metadata(turned, upright_xmp(metadata.xmp)) if is_upright else Metadata(exif, metadata.xmp)


def tell(losses: Sequence[str], name: str, level: int) -> None:
    """Warn of each loss of a picture; `level` is how many calls up the user's line is."""
    for loss in losses:
        warnings.warn(f"{name}: {loss}", LossWarning, stacklevel=level + 1)


def _of_read(picture: ReadPicture, name: str) -> Source:
    return Source(name, picture.image_HW3, picture.alpha_HW, picture.metadata, picture.losses, picture.is_moved)


def _of_array(array: npt.NDArray[Any]) -> Source:
    found = f"{array.dtype} {array.shape}"
    if isinstance(array, np.ma.MaskedArray):
        raise InputError(f"a masked array has no colours where it is masked ({found}); fill it first: array.filled()")
    array = np.asarray(array)  # a subclass may have shapes and rules of its own, as np.matrix does
    if array.dtype != np.uint8:
        raise InputError(f"a picture is an array of uint8, not {found}; {_way_to_uint8(array.dtype)}")
    channels = 1 if array.ndim == 2 else array.shape[2] if array.ndim == 3 else 0
    if channels not in CHANNELS:
        is_channels_first = array.ndim == 3 and array.shape[0] in CHANNELS
        way = "put the channels last: array.transpose(1, 2, 0)" if is_channels_first else "give one picture in RGB"
        raise InputError(f"a picture is uint8 (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), not {found}; {way}")
    check_size(array.shape[1], array.shape[0])
    if channels == 4:
        return Source("the picture", _own(array[..., :3]), _own(array[..., 3]))
    if channels == 1:
        return Source("the picture", np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2))
    return Source("the picture", _own(array))


def _own(array: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return a copy that lies in order and can be written: whatever the caller's array is, torch takes it."""
    return np.array(array, order="C", copy=True, subok=False)


def _way_to_uint8(dtype: np.dtype[Any]) -> str:
    if dtype == np.bool_:
        return "0 and 1 become black and white by array * np.uint8(255)"
    if dtype.kind == "f":
        return "levels of 0..1 become 8 bits by np.rint(array * 255).astype(np.uint8)"
    if dtype == np.uint16:
        return "levels of 0..65535 become 8 bits by np.rint(array / 257).astype(np.uint8)"
    return "convert its levels to 0..255 and its dtype to uint8"


def _is_buffer(source: object) -> bool:
    try:
        memoryview(source)  # type: ignore[arg-type]
    except TypeError:
        return False
    except ValueError:  # one that is closed
        return True
    return True


def _name_of(file: Any, otherwise: str) -> str:
    """The name of an open file or of a picture that Pillow opened from one."""
    name = getattr(file, "filename" if isinstance(file, Image.Image) else "name", None)
    name = os.fsdecode(name) if isinstance(name, bytes) else name
    return name if isinstance(name, str) and name else otherwise
