"""HEVC, AV1 and JPEG XL by programs of this machine, as Debian packages them.

A picture goes to a program as a PNG in a temporary folder and comes back as one, so times hold the start of a process
and two PNGs. What a program says when it fails is the reason of the row.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clc.errors import InputError
from clc.evaluation.baselines.libraries import JXL_LADDER, jxl_distance
from clc.evaluation.baselines.unavailable import Unavailable, check_quality
from clc.pictures.images import png_bytes, read_image

_HEVC_LADDER: tuple[float, ...] = (6, 18, 30, 42, 54, 66, 78)
_AV1_LADDER: tuple[float, ...] = (10, 25, 40, 52, 64, 76, 86)
_TIMEOUT_S = 600.0
_MOST_SAID = 300
_VERSION = re.compile(r"\d+\.\d+[\w.+-]*")


@dataclass(frozen=True)
class CommandCoder:
    """A format that two programs write and read.

    `encoder` makes the arguments that code a PNG to a file of `suffix` at a quality 0..100, `decoder` those back.
    """

    name: str
    settings: str
    qualities: tuple[float, ...]
    suffix: str
    encoder: Callable[[Path, Path, float], Sequence[str]]
    decoder: Callable[[Path, Path], Sequence[str]]
    references: str = "-"

    def encode(self, image_HW3: NDArray[np.uint8], quality: float) -> bytes:
        """Code a uint8 (H, W, 3) picture at a quality 0..100. `InputError` for another one, and where it fails."""
        check_quality(self.name, quality)
        with tempfile.TemporaryDirectory(prefix="clc-baseline-") as folder:
            source, coded = Path(folder) / "picture.png", Path(folder) / f"picture{self.suffix}"
            source.write_bytes(png_bytes(np.ascontiguousarray(image_HW3)))
            return self._run(self.encoder(source, coded, quality), coded)

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """Decode a file that `encode` wrote to uint8 (H, W, 3). `InputError` where the program fails."""
        with tempfile.TemporaryDirectory(prefix="clc-baseline-") as folder:
            coded, back = Path(folder) / f"picture{self.suffix}", Path(folder) / "back.png"
            coded.write_bytes(data)
            return read_image(self._run(self.decoder(coded, back), back))

    def _run(self, words: Sequence[str], made: Path) -> bytes:
        """Run a program; return the bytes of the file that it made."""
        program = Path(words[0]).name
        try:
            done = subprocess.run(  # noqa: S603 - a program of this machine by its full path, and our own arguments
                list(words), stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise InputError(f"{program} was at it for more than {_TIMEOUT_S:g} s") from error
        if done.returncode or not made.is_file():
            said = " ".join((done.stderr or done.stdout).decode(errors="replace").split())[-_MOST_SAID:]
            raise InputError(f"{program} failed with status {done.returncode}: {said}")
        return made.read_bytes()


def hevc() -> CommandCoder:
    """HEVC by x265 in a HEIF file. Raises `Unavailable` without the programs or their encoder."""
    return _heif("hevc", "HEVC", "x265", (), _HEVC_LADDER)


def av1() -> CommandCoder:
    """AV1 by libaom in an AVIF file, slower than Pillow's AVIF. Raises `Unavailable` without programs or encoder."""
    return _heif("av1", "AV1", "aom", ("-A", "-p", "speed=2"), _AV1_LADDER)


def jpeg_xl_by_command() -> CommandCoder:
    """JPEG XL by cjxl and djxl. Raises `Unavailable` without them."""
    encode, decode = _program("libjxl-tools", "cjxl"), _program("libjxl-tools", "djxl")
    return CommandCoder(
        "jpeg-xl",
        f"libjxl {_version([encode, '--version'])}, effort 7",
        JXL_LADDER,
        ".jxl",
        lambda source, coded, quality: [
            *(encode, str(source), str(coded), "-d", f"{jxl_distance(quality):.4f}", "-e", "7", "--num_threads=0")
        ],
        lambda coded, back: [decode, str(coded), str(back), "--num_threads=0"],
    )


def _heif(name: str, format_name: str, library: str, options: Sequence[str], ladder: tuple[float, ...]) -> CommandCoder:
    package = "libheif-examples"
    encode, decode = _program(package, "heif-enc"), _program(package, "heif-dec", "heif-convert")
    listed = _said([encode, "--list-encoders"])
    found = re.search(rf"^\s*-?\s*{library} = (.*)$", listed, re.MULTILINE)
    if found is None:
        raise Unavailable(f"heif-enc has no {library} for {format_name}; install libheif-plugin-{library}enc")
    version = _VERSION.search(found[1])
    return CommandCoder(
        name,
        f"{library} {version[0] if version else ''} by heif-enc, 4:4:4",
        ladder,
        ".avif" if "-A" in options else ".heic",
        lambda source, coded, quality: [
            *(encode, "-e", library, *options, "-p", "chroma=444", "-q", str(round(quality)), "-o", str(coded)),
            str(source),
        ],
        lambda coded, back: [decode, str(coded), str(back)],
    )


def _program(package: str, *names: str) -> str:
    for name in names:
        found = shutil.which(name)
        if found is not None:
            return found
    raise Unavailable(f"{names[0]} is not installed (Debian: apt install {package})")


def _said(words: Sequence[str]) -> str:
    """What a program says, on either stream."""
    try:
        done = subprocess.run(  # noqa: S603 - as above
            list(words), stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{Path(words[0]).name} cannot be run: {error}") from error
    return (done.stdout + done.stderr).decode(errors="replace")


def _version(words: Sequence[str]) -> str:
    found = _VERSION.search(_said(words))
    return found[0] if found else "of unknown version"
