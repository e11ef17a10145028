"""A decoder's bundle decodes what the whole one decodes, to the same pixels; it is that to the byte, or refused."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from clc.bundle.bundle import Bundle
from clc.bundle.decoder_bundle import ENCODER_ONLY, is_left_out, keep
from clc.bundle.description import bundle_info
from clc.bundle.extend import add_pictures
from clc.bundle.identity import SHIPPED, is_decoder_bundle
from clc.bundle.serving import check_files
from clc.codec import Codec
from clc.codec.selftest import replay
from clc.errors import InputError, StorageError
from clc.training.train import read_start
from storage.arrays import read_arrays, write_arrays
from tests.conftest import Picture
from tests.tiny_release import TinyRelease

FILES = (
    "transforms.decoder.safetensors",
    "dictionary.decoder.safetensors",
    "prior.safetensors",
    "tables.safetensors",
    "entries.json",
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, photo: Picture) -> TinyRelease:
    return TinyRelease(tmp_path_factory.mktemp("release"), photo)


@pytest.fixture(autouse=True)
def installed(tiny: TinyRelease, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.install(monkeypatch)


@pytest.fixture
def copied(tiny: TinyRelease, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny.decoder, tmp_path / "copied"))


def test_it_has_the_same_id_and_decodes_every_stream_to_the_same_pixels(tiny: TinyRelease, photo: Picture) -> None:
    whole, decoder = Codec.load(tiny.whole), Codec.load(tiny.decoder)
    assert decoder.bundle.bundle_id == whole.bundle.bundle_id == tiny.bundle_id
    assert (whole.bundle.encodes, decoder.bundle.encodes) == (True, False)
    view = np.ascontiguousarray(photo[8:80, 8:104])
    for quality in (0, 50, 100):
        for references in ("none", "tokens", "aligned"):
            data = whole.encode(view, quality, references)
            assert np.array_equal(decoder.decode(data), whole.decode(data)), (quality, references)
    info = whole.info(whole.encode(view, 50, "aligned"))
    assert info.aligned == (3,)  # so a key picture was used
    assert whole.info(whole.encode(view, 50, "tokens")).references


def test_the_self_test_of_the_whole_bundle_replays_with_it(tiny: TinyRelease) -> None:
    result = replay(Codec.load(tiny.decoder))
    assert result.first_difference is None
    assert result.steps == replay(Codec.load(tiny.whole)).steps > 10


def test_it_lacks_just_what_only_an_encoder_reads(tiny: TinyRelease) -> None:
    for part in ENCODER_ONLY:
        whole = read_arrays(tiny.whole / f"{part}.safetensors")
        kept = read_arrays(tiny.decoder / f"{part}.decoder.safetensors")
        assert kept.keys() == {name for name in whole if not is_left_out(part, name)}
        assert all(np.array_equal(kept[name], whole[name]) for name in kept)
    assert tiny.model.left_out == {
        "transforms.safetensors": tuple(sorted(ENCODER_ONLY["transforms"])),
        "dictionary.safetensors": ("components", "keys", "mean", "variances"),
    }
    assert sum(path.stat().st_size for path in tiny.decoder.rglob("*")) < sum(
        path.stat().st_size for path in tiny.whole.rglob("*")
    )


def test_what_it_lacks_is_never_run(tiny: TinyRelease) -> None:
    model = Bundle.load(tiny.decoder).model
    assert model.self_prior is not None
    parts = (model.g_a, model.h_a, model.compress_tokens, model.self_prior.source, model.self_prior.to_g_a)
    for part in parts:
        with pytest.raises(InputError, match="only decodes"):
            part(torch.zeros(1, 3, 64, 64))


def test_whatever_encodes_extends_or_trains_says_why_it_cannot(tiny: TinyRelease, tmp_path: Path) -> None:
    picture = np.zeros((32, 32, 3), np.uint8)
    codec = Codec.load(tiny.decoder)
    for action in (
        lambda: codec.encode(picture),
        lambda: codec.feature_map(picture),
        lambda: add_pictures(tiny.decoder, tmp_path / "out", [picture], [{"name": "a"}]),
        lambda: read_start(tiny.decoder),
        lambda: check_files(tiny.decoder),
    ):
        with pytest.raises(InputError, match=rf"^bundle {tiny.bundle_id} in .* only decodes: .*Encode with") as caught:
            action()
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", FILES)
def test_a_file_with_one_flipped_bit_is_refused(copied: Path, name: str) -> None:
    data = bytearray((copied / name).read_bytes())
    data[len(data) * 3 // 4] ^= 1
    (copied / name).write_bytes(data)
    with pytest.raises(StorageError, match=name):
        Bundle.load(copied)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(copied: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(StorageError, match=name):
        Bundle.load(copied)


@pytest.mark.parametrize("what", ["pipe", "folder", "large"])
def test_what_stands_in_a_files_place_is_refused_at_once(copied: Path, what: str) -> None:
    path = copied / FILES[0]
    path.unlink()
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    else:
        with path.open("wb") as file:
            file.truncate(1 << 40)  # sparse: refused by its size
    with pytest.raises(StorageError, match=FILES[0]):
        Bundle.load(copied)


def test_an_array_more_or_less_is_refused_although_the_file_is_sound(copied: Path) -> None:
    path = copied / "dictionary.decoder.safetensors"
    arrays = read_arrays(path)
    for changed in ({**arrays, "keys": np.zeros(3, np.float16)}, {"other": arrays["tokens"]}):
        write_arrays(path, changed, None)
        with pytest.raises(StorageError, match=r"dictionary\.decoder\.safetensors"):
            Bundle.load(copied)


def test_another_manifest_makes_it_another_bundle_of_no_release(copied: Path) -> None:
    fields = json.loads((copied / "manifest.json").read_text())
    (copied / "manifest.json").write_text(json.dumps({**fields, "parent": "0" * 16}))
    with pytest.raises(StorageError, match="of no release that this one knows"):
        Bundle.load(copied)


def test_files_further_than_those_of_the_bundle_change_nothing(copied: Path, tiny: TinyRelease) -> None:
    (copied / "models.json").write_text("{}")
    (copied / "__init__.py").write_text("raise SystemExit('run')")
    data = (tiny.goldens / "plain.clc").read_bytes()
    assert np.array_equal(Codec.load(copied).decode(data), Codec.load(tiny.whole).decode(data))


def test_a_whole_file_beside_reduced_ones_makes_no_decoders_bundle(copied: Path, tiny: TinyRelease) -> None:
    shutil.copyfile(tiny.whole / "transforms.safetensors", copied / "transforms.safetensors")
    assert not is_decoder_bundle(copied)
    with pytest.raises(StorageError, match=r"dictionary\.safetensors"):
        Bundle.load(copied)
    shutil.copyfile(tiny.whole / "dictionary.safetensors", copied / "dictionary.safetensors")
    assert Bundle.load(copied).encodes


def test_a_bundle_of_no_release_is_not_reduced(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is of no release that this one knows.*Keep this one whole"):
        keep(SHIPPED, tmp_path / "out")  # the register here knows the small one alone
    assert not (tmp_path / "out").exists()


def test_a_decoders_bundle_is_not_reduced_again(tiny: TinyRelease, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a decoder's bundle already"):
        keep(tiny.decoder, tmp_path / "out")


@pytest.mark.parametrize("name", ["transforms.safetensors", "prior.safetensors", "entries.json", "selftest.json"])
def test_a_damaged_bundle_is_not_reduced_and_leaves_nothing(tiny: TinyRelease, tmp_path: Path, name: str) -> None:
    damaged = Path(shutil.copytree(tiny.whole, tmp_path / "damaged"))
    if name == "selftest.json":
        (damaged / name).unlink()
    else:
        data = bytearray((damaged / name).read_bytes())
        data[-1] ^= 1
        (damaged / name).write_bytes(data)
    with pytest.raises(StorageError, match=name):
        keep(damaged, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["damaged"]


def test_a_key_picture_that_was_changed_is_not_kept(tiny: TinyRelease, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(tiny.whole, tmp_path / "damaged"))
    (picture,) = (damaged / "pictures").iterdir()
    data = bytearray(picture.read_bytes())
    data[len(data) // 2] ^= 1
    picture.write_bytes(data)
    with pytest.raises(StorageError, match="key picture"):
        keep(damaged, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_exists_is_not_replaced(tiny: TinyRelease, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("kept")
    with pytest.raises(StorageError):
        keep(tiny.whole, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_what_it_says_of_itself(tiny: TinyRelease) -> None:
    whole, decoder = bundle_info(tiny.whole), bundle_info(tiny.decoder)
    assert (whole.encodes, decoder.encodes) == (True, False)
    assert whole.release == decoder.release == "9.8.7"
    assert decoder.parameters < whole.parameters
    assert decoder.model_bytes < whole.model_bytes
    assert decoder.total_bytes < whole.total_bytes
    assert decoder.sources == whole.sources
