"""bench/references.py with a stand-in for the codec: the split, the modes, the figures, the JSON, the collection."""

import importlib
import json
import shutil
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from clc.bitstream.alignment import identity
from clc.bitstream.container import pack, parse
from clc.bitstream.stream import PROFILE, Stream
from clc.bundle import extend
from clc.bundle.bundle import Bundle
from clc.errors import InputError
from clc.evaluation.bd_rate import RateCurve
from clc.pictures.images import png_bytes, read_image

BENCH = Path(__file__).parents[2] / "bench"
QUALITIES = (10.0, 30.0, 50.0, 70.0, 90.0)
SIDE = 64


class StandIn:
    """A codec that quantises the difference to a key picture, or to grey: real streams, no network."""

    def __init__(self, first_key: int, keys: list[Path]) -> None:
        pictures = {
            first_key + i: SimpleNamespace(read=lambda path=path: read_image(path)) for i, path in enumerate(keys)
        }
        self.bundle = SimpleNamespace(entries=SimpleNamespace(pictures=pictures))
        self.asked: list[tuple[object, object]] = []
        self.is_blind = False  # finds no entry by itself

    def encode(self, image_HW3, quality=50.0, references="auto", *, entries=None) -> bytes:
        self.asked.append((references, entries))
        known = self.bundle.entries.pictures
        found = [entry for entry in known if (not self.is_blind if entries is None else entry in entries)]
        allowed = found if references == "auto" else []
        choices = [(), *[(entry,) for entry in allowed]]
        return min((self._stream(image_HW3, quality, choice) for choice in choices), key=len)

    def _stream(self, image_HW3, quality, choice) -> bytes:
        step = self._step(quality)
        residual = np.rint((image_HW3.astype(int) - self._prediction(choice, image_HW3.shape)) / step).astype(np.int16)
        alignments = tuple(identity(*image_HW3.shape[:2]) for _ in choice)
        return pack(
            Stream(
                profile=PROFILE,
                width=image_HW3.shape[1],
                height=image_HW3.shape[0],
                quality_q6=round(quality * 64),
                bundle_id=bytes(8),
                references=choice,
                latents_crc32=0,
                payload=zlib.compress(residual.tobytes(), 9),
                alignments=alignments,
            )
        )

    def decode(self, data: bytes):
        stream = parse(data)
        shape = (stream.height, stream.width, 3)
        residual = np.frombuffer(zlib.decompress(stream.payload), np.int16).reshape(shape)
        levels = residual * self._step(stream.quality_q6 / 64) + self._prediction(stream.references, shape)
        return np.clip(levels, 0, 255).astype(np.uint8)

    def _prediction(self, choice, shape):
        return self.bundle.entries.pictures[choice[0]].read().astype(int) if choice else np.full(shape, 128)

    @staticmethod
    def _step(quality: float) -> int:
        return round(2 + 0.5 * (100 - quality))


@pytest.fixture
def bench(monkeypatch):
    """Return a function that imports a module of bench/."""
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module


@pytest.fixture
def pictures(tmp_path, photo):
    """Five noisy copies of one picture, so that any is a good reference for the others."""
    folder = tmp_path / "strip"
    folder.mkdir()
    noise = np.random.default_rng(3)
    for index in range(5):
        seen = photo[100 : 100 + SIDE, 150 : 150 + SIDE] + noise.normal(0, 4, (SIDE, SIDE, 3))
        (folder / f"picture {index}.png").write_bytes(png_bytes(np.clip(seen, 0, 255).astype(np.uint8)))
    return folder


@pytest.fixture
def added(monkeypatch, tmp_path):
    """A bundle of seven entries without a model, and a stand-in for `add_pictures` that adds 100 bytes for each."""
    calls = []
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "model").write_bytes(bytes(1000))
    base = SimpleNamespace(directory=folder, bundle_id="ba5e", entries=range(7))
    monkeypatch.setattr(Bundle, "load", lambda folder=None: base)

    def add_pictures(bundle, out, keys, provenance, picture_format="webp-lossless"):
        calls.append((len(keys), picture_format))
        shutil.copytree(bundle, out)
        (out / "keys").write_bytes(bytes(100 * len(keys)))
        return "0" * 16

    monkeypatch.setattr(extend, "add_pictures", add_pictures, raising=False)
    return calls


@pytest.fixture
def measure(bench):
    """Return what measures a job in this process, without a decoder's network."""
    rows = bench("referenced.rows")
    return lambda job, processes=1: rows.measure_job(StandIn(job.first_key, [Path(key) for key in job.keys]), job)


def test_the_first_picture_is_odd(bench) -> None:
    odd, even = bench("references").split_odd_even([Path(name) for name in "abcde"])
    assert [path.name for path in odd] == ["a", "c", "e"]
    assert [path.name for path in even] == ["b", "d"]


def test_a_set_gives_every_key_and_a_row_for_every_picture(bench, pictures, added, measure) -> None:
    program = bench("references")
    odd, even = program.split_odd_even(program.picture_paths(pictures))
    plan = program.Plan(odd, even, bench("referenced.rows").MODES, QUALITIES, dear=program.Dear(oracle=1))
    found = program.measure_set(plan, None, measure=measure).to_json()
    json.dumps(found, allow_nan=False)
    assert added == [(3, "webp-lossless")]
    assert found["aligned"] < -20
    assert found["tokens"] == pytest.approx(0, abs=1e-6)
    assert found["random"] == pytest.approx(0, abs=1e-6)
    assert found["oracle"] == pytest.approx(found["aligned_on_the_oracles_pictures"], abs=5)
    assert [row["name"] for row in found["per_picture"]] == ["picture 1.png", "picture 3.png"]
    row = found["per_picture"][0]
    assert row["covered"] == pytest.approx(1.0)
    assert set(row["aligned_references"]) <= {path.name for path in odd}
    assert [file["quality"] for file in row["files"]["aligned"]] == list(QUALITIES)
    assert "oracle" not in found["per_picture"][1]["files"]
    assert found["x265"] is None


def test_the_random_entry_is_one_that_the_bundle_had_before(bench, pictures) -> None:
    rows = bench("referenced.rows")
    path = pictures / "picture 1.png"
    codec = StandIn(10, [pictures / "picture 0.png"])
    job = rows.Job("", (str(path),), ("random",), (50.0,), first_key=10)
    rows.measure_picture(codec, job, path)
    rows.measure_picture(codec, job, path)
    (references, first), (_, second) = codec.asked
    assert references == "auto"
    assert first == second
    assert len(first) == 1
    assert first[0] < 10


def test_the_oracle_takes_what_is_cheaper_at_equal_quality(bench, pictures) -> None:
    rows = bench("referenced.rows")
    path = pictures / "picture 1.png"
    keys = [pictures / "picture 0.png", pictures / "picture 2.png"]
    job = rows.Job("", (str(path),), rows.MODES, QUALITIES, 10, tuple(map(str, keys)), oracle=(path.name,))
    codec = StandIn(10, keys)
    codec.is_blind = True
    files = rows.measure_picture(codec, job, path)
    by_mode = {mode: [file for file in files if file.mode == mode] for mode in rows.MODES}
    assert [file.quality for file in by_mode["oracle"]] == list(QUALITIES)
    assert {file.references for file in by_mode["aligned"]} == {()}
    assert all(len(file.references) == 1 for file in by_mode["oracle"])
    assert all(best.size_bytes < free.size_bytes for best, free in zip(by_mode["oracle"], by_mode["none"], strict=True))


def test_a_missing_peer_is_said_before_anything_is_coded(bench, pictures, added, monkeypatch) -> None:
    program = bench("references")
    monkeypatch.setenv("PATH", "")
    plan = program.Plan([], program.picture_paths(pictures), ("none",), QUALITIES, dear=program.Dear(x265=1))
    with pytest.raises(InputError, match="x265 is not installed"):
        program.measure_set(plan, None, measure=pytest.fail)


def test_a_picture_that_fails_is_left_out_and_named(bench) -> None:
    rows, curves = bench("referenced.rows"), bench("referenced.curves")
    good, bad = (rows.CodedFile(name, "none", 50, 64, 10, 30.0) for name in "ab")
    broken = rows.CodedFile("b", "aligned", 50, 64, fault="DecodeMismatch: other latents")
    kept, left_out = curves.usable([good, bad, broken])
    assert kept == [good]
    assert left_out == {"b": "aligned at 50: DecodeMismatch: other latents"}


def test_half_the_rate_at_equal_psnr_is_minus_fifty(bench) -> None:
    curves = bench("referenced.curves")
    levels = [30.0, 33.0, 36.0, 39.0]
    anchor = RateCurve.of("none", [0.1, 0.2, 0.4, 0.8], levels)
    test = RateCurve.of("aligned", [0.05, 0.1, 0.2, 0.4], levels)
    assert curves.saving(anchor, test).percent == pytest.approx(-50)
    assert curves.rate_at(test, 33.0) == pytest.approx(0.1)
    assert curves.rate_at(test, 50.0) is None
    assert curves.levels_db(anchor, test, 2) == [33.0, 36.0]


def test_too_little_common_range_gives_no_figure_but_a_reason(bench) -> None:
    curves = bench("referenced.curves")
    anchor = RateCurve.of("none", [0.1, 0.2, 0.4, 0.8], [30.0, 31.0, 32.0, 33.0])
    test = RateCurve.of("aligned", [0.01, 0.02, 0.04, 0.08], [31.6, 33.0, 34.0, 35.0])
    found = curves.saving(anchor, test)
    assert found.percent is None
    assert "share 1.40 dB" in found.rate.reason


def test_a_part_of_a_curve_keeps_its_rates(bench) -> None:
    curves = bench("referenced.curves")
    curve = RateCurve.of("x265", [0.1, 0.2, 0.4, 0.8], [30.0, 33.0, 36.0, 39.0])
    part = curves.within(curve, 31.0, 36.0)
    assert part.range == (31.0, 36.0)
    assert part.points[-1].bpp == pytest.approx(0.4)
    assert curves.within(curve, 40.0, 45.0).points == ()
    saved = RateCurve.of("x265 raw", [0.05, 0.1, 0.2, 0.4], [30.0, 33.0, 36.0, 39.0])
    assert curves.saving(part, saved).percent == pytest.approx(-50, abs=1)


def test_a_point_that_costs_more_and_is_worse_is_left_out_and_counted(bench) -> None:
    curves = bench("referenced.curves")
    anchor = RateCurve.of("none", [0.1, 0.2, 0.4, 0.8], [30.0, 33.0, 36.0, 39.0])
    test = RateCurve.of("aligned", [0.05, 0.06, 0.1, 0.2, 0.4], [30.0, 29.0, 33.0, 36.0, 39.0])
    found = curves.saving(anchor, test)
    assert found.percent == pytest.approx(-50)
    assert found.dominated == 1


def test_the_peer_stands_beside_ours(bench) -> None:
    rows, summary = bench("referenced.rows"), bench("referenced.summary")
    sizes = {"none": 1000, "aligned": 500, "x265 intra": 800, "x265 raw": 400, "x265 warped": 200}
    files = [
        rows.CodedFile(
            "a", mode, float(i), 8 * 1000, size * 2**i, 30.0 + 3 * i, side_bytes=size // 2 if "x2" in mode else 0
        )
        for mode, size in sizes.items()
        for i in range(4)
    ]
    peer = summary.summarise(files, "0" * 16, [], 0).peer.to_json()
    assert peer["raw"] == pytest.approx(-50)
    assert peer["warped"] == pytest.approx(-75)
    assert peer["ours_aligned_on_these"] == pytest.approx(-50)
    assert peer["without_headers_and_alignment"]["x265 raw"]["percent"] == pytest.approx(-50)
    assert peer["over_our_range"]["x265 raw"]["percent"] == pytest.approx(-50, abs=1)
    assert len(peer["mean_bytes_at_equal_psnr"]) == 3
    for level in peer["mean_bytes_at_equal_psnr"]:
        assert level["aligned"] / level["x265 warped"] == pytest.approx(2.5)


def test_a_collection_counts_the_dictionary_and_finds_the_best_try(bench, pictures, added, measure) -> None:
    program = bench("referenced.collection")
    paths = sorted(pictures.iterdir())

    def measured(job):
        n_keys = added[-1][0] if added else 0
        return measure(bench("referenced.rows").Job(**{**job.__dict__, "keys": tuple(map(str, paths[:n_keys]))}))

    found = program.measure_collection(paths, None, QUALITIES, [(1, "webp-80"), (2, "webp-60")], measured)
    assert added == [(1, "webp-80"), (2, "webp-60")]
    assert [one.totals[0].dictionary_bytes for one in found.tries] == [100, 200]
    assert all(t.total_bytes == t.files_bytes + t.dictionary_bytes for one in found.tries for t in one.totals)
    assert found.savings[0].percent < 0
    assert found.overall.percent < 0
    assert found.savings[found.best].percent == min(one.percent for one in found.savings)
    json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.parametrize(("count", "chosen"), [(1, "c"), (2, "bd"), (5, "abcde")])
def test_key_pictures_stand_evenly_apart(bench, count, chosen) -> None:
    paths = [Path(name) for name in "abcde"]
    assert "".join(path.name for path in bench("referenced.collection").evenly(paths, count)) == chosen


def test_more_key_pictures_than_pictures_are_refused(bench) -> None:
    with pytest.raises(InputError, match="cannot be had"):
        bench("referenced.collection").evenly([Path("a")], 2)


def test_a_job_goes_through_json_unchanged(bench) -> None:
    rows = bench("referenced.rows")
    job = rows.Job("", ("a", "b"), ("none",), (10.0, 50.0), 7, oracle=("a",))
    assert rows.Job.from_json(json.loads(json.dumps(job.__dict__))) == job
    file = rows.CodedFile("a", "none", 50.0, 64, 10, 30.0, references=(3, 4))
    assert rows.file_from_json(json.loads(json.dumps(file.__dict__))) == file


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "no/such"], "no folder"),
        (["--set", "."], "holds no picture"),
        (["--set", "{pictures}", "--modes", "best"], "unknown modes"),
        (["--set", "{pictures}", "--qualities", "much"], "numbers with commas"),
        (["--set", "{pictures}", "--key-pictures", "even"], "odd or none"),
    ],
)
def test_what_cannot_be_measured_is_one_line(bench, pictures, arguments, message, tmp_path, monkeypatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    app = typer.Typer()
    app.command()(bench("references").command)
    given = [argument.format(pictures=pictures) for argument in arguments]
    result = CliRunner().invoke(app, [*given, "--json", "out.json"])
    assert result.exit_code == 1
    assert message in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_figures_that_exist_are_left_alone(bench, pictures, tmp_path) -> None:
    (tmp_path / "out.json").write_text("old")
    app = typer.Typer()
    app.command()(bench("references").command)
    result = CliRunner().invoke(app, ["--set", str(pictures), "--json", str(tmp_path / "out.json")])
    assert result.exit_code == 1
    assert "out.json exists already; remove it, or give another name or --overwrite" in result.output
    assert (tmp_path / "out.json").read_text() == "old"


def test_kodak_is_never_put_into_a_dictionary(bench, pictures, added, measure, monkeypatch, tmp_path) -> None:
    program = bench("references")
    jobs = []

    def watched(job, processes):
        jobs.append(job)
        return measure(job)

    monkeypatch.setattr(program, "run_job", watched)
    folder = pictures.rename(tmp_path / "kodak")
    app = typer.Typer()
    app.command()(program.command)
    arguments = ["--set", str(folder), "--json", str(tmp_path / "out.json"), "--qualities", "10,30,50,70"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert added == []
    assert len(jobs[0].pictures) == 5
    assert jobs[0].oracle == ()
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["key_pictures"] == []
    assert found["aligned"] == pytest.approx(0, abs=1e-6)
    assert found["bundle"] == "ba5e"
