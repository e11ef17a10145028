"""Code pictures that overlap beside a key picture that is kept whole, and the same pictures alone.

    python docs/examples/overlapping_strip.py [FOLDER]

Without a folder of pictures it cuts three views out of one photograph that comes with scikit-image, each moved and
turned a little further, as a camera that flies over it would see them. All is written into a new temporary folder.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from skimage import data

from clc.codec import Codec


def write_strip(folder: Path) -> None:
    """Write three views of 192x192, of which neighbours share seven eighths."""
    folder.mkdir()
    photo = Image.fromarray(data.coffee())
    for number in range(3):
        turned, left = photo.rotate(1.5 * number, Image.Resampling.BICUBIC), 150 + 24 * number
        turned.crop((left, 90, left + 192, 282)).save(folder / f"view-{number}.png")


def code(codec: Codec, paths: list[Path], out: Path) -> str:
    """Write a stream for each picture; return what all of them take and what comes out of them."""
    out.mkdir()
    n_bytes, psnr_db = 0, []
    for path in paths:
        image = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
        stream = codec.encode(image, quality=85)
        n_bytes += (out / f"{path.stem}.clc").write_bytes(stream)
        psnr_db.append(10 * np.log10(255**2 / np.square(image.astype(float) - codec.decode(stream)).mean()))
    return f"{n_bytes} bytes, {np.mean(psnr_db):.1f} dB"


def main() -> None:
    out = Path(tempfile.mkdtemp(prefix="clc-strip-"))
    strip, bundle = Path(sys.argv[1]) if len(sys.argv) > 1 else out / "strip", out / "bundle"
    if len(sys.argv) == 1:
        write_strip(strip)
    command = ["-m", "clc.codec", "collect", str(strip), "--out", str(bundle), "--keys", "1", "--format", "webp-90"]
    print("$ python", *command, flush=True)
    subprocess.run([sys.executable, *command], check=True)
    views = sorted(strip.iterdir())
    print(f"{len(views)} pictures alone: {code(Codec.load(), views, out / 'alone')}")
    print(f"{len(views)} pictures beside a key picture: {code(Codec.load(bundle), views, out / 'beside')}")
    print(f"the key picture in the bundle, once: {sum(key.stat().st_size for key in bundle.glob('pictures/*'))} bytes")
    print(f"everything is in {out}")


if __name__ == "__main__":
    main()
