"""`.clc` streams as an image format of Pillow: `import clc` registers it, with PIL alone and no torch.

    PIL's open("a.clc") gives an RGB or RGBA picture; its header is read at once, its pixels are decoded when needed
    im.save("a.clc", quality=50, references="auto", effort=5, bundle=None, exif=None, xmp=None)
    im.save("a.clc", lossless=True)    or max_error=2, or target_psnr=46.0, in place of a quality; mode="auto"

An opened picture has in `info`, where the stream has them, "exif" (as JPEG has it, for `getexif` and other formats) and
"xmp", and always "quality" and "bundle_id", which are None where no quality was asked for and no bundle is needed. The
bundle that a stream names is looked for where `clc.bundle.locate` says, and before that in `im.bundle`, a folder or a
list of folders, which is set before the pixels are used.

Saving takes the options of `clc.encode`. What becomes of modes, colour profiles and transparency stands in
`clc.pictures.images`; what of a picture is lost is told by a `clc.LossWarning`. What only its file held, and Pillow did
not read from it (data behind the picture, boxes, a resolution, codes of high dynamic range), cannot be told here: give
the file to `clc.encode` or to the command line for that. EXIF and XMP are the picture's own
unless `exif` (bytes or PIL's `Exif`) or `xmp` (bytes or text) are given; `exif=b"", xmp=b""` leaves them out.

The pixels of a stream are upright: a picture that was opened from a file is turned as its EXIF orientation says, one
that is saved with `exif=...` as that says, and the tag is reset. A picture that Pillow made of another (a copy,
`convert`, `rotate`) is saved as it lies, because Pillow leaves it the EXIF data of the first, turned or not.

Pillow empties a file that exists before it asks any format to save into it, so that where saving fails its former
content is gone, as with every format. Where that matters, save into `io.BytesIO` first, or write what `clc.encode`
returns.

Errors are those that users of Pillow catch, with our message and our error as their cause: `UnidentifiedImageError` for
a stream that this release cannot read at all, `OSError` for a damaged stream, another bundle, a picture or an option
that cannot be coded. Both are `OSError`.
"""

from __future__ import annotations

import io
from typing import IO, TYPE_CHECKING, Any

from PIL import Image, ImageFile, UnidentifiedImageError

from clc.errors import ClcError, InputError, TruncatedStream
from clc.limits import MAX_STREAM_BYTES

if TYPE_CHECKING:
    from clc.bitstream.container import Head
    from clc.codec.interface import Bundles
    from clc.codec.sources import Source

FORMAT = "CLC"
_MAGIC = b"\x89CLC"  # as in clc.bitstream.container, which would cost every `import clc` an import of numpy
_HEAD_BYTES = 4096
_HEAD_GROWTH = 8
_EXIF_PREFIX = b"Exif\0\0"


class ClcImageFile(ImageFile.ImageFile):
    """A `.clc` stream as Pillow opens it. `bundle` is what to decode with, as in `clc.decode`; None for the shipped."""

    format = FORMAT
    format_description = "Conditional latent coding"
    bundle: Bundles = None
    n_frames = 1
    is_animated = False

    def _open(self) -> None:
        from clc.bitstream.sections import EXIF, XMP
        from clc.quality import from_q6

        try:
            head = self._head()
            contents = {section.kind: section.content() for section in head.sections if section.kind in (EXIF, XMP)}
        except ClcError as error:
            raise UnidentifiedImageError(self._told(error)) from error
        self._size = head.width, head.height
        self._mode = "RGBA" if head.has_alpha else "RGB"
        self.info["quality"] = from_q6(head.quality_q6) if head.has_quality else None
        self.info["bundle_id"] = head.bundle_id.hex() if head.needs_bundle else None
        if EXIF in contents:
            self.info["exif"] = _EXIF_PREFIX + contents[EXIF]
        if XMP in contents:
            self.info["xmp"] = contents[XMP]
        # Pillow takes a picture without tiles for one that is loaded.
        self.tile = [ImageFile._Tile("raw", (0, 0, *self.size), 0, self.mode)]

    def load(self) -> Any:
        """Decodes the pixels once. Raises `OSError` for a damaged stream or another bundle."""
        if self.tile:
            pixels = self._decoded()
            if self._exclusive_fp and self.fp is not None:
                self.fp.close()
            self.fp = io.BytesIO(pixels)
        return super().load()

    def load_seek(self, pos: int) -> None:
        """Does nothing: pixels begin where `load` put them. Pillow's parser takes a format that has this as a whole."""

    def verify(self) -> None:
        """Checks the stream, its checksums and its metadata, without decoding it; `OSError` where one is wrong."""
        from clc.bitstream.container import parse

        try:
            for section in parse(self._read(MAX_STREAM_BYTES + 1)).sections:
                section.content()
        except ClcError as error:
            raise OSError(self._told(error)) from error
        super().verify()

    def _head(self) -> Head:
        """What stands before the payload; as much of the file is read as that takes."""
        from clc.bitstream.container import parse_head

        n_bytes = _HEAD_BYTES
        while True:
            data = self._read(n_bytes)
            try:
                return parse_head(data)
            except TruncatedStream:
                if len(data) < n_bytes or n_bytes > MAX_STREAM_BYTES:
                    raise
            n_bytes *= _HEAD_GROWTH

    def _decoded(self) -> bytes:
        """The pixels as they lie in a picture of this mode."""
        import numpy as np

        from clc.codec.sources import tell

        try:
            data = self._read(MAX_STREAM_BYTES + 1)
            picture = _codec(self.bundle, data).decode_picture(data)
        except ClcError as error:
            raise OSError(self._told(error)) from error
        tell(picture.left_out, self._name or "the stream", 3)
        planes = picture.image_HW3 if picture.alpha_HW is None else np.dstack((picture.image_HW3, picture.alpha_HW))
        return planes.tobytes()

    def _read(self, n_bytes: int) -> bytes:
        from clc.codec.buffers import read_file

        file = getattr(self, "fp", None)
        if file is None or getattr(file, "closed", False):
            raise InputError("the file was closed before its pixels were used; open it again")
        file.seek(0)
        return read_file(file, self._name or "the stream", n_bytes)

    @property
    def _name(self) -> str:
        name = self.filename
        return name.decode(errors="replace") if isinstance(name, bytes) else str(name)

    def _told(self, error: ClcError) -> str:
        return f"{self._name}: {error}" if self._name else str(error)


def register() -> None:
    """Makes Pillow open and save `.clc` files; called once by `import clc`."""
    Image.register_open(FORMAT, ClcImageFile, _accept)
    Image.register_save(FORMAT, _save)
    Image.register_extension(FORMAT, ".clc")
    Image.register_mime(FORMAT, "image/x-clc")


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(_MAGIC)


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    """Codes a picture and writes the whole stream at once, so that no half of one is ever in the file."""
    from clc.codec.effort import DEFAULT_EFFORT
    from clc.codec.interface import check_mode, coded, losses_of
    from clc.codec.sources import tell
    from clc.codec.ways.goal import AUTO, DEFAULT_QUALITY, Goal

    options = image.encoderinfo
    try:
        source = _source(image, options)
        goal = Goal.of(
            options.get("quality", DEFAULT_QUALITY),
            lossless=options.get("lossless", False),
            target_psnr=options.get("target_psnr"),
            max_error=options.get("max_error"),
        )
        mode, bundle, references = options.get("mode", AUTO), options.get("bundle"), options.get("references", "auto")
        check_mode(mode, goal, references, bundle, None)
        data = coded(
            source,
            goal,
            references,
            mode=mode,
            effort=options.get("effort", DEFAULT_EFFORT),
            of=lambda: _codec(bundle, None),
        )
    except ClcError as error:
        raise OSError(str(error)) from error
    tell(losses_of(source, goal), source.name, 3)
    file.write(data)


def _source(image: Image.Image, options: dict[str, Any]) -> Source:
    """The picture with the metadata that are to be saved. Raises `InputError` for metadata of another type."""
    from clc.codec.buffers import kind_of
    from clc.codec.sources import pillow_source

    exif, xmp = options.get("exif"), options.get("xmp")
    exif = exif.tobytes() if isinstance(exif, Image.Exif) else exif
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    for name, value in (("exif", exif), ("xmp", xmp)):
        if value is not None and not isinstance(value, bytes):
            raise InputError(f"{name} must be bytes, not {kind_of(value)}; leave it out to keep the picture's own")
    return pillow_source(image, exif, xmp)


def _codec(bundle: Bundles, data: bytes | None) -> Any:
    """What decodes a stream, or encodes: the codec of a bundle, loaded on first use; the shipped one is everybody's."""
    from clc.codec.interface import codec_for, codec_of

    return codec_of(bundle) if data is None else codec_for(data, bundle)
