"""The flows ablate and perturb on small pictures with a small model: figures, reuse, refusals."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from clc.errors import ClcError, InputError
from clc.evaluation.measure import rows_from_table
from clc.model.config import WIDTHS
from clc.pictures.images import png_bytes, read_image
from flows.ingest import ingest_images
from flows.items import Item, write_items
from flows.leakage import Leak
from flows.reproduction import ablate as ablating
from flows.reproduction import perturb as perturbing
from flows.reproduction import runs
from flows.reproduction.dictionaries import described
from flows.reproduction.grid import ALL
from flows.reproduction.windows import evenly
from flows.runtime.stage import resolve, run_stage
from flows.runtime.workspace import Workspace
from storage.digest import sha256_bytes
from storage.tables import read_table
from tests.conftest import SMALL
from tests.small_bundle import smooth

GRID = """
qualities: [10, 40, 70, 100]
crop_px: 64
windows: {stride_px: 64, most: 12}
references: {numbers: [2, 1], entries: 8}
dictionary: {entries: [8, 10, 4000], references: 2}
components:
  steps: 2
  crops: 1
  entries: 2
  photos: 4
  references: 2
  model: MODEL
  rows: {without CLM: {matching: false}, without multi-query: {multi_query: false}}
alignment: {references: [1], key_pictures: 2, entries: 2, windows: {stride_px: 64, most: 12}}
perturbation: {probabilities: [0, 1], draws: 2, references: 2, entries: 8}
"""

Run = Callable[..., dict[str, Any]]


def _pictures(folder: Path, seeds: range, side: int = 320) -> str:
    folder.mkdir()
    for seed in seeds:
        Image.fromarray(smooth(seed, side, side)).save(folder / f"{seed}.png")
    return str(folder)


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("collections")
    return _pictures(folder / "known", range(40, 46)), _pictures(folder / "coded", range(60, 62), 96)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What MLflow would have been told."""
    lines: list[tuple[Any, ...]] = []
    monkeypatch.setattr(runs, "log_totals", lambda *given: lines.append(given))
    return lines


def _ingest(workspace: Workspace, source: str) -> str:
    """Finish an ingest of a folder without a cluster; what holds no picture is refused as the flow does."""
    paths = sorted(Path(source).glob("*.png"))
    if not paths:
        return ingest_images.fn(source)

    def body(folder: Path) -> dict[str, Any]:
        images = {path.name: read_image(path) for path in paths}
        items = [
            Item(
                item_id=sha256_bytes(image_HW3.tobytes())[:16],
                name=name,
                photo=name,
                part="dictionary",
                row="natural",
                blob=workspace.blobs.put(png_bytes(image_HW3)),
                width=image_HW3.shape[1],
                height=image_HW3.shape[0],
                source="a test",
                licence="CC0",
            )
            for name, image_HW3 in images.items()
        ]
        write_items(folder, items)
        return {"source": source}

    return run_stage(workspace, "ingest-images", inputs={"source": source}, config={}, modules=[], body=body).key


@pytest.fixture
def run(
    workspace: Workspace,
    collections: tuple[str, str],
    small_bundle: Path,
    tmp_path: Path,
    told: list[tuple[Any, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Run a flow over the small collections; returns what it wrote."""
    for module in (ablating, perturbing):
        monkeypatch.setattr(module, "ingest_images", lambda source: _ingest(workspace, source))
    model = {name: getattr(SMALL, name) for name in (*WIDTHS, "slices", "refresh_before")}
    model |= {"narrow_blocks": 1, "wide_blocks": 1, "context_blocks": 0}
    (tmp_path / "grid.yaml").write_text(GRID.replace("MODEL", json.dumps(model)))

    def flow(table: str, **given: Any) -> dict[str, Any]:
        known, coded = collections
        asked = {"source": known, "evaluation": coded, "grid": str(tmp_path / "grid.yaml"), "bundle": str(small_bundle)}
        asked |= given
        if table == "perturbation":
            key = perturbing.perturb.fn(**asked)
        else:
            key = ablating.ablate.fn(tables=(table,), **asked)
        result = resolve(workspace, f"reproduction-{table}", key)
        rows = rows_from_table(read_table(result.directory / "rows.parquet"))
        return {**json.loads((result.directory / "figures.json").read_bytes()), "rows": rows, "key": key}

    return flow


def _variants(found: dict[str, Any]) -> list[str]:
    return [one["variant"] for one in found["values"]]


def test_numbers_of_references_are_rows_and_every_stream_is_one(run: Run, told: list[tuple[Any, ...]]) -> None:
    found = run("references")
    assert _variants(found) == ["none", "1", "2"]
    assert len(found["rows"]) == 3 * 2 * 4
    assert {(row.width, row.height, row.status) for row in found["rows"]} == {(64, 64, "ok")}
    assert (found["notes"]["entries"], found["crop_px"], len(found["pictures"])) == (8, 64, 2)
    [(_, experiment, name, params, totals, key, files)] = told
    assert (experiment, name, key) == ("reproduction", "references on coded", found["key"])
    assert {"bpp/2", "psnr_db/2", "better/2"} <= totals.keys()
    assert params["evaluation"] == "coded"
    assert all(path.is_file() for path in files)
    assert run("references")["key"] == found["key"]


def test_a_size_that_there_are_no_windows_for_is_a_row_with_the_reason(run: Run) -> None:
    found = run("dictionary")
    assert _variants(found) == ["none", "8", "10", "4000"]
    by_name = {one["variant"]: one for one in found["values"]}
    assert by_name["4000"]["reason"] == "there are only 12 windows to choose from"
    assert by_name["10"]["encode_s"] > by_name["10"]["search_s"] > 0.0
    assert by_name["10"]["lookup_ms"] > 0.0


def test_rows_that_differ_in_the_encoder_alone_share_the_weights(run: Run) -> None:
    found = run("components")
    assert _variants(found) == [ALL, f"{ALL}, none used", "without CLM", "without multi-query"]
    by_name = {one["variant"]: one for one in found["values"]}
    assert by_name["without CLM"]["steps"] == by_name[ALL]["steps"] == 2
    assert not by_name["without multi-query"]["trained"]
    sizes = {name: [row.bytes for row in found["rows"] if row.codec == name] for name in (ALL, f"{ALL}, none used")}
    assert all(sizes.values())


def test_random_matches_are_held_against_none_and_against_the_unperturbed(run: Run) -> None:
    found = run("perturbation")
    assert _variants(found) == ["none", "0", "1"]
    zero, one = found["values"][1:]
    assert (zero["probability"], one["probability"]) == (0.0, 1.0)
    drawn = {(row.codec, row.item_id, row.quality): row.bytes for row in found["rows"]}
    assert all(
        size == drawn[codec, item.replace("/1", "/0"), quality]
        for (codec, item, quality), size in drawn.items()
        if codec in ("none", "0")
    )
    assert {
        "bd_rate_against_0_percent",
        "performance_reduction_percent",
        "gain_lost_percent",
        "gain_lost_reason",
    } <= one.keys()
    assert len(found["rows"]) == 2 * 3 * 2 * 4, "two draws of three variants"


def test_aligned_pictures_may_resemble_what_is_known_and_others_not(run: Run, collections: tuple[str, str]) -> None:
    known, _ = collections
    found = run("alignment", evaluation=known, most_pictures=1)
    assert _variants(found) == ["none", "tokens of 1", "at most 1 aligned"]
    assert found["notes"]["key_pictures"] == 2
    with pytest.raises(Leak):
        run("references", evaluation=known)


def test_denormals_are_flushed_while_a_table_is_measured_and_not_after_it(run: Run) -> None:
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "described", lambda *given: found.append(_has_denormals()) or described(*given))
        run("references")
    assert found == [False]
    assert _has_denormals()


def _has_denormals() -> bool:
    return torch.tensor(1e-40).add(0).item() > 0


def test_figures_are_written_beside_and_never_replaced_unasked(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    run("references", out=str(tmp_path / "out"))
    file = tmp_path / "out" / "ablation-references.json"
    found = json.loads(file.read_bytes())
    assert {"version", "commit", "machine", "date", "values"} <= found.keys()
    file.write_text("mine")
    with pytest.raises(ClcError, match=r"ablation-references\.json"):
        run("references", out=str(tmp_path / "out"))
    assert file.read_text() == "mine"
    run("references", out=str(tmp_path / "out"), overwrite=True)
    assert json.loads(file.read_bytes()) == found


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"out": "nowhere"}, "no folder nowhere"),
        ({"evaluation": "empty"}, "no picture to evaluate in"),
        ({"source": "empty"}, "no picture .* in the folder"),
        ({"grid": "missing.yaml"}, "missing.yaml cannot be read"),
    ],
)
def test_bad_input_is_a_sentence(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=said) as caught:
        run("references", **given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("tables", [(), ("references", "tables")])
def test_an_unknown_table_is_refused_with_those_that_there_are(tables: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="choose from references, dictionary, components, alignment"):
        ablating.ablate.fn(tables=tables)


def test_what_is_evenly_chosen_keeps_its_order_and_reaches_over_all() -> None:
    assert evenly(range(10), 4) == [0, 2, 5, 7]
    assert evenly(range(3), 4) == [0, 1, 2]
