"""Which file becomes which, and what is said of many: no input is overwritten, a failure costs one row."""

from pathlib import Path

import pytest

from clc.codec.cli.many_files import Done, Report, error_lines, reason_of, run, summary_lines, warning_lines
from clc.codec.files import DECODE, ENCODE, Job, find, plan
from clc.errors import InputError


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"-")
    return folder


def outputs(jobs: list[Job], out: Path) -> list[str]:
    return [job.output.relative_to(out).as_posix() for job in jobs]


def test_a_folder_keeps_its_structure_and_other_files_are_counted(tmp_path: Path) -> None:
    source = make(tmp_path / "in", "b.PNG", "a.png", "x/y/c.jpeg", "notes.txt", ".hidden.png", ".git/d.png", "x/e.clc")
    made = plan([source], tmp_path / "out", ENCODE)
    assert outputs(made.jobs, tmp_path / "out") == ["a.clc", "b.clc", "x/y/c.clc"]
    assert made.n_passed_over == 2
    assert not any(job.problem for job in made.jobs)
    assert outputs(plan([source], tmp_path, DECODE).jobs, tmp_path) == ["x/e.png"]


def test_several_folders_keep_their_names_and_files_lie_on_top(tmp_path: Path) -> None:
    make(tmp_path, "d1/a.png", "d2/a.png", "c.png")
    made = plan([tmp_path / "d1", tmp_path / "d2", tmp_path / "c.png"], tmp_path / "out", ENCODE)
    assert outputs(made.jobs, tmp_path / "out") == ["d1/a.clc", "d2/a.clc", "c.clc"]


def test_names_that_differ_in_their_ending_only_keep_it(tmp_path: Path) -> None:
    make(tmp_path, "in/a.png", "in/a.jpg", "in/A.webp", "in/b.png", "in/v1.2.png")
    made = plan([tmp_path / "in"], tmp_path / "out", ENCODE)
    assert outputs(made.jobs, tmp_path / "out") == ["A.webp.clc", "a.jpg.clc", "a.png.clc", "b.clc", "v1.2.clc"]


def test_files_that_still_meet_fail_but_the_first(tmp_path: Path) -> None:
    make(tmp_path, "d1/a.png", "d2/a.png")
    jobs = plan([tmp_path / "d1/a.png", tmp_path / "d2/a.png"], tmp_path / "out", ENCODE).jobs
    assert jobs[0].problem == ""
    assert "would become" in jobs[1].problem
    assert "d1/a.png does; give it another --out" in jobs[1].problem


def test_a_file_named_twice_is_done_once(tmp_path: Path) -> None:
    source = make(tmp_path / "in", "a.png")
    assert outputs(plan([source, source / "a.png"], tmp_path / "out", ENCODE).jobs, tmp_path / "out") == ["a.clc"]


def test_an_output_that_is_an_input_is_never_written(tmp_path: Path) -> None:
    # A picture that is named .clc, and a folder that is its own output.
    make(tmp_path, "a.clc")
    (job,) = plan([tmp_path / "a.clc"], tmp_path, ENCODE).jobs
    assert "which is an input" in job.problem
    report = run([job], ENCODE, lambda _: pytest.fail("it was done"), overwrite=True)
    assert report.failed == [(tmp_path / "a.clc", job.problem)]


def test_what_exists_is_left_alone_unless_told(tmp_path: Path) -> None:
    source = make(tmp_path, "in/a.clc", "in/b.clc", "in/a.png") / "in"
    jobs = plan([source], source, DECODE).jobs
    done = Done(10, 20, 5)
    report = run(jobs, DECODE, lambda _: done)
    assert [path.name for path, _ in report.done] == ["b.clc"]
    assert "a.png exists already; remove it, or give --overwrite" in report.failed[0][1]
    assert len(run(jobs, DECODE, lambda _: done, overwrite=True).done) == 2


def test_nothing_to_do_and_a_file_for_a_folder_are_refused(tmp_path: Path) -> None:
    make(tmp_path, "in/notes.txt", "file")
    with pytest.raises(InputError, match=r"in: no file to read there; looked for \.avif"):
        plan([tmp_path / "in"], tmp_path / "out", ENCODE)
    with pytest.raises(InputError, match="file: is a file; name a folder after --out"):
        plan([tmp_path / "in"], tmp_path / "file", ENCODE)


def test_finding_a_file_gives_the_file_whatever_its_name(tmp_path: Path) -> None:
    assert find(tmp_path / "absent.xyz", DECODE.reads) == ([tmp_path / "absent.xyz"], 0)


def test_one_failure_costs_one_row_and_a_mistake_in_the_program_shows(tmp_path: Path) -> None:
    jobs = [Job(Path(name), tmp_path / name) for name in ("a", "b", "c")]

    def work(job: Job) -> Done:
        if job.source.name == "b":
            raise InputError("b: is broken;\n copy it again")
        return Done(100, 10, 40)

    report = run(jobs, ENCODE, work)
    assert [path.name for path, _ in report.done] == ["a", "c"]
    assert error_lines(report) == ["error: b: is broken; copy it again"]
    with pytest.raises(TypeError):
        run(jobs, ENCODE, lambda job: Done(*job.source))  # type: ignore[misc]


def test_an_interruption_ends_it_with_what_is_done(tmp_path: Path) -> None:
    jobs = [Job(Path(name), tmp_path / name) for name in ("a", "b", "c")]

    def work(job: Job) -> Done:
        if job.source.name == "b":
            raise KeyboardInterrupt
        return Done(100, 10, 40)

    report = run(jobs, ENCODE, work)
    assert not report.is_complete
    assert error_lines(report) == ["interrupted: 2 of 3 files were not done; what was written is whole"]


def test_the_summary_counts_whole_files(tmp_path: Path) -> None:
    done = [(Path(name), Done(3000, 100, 1600)) for name in "ab"]
    report = Report(ENCODE, done, [(Path("c"), "is broken")], 12.34, 3)
    assert summary_lines(report, Path("out"), 4) == [
        "encoded 2 of 3 files into out in 12.3 s",
        "6000 -> 200 bytes, ratio 30.00, 0.5000 bpp",
        "4 other files in the folders passed over",
    ]
    back = Report(DECODE, [(Path("a"), Done(100, 3000, 1600))], [], 1.0, 1)
    assert summary_lines(back, Path("out"), 0) == [
        "decoded 1 of 1 file into out in 1.0 s",
        "100 -> 3000 bytes, ratio 30.00, 0.5000 bpp",
    ]


def test_a_loss_of_many_files_is_one_line() -> None:
    done = [(Path(name), Done(1, 1, 1, ("it lost",))) for name in "abcde"]
    done.append((Path("f"), Done(1, 1, 1, ("it is another",))))
    assert warning_lines(Report(ENCODE, done, [], 1.0, 6)) == [
        "warning: a, b, c and 2 more: it lost",
        "warning: f: it is another",
    ]


def test_a_reason_is_one_line_without_the_name_in_front() -> None:
    assert reason_of(InputError("x.png: is\n  broken"), Path("x.png")) == "is broken"
    assert reason_of(MemoryError(), Path("x.png")) == "MemoryError"
    assert reason_of(PermissionError(13, "Permission denied", "x.png"), Path("x.png")) == "Permission denied"


def test_progress_off_a_terminal_is_a_line_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = [Job(Path(str(i)), tmp_path / str(i)) for i in range(4)]
    run(jobs, ENCODE, lambda _: Done(1, 1, 1))
    assert capsys.readouterr().err.strip() == ""
    monkeypatch.setattr("clc.codec.cli.many_files._LINE_EVERY_S", 0.0)
    run(jobs, ENCODE, lambda _: Done(1, 1, 1))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[-1] == "encoded 4 of 4"
