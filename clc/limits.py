"""Caps on what `clc` accepts, in one place, with their units in their names.

Every reader of outside bytes (`clc.pictures.images`, `clc.bitstream.container`, `clc.bitstream.range_coder`) checks
against these caps before it allocates memory in proportion to a claimed size. No caller can raise a cap.
"""

from clc.errors import InputError, LimitError

MAX_SIDE_PX = 65_535
"""Longest side of a picture."""

MAX_PIXELS = 64 * 2**20
"""Largest area of a picture: 64 Mi pixels, 192 MiB as RGB."""

MAX_PICTURE_FILE_BYTES = 256 * 2**20
"""Largest picture file that is read: more than an uncompressed RGB picture of `MAX_PIXELS`."""

MAX_DECODER_BYTES = 4 * 2**30
"""Memory, as addresses, of a process that decodes pictures of a collection apart from all others."""

MAX_DECODER_S = 120.0
"""Seconds of a processor that such a process may spend on one picture."""

MAX_STREAM_BYTES = 256 * 2**20
"""Largest `.clc` stream, header included."""

MAX_BUNDLE_FILE_BYTES = 2**30
"""Largest file of a bundle, key pictures apart; the shipped one's have 14 MB at most."""

MAX_OVERFITTED_PIXELS = 4 * 2**20
MAX_OVERFITTED_SIDE_PX = 8_192
"""Largest area and longest side of a picture that a function is overfitted to: an autoencoder sees it as a whole, which
takes about 1 KiB a pixel, and latents are decoded in two wavefronts or so for each of their rows."""

MAX_METADATA_BYTES = 16 * 2**20
"""Largest EXIF or XMP of one picture, and what a deflated section of a stream may unfold to."""

MAX_REFERENCES = 5
"""Dictionary entries that one stream may refer to; the field of 3 bits could count to 7."""

MAX_DICTIONARY_ENTRIES = 4_096
"""Entries of a bundle's dictionary: as many as an index of 12 bits can tell apart."""

MAX_SEARCHED_ENTRIES = 1_000_000
"""Entries of a dictionary that is only searched, and of which some are evicted for a bundle: measured up to that."""

MAX_SYMBOL = 2**20 - 1
"""Largest magnitude of a coded symbol, in quantisation steps."""

MAX_SYMBOLS = 4 * MAX_PIXELS
"""Symbols in one range-coded payload; the codecs here need between one and two a pixel."""


def check_size(width: int, height: int) -> None:
    """Refuse a picture of `width` x `height` pixels that is empty (`InputError`) or over a cap (`LimitError`)."""
    if width < 1 or height < 1:
        raise InputError(f"the picture is {width}x{height} px, but both sides must be at least 1 px")
    if max(width, height) > MAX_SIDE_PX:
        raise LimitError(
            f"the picture is {width}x{height} px, but a side may have at most {MAX_SIDE_PX} px: scale or cut it first"
        )
    if width * height > MAX_PIXELS:
        raise LimitError(
            f"the picture is {width}x{height} px = {width * height / 2**20:.1f} Mi pixels, "
            f"but at most {MAX_PIXELS // 2**20} Mi are allowed: scale or cut it first"
        )
