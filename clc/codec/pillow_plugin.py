"""`.clc` streams as an image format of Pillow: `import clc` registers it, with PIL alone and no torch.

    PIL's open("a.clc") gives an RGB picture; its size is read at once, its pixels are decoded when they are needed
    im.save("a.clc", quality=50, references="auto", bundle=None)

Saving takes the options of `clc.codec.Codec.encode`, and a bundle folder. What becomes of modes, colour profiles and
transparency stands in `clc.pictures.images`; like other formats of Pillow it saves the pixels as they lie, so
`PIL.ImageOps.exif_transpose` comes first where an EXIF orientation counts. A stream of another bundle than the shipped
one needs `im.bundle = FOLDER` after opening and before the pixels are used.

Errors are those that users of Pillow catch, with our message and our error as their cause: `UnidentifiedImageError` for
a stream that this release cannot read at all, `OSError` for a damaged stream, another bundle, a picture or an option
that cannot be coded. Both are `OSError`.
"""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from PIL import Image, ImageFile, UnidentifiedImageError

from clc.errors import BitstreamError, ClcError, InputError, LimitError, UnknownVersion
from clc.limits import MAX_STREAM_BYTES, check_size

if TYPE_CHECKING:
    from clc.codec.codec import Codec

FORMAT = "CLC"
_MAGIC = b"\x89CLC"  # as in clc.bitstream.container, which would cost every `import clc` an import of numpy
_SIZE_AT = len(_MAGIC) + 2
_HEAD_BYTES = 64
_BUNDLES_IN_MEMORY = 2


class ClcImageFile(ImageFile.ImageFile):
    """A `.clc` stream as Pillow opens it. `bundle` is the folder to decode with, None for the shipped one."""

    format = FORMAT
    format_description = "Conditional latent coding"
    bundle: Path | str | None = None

    def _open(self) -> None:
        try:
            self._size = _size_in(self._read(_HEAD_BYTES))
        except ClcError as error:
            raise UnidentifiedImageError(self._told(error)) from error
        self._mode = "RGB"
        self._is_decoded = False
        # Pillow takes a picture without tiles for one that is loaded.
        self.tile = [ImageFile._Tile("raw", (0, 0, *self.size), 0, "RGB")]

    def load(self) -> Any:
        """Decodes the pixels once. Raises `OSError` for a damaged stream or another bundle."""
        if not self._is_decoded:
            try:
                image_HW3 = _codec(self.bundle).decode(self._read(MAX_STREAM_BYTES + 1))
            except ClcError as error:
                raise OSError(self._told(error)) from error
            if self._exclusive_fp and self.fp is not None:
                self.fp.close()
            self.fp = io.BytesIO(image_HW3.tobytes())
            self._is_decoded = True
        return super().load()

    def verify(self) -> None:
        """Checks the header and the checksum of the whole stream without decoding it; `OSError` where one is wrong."""
        from clc.bitstream.container import parse

        try:
            parse(self._read(MAX_STREAM_BYTES + 1))
        except ClcError as error:
            raise OSError(self._told(error)) from error
        super().verify()

    def _read(self, n_bytes: int) -> bytes:
        if self.fp is None:
            raise InputError("the file was closed before its pixels were used; open it again")
        self.fp.seek(0)
        return self.fp.read(n_bytes)

    def _told(self, error: ClcError) -> str:
        name = self.filename.decode(errors="replace") if isinstance(self.filename, bytes) else str(self.filename)
        return f"{name}: {error}" if name else str(error)


def register() -> None:
    """Makes Pillow open and save `.clc` files; called once by `import clc`."""
    Image.register_open(FORMAT, ClcImageFile, _accept)
    Image.register_save(FORMAT, _save)
    Image.register_extension(FORMAT, ".clc")
    Image.register_mime(FORMAT, "image/x-clc")


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(_MAGIC)


def _size_in(head: bytes) -> tuple[int, int]:
    """Width and height in the first bytes of a stream. Raises a `BitstreamError` or `LimitError`."""
    from clc.bitstream.container import parse
    from clc.bitstream.varints import read_varint

    try:
        parse(head)
    except (UnknownVersion, LimitError):
        raise
    except BitstreamError:
        pass  # a head alone is always cut short; damage shows when the pixels are decoded
    width, position = read_varint(head, _SIZE_AT, 3, "width")
    height, _ = read_varint(head, position, 3, "height")
    check_size(width, height)
    return width, height


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    from clc.pictures.images import rgb_of

    options = image.encoderinfo
    quality, references = float(options.get("quality", 50.0)), options.get("references", "auto")
    try:
        data = _codec(options.get("bundle")).encode(rgb_of(image), quality, references)
    except ClcError as error:
        raise OSError(str(error)) from error
    file.write(data)


@lru_cache(_BUNDLES_IN_MEMORY)
def _codec(bundle: Path | str | None) -> Codec:
    """The codec of a bundle, loaded on first use; the shipped one is that of `clc.encode` and `clc.decode`."""
    from clc.codec.codec import Codec

    return Codec.shipped() if bundle is None else Codec.load(Path(bundle))
