"""Which file becomes which, and what is said of many: no input is overwritten, a failure costs one row."""

from pathlib import Path

import pytest

from clc.codec.cli.many_files import Done, LossesTold, Report, error_lines, run, summary_lines, warning_lines
from clc.codec.files import DECODE, ENCODE, Direction, Job, find, plan
from clc.console import Terminated
from clc.errors import InputError
from clc.pictures.folders import Unreadable
from storage.errors import StorageFull


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
    assert outputs(made.jobs, tmp_path / "out") == ["a.clc", "b.clc", "x/y/c.jpeg.clc"]
    assert made.passed_over == {".txt": 1, ".clc": 1, "hidden": 2}
    assert not any(job.problem for job in made.jobs)
    assert outputs(plan([source], tmp_path, DECODE).jobs, tmp_path) == ["x/e.png"]


def test_several_folders_keep_their_names_and_files_lie_on_top(tmp_path: Path) -> None:
    make(tmp_path, "d1/a.png", "d2/a.png", "c.png")
    made = plan([tmp_path / "d1", tmp_path / "d2", tmp_path / "c.png"], tmp_path / "out", ENCODE)
    assert outputs(made.jobs, tmp_path / "out") == ["d1/a.clc", "d2/a.clc", "c.clc"]


def test_a_link_in_a_circle_is_a_file_like_others_until_it_is_read(tmp_path: Path) -> None:
    make(tmp_path, "d1/a.png", "d2/a.png")
    (tmp_path / "c.png").symlink_to("c.png")
    made = plan([tmp_path / "d1", tmp_path / "d2", tmp_path / "c.png"], tmp_path / "out", ENCODE)
    assert outputs(made.jobs, tmp_path / "out") == ["d1/a.clc", "d2/a.clc", "c.clc"]


@pytest.mark.parametrize(
    ("name", "stream", "back"),
    [
        ("x.png", "x.clc", "x.png"),
        ("X.PNG", "X.clc", "X.png"),
        ("v1.2.png", "v1.2.clc", "v1.2.png"),
        ("x.jpg", "x.jpg.clc", "x.jpg.png"),
        ("x.clc", "x.clc.clc", "x.clc.png"),
        ("photo", "photo.clc", "photo.png"),
        ("x..png", "x..clc", "x..png"),
        ("x.", "x..clc", "x..png"),
    ],
)
def test_name_of_an_output_depends_on_that_of_its_input_alone(name: str, stream: str, back: str) -> None:
    assert ENCODE.named(name) == stream
    assert DECODE.named(stream) == back


@pytest.mark.parametrize(("name", "direction"), [("a.png", DECODE), (".clc", DECODE), (".png", ENCODE)])
def test_what_has_no_ending_to_give_up_keeps_its_whole_name(name: str, direction: Direction) -> None:
    assert direction.named(name) == name + direction.ending


def test_neighbours_change_no_name(tmp_path: Path) -> None:
    make(tmp_path, "in/a.png", "in/a.jpg", "in/A.webp", "in/b.png")
    made = plan([tmp_path / "in"], tmp_path / "out", ENCODE)
    assert outputs(made.jobs, tmp_path / "out") == ["A.webp.clc", "a.jpg.clc", "a.clc", "b.clc"]
    assert not any(job.problem for job in made.jobs)


def test_files_that_meet_fail_but_the_first(tmp_path: Path) -> None:
    make(tmp_path, "d1/a.png", "d2/a.PNG", "a")
    jobs = plan([tmp_path / "d1/a.png", tmp_path / "d2/a.PNG", tmp_path / "a"], tmp_path / "out", ENCODE).jobs
    assert jobs[0].problem == ""
    for job in jobs[1:]:
        assert job.problem == (f"would become {tmp_path}/out/a.clc, as {tmp_path}/d1/a.png does; give it another --out")


def test_what_the_run_wrote_is_never_replaced_where_two_names_are_one_file(tmp_path: Path) -> None:
    # As on a file system that ignores case: the second name leads to the file that the first one made.
    make(tmp_path, "a.png", "A.png")
    jobs = [Job(tmp_path / "a.png", tmp_path / "a.clc"), Job(tmp_path / "A.png", tmp_path / "A.clc")]

    def work(job: Job) -> Done:
        job.output.write_bytes(job.source.name.encode())
        (tmp_path / "A.clc").hardlink_to(tmp_path / "a.clc")
        return Done(1, 1, 1)

    reason = f"would become {tmp_path}/A.clc, as {tmp_path}/a.png does; give it another --out"
    assert run(jobs, ENCODE, work, existing="replace").failed == [(tmp_path / "A.png", reason)]
    assert (tmp_path / "a.clc").read_bytes() == b"a.png"
    again = run(jobs, ENCODE, work, existing="skip")
    assert again.skipped == (tmp_path / "a.png",)
    assert again.failed == [(tmp_path / "A.png", reason)]


def test_name_that_would_be_too_long_is_a_row_that_says_so(tmp_path: Path) -> None:
    make(tmp_path, "in/" + "x" * 250 + ".jpg", "in/" + "x" * 251 + ".png", "in/ok.jpg")
    jobs = plan([tmp_path / "in"], tmp_path / "out", ENCODE).jobs
    assert [bool(job.problem) for job in jobs] == [False, True, False]
    assert "would have 258 bytes, but 255 are allowed; give it a shorter name" in jobs[1].problem


def test_a_file_named_twice_is_done_once(tmp_path: Path) -> None:
    source = make(tmp_path / "in", "a.png")
    assert outputs(plan([source, source / "a.png"], tmp_path / "out", ENCODE).jobs, tmp_path / "out") == ["a.clc"]


def test_an_output_that_is_an_input_is_never_written(tmp_path: Path) -> None:
    # A picture that is named .clc beside the one that becomes it; and a link where the output would be.
    make(tmp_path, "a.png", "a.clc")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.clc").symlink_to(tmp_path / "a.png")
    for out in (tmp_path, tmp_path / "out"):
        jobs = plan([tmp_path / "a.png", tmp_path / "a.clc"], out, ENCODE).jobs
        report = run(jobs, ENCODE, lambda job: Done(1, 1, 1), existing="replace")
        reason = f"would overwrite {out}/a.clc, which is an input; give another --out"
        assert report.failed == [(tmp_path / "a.png", reason)]
        assert [path.name for path, _ in report.done] == ["a.clc"]


def test_what_exists_is_left_alone_unless_told(tmp_path: Path) -> None:
    source = make(tmp_path, "in/a.clc", "in/b.clc", "in/a.png") / "in"
    jobs = plan([source], source, DECODE).jobs
    done = Done(10, 20, 5)
    report = run(jobs, DECODE, lambda _: done)
    assert [path.name for path, _ in report.done] == ["b.clc"]
    assert "a.png exists already; remove it, or give --overwrite or another --out" in report.failed[0][1]
    assert report.status() == 1
    assert len(run(jobs, DECODE, lambda _: done, existing="replace").done) == 2


def test_what_exists_is_skipped_and_counted_if_told(tmp_path: Path) -> None:
    source = make(tmp_path, "in/a.clc", "in/b.clc", "in/c.clc", "in/a.png") / "in"
    (source / "c.png").write_bytes(b"")
    (source / ".0123456789abcdef.01234567.partial").write_bytes(b"half of b.png")
    report = run(plan([source], source, DECODE).jobs, DECODE, lambda _: Done(10, 20, 5), existing="skip")
    assert report.skipped == (source / "a.clc",)
    assert [path.name for path, _ in report.done] == ["b.clc"]
    assert report.failed == [
        (source / "c.clc", f"{source}/c.png exists already but is empty; remove it, or give --overwrite")
    ]
    assert "1 skipped, because their outputs exist already" in summary_lines(report, source, {})


def test_nothing_to_do_and_a_file_for_a_folder_are_refused(tmp_path: Path) -> None:
    make(tmp_path, "in/notes.txt", "file")
    with pytest.raises(InputError, match=r"in: no file to read there; looked for .*\.avif"):
        plan([tmp_path / "in"], tmp_path / "out", ENCODE)
    with pytest.raises(InputError, match=r"looked for .* passed over: 1 \.txt$"):
        plan([tmp_path / "in"], tmp_path / "out", ENCODE)
    with pytest.raises(InputError, match="file: is a file; name a folder after --out"):
        plan([tmp_path / "in"], tmp_path / "file", ENCODE)
    with pytest.raises(InputError, match=f"{tmp_path}/file is no folder"):
        plan([tmp_path / "in"], tmp_path / "file" / "below", ENCODE)
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(InputError, match="link: is a link to nothing"):
        plan([tmp_path / "in"], tmp_path / "link", ENCODE)


def test_folder_that_may_not_be_written_is_one_line_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "in/a.png")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(InputError, match="may not be written into; check its permissions"):
        plan([tmp_path / "in"], tmp_path / "out", ENCODE)


def test_input_that_may_not_be_looked_at_is_a_row_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.png")
    is_dir = Path.is_dir

    def refusing(path: Path) -> bool:
        if path.name == "secret.png":
            raise PermissionError(13, "Permission denied", str(path))
        return is_dir(path)

    monkeypatch.setattr("pathlib.Path.is_dir", refusing)
    jobs = plan([tmp_path / "secret.png", tmp_path / "a.png"], tmp_path / "out", ENCODE).jobs
    assert [job.source.name for job in jobs] == ["secret.png", "a.png"]


def test_finding_a_file_gives_the_file_whatever_its_name(tmp_path: Path) -> None:
    assert find(tmp_path / "absent.xyz", DECODE.reads) == ([tmp_path / "absent.xyz"], {}, [])


def test_one_failure_of_any_kind_costs_one_row(tmp_path: Path) -> None:
    jobs = [Job(Path(name), tmp_path / name) for name in ("a", "b", "c")]

    def work(job: Job) -> Done:
        if job.source.name == "b":
            raise InputError("b: is broken;\n copy it again")
        return Done(100, 10, 40)

    report = run(jobs, ENCODE, work)
    assert [path.name for path, _ in report.done] == ["a", "c"]
    assert error_lines(report) == ["error: b: is broken; copy it again"]
    assert report.status() == 1


@pytest.mark.parametrize("error", [TypeError, KeyError, AssertionError, RecursionError, UnicodeError, StopIteration])
def test_mistake_in_the_program_is_a_row_with_its_class(tmp_path: Path, error: type[Exception]) -> None:
    def work(job: Job) -> Done:
        raise error

    report = run([Job(Path("a"), tmp_path / "a"), Job(Path("b"), tmp_path / "b")], ENCODE, work)
    assert report.failed == [(Path(name), f"unexpected {error.__name__} (CLC_DEBUG=1 shows where)") for name in "ab"]


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, 130), (Terminated, 143)])
def test_an_interruption_ends_it_with_what_is_done(tmp_path: Path, error: type[BaseException], status: int) -> None:
    jobs = [Job(Path(name), tmp_path / name) for name in ("a", "b", "c")]

    def work(job: Job) -> Done:
        if job.source.name == "b":
            raise error
        return Done(100, 10, 40)

    report = run(jobs, ENCODE, work)
    assert report.n_left == 2
    assert report.status() == status
    assert error_lines(report) == [
        "interrupted: 2 of 3 files not tried; what was written is whole, and --skip-existing goes on from there"
    ]


def test_full_disk_ends_it_at_once(tmp_path: Path) -> None:
    def work(job: Job) -> Done:
        raise StorageFull("cannot write a: No space left on device; make room on the disk")

    report = run([Job(Path(name), tmp_path / name) for name in "abc"], ENCODE, work)
    assert report.status() == 1
    assert error_lines(report) == [
        "error: a: cannot write a: No space left on device; make room on the disk",
        "stopped: 2 of 3 files not tried; what was written is whole, and --skip-existing goes on from there",
    ]


def test_folder_that_could_not_be_read_is_an_error() -> None:
    report = Report(ENCODE, [(Path("a"), Done(1, 1, 1))], [], 1.0, 1)
    unreadable = [Unreadable(Path("lost+found"), "Permission denied")]
    assert error_lines(report, unreadable) == ["error: lost+found: Permission denied"]
    assert report.status(unreadable) == 1
    assert report.status() == 0


def test_the_summary_counts_whole_files(tmp_path: Path) -> None:
    done = [(Path(name), Done(3000, 100, 1600)) for name in "ab"]
    report = Report(ENCODE, done, [(Path("c"), "is broken")], 12.34, 3)
    assert summary_lines(report, Path("out"), {".txt": 3, ".mov": 1}) == [
        "encoded 2 of 3 files into out in 12.3 s",
        "6000 -> 200 bytes, ratio 30.00, 0.5000 bpp",
        "passed over: 3 .txt, 1 .mov",
    ]
    back = Report(DECODE, [(Path("a"), Done(100, 3000, 1600))], [], 1.0, 1)
    assert summary_lines(back, Path("out"), {}) == [
        "decoded 1 of 1 file into out in 1.0 s",
        "100 -> 3000 bytes, ratio 30.00, 0.5000 bpp",
    ]


def test_a_loss_of_many_files_is_told_at_once_and_again_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    done = [(Path(name), Done(1, 1, 1, ("it lost",))) for name in "abcde"]
    done.append((Path("f"), Done(1, 1, 1, ("it is another",))))
    done.append((Path("g"), Done(1, 1, 1)))
    report = Report(ENCODE, done, [], 1.0, 7)
    firsts, all_of_them = LossesTold(), LossesTold(is_verbose=True)
    for path, one in done:
        firsts.tell(path, one.losses)
    assert capsys.readouterr().err.splitlines() == ["warning: a: it lost", "warning: f: it is another"]
    assert warning_lines(report, firsts) == ["warning: a, b, c and 2 more: it lost"]
    for path, one in done:
        all_of_them.tell(path, one.losses)
    assert capsys.readouterr().err.splitlines()[3:] == [
        "warning: d: it lost",
        "warning: e: it lost",
        "warning: f: it is another",
    ]
    assert warning_lines(report, all_of_them) == []
    assert summary_lines(report, Path("out"), {})[-1] == (
        "6 pictures lost something: 5 of them: it lost; 1 of them: it is another"
    )


def test_names_are_shown_on_one_line() -> None:
    name = Path("a\nb\udce9.png")
    report = Report(ENCODE, [(name, Done(1, 1, 1, ("it lost",)))], [(name, "is broken")], 1.0, 2)
    assert warning_lines(report, LossesTold()) == ["warning: a\\nb\\xe9.png: it lost"]
    assert error_lines(report) == ["error: a\\nb\\xe9.png: is broken"]
    assert summary_lines(report, name, {})[0].startswith("encoded 1 of 2 files into a\\nb\\xe9.png in")


def test_an_output_that_cannot_be_written_is_named_on_one_line(tmp_path: Path) -> None:
    def fail(job: Job) -> Done:
        raise InputError(f"cannot write {job.output}: File too large")

    report = run([Job(Path("a\nb.png"), tmp_path / "a\nb.clc")], ENCODE, fail)
    assert error_lines(report) == [f"error: a\\nb.png: cannot write {tmp_path}/a\\nb.clc: File too large"]


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
