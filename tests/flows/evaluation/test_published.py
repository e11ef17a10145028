"""Published curves in the flow evaluate-codec: beside the whole set that they belong to, and beside nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest

from clc.evaluation.published import PUBLISHED, SHOWN, read_published, shown_curves
from clc.evaluation.scales import MS_SSIM, PSNR
from clc.pictures.images import png_bytes
from flows.evaluate import evaluate_codec
from flows.evaluation import picture_sets
from flows.evaluation.picture_sets import KNOWN_SETS, KnownSet
from flows.runtime.stage import StageResult, resolve
from flows.runtime.workspace import Workspace
from tests.flows.test_evaluate import codec, make_picture

__all__ = ["codec"]  # a fixture of this module, too

pytestmark = pytest.mark.usefixtures("codec")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two pictures that pass for the set kodak."""
    monkeypatch.setenv("CLC_SETS", str(tmp_path))
    monkeypatch.setattr(picture_sets, "KNOWN_SETS", {"kodak": KnownSet(2, "", "kodak")})
    (tmp_path / "kodak").mkdir()
    for seed in (2, 3):
        (tmp_path / "kodak" / f"{seed}.png").write_bytes(png_bytes(make_picture(seed)))
    return tmp_path / "kodak"


def evaluated(workspace: Workspace, **parameters: Any) -> tuple[StageResult, dict[str, Any], str]:
    key = evaluate_codec.fn(**{"bundle": "shipped", **parameters})
    result = resolve(workspace, "evaluate-codec", key)
    page = (result.directory / "report.html").read_text()
    return result, json.loads(page.partition('id="data">')[2].partition("</script>")[0]), page


def test_a_named_set_has_the_published_curves_beside_its_own(workspace: Workspace, folder: Path) -> None:
    result, data, page = evaluated(workspace, pictures="kodak")
    assert [curve["codec"] for curve in data["published"][PSNR.key]] == list(SHOWN)
    assert "vtm-9.1" in {curve["codec"] for curve in data["published"][MS_SSIM.key]}
    anchors = {rate["anchor"] for rate in result.manifest.summary["published_bd_rates"]}
    assert anchors >= {"vtm-9.1, published", "glic-2026, published", "cool-chic-v5.0.1, published"}
    assert "vtm-9.1, published" in page


def test_a_folder_has_none_although_it_holds_the_same_pictures(workspace: Workspace, folder: Path) -> None:
    named, _, _ = evaluated(workspace, pictures="kodak")
    by_path, data, page = evaluated(workspace, pictures=str(folder))
    assert by_path.key != named.key
    assert data["published"] == {}
    assert by_path.manifest.summary["published_bd_rates"] == []
    assert "published" not in page.partition("<body")[2].partition("<script")[0]


@pytest.mark.parametrize("spoil", ["a limit", "a damaged file"])
def test_a_part_of_a_set_has_none(workspace: Workspace, folder: Path, spoil: str) -> None:
    if spoil == "a damaged file":
        (folder / "damaged.png").write_bytes(b"no picture")
    _, data, _ = evaluated(workspace, pictures="kodak", most_pictures=1 if spoil == "a limit" else 64)
    assert data["published"] == {}


def test_every_known_set_is_in_the_file_of_published_curves() -> None:
    for known in KNOWN_SETS.values():
        shown = shown_curves(known.published)
        assert "vtm-9.1" in shown[PSNR]
        assert set(shown[PSNR]) == set(SHOWN) & set(read_published(PUBLISHED, known.published))
