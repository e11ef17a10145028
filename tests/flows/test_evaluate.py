"""The flow evaluate-codec with a codec that stands in for ours: outputs, reuse, refusals."""

import io
import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

import flows.evaluate
from clc.errors import CorruptStream, DecodeMismatch, InputError
from clc.evaluation.coders import find_baselines
from clc.evaluation.measure import rows_from_table
from clc.evaluation.picture_plan import PicturePlan, measure_plan
from clc.pictures.images import png_bytes
from flows.evaluate import evaluate_codec
from flows.items import Item, write_items
from flows.leakage import refuse_leaks
from flows.runtime.stage import resolve, run_stage
from storage.tables import read_table

JPEG = find_baselines(["jpeg"]).available[0]


class JpegCodec:
    """Stands in for `clc.codec.Codec`: JPEG, which references "none" pad by an eighth."""

    def __init__(self, bundle_id="00112233445566ff"):
        self.bundle = SimpleNamespace(bundle_id=bundle_id, directory=Path("of the codec"))

    def encode(self, image_HW3, quality=50.0, references="auto", *, effort=5):
        data = JPEG.encode(image_HW3, quality)
        return data if references == "auto" else data + bytes(len(data) // 8)

    def decode(self, data):
        return JPEG.decode(data)


@pytest.fixture
def codec(monkeypatch):
    """Have the flow load a stand-in, measure two baselines only, and tell nothing to MLflow."""
    logged = []
    monkeypatch.setattr("flows.evaluation_subject.Codec.load", lambda folder: JpegCodec())
    monkeypatch.setattr("flows.evaluation_subject.add_pictures", lambda *given: None)
    monkeypatch.setattr(flows.evaluate, "find_baselines", lambda names: find_baselines(["jpeg", "webp"]))
    monkeypatch.setattr(flows.evaluate, "log_evaluation", lambda server, evaluation: logged.append(evaluation))
    return logged


def break_decoder(monkeypatch, error):
    """Have the flow load a stand-in whose decoder raises an error."""
    broken = JpegCodec()
    broken.decode = Mock(side_effect=error)
    monkeypatch.setattr("flows.evaluation_subject.Codec.load", lambda folder: broken)


def make_picture(seed):
    grain = np.random.default_rng(seed).normal(size=(12, 12, 3)) * 60 + 120
    small = Image.fromarray(np.clip(grain, 0, 255).astype(np.uint8))
    return np.asarray(small.resize((176, 168), Image.Resampling.BICUBIC))


def ingest(workspace, parts, key_seed=0):
    """Finish an ingest-images with pictures of the given (seed or array, part, row)."""

    def body(directory):
        items = []
        for index, (picture, part, row) in enumerate(parts):
            image_HW3 = make_picture(picture) if isinstance(picture, int) else picture
            items.append(
                Item(
                    item_id=f"item{index}",
                    name=f"picture {index}",
                    photo=f"photo {index}",
                    part=part,
                    row=row,
                    blob=workspace.blobs.put(png_bytes(image_HW3)),
                    width=image_HW3.shape[1],
                    height=image_HW3.shape[0],
                    source="a test",
                    licence="CC0",
                )
            )
        write_items(directory, items)
        return {"source": "test photos"}

    inputs = {"pictures": str(key_seed)}
    return run_stage(workspace, "ingest-images", inputs=inputs, config={}, modules=[], body=body).key


PARTS = [
    (0, "dictionary", "natural"),
    (1, "training", "natural"),
    (2, "evaluation", "natural"),
    (3, "evaluation", "natural"),
    (4, "dictionary", "pair"),
    (4, "evaluation", "pair"),
]


def test_other_patches_of_a_photo_that_another_ingest_put_elsewhere_are_leaks(workspace) -> None:
    origin = {"photo": "a.png", "row": "natural", "width": 64, "height": 64, "source": "-", "licence": "-"}
    blobs = [workspace.blobs.put(png_bytes(make_picture(seed))) for seed in (0, 1, 2)]
    known = Item(item_id=f"{'a' * 16}-0-0", name="known.png 0-0", part="training", blob=blobs[0], **origin)
    patch = Item(item_id=f"{'a' * 16}-64-0", name="a.png 64-0", part="evaluation", blob=blobs[1], **origin)
    other = Item(item_id=f"{'b' * 16}-0-0", name="b.png 0-0", part="evaluation", blob=blobs[2], **origin)
    with pytest.raises(
        InputError, match=r"1 evaluation pictures were seen before: a\.png 64-0 resembles known\.png 0-0"
    ):
        refuse_leaks(workspace.blobs, [patch, other], [known])
    copy = replace(known, name="copy.png", part="evaluation")
    with pytest.raises(InputError, match=r"copy\.png resembles known\.png 0-0 of the training part"):
        refuse_leaks(workspace.blobs, [copy], [known])
    refuse_leaks(workspace.blobs, [other], [known])


@pytest.mark.usefixtures("codec")
def test_an_evaluation_leaves_rows_summary_plot_and_report(workspace) -> None:
    key = evaluate_codec.fn(ingest=ingest(workspace, PARTS), bundle="shipped")
    result = resolve(workspace, "evaluate-codec", key)
    assert set(result.manifest.files) == {"rows.parquet", "summary.json", "rd.png", "report.html"}
    rows = rows_from_table(read_table(result.directory / "rows.parquet"))
    assert {(row.codec, row.row) for row in rows} == {
        ("clc", "natural"),
        ("clc", "pair"),
        ("clc, no references", "pair"),
        ("jpeg", "natural"),
        ("jpeg", "pair"),
        ("webp", "natural"),
        ("webp", "pair"),
    }
    summary = json.loads((result.directory / "summary.json").read_text())
    assert summary == result.manifest.summary
    assert summary["bundle_id"] == "00112233445566ff"
    assert summary["bd_rate_vs_jpeg_percent"] == pytest.approx(0.0, abs=2.0)
    assert summary["pair"]["references_bd_rate_percent"] == pytest.approx(-100 / 9, abs=0.5)
    assert "test photos" in (result.directory / "report.html").read_text()


def test_the_second_evaluation_of_the_same_is_used_again_and_told_again_as_the_same(workspace, codec) -> None:
    key = ingest(workspace, PARTS)
    first = evaluate_codec.fn(ingest=key, bundle="shipped")
    assert [one.comparison.row for one in codec] == ["natural", "pair"]
    # Each run's page has the BD-rates of its own pictures.
    assert ["| clc, no references |" in one.note for one in codec] == [False, True]
    assert evaluate_codec.fn(ingest="latest", bundle="shipped") == first
    assert [(one.stage_key, one.data) for one in codec[2:]] == [(one.stage_key, one.data) for one in codec[:2]]


def test_another_bundle_on_the_same_pictures_uses_the_baselines_again(workspace, codec, monkeypatch) -> None:
    key = ingest(workspace, PARTS)
    first = evaluate_codec.fn(ingest=key, bundle="shipped")
    monkeypatch.setattr("flows.evaluation_subject.Codec.load", lambda folder: JpegCodec("ff" * 8))
    assert evaluate_codec.fn(ingest=key, bundle="shipped") != first
    assert len(list((workspace.stages / "measure-baselines").iterdir())) == 3
    assert len(list((workspace.stages / "measure-codec").iterdir())) == 4


@pytest.mark.usefixtures("codec")
def test_the_pair_is_coded_beside_its_twin_and_nothing_else_is(workspace, monkeypatch) -> None:
    added, loaded = [], []
    monkeypatch.setattr("flows.evaluation_subject.add_pictures", lambda *given: added.append(given))
    monkeypatch.setattr(
        "flows.evaluation_subject.Codec.load",
        lambda folder: loaded.append(folder) or JpegCodec("00" * 8 if folder is None else "ff" * 8),
    )
    coded = []
    monkeypatch.setattr(
        JpegCodec,
        "encode",
        lambda codec, image_HW3, quality=50.0, references="auto", *, effort=5: (
            coded.append((codec.bundle.bundle_id, references, image_HW3.tobytes())) or JPEG.encode(image_HW3, quality)
        ),
    )
    result = resolve(workspace, "evaluate-codec", evaluate_codec.fn(ingest=ingest(workspace, PARTS), bundle="shipped"))
    ((bundle, folder, pictures, provenance),) = added
    assert bundle == Path("of the codec")
    assert loaded == [None, folder]
    assert not folder.exists()
    assert [picture.tobytes() for picture in pictures] == [make_picture(4).tobytes()]
    assert provenance == [{"name": "picture 4", "photo": "photo 4", "source": "a test", "licence": "CC0"}]
    of_pair = {(name, references) for name, references, pixels in coded if pixels == make_picture(4).tobytes()}
    assert of_pair == {("ff" * 8, "auto"), ("00" * 8, "none")}
    assert {name for name, _, pixels in coded if pixels != make_picture(4).tobytes()} == {"00" * 8}
    assert "coded beside photo 4 as key pictures" in (result.directory / "report.html").read_text()


@pytest.mark.usefixtures("codec")
@pytest.mark.parametrize("part", ["dictionary", "training"])
def test_a_near_duplicate_of_an_evaluation_picture_is_refused(workspace, part) -> None:
    buffer = io.BytesIO()
    Image.fromarray(make_picture(2)).save(buffer, "JPEG", quality=50)
    copy = np.asarray(Image.open(buffer))
    key = ingest(workspace, [*PARTS, (copy, part, "natural")])
    with pytest.raises(InputError, match=f"seen before: picture 2 resembles picture 6 of the {part} part"):
        evaluate_codec.fn(ingest=key, bundle="shipped")
    assert not list((workspace.stages / "evaluate-codec").glob("*/manifest.json"))


@pytest.mark.usefixtures("codec")
def test_the_pair_may_not_be_trained_on(workspace) -> None:
    with pytest.raises(InputError, match="resembles picture 6 of the training part"):
        evaluate_codec.fn(ingest=ingest(workspace, [*PARTS, (4, "training", "pair")]), bundle="shipped")


@pytest.mark.usefixtures("codec")
def test_what_the_bundle_was_trained_on_counts_even_if_it_is_of_another_ingest(workspace) -> None:
    own = ingest(workspace, [(2, "training", "natural"), (9, "evaluation", "natural")], key_seed=1)
    trained = run_stage(
        workspace,
        "train-codec",
        inputs={"ingest": own},
        config={},
        modules=[],
        body=lambda directory: (directory / "bundle").mkdir() or {},
    )
    key = ingest(workspace, PARTS)
    for bundle in (trained.key, "latest", str(trained.directory / "bundle")):
        with pytest.raises(InputError, match="of the training part"):
            evaluate_codec.fn(ingest=key, bundle=bundle)


def test_a_codec_that_fails_on_one_picture_costs_that_picture(workspace, codec, monkeypatch) -> None:
    class Fails(JpegCodec):
        def encode(self, image_HW3, quality=50.0, references="auto", *, effort=5):
            if (image_HW3 == make_picture(3)).all():
                raise CorruptStream("a picture it cannot code")
            return super().encode(image_HW3, quality, references, effort=effort)

    monkeypatch.setattr("flows.evaluation_subject.Codec.load", lambda folder: Fails())
    result = resolve(workspace, "evaluate-codec", evaluate_codec.fn(ingest=ingest(workspace, PARTS), bundle="shipped"))
    assert result.manifest.summary["failed_rows"] == 5
    assert result.manifest.summary["pictures"] == {"natural": 1, "pair": 1}
    assert "a picture it cannot code" in result.manifest.summary["left_out"][0]


def test_a_run_that_was_stopped_goes_on_and_what_failed_is_tried_again(workspace, codec, monkeypatch) -> None:
    coded = []

    class Stops(JpegCodec):
        def encode(self, image_HW3, quality=50.0, references="auto", *, effort=5):
            coded.append(quality)
            if is_short and (image_HW3 == make_picture(3)).all():
                raise is_short
            return super().encode(image_HW3, quality, references, effort=effort)

    monkeypatch.setattr("flows.evaluation_subject.Codec.load", lambda folder: Stops())
    monkeypatch.setattr("flows.evaluate.report_page", lambda *given: "")
    key = ingest(workspace, PARTS[:4])
    is_short: BaseException | None = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        evaluate_codec.fn(ingest=key, bundle="shipped")
    assert len(coded) == 5 + 1
    is_short = MemoryError("for now")
    first = resolve(workspace, "evaluate-codec", evaluate_codec.fn(ingest=key, bundle="shipped", qualities=(0, 50)))
    assert first.manifest.summary["failed_rows"] == 2
    is_short = None
    coded.clear()
    evaluate_codec.fn(ingest=key, bundle="shipped")
    assert len(coded) == 5  # one picture's alone


def test_workers_measure_what_no_earlier_run_has_kept_and_give_the_same_rows(workspace, codec, monkeypatch) -> None:
    def at_once(client, work, plans, named):
        given.append([named(plan) for plan in plans])
        return map(work, plans)

    given: list[list[str]] = []
    monkeypatch.setattr("flows.evaluation.measuring.dask_client", lambda workers, scheduler: nullcontext())
    monkeypatch.setattr("flows.evaluation.measuring.in_order", at_once)
    monkeypatch.setattr("clc.evaluation.picture_plan._loaded", lambda folder: JpegCodec())
    monkeypatch.setattr("flows.evaluate.report_page", lambda *given: "")
    key = ingest(workspace, PARTS)
    quiet, busy = (
        resolve(workspace, "evaluate-codec", evaluate_codec.fn(ingest=key, bundle="shipped", workers=count))
        for count in (1, 2)
    )
    assert given == [["picture 2", "picture 3"]]
    tables = [rows_from_table(read_table(one.directory / "rows.parquet")) for one in (quiet, busy)]
    assert len({tuple((row.codec, row.name, row.quality, row.bytes) for row in rows) for rows in tables}) == 1
    evaluate_codec.fn(ingest=key, bundle="shipped", workers=2, qualities=(0, 25, 50, 75, 100), most_pictures=9)
    assert len(given) == 1


def test_a_worker_with_another_bundle_measures_nothing(workspace, codec, monkeypatch) -> None:
    monkeypatch.setattr("clc.evaluation.picture_plan._loaded", lambda folder: JpegCodec("ff" * 8))
    plan = PicturePlan(
        item_id="a",
        name="a",
        blob="b",
        blobs_root=workspace.blobs.root,
        bundle=None,
        bundle_id="00" * 8,
        settings="",
        qualities=(50.0,),
        perceptual=(),
    )
    with pytest.raises(InputError, match="a worker has bundle ffffffffffffffff in place of 0000000000000000"):
        measure_plan(plan)


def test_a_stream_that_decodes_to_something_else_fails_the_run(workspace, codec, monkeypatch) -> None:
    break_decoder(monkeypatch, DecodeMismatch("the latents differ"))
    with pytest.raises(DecodeMismatch, match="clc at quality 0 does not decode what it coded of picture 2"):
        evaluate_codec.fn(ingest=ingest(workspace, PARTS), bundle="shipped")
    assert not list((workspace.stages / "evaluate-codec").glob("*/manifest.json"))


@pytest.mark.parametrize("has_ingest", [True, False])
@pytest.mark.usefixtures("codec")
def test_a_folder_is_evaluated_whole_and_what_cannot_be_read_is_a_row(has_ingest, workspace, tmp_path) -> None:
    folder = tmp_path / "holiday"
    folder.mkdir()
    for seed in (20, 21):
        (folder / f"{seed}.png").write_bytes(png_bytes(make_picture(seed)))
    (folder / "broken.png").write_bytes(b"no picture")
    stage = {"ingest": ingest(workspace, PARTS)} if has_ingest else {}
    key = evaluate_codec.fn(**stage, bundle="shipped", pictures=str(folder))
    result = resolve(workspace, "evaluate-codec", key)
    rows = rows_from_table(read_table(result.directory / "rows.parquet"))
    assert {row.name for row in rows} == {"20.png", "21.png", "broken.png"}
    assert {(row.width, row.height) for row in rows if row.status == "ok"} == {(176, 168)}
    assert {row.name for row in rows if row.status == "failed"} == {"broken.png"}
    assert result.manifest.summary["pictures"] == {"natural": 2}
    assert result.manifest.summary["dataset"] == str(folder)


@pytest.mark.usefixtures("codec")
def test_pictures_of_a_folder_that_training_has_seen_are_refused(workspace, tmp_path) -> None:
    (tmp_path / "seen").mkdir()
    (tmp_path / "seen" / "one.png").write_bytes(png_bytes(make_picture(1)))
    with pytest.raises(InputError, match=r"one\.png resembles picture 1 of the training part"):
        evaluate_codec.fn(ingest=ingest(workspace, PARTS), bundle="shipped", pictures=str(tmp_path / "seen"))


def test_a_codec_that_fails_on_everything_ends_the_flow(workspace, codec, monkeypatch) -> None:
    break_decoder(monkeypatch, CorruptStream("no"))
    with pytest.raises(InputError, match="failed on every picture, first with: no"):
        evaluate_codec.fn(ingest=ingest(workspace, PARTS), bundle="shipped")


@pytest.mark.usefixtures("codec")
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"qualities": ()}, "at least one"),
        ({"qualities": (50.0, 101.0)}, "from 0 to 100"),
        ({"bundle": "no/such/folder"}, "no bundle folder at"),
        ({"bundle": "latest"}, "run the flow train-codec first"),
        ({"ingest": "0123456789abcdef"}, "no finished ingest-images 0123456789abcdef"),
        ({"most_pictures": 0}, "most_pictures"),
        ({"workers": 0}, "workers is 0"),
        ({"measures": "some"}, "measures is 'some'; choose fast, all"),
        ({"pictures": "no/such/folder"}, "no folder of pictures at .*; name one, or a set \\(kodak, clic, tecnick\\)"),
    ],
)
def test_bad_parameters_are_refused_with_what_to_do(workspace, parameters, message) -> None:
    ingest(workspace, PARTS)
    with pytest.raises(InputError, match=message):
        evaluate_codec.fn(**{"bundle": "shipped", **parameters})


@pytest.mark.usefixtures("codec")
def test_an_ingest_without_evaluation_pictures_is_refused(workspace) -> None:
    with pytest.raises(InputError, match="has no evaluation pictures"):
        evaluate_codec.fn(ingest=ingest(workspace, PARTS[:2]), bundle="shipped")


@pytest.mark.usefixtures("codec")
def test_no_more_pictures_are_measured_than_asked_for(workspace) -> None:
    key = evaluate_codec.fn(ingest=ingest(workspace, PARTS), bundle="shipped", most_pictures=1)
    summary = resolve(workspace, "evaluate-codec", key).manifest.summary
    assert (summary["pictures"], summary["left_over"]) == ({"natural": 1, "pair": 1}, 1)
