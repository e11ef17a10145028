"""Do other versions of torch, and other devices, decode our streams to the same latents? The table of ADR 004.

    python bench/torch_versions.py --versions 2.11,2.14       # encoded here, decoded under each version
    python bench/torch_versions.py --device cuda              # encoded there, decoded here, and back

120 streams: 24 crops of photographs (those that scikit-image ships, or of a folder) at 5 qualities, a third of them
without references, a third with tokens, a third with an aligned key picture. A mismatch is a stream whose latents have
another CRC than the encoder's; the digest covers every intermediate result of the exact path of all streams. Pixels
come from the float transform and may differ by a rounding: their largest difference is printed, too.

Each version gets a virtual environment of its own, with no more in it than decoding needs, which is removed at the end.
A build of torch for CUDA brings gigabytes; `--index-url` names an index that has builds for CPUs. The part of this
program that runs in these environments imports nothing but the codec.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clc.bundle.bundle import SHIPPED
from clc.codec import Codec
from clc.errors import DecodeMismatch, InputError
from clc.pictures.images import read_image
from clc.pictures.picture import Picture

ROOT = Path(__file__).parents[1]
QUALITIES = (0, 25, 50, 75, 100)
PICTURES = 24
HEIGHT, WIDTH, MARGIN = 128, 192, 24
PHOTOS = ("chelsea.png", "astronaut.png", "coffee.png", "rocket.jpg")
CORNERS = tuple((top, left) for top in (0, 100) for left in (0, 90, 180))
WAYS = ("none", "tokens", "aligned")
FIXED_BITS = 20
NEEDED = ("numpy<2", "safetensors", "pillow", "scipy", "pyarrow")
COLUMNS = ("torch", "numpy", "instructions", "streams", "mismatches", "latents sha256", "pixels differ by at most")


def photographs(folder: Path | None) -> Iterator[tuple[Picture, Picture]]:
    """24 crops (128, 192, 3), each with a larger view (176, 240, 3) of the same place, a little to the side."""
    if folder is None:
        places = [(files("skimage") / "data" / name, corner) for name in PHOTOS for corner in CORNERS]
        images = ((read_image(path.read_bytes()), corner) for path, corner in places)
    else:
        images = ((read_image(path), (100, 90)) for path in sorted(folder.iterdir())[:PICTURES])
    for image, (top, left) in images:
        crop = image[top + MARGIN // 2 :, left + MARGIN :][:HEIGHT, :WIDTH]
        view = image[top:, left:][: HEIGHT + 2 * MARGIN, : WIDTH + 2 * MARGIN]
        if crop.shape != (HEIGHT, WIDTH, 3):
            raise InputError(f"a picture of {image.shape[1]}x{image.shape[0]} px is too small for this comparison")
        yield np.ascontiguousarray(crop), np.ascontiguousarray(view)


def make_bundle(folder: Path, views: list[Picture]) -> None:
    """The shipped bundle with the views of the pictures that are coded with an aligned reference."""
    from clc.bundle.extend import add_pictures

    chosen = views[WAYS.index("aligned") :: len(WAYS)]
    add_pictures(SHIPPED, folder, chosen, [{"name": f"view {i}"} for i in range(len(chosen))])


def encode_all(codec: Codec, crops: list[Picture]) -> Iterator[tuple[str, bytes]]:
    """Names and streams: picture by picture, quality by quality."""
    for i, crop in enumerate(crops):
        for quality in QUALITIES:
            yield f"{i:02d}-{quality:03d}", codec.encode(crop, quality, WAYS[i % len(WAYS)])


def decode_all(codec: Codec, streams: Path) -> dict[str, Any]:
    """What decoding of all streams in a folder gives here; pixels are compared with the .npy beside a stream."""
    digest, mismatches, difference = hashlib.sha256(), [], 0

    def note(name: str, values: Tensor) -> None:
        integers = torch.round(values * (1 << FIXED_BITS)).to(torch.int64).contiguous().cpu().numpy()
        digest.update(name.encode())
        digest.update(integers.astype("<i8").tobytes())

    paths = sorted(streams.glob("*.clc"))
    for path in paths:
        data = path.read_bytes()
        try:
            codec.trace(data, note)
            pixels = codec.decode(data)
        except DecodeMismatch:
            mismatches.append(path.stem)
            continue
        expected = path.with_suffix(".npy")
        if expected.exists():
            apart = np.abs(pixels.astype(np.int16) - np.load(expected, allow_pickle=False))
            difference = max(difference, int(apart.max()))
    return {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "streams": len(paths),
        "mismatches": len(mismatches),
        "latents sha256": digest.hexdigest()[:16],
        "pixels differ by at most": difference,
    }


def write_streams(work: Path, folder: Path | None, device: str) -> None:
    """The bundle, the streams that `device` makes, and the pixels that it decodes them to, below `work`."""
    pairs = list(photographs(folder))
    make_bundle(work / "bundle", [view for _, view in pairs])
    codec = Codec.load(work / "bundle", device)
    (work / "streams").mkdir()
    for name, data in encode_all(codec, [crop for crop, _ in pairs]):
        (work / "streams" / f"{name}.clc").write_bytes(data)
        np.save(work / "streams" / f"{name}.npy", codec.decode(data), allow_pickle=False)


def decode_with(python: Path, work: Path) -> dict[str, Any]:
    """What the interpreter of another environment makes of the streams below `work`."""
    done = subprocess.run(
        [str(python), str(Path(__file__).absolute()), "--decode", str(work)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise InputError(f"{python} cannot decode: {done.stderr.strip()[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def make_environment(folder: Path, version: str, index_url: str | None) -> Path:
    """An environment with `torch==VERSION.*` and what decoding needs; returns its interpreter."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    index = ["--index-url", index_url] if index_url else []
    subprocess.run([*install, *index, f"torch=={version}.*"], check=True)
    subprocess.run([*install, *NEEDED], check=True)
    subprocess.run([*install, "--no-deps", "compressai>=1.2.8,<1.3"], check=True)
    return python


def compare_versions(options: argparse.Namespace, work: Path) -> list[dict[str, Any]]:
    """A row for this environment and one for each version."""
    write_streams(work, options.pictures, "cpu")
    rows = [decode_all(Codec.load(work / "bundle"), work / "streams")]
    for version in options.versions.split(","):
        with tempfile.TemporaryDirectory(dir=options.environments) as folder:
            rows.append(decode_with(make_environment(Path(folder), version, options.index_url), work))
    return rows


def compare_devices(options: argparse.Namespace, work: Path) -> list[dict[str, Any]]:
    """Encoded on the device and decoded by the CPU, encoded by the CPU and decoded on the device, and each alone."""
    rows = []
    for encoder in dict.fromkeys(("cpu", options.device)):
        folder = work / encoder.replace(":", "-")
        folder.mkdir()
        write_streams(folder, options.pictures, encoder)
        for decoder in dict.fromkeys(("cpu", options.device)):
            row = decode_all(Codec.load(folder / "bundle", decoder), folder / "streams")
            rows.append({"way": f"{encoder} -> {decoder}", **row})
    return rows


def print_table(rows: list[dict[str, Any]]) -> None:
    """As Markdown, for the page of the decision."""
    columns = [name for name in ("way", *COLUMNS) if name in rows[0]]
    print("| " + " | ".join(columns) + " |")
    print("| " + " | ".join("---" for _ in columns) + " |")
    for row in rows:
        print("| " + " | ".join(str(row[name]) for name in columns) + " |")


def all_agree(rows: list[dict[str, Any]]) -> bool:
    """No mismatch, and one digest for each encoder."""
    encoders = {row.get("way", "").partition(" ")[0] for row in rows}
    digests = {(row.get("way", "").partition(" ")[0], row["latents sha256"]) for row in rows}
    return len(digests) == len(encoders) and not any(row["mismatches"] for row in rows)


def main() -> int:
    """Compare versions or devices; exit code 1 where they do not agree."""
    parser = argparse.ArgumentParser(description="Decode the same streams under other torch versions and devices.")
    parser.add_argument("--versions", default="2.11,2.14", help="minor versions of torch, by commas")
    parser.add_argument("--device", help="compare this device with the CPU instead of versions")
    parser.add_argument("--pictures", type=Path, help="folder of 24 photographs of at least 380x280 px")
    parser.add_argument("--environments", type=Path, help="folder for the environments while they live")
    parser.add_argument("--index-url", help="package index to take torch from")
    parser.add_argument("--decode", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.decode is not None:
        print(json.dumps(decode_all(Codec.load(options.decode / "bundle"), options.decode / "streams")))
        return 0
    with tempfile.TemporaryDirectory() as work:
        rows = compare_devices(options, Path(work)) if options.device else compare_versions(options, Path(work))
    print_table(rows)
    agree = all_agree(rows)
    print("all agree" if agree else "THEY DIFFER")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
