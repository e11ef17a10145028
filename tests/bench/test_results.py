"""`make results` measures with a cheap command: what is kept and listed, what ends it, and what is refused."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.results import run as running
from bench.results.__main__ import main
from bench.results.record import read_record
from bench.results.run import Places
from clc.errors import InputError
from storage.locks import in_use
from tests.measured import PROGRAM, REGISTRY, calls, commit, measurement, record_of

ROOT = Path(__file__).parents[2]


def test_what_is_measured_is_kept_with_all_that_it_is_of_and_written_into_the_page(places: Places) -> None:
    assert main([], REGISTRY, places) == 0
    assert calls(places) == ["4", "3"]  # the cheaper one first
    found = record_of(places)
    assert found.values == {"n": 3}
    assert found.command == "SOME=thing python program.py 3"
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=places.root, check=True, capture_output=True, text=True)
    assert commit.stdout.startswith(found.commit)
    assert (found.is_clean, found.transcribed, found.after_release) == (True, False, False)
    assert found.bundle == "44136fa355b3678a"  # of "{}"
    assert "used" in found.machine
    assert "torch" in found.machine
    assert found.seconds is not None
    assert found.processor_seconds is not None
    assert found.load_before is not None
    assert len(found.load_before) == 3
    assert "measuring 3" in (places.outputs / "a.log").read_text()
    assert json.loads((places.outputs / "a" / "out.json").read_text())["variable"] == "thing"
    page = (places.root / "README.md").read_text()
    assert "<!-- figures: both -->\n| a | b |\n|---|---|\n| 3 % | 4 % |\n\n<!-- end -->" in page
    assert "One takes 3 %\nmore than" in page


def test_what_is_there_is_not_measured_again_unless_that_is_asked_for(places: Places) -> None:
    assert main(["--only", "a"], REGISTRY, places) == 1  # measured, but the page needs the other one too
    assert main([], REGISTRY, places) == 0
    assert main([], REGISTRY, places) == 0
    assert calls(places) == ["3", "4"]
    assert main(["--only", "b,a", "--again"], REGISTRY, places) == 0
    assert calls(places) == ["3", "4", "4", "3"]


@pytest.mark.parametrize(
    "other",
    [
        {"version": "0.0.1"},
        {"after_release": True},
        {"transcribed": True},
        {"command": "python program.py 5"},
        {"bundle": "0" * 16, "commit": "0" * 7},
    ],
)
def test_figures_of_other_code_or_of_a_table_are_measured_anew(places: Places, other: dict[str, Any]) -> None:
    main([], REGISTRY, places)
    replace(record_of(places), **other).write(places.figures)
    assert main([], REGISTRY, places) == 0
    assert calls(places) == ["4", "3", "3"]


def test_another_commit_with_the_same_bundle_measures_nothing(places: Places) -> None:
    main([], REGISTRY, places)
    replace(record_of(places), commit="0" * 7).write(places.figures)
    assert main([], REGISTRY, places) == 0
    assert calls(places) == ["4", "3"]


def test_code_is_younger_than_its_release_where_the_changelog_says_unreleased(places: Places) -> None:
    (places.root / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n## 1.0.0\n")
    main([], REGISTRY, places)
    assert record_of(places).after_release


def test_a_changed_tree_is_told_but_for_pages(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    (places.root / "CHANGELOG.md").write_text("# Changelog\n")
    main([], REGISTRY, places)
    assert record_of(places).is_clean
    (places.root / "program.py").write_text(PROGRAM + "\n")
    main(["--again"], REGISTRY, places)
    assert not record_of(places).is_clean
    assert "the tree differs from commit" in capsys.readouterr().out


def test_a_command_that_fails_costs_its_own_figures_only(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    registry = replace(REGISTRY, measurements=(measurement("a", "3", 2), measurement("b", "4 --fail", 1)))
    assert main([], registry, places) == 1
    assert record_of(places).values == {"n": 3}
    assert not (places.figures / "b.json").exists()
    assert "b was not measured: the command ended with status 1; the end of its log: measuring 4 / error: no such" in (
        capsys.readouterr().err
    )


def test_an_output_without_what_is_expected_is_an_error(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    lacking = replace(REGISTRY.measurements[0], values=lambda found: {"n": found["nothing"]})
    assert main(["--only", "a"], replace(REGISTRY, measurements=(lacking,), blocks=()), places) == 1
    assert "does not hold what was expected: KeyError 'nothing'" in capsys.readouterr().err
    assert not (places.figures / "a.json").exists()


def test_missing_pictures_are_named(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    registry = replace(REGISTRY, measurements=(measurement("a", "3", needs=("../shared/data/none",)),))
    assert main([], registry, places) == 1
    assert "a was not measured: needs ../shared/data/none, which is not there" in capsys.readouterr().err
    assert calls(places) == []


def test_a_picture_of_the_output_comes_into_the_page(places: Places) -> None:
    program = PROGRAM.replace(
        "json.dump(", 'os.mkdir(out); open(out + "/rd.png", "w").write("png"); json.dump('
    ).replace("open(out, ", 'open(out + "/r.json", ')
    (places.root / "program.py").write_text(program)
    commit(places.root)
    one = measurement("a", "3", result="r.json", pictures={"rd.png": "docs/rd.png"})
    main(["--only", "a"], replace(REGISTRY, measurements=(one,)), places)
    assert record_of(places).values == {"n": 3}
    assert (places.root / "docs" / "rd.png").read_text() == "png"
    alone = replace(REGISTRY, measurements=(one,), blocks=(), phrases=(), pages=())
    (places.root / "README.md").write_text("nothing")
    assert main(["--check"], alone, places) == 0
    (places.root / "docs" / "rd.png").write_text("another")
    assert main(["--check"], alone, places) == 1


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_at_the_end_of_its_minutes_it_stops_and_keeps_what_was_done(
    places: Places, capsys: pytest.CaptureFixture[str]
) -> None:
    one = measurement("slow", "5 --child", 0.0)
    registry = replace(REGISTRY, measurements=(measurement("a", "3", 0.0), measurement("b", "4", 50), one))
    assert main(["--only", "a,b,slow", "--budget-minutes", "0.05"], registry, places) == 1
    assert record_of(places).values == {"n": 3}
    assert calls(places) == ["3", "5"]
    assert "no minutes were left for b, slow" in capsys.readouterr().out
    assert not (places.figures / "slow.json").exists()
    assert not any(is_alive(int(pid)) for pid in (places.root / "pids").read_text().split())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_a_request_to_end_keep_what_was_done_and_leave_no_process(places: Places, number: int) -> None:
    driver = (
        "import signal, sys\n"
        "from dataclasses import replace\n"
        "from pathlib import Path\n"
        "from bench.results import __main__ as program\n"
        "from tests.measured import REGISTRY, Places, measurement\n"
        f"root = Path({str(places.root)!r})\n"
        "one = measurement('slow', '5 --child')\n"
        "registry = replace(REGISTRY, measurements=(measurement('a', '3'), one))\n"
        "signal.signal(signal.SIGTERM, program._stop)\n"
        # What runs the tests in the background may have it ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "sys.exit(program.main(['--only', 'a,slow'], registry, Places(root, root / 'docs/figures', root / 'out')))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", driver], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 60
    while not (places.root / "pids").exists() or len((places.root / "pids").read_text().split()) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "what was measured is kept" in said
    assert record_of(places).values == {"n": 3}
    assert not any(is_alive(int(pid)) for pid in (places.root / "pids").read_text().split())


REQUIRED_ALONE = (
    '{"name": "NAME", "version": "1", "commit": "c", "machine": "m", "date": "d", "command": "c", "values": {"n": 1}}'
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no JSON", "not a file of figures"),
        ("[]", "an object is wanted"),
        ('{"version": "1"}', "says no 'commit'"),
        (
            REQUIRED_ALONE.replace("NAME", "c"),
            "figures of 'c', not of 'a'; move the file away",
        ),
        (
            REQUIRED_ALONE.replace("NAME", "a"),
            "not a record of this program",
        ),
    ],
)
def test_a_file_that_is_something_else_is_not_replaced(
    places: Places, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    places.figures.mkdir()
    (places.figures / "a.json").write_text(text)
    assert main([], REGISTRY, places) == 1
    assert message in capsys.readouterr().err
    assert (places.figures / "a.json").read_text() == text
    assert calls(places) == []


@pytest.mark.parametrize("names", ["c", "a,c", "", "../a"])
def test_a_name_that_there_is_not_is_one_line(places: Places, names: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", names], REGISTRY, places) == 1
    said = capsys.readouterr().err
    assert "no measurement is called" in said
    assert len(said.splitlines()) == 1


def test_two_do_not_measure_at_once(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    with in_use(places.outputs / "in-use", alone=True):
        assert main([], REGISTRY, places) == 1
    assert "is held by a run that is at work" in capsys.readouterr().err
    assert calls(places) == []


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "soon"])
def test_minutes_are_a_number_above_zero(places: Places, minutes: str) -> None:
    with pytest.raises(SystemExit):
        main([f"--budget-minutes={minutes}"], REGISTRY, places)


def test_where_there_is_no_clone_nothing_is_measured(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    (places.root / ".git").rename(places.root / "moved")
    assert main([], REGISTRY, places) == 1
    assert "no clone of the repository" in capsys.readouterr().err


def test_the_list_says_what_is_there_and_what_it_takes(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--only", "a"], REGISTRY, places)
    capsys.readouterr()
    assert main(["--list"], REGISTRY, places) == 0
    lines = capsys.readouterr().out.splitlines()
    (a,), (b,) = ([line for line in lines if line.startswith(f"│ {name} ")] for name in "ab")
    assert "measured" in a
    assert "about" not in a
    assert "missing" in b
    assert "about 1" in b
    replace(record_of(places), transcribed=True).write(places.figures)
    main(["--list"], REGISTRY, places)
    assert "transcribed" in capsys.readouterr().out


def test_work_beside_a_measurement_of_seconds_is_told(
    places: Places, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "loads", lambda: (2.5, 2.0, 1.0))
    registry = replace(REGISTRY, measurements=(measurement("a", "3", is_timed=True), measurement("b", "4")))
    main(["--only", "b"], registry, places)
    assert "idle" not in capsys.readouterr().out
    main(["--only", "a"], registry, places)
    assert "warning: a: the load average is 2.50: the machine is not idle" in capsys.readouterr().out
    assert record_of(places).load_before == (2.5, 2.0, 1.0)


def test_records_without_a_value_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"version": 3}')
    with pytest.raises(InputError, match="says no 'version'"):
        read_record(tmp_path, "a")
