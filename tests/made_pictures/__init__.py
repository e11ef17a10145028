"""Small picture files of every kind, as test suites of formats have them, with the pixels that are right.

What a picture comes to is computed from the samples that were written, or is what Pillow makes of the same file where
a format's own decoder decides (JPEG, WebP, AVIF, Lab).
"""

from tests.made_pictures.others import bmp_pictures, gif_pictures, netpbm_pictures, pictures_of_codecs
from tests.made_pictures.png import png_pictures
from tests.made_pictures.samples import Made
from tests.made_pictures.tiff import tiff_pictures


def every_picture() -> list[Made]:
    """All of them, a few hundred."""
    makers = (png_pictures, tiff_pictures, bmp_pictures, netpbm_pictures, gif_pictures, pictures_of_codecs)
    return [made for maker in makers for made in maker()]
