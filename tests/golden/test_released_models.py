"""Streams outlive releases: the golden streams of every released model decode, from all that a package may carry of it.

The register names each model, its golden streams and the digests of their pixels; a new shipped model that is not in
it fails here, and so does one that takes a former one's place without keeping it (`bench/models/ship_model.py`).
"""

from pathlib import Path

import numpy as np
import pytest

from bench.models.model_packages import write_decoder_bundle
from bench.models.ship_model import LARGEST_BYTES, MOST_FORMER, Places, exact_pixels
from clc.bundle.identity import SHIPPED, id_of, is_bundle, is_decoder_bundle, read_manifest_bytes
from clc.bundle.released import REGISTER, RELEASED, ReleasedModel, read_register
from clc.codec import Codec
from clc.codec.info import stream_info
from clc.codec.selftest import replay
from storage.digest import sha256_bytes

ROOT = Path(__file__).parents[2]
GOLDENS = Path(__file__).parent / "released"
MODELS = read_register().models
SHIPPED_ID = id_of(read_manifest_bytes(SHIPPED))
FORMER = [model for model in MODELS if model.bundle_id != SHIPPED_ID]


def folders_of_models() -> list[Path]:
    return sorted(path for path in RELEASED.iterdir() if path.is_dir())


@pytest.fixture(scope="module", params=MODELS, ids=lambda model: f"{model.release}-{model.bundle_id}")
def model(request: pytest.FixtureRequest) -> ReleasedModel:
    found: ReleasedModel = request.param
    return found


@pytest.fixture(scope="module")
def decoder(model: ReleasedModel, tmp_path_factory: pytest.TempPathFactory) -> Codec:
    """The codec of a model's decoder's bundle: as the package carries it, or made of what does."""
    is_carried = model.bundle_id == SHIPPED_ID or is_bundle(RELEASED / model.bundle_id)
    if not is_carried and not (ROOT / ".git").exists():
        pytest.skip(f"{model.bundle_id} is in a package of its own, and these sources have no history to take it from")
    folder = tmp_path_factory.mktemp("decoder")
    write_decoder_bundle(model, folder / "bundle", folder / "history")
    assert is_decoder_bundle(folder / "bundle")
    return Codec.load(folder / "bundle")


def test_the_shipped_model_is_the_newest_of_the_register() -> None:
    assert MODELS[-1].bundle_id == SHIPPED_ID, "run bench/models/ship_model.py: it keeps the former model decodable"


def test_the_package_carries_the_newest_former_models_and_no_others() -> None:
    assert [path.name for path in folders_of_models()] == sorted(one.bundle_id for one in FORMER[-MOST_FORMER:])
    for folder in folders_of_models():
        assert is_decoder_bundle(folder)
        assert id_of(read_manifest_bytes(folder)) == folder.name
        assert max(path.stat().st_size for path in folder.iterdir()) <= LARGEST_BYTES


def test_the_register_begins_with_0_16_0_and_no_release_is_forgotten_or_named_twice() -> None:
    register = read_register()
    assert (MODELS[0].release, MODELS[0].bundle_id) == ("0.16.0", "de3449ba54d8c6e8")
    releases = [tuple(map(int, model.release.split("."))) for model in MODELS]
    assert releases == sorted(set(releases))
    assert not {model.bundle_id for model in MODELS} & register.earlier.keys()
    assert register.release_of("44271afbd987378c") == "0.15.0"


def test_every_released_model_has_golden_streams_and_every_golden_stream_a_model() -> None:
    stored = {folder.name: {path.name for path in folder.iterdir()} for folder in GOLDENS.iterdir()}
    assert stored == {model.bundle_id: set(model.golden) for model in MODELS}
    assert all(len(model.golden) >= 3 for model in MODELS)


def test_golden_streams_decode_to_the_pixels_of_the_register(model: ReleasedModel, decoder: Codec) -> None:
    kinds = set()
    for name, sha256 in model.golden.items():
        data = (GOLDENS / model.bundle_id / name).read_bytes()
        info = stream_info(data)
        assert (info.bundle_id, info.release) == (model.bundle_id, model.release)
        exact = exact_pixels(decoder, data)
        assert sha256_bytes(exact.tobytes()) == sha256, name
        # What a user gets is made in float32, in which a sum may be rounded another way.
        assert np.abs(decoder.decode(data).astype(int) - exact).max() <= 1, name
        kinds.add((bool(info.references), info.quality == 100))
    assert kinds == {(False, False), (False, True), (True, False)}


def test_the_whole_model_decodes_golden_streams_to_the_same_pixels(model: ReleasedModel, decoder: Codec) -> None:
    if model.bundle_id != SHIPPED_ID:
        pytest.skip("only the shipped model is there whole")
    whole = Codec.shipped()
    for name in model.golden:
        data = (GOLDENS / model.bundle_id / name).read_bytes()
        assert np.array_equal(whole.decode(data), decoder.decode(data)), name


def test_the_self_test_of_a_released_model_replays(decoder: Codec) -> None:
    assert replay(decoder).first_difference is None


def test_the_tools_and_the_package_mean_the_same_places() -> None:
    places = Places()
    assert (places.shipped, places.register, places.goldens) == (SHIPPED, REGISTER, GOLDENS)
