"""Global descriptors: one vector of fixed length for a picture, a network's feature map under a spatial pyramid.

Feature extraction (`clc.dictionary.extraction`) and retrieval at the encoder (`clc.codec.search.selection`) describe
pictures by `Descriptor.vectors`. Keys and queries must come from the same descriptor, so `Descriptor.describe` names
everything that changes a vector; it enters the digest of a stage. The command line calls the choice `--backbone`. No
symbol of a stream depends on this module: the indexes that retrieval finds are sent.

Input size: the codec sees a picture at full size. A CNN sees all of it (a pyramid takes any size, so nothing is
cropped), scaled down, never up, until the shorter side is at most 256 px and the longer at most 1024 px. An ONNX file
with a fixed input size gets exactly that size.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from clc.errors import InputError
from clc.pictures.picture import Picture, check_picture
from clc.retrieval.pyramid import CELLS, LEVELS, spp
from storage.digest import sha256_bytes, sha256_file
from storage.extras import need
from storage.regular import read_regular

# ImageNet's mean and standard deviation of R, G, B, on levels of 0..1.
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_STD = np.array([0.229, 0.224, 0.225], np.float32)
_SHORT_SIDE_PX = 256
_LONG_SIDE_PX = 1024
_PROBE_SIDE_PX = 64  # of the grey picture that is described once to learn a descriptor's dimension
_CNN_SIZING = f"scaled down to a shorter side of {_SHORT_SIDE_PX} and a longer side of {_LONG_SIDE_PX} px at most"

Images = Sequence[Picture]
Floats = npt.NDArray[np.float32]


class Descriptor(Protocol):
    """Turns pictures into vectors that lie close together where the pictures look alike."""

    @property
    def name(self) -> str:
        """Short name for people and logs: "codec", "onnx" or "resnet50"."""
        ...

    @property
    def dimension(self) -> int:
        """Length D of a vector."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return what decides a vector, as JSON values: name, dimension, pooling, sizing, digest of the weights."""
        ...

    def vectors(self, images: Images) -> Floats:
        """Describe n pictures, uint8 (H, W, 3) of any sizes, as float32 (n, D).

        A row depends on its own picture only, not on its neighbours. Raises InputError.
        """
        ...


class FeatureMapper(Protocol):
    """What `CodecDescriptor` asks of a codec."""

    @property
    def bundle(self) -> Any:
        """The loaded bundle; its `bundle_id` names the weights."""
        ...

    def feature_map(self, image_HW3: Picture) -> Floats:
        """Return the map of a picture that is pooled into its vector, float32 (C, h, w)."""
        ...


class CodecDescriptor:
    """The pyramid over the codec's own latents y = g_a(x), with the weights of its bundle."""

    name = "codec"

    def __init__(self, codec: FeatureMapper) -> None:
        """`codec` is a `clc.codec.codec.Codec`, or the picture that one encodes (`clc.codec.encoding.Encoding`)."""
        self._codec = codec
        self._bundle_id = str(codec.bundle.bundle_id)
        self._dimension = 0

    @property
    def dimension(self) -> int:
        """Length D of a vector; found once. No lock guards it, so that a process may be forked meanwhile."""
        if not self._dimension:
            probe = _grey_probe(_PROBE_SIDE_PX, _PROBE_SIDE_PX)
            self._dimension = CELLS * int(self._codec.feature_map(probe).shape[0])
        return self._dimension

    def describe(self) -> dict[str, Any]:
        """Return the description; the weights are those of the bundle, so its id is their digest."""
        return _description(self, f"bundle:{self._bundle_id}", "native")

    def vectors(self, images: Images) -> Floats:
        """Describe pictures; see `Descriptor.vectors`."""
        vectors = [spp(self._codec.feature_map(check_picture(image))) for image in images]
        # An encoder makes a descriptor for each picture; `dimension` would run g_a once more.
        return _stack(vectors, self.name, len(vectors[0]) if vectors else self.dimension)


class OnnxDescriptor:
    """Any ONNX file with one float32 NCHW picture as input, and a feature map or a vector as its first output.

    Pictures are scaled to 0..1 and normalised with ImageNet's mean and standard deviation. The file must be
    self-contained: it is read once, and the digest is that of the bytes that run.
    """

    name = "onnx"

    def __init__(self, path: Path, threads: int = 1) -> None:
        """Load the file at `path` and run it once; `threads` work on one picture. Raises InputError."""
        need("pipeline", "onnxruntime")
        import onnxruntime as ort

        self._path = path
        try:
            model = read_regular(path)
        except OSError as error:
            raise InputError(f"cannot read the ONNX backbone {path}: {error.strerror}; name an .onnx file") from error
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except _onnx_errors() as error:
            raise InputError(f"{path} is no self-contained ONNX model that onnxruntime runs: {_line(error)}") from error
        self._weights = sha256_bytes(model)
        self._input, self._fixed_hw = self._picture_input()
        self._output = self._session.get_outputs()[0].name
        height, width = self._fixed_hw
        self.dimension = len(self._vector(_grey_probe(height or _PROBE_SIDE_PX, width or _PROBE_SIDE_PX)))

    def describe(self) -> dict[str, Any]:
        """Return the description; the digest is that of the file."""
        is_fixed = None not in self._fixed_hw
        sizing = "scaled to {}x{} px".format(*self._fixed_hw) if is_fixed else _CNN_SIZING
        return _description(self, f"sha256:{self._weights}", sizing)

    def vectors(self, images: Images) -> Floats:
        """Describe pictures; see `Descriptor.vectors`."""
        return _stack([self._vector(check_picture(image)) for image in images], self.name, self.dimension)

    def _picture_input(self) -> tuple[str, tuple[int | None, int | None]]:
        inputs = self._session.get_inputs()
        # A free axis has a name or None where a fixed one has its length.
        sizes = [size if isinstance(size, int) else None for size in inputs[0].shape] if len(inputs) == 1 else []
        is_picture = len(sizes) == 4 and sizes[0] in {1, None} and sizes[1] in {3, None} and sizes[3] != 3
        if not is_picture or inputs[0].type != "tensor(float)":
            found = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs) or "none"
            raise InputError(
                f"{self._path} must take one float32 picture (1 or any number, 3, height, width), but takes: {found}"
            )
        return inputs[0].name, (sizes[2], sizes[3])

    def _vector(self, image_HW3: Picture) -> Floats:
        planes_1CHW = _normalised(_sized(image_HW3, *self._fixed_hw))
        try:
            output = np.asarray(self._session.run([self._output], {self._input: planes_1CHW})[0])
        except _onnx_errors() as error:
            raise InputError(f"{self._path} cannot run on a picture of {planes_1CHW.shape}: {_line(error)}") from error
        if output.ndim not in {2, 4} or len(output) != 1 or output.dtype.kind != "f":
            raise InputError(
                f"{self._path} must give a float map (1, C, h, w) or vector (1, D), but its first output is "
                f"{output.dtype} {output.shape}"
            )
        return spp(output[0]) if output.ndim == 4 else output[0].astype(np.float32)


class ResNet50Descriptor:
    """The descriptor of the CLC paper: torchvision's ResNet-50 up to `layer4`, 2048 channels in 21 cells, D = 43,008.

    The weights are IMAGENET1K_V1: trained without label smoothing and mixup, which bring features of different pictures
    closer together. They are read from the cache folder of torch hub and downloaded into it where missing.
    """

    name = "resnet50"
    dimension = 2048 * CELLS

    def __init__(self) -> None:
        """Load the network; InputError names the file and the address where neither gives the weights."""
        need("pipeline", "torchvision")
        from clc.retrieval.torchvision_compat import declare_missing_operators

        declare_missing_operators()
        import torch

        try:
            from torchvision.models import ResNet50_Weights, resnet50
        except (ImportError, OSError, RuntimeError) as error:  # what a build for another torch ends in
            raise InputError(
                f"torchvision does not load beside torch {torch.__version__} ({_line(error)}): install the release "
                'that goes with this torch, or take another backbone, "codec" or an .onnx file'
            ) from error

        state, self._weights = _resnet50_state(ResNet50_Weights.IMAGENET1K_V1.url)
        network = resnet50(weights=None)
        network.load_state_dict(state)
        self._map = torch.nn.Sequential(*list(network.children())[:-2]).eval()

    def describe(self) -> dict[str, Any]:
        """Return the description; the digest is that of the weights' file."""
        return _description(self, f"sha256:{self._weights}", _CNN_SIZING)

    def vectors(self, images: Images) -> Floats:
        """Describe pictures; see `Descriptor.vectors`."""
        import torch

        with torch.inference_mode():
            maps = (
                self._map(torch.from_numpy(_normalised(_sized(check_picture(image))))).numpy()[0] for image in images
            )
            return _stack([spp(map_CHW) for map_CHW in maps], self.name, self.dimension)


def _resnet50_state(url: str) -> tuple[dict[str, Any], str]:
    """Return the weights and the sha256 of their file, whose name ends with the head of that sha256."""
    import torch

    cached = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    advice = f"put the file at {cached} (TORCH_HOME moves that folder), or let this machine download it from {url}"
    try:
        if not cached.is_file():
            cached.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(cached), hash_prefix=cached.stem.split("-")[-1])
        sha256 = sha256_file(cached)
    except (OSError, RuntimeError) as error:
        raise InputError(f"ResNet-50 has no weights here ({_line(error)}): {advice}") from error
    if not sha256.startswith(cached.stem.split("-")[-1]):
        raise InputError(f"{cached} is another file than its name says (sha256 {sha256[:8]}): remove it, then {advice}")
    # torchvision publishes only .pth files; weights_only reads tensors from one and runs no code that it may carry.
    state: dict[str, Any] = torch.hub.load_state_dict_from_url(url, map_location="cpu", weights_only=True)
    return state, sha256


def _description(descriptor: Descriptor, weights: str, sizing: str) -> dict[str, Any]:
    return {
        "name": descriptor.name,
        "dimension": descriptor.dimension,
        "weights": weights,
        "levels": list(LEVELS),
        "pooling": "max",
        "sizing": sizing,
    }


def _grey_probe(height: int, width: int) -> Picture:
    return np.full((height, width, 3), 128, np.uint8)


def _sized(image_HW3: Picture, height: int | None = None, width: int | None = None) -> Picture:
    """Scale a picture for a CNN as the module's docstring says; a fixed `height` or `width` wins."""
    rows, columns = image_HW3.shape[:2]
    scale = min(1.0, _SHORT_SIDE_PX / min(rows, columns), _LONG_SIDE_PX / max(rows, columns))
    size = (height or max(1, round(rows * scale)), width or max(1, round(columns * scale)))
    if size == (rows, columns):
        return image_HW3
    return np.asarray(Image.fromarray(image_HW3).resize(size[::-1], Image.Resampling.BILINEAR))


def _normalised(image_HW3: Picture) -> Floats:
    """Return the picture as float32 (1, 3, H, W) with ImageNet's mean and standard deviation taken out."""
    scaled_HW3 = (image_HW3.astype(np.float32) / np.float32(255) - _MEAN) / _STD
    return np.ascontiguousarray(scaled_HW3.transpose(2, 0, 1)[np.newaxis])


def _stack(vectors: list[Floats], descriptor: str, dimension: int) -> Floats:
    """Return the vectors as float32 (n, D); InputError where one has another length or is not finite."""
    for vector in vectors:
        if vector.shape != (dimension,):
            raise InputError(
                f"backbone {descriptor} gives vectors of {dimension} values, but {vector.size} for this "
                "picture: its output follows the picture's size; use a network that pools or gives a map"
            )
        if not np.isfinite(vector).all():
            raise InputError(f"backbone {descriptor} gives values that are not finite for this picture")
    return np.stack(vectors) if vectors else np.empty((0, dimension), np.float32)


def _onnx_errors() -> tuple[type[Exception], ...]:
    """Return what onnxruntime raises on a bad model or input; its errors share no base but Exception."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return (
        state.EPFail,
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NotImplemented,
        state.RuntimeException,
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
