"""Code a picture from Python: numpy arrays in and out, `.clc` files through Pillow, and a damaged stream.

    python docs/examples/numpy_and_pillow.py [PICTURE]

Without a picture it takes a part of a photograph that comes with scikit-image. The files are written into a new
temporary folder.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

import clc


def main() -> None:
    picture = Image.fromarray(data.astronaut()[:192, 130:322])
    if len(sys.argv) > 1:
        picture = Image.open(sys.argv[1]).convert("RGB")
    out = Path(tempfile.mkdtemp(prefix="clc-python-"))

    # numpy: uint8 (height, width, 3) in, bytes, and the same shape back.
    image = np.asarray(picture)
    for quality in (20, 80):
        stream = clc.encode(image, quality=quality)
        decoded = clc.decode(stream)
        psnr_db = 10 * np.log10(255**2 / np.square(image.astype(float) - decoded).mean())
        print(f"quality {quality}: {len(stream)} bytes, {psnr_db:.1f} dB")

    # Pillow: `import clc` has taught it the format.
    picture.save(out / "picture.clc", quality=80)
    reopened = Image.open(out / "picture.clc")
    reopened.save(out / "picture.png")
    print(f"Pillow opens {reopened.format} files, {reopened.width}x{reopened.height} px")
    print(f"its pixels are those of clc.decode: {np.array_equal(np.asarray(reopened), decoded)}")

    # Whatever is wrong with a stream is an error, never a wrong picture.
    damaged = stream[:-1] + bytes([stream[-1] ^ 1])
    try:
        clc.decode(damaged)
    except clc.BitstreamError as error:
        print(f"a damaged stream: {error}")
    print(f"everything is in {out}")


if __name__ == "__main__":
    main()
