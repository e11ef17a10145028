"""bench/codec.py: ratios, the pictures it makes, and each measurement on something small."""

import importlib.util
import json
import statistics
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bench.results.record import read_record
from bench.results.tables.speed import BLOCKS, values_of
from clc.codec import Codec
from clc.pictures.images import png_bytes

PROGRAM = Path(__file__).parents[2] / "bench" / "codec.py"


@pytest.fixture(scope="module")
def program():
    spec = importlib.util.spec_from_file_location("codec_bench", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_ratio_is_our_median_over_the_peers_and_every_encoding_meets_the_peers_encoding(program) -> None:
    ours = {
        "encode": [1.0, 2.0, 9.0],
        "encode, no references": [1.0],
        "decode": [3.0],
        "decode, latents only": [2.0],
    }
    ratios = program.beside_peers(ours, {"a": {"encode": [4.0], "decode": [1.0, 1.5, 2.0]}})
    assert ratios == {"encode": {"a": 0.5}, "encode, no references": {"a": 0.25}, "decode": {"a": 2.0}}


def test_our_own_peer_without_references_meets_ours_without(program) -> None:
    ratios = program.beside_peers(
        {"encode, no references": [1.0]}, {"tcm": {"encode": [9.0], "encode, no references": [2.0]}}
    )
    assert ratios == {"encode, no references": {"tcm": 0.5}}


def test_the_first_call_is_not_counted(program) -> None:
    calls = []
    assert len(program.timed(lambda: calls.append(1), 3)) == 3
    assert len(calls) == 4


@pytest.mark.parametrize("size", [(40, 60), (400, 700)])
def test_a_picture_is_cut_or_tiled_to_the_size(program, photo, tmp_path, size) -> None:
    (tmp_path / "a.png").write_bytes(png_bytes(photo))
    image = program.picture(tmp_path / "a.png", size)
    assert image.shape == (*size, 3)
    shared = min(size[0], 300), min(size[1], 451)
    assert np.array_equal(image[: shared[0], : shared[1]], photo[: shared[0], : shared[1]])
    assert program.picture(None, size).shape == (*size, 3)


def test_a_codec_gives_all_rows_and_searches_anew_in_each_run(program, shipped: Codec, photo, monkeypatch) -> None:
    searched, search = [], shipped.selector._search
    monkeypatch.setattr(shipped.selector, "_search", lambda *given: searched.append(given) or search(*given))
    picture = np.ascontiguousarray(photo[9:73, 31:95])  # of which the shared codec has found nothing yet
    rows = program.measure_codec(shipped, picture, 2)
    assert len(searched) == 4  # once for the stream that is decoded, then three times: one run does not count
    assert list(rows) == ["encode", "encode, no references", "decode", "decode, latents only"]
    assert all(seconds > 0 for values in rows.values() for seconds in values)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # in compressai's own imports
def test_the_peers_of_compressai_run_at_a_quality(program, photo) -> None:
    rows = program.measure_peer("mbt2018-mean", 3, np.ascontiguousarray(photo[:64, :64]), 1)
    assert list(rows) == ["encode", "decode"]


def test_memory_is_that_of_a_process_of_its_own(program) -> None:
    held = np.ones(900 * 2**20, np.uint8)
    peaks = program.peak_memory(None, (64, 64))
    assert set(peaks) == {"encode", "decode"}
    assert all(50 < peak < len(held) / 2**20 for peak in peaks.values())


def test_large_pictures_are_given_by_the_megapixel(program, monkeypatch) -> None:
    sides = []
    codec = SimpleNamespace(encode=lambda image, quality, references: image.shape, decode=sides.append)
    ticks = iter(np.arange(100.0))
    monkeypatch.setattr(program.time, "perf_counter", lambda: next(ticks))
    found = program.measure_large(codec, None, [1, 4], 2)
    assert found == {"1 MP": [1.0, 1.0], "4 MP": [0.25, 0.25]}
    assert sides == [(1024, 1024, 3)] * 3 + [(2048, 2048, 3)] * 3


def test_the_command_prints_every_peer_and_writes_all_figures(program, monkeypatch, tmp_path, capsys) -> None:
    rows = {"encode": [2.0], "encode, no references": [1.0], "decode": [1.0], "decode, latents only": [0.5]}
    monkeypatch.setattr(program, "measure_codec", lambda codec, image, runs: rows)
    monkeypatch.setattr(program, "measure_peer", lambda name, quality, image, runs: {"encode": [4.0], "decode": [2.0]})
    monkeypatch.setattr(program, "measure_tcm", lambda image, runs: {row: [8.0] for row in rows})
    monkeypatch.setattr(
        program, "measure_exactness", lambda bundle, runs: {"exact path": [3.0], "its float twin": [2.0]}
    )
    monkeypatch.setattr(program, "start_up", lambda bundle, runs: [1.0])
    monkeypatch.setattr(program, "peak_memory", lambda bundle: {"encode": 900.0, "decode": 800.0})
    out = tmp_path / "figures.json"
    assert program.main(["--runs", "1", "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    peers = {f"{name} q{quality}" for name in ("mbt2018-mean", "cheng2020-anchor") for quality in (3, 6)}
    assert set(found["ratios"]["decode"]) == {*peers, program.TCM}
    assert found["ratios"]["decode"]["mbt2018-mean q3"] == 0.5
    assert found["exact_over_float"] == 1.5
    assert statistics.median(found["start_up_seconds"]) == 1.0
    assert found["decode_seconds_a_megapixel"] == {}
    quoted = values_of(found)
    assert quoted["seconds"]["clc"]["encode, no references"] == 1.0
    assert (quoted["exact_seconds"], quoted["start_up_seconds"], quoted["peak_memory_mib"]["decode"]) == (3.0, 1.0, 800)
    record = read_record(Path(__file__).parents[2] / "docs" / "figures", "speed")
    shown = BLOCKS[0].render({name: replace(record, values=quoted) for name in ("speed", "speed-again")})
    assert "| decode | 1.00 s | 2.00 s (**0.50**) | 2.00 s (0.50) | 8.00 s (0.12) |" in shown
    assert "A second call gave ratios of 0.50, 0.25 and 0.50." in shown
    kept = out.read_bytes()
    assert program.main(["--runs", "1", "--json", str(out)]) == 1
    assert out.read_bytes() == kept
    assert program.main(["--runs", "1", "--json", str(out), "--overwrite"]) == 0
    printed = capsys.readouterr().out
    assert "0.12" in printed  # a decoding of 1 s over tcm's 8 s
    assert "900 MiB" in printed


def test_every_run_beside_key_pictures_searches_anew(program, monkeypatch) -> None:
    coded = []

    class Searcher:
        def __init__(self, bundle: str) -> None:
            self.number = len({number for number, _ in coded})

        def encode(self, image: np.ndarray, quality: float) -> None:
            coded.append((self.number, image.tobytes()))

    monkeypatch.setattr(program, "Codec", Searcher)
    rows = program.measure_search("bundle", np.zeros((8, 8, 3), np.uint8), 2)
    assert list(rows) == ["encode, first picture", "encode, later picture"]
    first, later = coded[:3], coded[3:]
    assert len({number for number, _ in first}) == 3
    assert len(later) == 3
    assert len({picture for _, picture in later}) == 3


def test_keys_print_the_time_with_search_and_its_ratio_to_mbt2018_mean(
    program, monkeypatch, photo, tmp_path, capsys
) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "a.png").write_bytes(png_bytes(photo[:96, :128]))
    (tmp_path / "b.png").write_bytes(png_bytes(photo[8:72, 8:104]))
    monkeypatch.setattr(program, "measure_peer", lambda name, quality, image, runs: {"encode": [0.5], "decode": [1.0]})
    searched = {"encode, first picture": [2.0], "encode, later picture": [1.0]}

    def search(bundle, image, runs):
        assert [picture.width for picture in bundle.entries.pictures.values()] == [128]
        return searched

    monkeypatch.setattr(program, "measure_search", search)
    out = tmp_path / "figures.json"
    assert program.main([str(tmp_path / "b.png"), "--keys", str(tmp_path / "keys"), "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["ratios"]["encode, first picture"] == {"mbt2018-mean q3": 4.0, "mbt2018-mean q6": 4.0}
    assert found["setting"]["keys"] == 1
    assert found["setting"]["size"] == [96, 64]
    printed = capsys.readouterr().out
    assert "96x64, 1 keys" in printed
    assert "4.00" in printed


def test_a_picture_is_not_coded_beside_itself(program, photo, tmp_path, capsys) -> None:
    (tmp_path / "a.png").write_bytes(png_bytes(photo[:64, :64]))
    assert program.main([str(tmp_path / "a.png"), "--keys", str(tmp_path)]) == 1
    assert "one of the key pictures" in capsys.readouterr().err
    assert program.main(["--keys", str(tmp_path)]) == 1
    assert "needs a picture" in capsys.readouterr().err


def test_a_bundle_that_is_not_there_is_one_line(program, tmp_path, capsys) -> None:
    assert program.main(["--bundle", str(tmp_path / "none")]) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
