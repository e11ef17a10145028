"""Code a folder of pictures and decode it again: two commands, and what they saved.

    python docs/examples/code_a_folder.py [FOLDER]

Without a folder it takes parts of three photographs that come with scikit-image. All is written into a new temporary
folder.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from skimage import data


def write_photos(folder: Path) -> None:
    """Write three pictures of 192x192."""
    folder.mkdir()
    for name in ("astronaut", "chelsea", "coffee"):
        photo = getattr(data, name)()
        Image.fromarray(photo[:192, 100:292]).save(folder / f"{name}.png")


def clc(*arguments: object) -> None:
    """Run one command of the codec, and show it as one would type it."""
    words = ["-m", "clc.codec", *map(str, arguments)]
    print("$ python", *words, flush=True)
    subprocess.run([sys.executable, *words], check=True)


def pixels(path: Path) -> np.ndarray:
    """The picture upright, float (H, W, 3)."""
    return np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"), dtype=float)


def main() -> None:
    out = Path(tempfile.mkdtemp(prefix="clc-folder-"))
    photos = Path(sys.argv[1]) if len(sys.argv) > 1 else out / "photos"
    if len(sys.argv) == 1:
        write_photos(photos)
    clc("encode", photos, "--out", out / "coded", "--quality", "60")
    clc("decode", out / "coded", "--out", out / "back")
    for stream in sorted(out.glob("coded/**/*.clc")):
        # a.png becomes a.clc, and a.png again; any other picture keeps its whole name: a.jpg, a.jpg.clc, a.jpg.png.
        name = stream.relative_to(out / "coded").with_suffix("")
        original = next(path for path in (photos / name, *photos.glob(f"{name}.[pP][nN][gG]")) if path.is_file())
        psnr_db = 10 * np.log10(255**2 / np.square(pixels(original) - pixels(out / "back" / f"{name}.png")).mean())
        print(f"{name}: {original.stat().st_size} -> {stream.stat().st_size} bytes, {psnr_db:.1f} dB")
    print(f"everything is in {out}")


if __name__ == "__main__":
    main()
