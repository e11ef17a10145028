"""HEVC as a peer: one picture coded alone by x265, or with one reference as the frame before it.

`bench/references.py` holds our references against it. The program is Debian's `x265` (apt install x265), preset slow,
4:4:4, 8 bits, constant QP, no adaptive quantisation, tuned for PSNR because PSNR is what is compared, one thread, and a
motion search that is wide enough for pictures of a strip (at the preset's 57 px it misses most of them).

A coded picture's bytes are its slice and the parameter sets that a decoder needs for it, as in a file of one picture;
the bytes of the reference, coded before it at QP 10, are not counted. Colours go to full-range YCbCr in float, rounded
to 8 bits, and back; PSNR is that of RGB. What x265 writes as reconstruction is what a decoder makes of its stream:
libde265 1.0.11 gave the same bytes for two frames of 4:4:4.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clc.errors import InputError
from clc.evaluation.metrics import psnr_db
from clc.pictures.picture import Picture

QPS = (16, 20, 24, 28, 32, 36, 40, 44)
_PARAMETER_SETS = (32, 33, 34)
"""NAL unit types: VPS, SPS, PPS."""
_FIRST_NON_SLICE = 32
_LUMA_WEIGHTS = {"bt601": (0.299, 0.587, 0.114), "bt709": (0.2126, 0.7152, 0.0722)}


@dataclass(frozen=True)
class Settings:
    """How x265 is run; `search_px` is the range of its motion search, `tune` may be empty for the preset alone."""

    preset: str = "slow"
    tune: str = "psnr"
    search_px: int = 512
    matrix: Literal["bt601", "bt709"] = "bt601"
    reference_qp: int = 10

    def __str__(self) -> str:
        """One line for tables and JSON."""
        tuned = f", tune {self.tune}" if self.tune else ""
        return (
            f"preset {self.preset}{tuned}, 4:4:4, 8 bits, constant QP, motion search {self.search_px} px,"
            f" reference at QP {self.reference_qp}, {self.matrix} full range"
        )


class Coded(NamedTuple):
    """A coded picture: all bytes that count, how many of them are parameter sets, and PSNR of RGB in dB."""

    qp: int
    size_bytes: int
    header_bytes: int
    psnr_db: float


class NalUnit(NamedTuple):
    """A unit of an HEVC byte stream: its type, and its bytes with the start code before it."""

    kind: int
    size_bytes: int


@dataclass(frozen=True)
class Hevc:
    """x265 at fixed settings."""

    program: Path
    settings: Settings = Settings()

    @classmethod
    def find(cls, settings: Settings | None = None) -> "Hevc":
        """The x265 of this machine; `InputError` where it has none."""
        program = shutil.which("x265")
        if program is None:
            raise InputError("x265 is not installed (Debian: apt install x265); leave --x265 out to measure without it")
        return cls(Path(program), settings or Settings())

    def code(self, image_HW3: Picture, qp: int, reference_HW3: Picture | None = None) -> Coded:
        """Code a uint8 (H, W, 3) picture at a QP of 0 to 51, alone or after a reference of the same size.

        Raises `InputError` where x265 fails, or did not use the frame types and QPs that were asked for.
        """
        frames = [image_HW3] if reference_HW3 is None else [reference_HW3, image_HW3]
        if any(frame.shape != image_HW3.shape for frame in frames):
            raise InputError(f"the reference has another size than the picture: {[frame.shape for frame in frames]}")
        qps = [qp] if reference_HW3 is None else [self.settings.reference_qp, qp]
        with tempfile.TemporaryDirectory() as folder:
            return self._run(Path(folder), frames, qps)

    def _run(self, folder: Path, frames: Sequence[Picture], qps: Sequence[int]) -> Coded:
        height, width = frames[0].shape[:2]
        (folder / "in.yuv").write_bytes(b"".join(to_planes(frame, self.settings.matrix).tobytes() for frame in frames))
        lines = [f"{index} {'P' if index else 'I'} {qp}\n" for index, qp in enumerate(qps)]
        (folder / "qps.txt").write_text("".join(lines))
        command = [str(self.program), *_options(self.settings, f"{width}x{height}", len(frames), qps[-1])]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise InputError(f"x265 stopped with status {done.returncode}: {done.stderr.strip()[-300:]}")
        _check_frames((folder / "log.csv").read_text(), qps)
        planes = np.frombuffer((folder / "recon.yuv").read_bytes(), np.uint8).reshape(-1, 3, height, width)
        if len(planes) != len(frames):
            raise InputError(f"x265 reconstructed {len(planes)} frames of {len(frames)}")
        sizes, header_bytes = split_frames((folder / "out.hevc").read_bytes())
        if len(sizes) != len(frames):
            raise InputError(f"x265 wrote {len(sizes)} slices for {len(frames)} frames")
        quality = psnr_db(frames[-1], to_rgb(planes[-1], self.settings.matrix))
        return Coded(qps[-1], header_bytes + sizes[-1], header_bytes, quality)


def _options(settings: Settings, size: str, n_frames: int, qp: int) -> list[str]:
    given = f"--input in.yuv --input-res {size} --input-csp i444 --input-depth 8 --fps 25 --frames {n_frames}"
    tools = f"--preset {settings.preset} --profile main444-8 --merange {settings.search_px} --ref 1"
    tuned = f"--tune {settings.tune}" if settings.tune else ""
    rate = f"--qp {qp} --qpfile qps.txt --ipratio 1 --pbratio 1 --aq-mode 0 --no-cutree"
    order = "--bframes 0 --no-scenecut --keyint -1 --no-open-gop"
    # Wavefronts cost bytes; information, timing and usability fields are no part of a picture.
    lean = "--no-wpp --pools none --frame-threads 1 --no-info --no-vui-timing-info --range full"
    written = "--recon recon.yuv --csv log.csv --csv-log-level 1 -o out.hevc --no-progress --log-level error"
    return " ".join((given, tools, tuned, rate, order, lean, written)).split()


def to_planes(image_HW3: Picture, matrix: str = "bt601") -> Picture:
    """Full-range YCbCr of an RGB picture, in float and rounded: uint8 (3, H, W)."""
    ycc_HW3 = image_HW3.astype(np.float64) @ _matrix(matrix).T + (0.0, 128.0, 128.0)
    planes: Picture = np.ascontiguousarray(_to_bytes(ycc_HW3).transpose(2, 0, 1))
    return planes


def to_rgb(planes_3HW: Picture, matrix: str = "bt601") -> Picture:
    """The RGB picture uint8 (H, W, 3) of full-range YCbCr planes: the inverse of `to_planes` but for rounding."""
    ycc_HW3 = planes_3HW.transpose(1, 2, 0).astype(np.float64) - (0.0, 128.0, 128.0)
    return _to_bytes(ycc_HW3 @ np.linalg.inv(_matrix(matrix)).T)


def split_frames(stream: bytes) -> tuple[list[int], int]:
    """Bytes of each slice of an HEVC byte stream, and of its parameter sets.

    Raises `InputError` for a unit that is neither: its bytes would be counted nowhere.
    """
    units = nal_units(stream)
    strange = [unit.kind for unit in units if unit.kind >= _FIRST_NON_SLICE and unit.kind not in _PARAMETER_SETS]
    if strange:
        raise InputError(f"the stream holds units of types {strange}, which are neither slices nor parameter sets")
    slices = [unit.size_bytes for unit in units if unit.kind < _FIRST_NON_SLICE]
    return slices, sum(unit.size_bytes for unit in units if unit.kind in _PARAMETER_SETS)


def nal_units(stream: bytes) -> list[NalUnit]:
    """Split an HEVC byte stream (Annex B) at its start codes; the sizes add up to the stream's."""
    starts = []
    at = stream.find(b"\0\0\1")
    while at >= 0:
        starts.append(at - 1 if at > 0 and stream[at - 1] == 0 else at)
        at = stream.find(b"\0\0\1", at + 3)
    if not starts or starts[0] != 0:
        raise InputError("this is no HEVC byte stream: it does not begin with a start code")
    ends = [*starts[1:], len(stream)]
    found = []
    for start, end in zip(starts, ends, strict=True):
        first = stream.index(b"\1", start) + 1
        found.append(NalUnit(stream[first] >> 1 & 0x3F, end - start))
    return found


def _check_frames(log: str, qps: Sequence[int]) -> None:
    """Refuse a coding whose frames are not one intra picture and then predicted ones, each at its QP."""
    header, *lines = [[cell.strip() for cell in line.split(",")] for line in log.splitlines()[: len(qps) + 1]]
    columns = [header.index(name) for name in ("Type", "QP")]
    used = [tuple(line[column] for column in columns) for line in lines]
    asked = [("P-SLICE" if index else "I-SLICE", f"{qp:.2f}") for index, qp in enumerate(qps)]
    if used != asked:
        raise InputError(f"x265 coded frames as {used}, asked for were {asked}")


def _matrix(name: str) -> NDArray[np.float64]:
    red, green, blue = _LUMA_WEIGHTS[name]
    luma = np.array([red, green, blue])
    to_blue, to_red = (np.array([0, 0, 1]) - luma) / (2 - 2 * blue), (np.array([1, 0, 0]) - luma) / (2 - 2 * red)
    return np.stack([luma, to_blue, to_red])


def _to_bytes(values_HW3: NDArray[np.float64]) -> Picture:
    rounded: Picture = np.clip(np.rint(values_HW3), 0, 255).astype(np.uint8)
    return rounded
