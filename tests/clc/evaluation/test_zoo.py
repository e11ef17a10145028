"""CompressAI's zoo: a codec whose weights are on disk is a coder like all others; without weights it says where to."""

import numpy as np
import pytest
import torch

from clc.errors import StorageError
from clc.evaluation.baselines import zoo
from clc.evaluation.baselines.unavailable import Unavailable
from clc.evaluation.coders import find_baselines
from storage.digest import sha256_file

# compressai and what it brings warn about themselves when they are imported.
pytestmark = pytest.mark.filterwarnings("ignore")

NAME = "bmshj2018-hyperprior"


@pytest.fixture
def checkpoints(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    zoo._loaded.cache_clear()
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


@pytest.fixture
def weights(checkpoints, monkeypatch):
    """Weights of a tiny codec under two qualities, in the place of those that CompressAI publishes."""
    image = zoo._zoo()
    urls = {}
    for quality, seed in ((1, 0), (4, 1)):
        torch.manual_seed(seed)
        model = image.model_architectures[NAME](8, 12).eval()
        model.update(force=True)
        path = checkpoints / "made.pth.tar"
        torch.save(model.state_dict(), path)
        path = path.rename(checkpoints / f"{NAME}-{quality}-{sha256_file(path)[:8]}.pth.tar")
        urls[quality] = f"http://127.0.0.1:9/{path.name}"
    absent = {2: f"http://127.0.0.1:9/{NAME}-2-00000000.pth.tar"}
    monkeypatch.setitem(image.model_urls, NAME, {"mse": urls | absent})
    return checkpoints


def test_without_weights_a_codec_is_missing_and_says_where_they_belong(checkpoints) -> None:
    found = find_baselines(["jpeg", *zoo.ARCHITECTURES])
    assert [one.name for one in found.available] == ["jpeg"]
    assert set(found.missing) == set(zoo.ARCHITECTURES)
    assert f"no weights of {NAME} in {checkpoints}" in found.missing[NAME]


def test_weights_of_another_codec_make_none_of_this_one(checkpoints) -> None:
    (checkpoints / "mbt2018-mean-1-00000000.pth.tar").write_bytes(b"")
    with pytest.raises(Unavailable, match="no weights of mbt2018-mean"):
        zoo.zoo_coder("mbt2018-mean")


@pytest.mark.usefixtures("weights")
def test_a_codec_whose_weights_are_here_codes_whole_files(make_scene_HW3) -> None:
    (coder,) = find_baselines([NAME]).available
    assert coder.qualities == (0.0, 100.0)
    assert coder.settings == "CompressAI's weights for MSE, qualities 1, 4"
    for height, width in ((64, 64), (70, 33), (1, 1)):
        image_HW3 = make_scene_HW3(1, height, width)
        files = [coder.encode(image_HW3, quality) for quality in (0, 40, 100)]
        assert files[0] == files[1] != files[2]
        back_HW3 = coder.decode(files[2])
        assert (back_HW3.shape, back_HW3.dtype) == (image_HW3.shape, np.uint8)
        assert (back_HW3 == coder.decode(files[2])).all()


def test_weights_that_are_not_those_that_were_published_are_refused(weights, scene_HW3) -> None:
    for path in weights.iterdir():
        path.write_bytes(path.read_bytes() + b"x")
    (coder,) = find_baselines([NAME]).available
    with pytest.raises(StorageError, match="is not the file that CompressAI published"):
        coder.encode(scene_HW3, 0)
