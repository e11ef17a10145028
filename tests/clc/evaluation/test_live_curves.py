"""Our measuring against that of others: JPEG and WebP, coded here, land on their published curves."""

import math
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator

from clc.evaluation.coders import JPEG_SIDE_PX, Baseline
from clc.evaluation.metrics import bits_per_pixel, psnr_db
from clc.evaluation.published import read_published
from clc.pictures.formats import WEBP_SIDE_PX
from clc.pictures.images import read_image

SHARED = Path(__file__).parents[4] / "shared"
ANCHORS, KODAK = SHARED / "anchors" / "rd_points.json", SHARED / "data" / "kodak"

AS_PUBLISHED = {
    "jpeg": Baseline("jpeg", "Pillow's defaults", (20, 50, 80), "JPEG", JPEG_SIDE_PX),
    "webp": Baseline("webp", "method 4", (20, 60, 85), "WEBP", WEBP_SIDE_PX, {"method": 4}),
}
"""The settings of the published curves."""


@pytest.mark.skipif(not (ANCHORS.is_file() and KODAK.is_dir()), reason="../shared, with Kodak and curves, is absent")
@pytest.mark.parametrize("name", AS_PUBLISHED)
def test_means_over_kodak_lie_on_the_published_curve(name: str) -> None:
    points = read_published(ANCHORS, "kodak")[name].points
    published_db = PchipInterpolator([math.log(point.bpp) for point in points], [point.value for point in points])
    pictures = [read_image(path) for path in sorted(KODAK.glob("*.png"))]
    assert len(pictures) == 24
    coder = AS_PUBLISHED[name]
    for quality in coder.qualities:
        files = [coder.encode(image_HW3, quality) for image_HW3 in pictures]
        pairs = list(zip(files, pictures, strict=True))
        bpp = fmean(bits_per_pixel(len(data), image_HW3) for data, image_HW3 in pairs)
        measured_db = fmean(psnr_db(image_HW3, coder.decode(data)) for data, image_HW3 in pairs)
        assert points[0].bpp < bpp < points[-1].bpp
        assert measured_db == pytest.approx(float(published_db(np.log(bpp))), abs=0.3)
