"""Laws of the pyramid, and of every descriptor; then what a bad descriptor or picture gets."""

import importlib.util
import struct
import sys
import urllib.error
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clc.dictionary.extraction import open_descriptor
from clc.errors import InputError, MissingExtra
from clc.retrieval import descriptors
from clc.retrieval.descriptors import CodecDescriptor, OnnxDescriptor, ResNet50Descriptor
from clc.retrieval.pyramid import spp

TINY_ONNX = Path(__file__).parents[2] / "golden" / "tiny_backbone.onnx"
SHARED_ONNX = Path(__file__).parents[4] / "shared" / "weights" / "resnet50v2_stage3.onnx"
KODAK = Path(__file__).parents[4] / "shared" / "data" / "kodak"


class FakeCodec:
    """Stands in for the codec: 8 channels of block means, of the picture padded to multiples of 64."""

    def __init__(self, bundle_id: str = "0123456789abcdef") -> None:
        self.bundle = SimpleNamespace(bundle_id=bundle_id)

    def feature_map(self, image_HW3: np.ndarray) -> np.ndarray:
        height, width = (-(-side // 64) * 64 for side in image_HW3.shape[:2])
        edges = ((0, height - image_HW3.shape[0]), (0, width - image_HW3.shape[1]), (0, 0))
        padded = np.pad(image_HW3, edges, mode="edge").astype(np.float32)
        means = padded.reshape(height // 16, 16, width // 16, 16, 3).mean(axis=(1, 3, 4))
        return np.stack([means * (channel + 1) for channel in range(8)]).astype(np.float32)


def picture(seed: int, height: int = 96, width: int = 80) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


# The few fields of ONNX's protobuf that the models below need, so that no package is needed to write them.
def field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    head, rest = value & 127, value >> 7
    return bytes([head | 128]) + varint(rest) if rest else bytes([head])


def tensor_info(name: str, shape: Sequence[int | str], element: int = 1) -> bytes:
    axes = b"".join(field(1, field(1, size) if isinstance(size, int) else field(2, size)) for size in shape)
    return field(1, name) + field(2, field(1, field(1, element) + field(2, axes)))


def node(operator: str, inputs: Sequence[str], output: str, **attributes: Sequence[int]) -> bytes:
    ints = (field(5, field(1, k) + b"".join(field(8, i) for i in v) + field(20, 7)) for k, v in attributes.items())
    return b"".join(field(1, name) for name in inputs) + field(2, output) + field(4, operator) + b"".join(ints)


def onnx_model(nodes: Sequence[bytes], input_shape: Sequence[int | str], output_rank: int, element: int = 1) -> bytes:
    weights = np.random.default_rng(1).standard_normal((4, 3, 4, 4)).astype(np.float32) / 8
    tensor = (
        b"".join(field(1, size) for size in weights.shape) + field(2, 1) + field(8, "w") + field(9, weights.tobytes())
    )
    graph = b"".join(field(1, one) for one in nodes) + field(2, "g") + field(5, tensor)
    graph += field(11, tensor_info("image", input_shape, element))
    graph += field(12, tensor_info("out", [f"o{axis}" for axis in range(output_rank)], element))
    return field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 13))


CONVOLUTION = node("Conv", ["image", "w"], "out", kernel_shape=[4, 4], strides=[4, 4])
FREE = ("n", 3, "h", "w")


def write_onnx(folder: Path, *nodes: bytes, shape: Sequence[int | str] = FREE, rank: int = 4, element: int = 1) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(onnx_model(nodes, shape, rank, element))
    return path


@settings(max_examples=30, deadline=None)
@given(channels=st.integers(1, 3), height=st.integers(1, 13), width=st.integers(1, 13), seed=st.integers(0, 99))
def test_spp_is_adaptive_maximum_pooling_at_every_level(channels: int, height: int, width: int, seed: int) -> None:
    map_CHW = np.random.default_rng(seed).standard_normal((channels, height, width)).astype(np.float32)
    pooled = [torch.nn.functional.adaptive_max_pool2d(torch.from_numpy(map_CHW), level) for level in (1, 2, 4)]
    expected = torch.cat([level.permute(1, 2, 0).flatten() for level in pooled]).numpy()
    np.testing.assert_array_equal(spp(map_CHW), expected)


def test_spp_of_a_single_position_repeats_it_in_every_cell() -> None:
    vector = spp(np.array([1.0, 2.0], np.float32).reshape(2, 1, 1))
    np.testing.assert_array_equal(vector, np.tile([1.0, 2.0], 21))


def test_spp_of_a_batch_is_spp_of_each() -> None:
    maps_BCHW = np.random.default_rng(0).standard_normal((3, 2, 5, 6)).astype(np.float32)
    np.testing.assert_array_equal(spp(maps_BCHW), np.stack([spp(one) for one in maps_BCHW]))


@pytest.mark.parametrize("shape", [(3,), (2, 2), (1, 0, 4), (1, 1, 1, 1, 1)])
def test_spp_refuses_what_is_no_map(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="feature map"):
        spp(np.zeros(shape, np.float32))


@pytest.fixture(params=["codec", "onnx"])
def descriptor(request: pytest.FixtureRequest) -> descriptors.Descriptor:
    return CodecDescriptor(FakeCodec()) if request.param == "codec" else OnnxDescriptor(TINY_ONNX)


def test_every_picture_size_gives_a_vector_of_the_stated_dimension(descriptor: descriptors.Descriptor) -> None:
    images = [picture(0), picture(1, 64, 300), picture(2, 700, 500), picture(3, 5, 4)]
    vectors = descriptor.vectors(images)
    assert vectors.shape == (4, descriptor.dimension)
    assert vectors.dtype == np.float32
    assert descriptor.vectors([]).shape == (0, descriptor.dimension)


def test_a_row_does_not_depend_on_its_neighbours(descriptor: descriptors.Descriptor) -> None:
    together = descriptor.vectors([picture(0), picture(1), picture(2)])
    np.testing.assert_array_equal(together[1:2], descriptor.vectors([picture(1)]))


def test_a_brighter_copy_is_closer_than_another_picture(descriptor: descriptors.Descriptor) -> None:
    scene = np.repeat(np.repeat(picture(5, 8, 8), 16, axis=0), 16, axis=1)
    other = np.repeat(np.repeat(picture(6, 8, 8), 16, axis=0), 16, axis=1)
    base, like, unlike = descriptor.vectors([scene, np.clip(scene.astype(int) + 6, 0, 255).astype(np.uint8), other])
    assert np.linalg.norm(base - like) < np.linalg.norm(base - unlike)


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_no_picture_is_refused(descriptor: descriptors.Descriptor, image: np.ndarray) -> None:
    with pytest.raises(InputError, match="uint8"):
        descriptor.vectors([image])


def test_the_description_changes_with_the_weights(tmp_path: Path) -> None:
    assert CodecDescriptor(FakeCodec()).describe() != CodecDescriptor(FakeCodec("f" * 16)).describe()
    other = write_onnx(tmp_path, node("Relu", ["image"], "out"))
    assert OnnxDescriptor(other).describe()["weights"] != OnnxDescriptor(TINY_ONNX).describe()["weights"]


def test_the_tiny_model_in_golden_is_what_this_file_writes() -> None:
    assert TINY_ONNX.read_bytes() == onnx_model([CONVOLUTION], FREE, 4)


def test_an_onnx_model_that_gives_a_vector_is_taken_as_it_is(tmp_path: Path) -> None:
    pooled = (node("GlobalMaxPool", ["image"], "p"), node("Flatten", ["p"], "out"))
    vectors = OnnxDescriptor(write_onnx(tmp_path, *pooled, rank=2)).vectors([np.full((9, 9, 3), 255, np.uint8)])
    np.testing.assert_allclose(vectors, [[(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]], rtol=1e-6)


def test_an_onnx_model_of_fixed_size_gets_pictures_of_that_size(tmp_path: Path) -> None:
    fixed = OnnxDescriptor(write_onnx(tmp_path, node("Flatten", ["image"], "out"), shape=(1, 3, 8, 6), rank=2))
    assert fixed.vectors([picture(0), picture(1, 3, 500)]).shape == (2, 3 * 8 * 6)
    assert "8x6" in fixed.describe()["sizing"]


@pytest.mark.parametrize(
    ("shape", "element"), [(("n", "h", "w", 3), 1), ((2, 3, "h", "w"), 1), ((3, "h", "w"), 1), (FREE, 10)]
)
def test_an_onnx_model_with_another_input_is_refused(tmp_path: Path, shape: tuple[Any, ...], element: int) -> None:
    path = write_onnx(tmp_path, node("Relu", ["image"], "out"), shape=shape, rank=len(shape), element=element)
    with pytest.raises(InputError, match="must take one float32 picture"):
        OnnxDescriptor(path)


def test_an_onnx_model_whose_output_is_no_map_is_refused(tmp_path: Path) -> None:
    pooled = (node("GlobalMaxPool", ["image"], "p"), node("Squeeze", ["p"], "out"))
    with pytest.raises(InputError, match="must give a float map"):
        OnnxDescriptor(write_onnx(tmp_path, *pooled, rank=1))


def test_an_onnx_model_whose_vector_follows_the_size_is_refused_at_the_picture(tmp_path: Path) -> None:
    descriptor = OnnxDescriptor(write_onnx(tmp_path, node("Flatten", ["image"], "out"), rank=2))
    with pytest.raises(InputError, match="follows the picture's size"):
        descriptor.vectors([picture(0, 20, 20)])


@pytest.mark.parametrize("data", [b"", b"no model", struct.pack("<100I", *range(100))])
def test_a_file_that_is_no_onnx_model_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"broken\.onnx is no self-contained ONNX model"):
        OnnxDescriptor(path)


def test_a_missing_onnx_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.onnx"):
        open_descriptor(str(tmp_path / "missing.onnx"))


def test_an_unknown_descriptor_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"codec.*resnet50.*\.onnx"):
        open_descriptor("vgg")


def test_resnet50_without_weights_names_the_cache_file_and_the_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    with pytest.raises(InputError, match=r"hub/checkpoints/resnet50-0676ba61\.pth.*https://download\.pytorch\.org"):
        open_descriptor("resnet50")


def test_resnet50_refuses_a_cached_file_that_is_not_what_its_name_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = tmp_path / "hub" / "checkpoints" / "resnet50-0676ba61.pth"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"cut off")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(InputError, match="another file than its name says"):
        open_descriptor("resnet50")


def test_resnet50_gives_2048_channels_in_21_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    from clc.retrieval.torchvision_compat import declare_missing_operators

    declare_missing_operators()
    from torchvision.models import resnet50

    monkeypatch.setattr(descriptors, "_resnet50_state", lambda _: (resnet50(weights=None).state_dict(), "f" * 64))
    descriptor = ResNet50Descriptor()
    assert descriptor.vectors([picture(0, 40, 33)]).shape == (1, 43_008)
    assert descriptor.describe()["dimension"] == 43_008


class StandIn(torch.nn.Sequential):
    """Has the outline of a ResNet-50: a map of 2048 channels, then the pooling and the classifier that are cut off."""

    def __init__(self, weights: None) -> None:
        map_of = torch.nn.Conv2d(3, 2048, 32, stride=32, padding=16)
        super().__init__(map_of, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Linear(2048, 10))


def test_resnet50_is_torchvisions_network_up_to_its_last_map(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = SimpleNamespace(IMAGENET1K_V1=SimpleNamespace(url="https://example.org/resnet50-0123.pth"))
    models = SimpleNamespace(resnet50=StandIn, ResNet50_Weights=weights)
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(models=models, __spec__=SimpleNamespace()))
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    state, asked = StandIn(None).state_dict(), []

    def state_of(url: str) -> tuple[dict[str, Any], str]:
        asked.append(url)
        return state, "a" * 64

    monkeypatch.setattr(descriptors, "_resnet50_state", state_of)
    descriptor = open_descriptor("resnet50")
    assert asked == ["https://example.org/resnet50-0123.pth"]
    assert descriptor.describe()["weights"] == f"sha256:{'a' * 64}"
    first, again = descriptor.vectors([picture(0), picture(1)])[0], descriptor.vectors([picture(0)])[0]
    np.testing.assert_array_equal(first, again)
    assert first.shape == (43_008,)


def test_without_torchvision_one_line_says_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torchvision" else found(name))
    with pytest.raises(MissingExtra, match="this needs torchvision, which the extra pipeline brings") as caught:
        open_descriptor("resnet50")
    assert "\n" not in str(caught.value)


def test_a_torchvision_for_another_torch_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        __spec__ = SimpleNamespace()

        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("operator torchvision::roi_align\ndoes not exist")

    monkeypatch.setitem(sys.modules, "torchvision", Broken())
    monkeypatch.setitem(sys.modules, "torchvision.models", Broken())
    with pytest.raises(InputError, match=r"does not load beside torch .*roi_align does not exist.*install") as caught:
        open_descriptor("resnet50")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not SHARED_ONNX.is_file(), reason="needs ../shared/weights/resnet50v2_stage3.onnx")
def test_a_real_onnx_descriptor_finds_the_crop_of_its_own_photo() -> None:
    from clc.pictures.images import read_image

    photos = [read_image(path) for path in sorted(KODAK.iterdir()) if path.suffix in {".png", ".webp"}][:3]
    descriptor = OnnxDescriptor(SHARED_ONNX)
    assert descriptor.dimension == 21 * 1024
    whole = descriptor.vectors(photos)
    crops = descriptor.vectors([photo[16:-16, 24:-24] for photo in photos])
    nearest = np.linalg.norm(crops[:, np.newaxis] - whole[np.newaxis], axis=2).argmin(axis=1)
    np.testing.assert_array_equal(nearest, np.arange(len(photos)))
