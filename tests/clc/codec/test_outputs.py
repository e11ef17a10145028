"""What becomes of outputs that exist, of devices, links, odd names, and standard streams that are closed or full."""

import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clc.codec.cli.main import main
from clc.pictures.images import png_bytes, read_image
from storage.atomic import write_bytes
from storage.errors import AlreadyExists
from tests.clc.conftest import OneCodec
from tests.conftest import Picture

ROOT = Path(__file__).parents[3]
PROGRAM = """
import sys
import clc.codec.cli.encode_decode as commands
from clc.codec.cli.main import main
from tests.clc.conftest import ContainerCodec, OneCodec
commands.load_codecs = lambda _: OneCodec(ContainerCodec())
sys.exit(main(sys.argv[1:]))
"""
"""The command line with a stand-in for the model, as a process of its own."""


@pytest.fixture
def codec(container_codec: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("clc.codec.cli.encode_decode.load_codecs", lambda _: OneCodec(container_codec))
    return container_codec


@pytest.fixture
def picture(tmp_path: Path, photo: Picture) -> Path:
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes(np.ascontiguousarray(photo[:40, :50])))
    return path


def lines_of(error: bytes) -> list[str]:
    assert b"Traceback" not in error
    return error.decode().splitlines()


def started(arguments: list[str], redirect: str = "", **options: Any) -> "subprocess.CompletedProcess[bytes]":
    """Run the program under a shell, for the shell can close streams."""
    command = ["bash", "-c", f'exec "$@" {redirect}', "bash", sys.executable, "-c", PROGRAM, *arguments]
    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run(command, capture_output=True, cwd=ROOT, check=False, timeout=100, **options)


def test_a_picture_is_never_written_over_by_a_stream(
    codec: Any, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "b.png"
    other.write_bytes(picture.read_bytes()[:100])
    for options in ([], ["--overwrite"], ["--skip-existing"]):
        assert main(["encode", str(picture), str(other), *options]) == 1
        assert "a stream is written to *.clc" in capsys.readouterr().err
    assert other.read_bytes() == picture.read_bytes()[:100]


@pytest.mark.parametrize(
    ("arguments", "redirect"),
    [
        (["encode", "PICTURE", "-"], ">>PICTURE"),
        (["encode", "PICTURE", "/dev/stdout"], "1<>PICTURE"),
        (["encode", "PICTURE", "/dev/fd/7"], "7<>PICTURE"),
        (["encode", "-", "-"], "<PICTURE 1<>PICTURE"),
        (["encode", "-", "LINK", "--overwrite"], "<PICTURE"),
        (["encode", "/dev/stdin", "LINK", "--overwrite"], "<PICTURE"),
    ],
)
def test_a_picture_that_the_shell_opened_is_never_written_over(
    picture: Path, tmp_path: Path, arguments: list[str], redirect: str
) -> None:
    former = picture.read_bytes()
    link = tmp_path / "link.clc"
    link.symlink_to(picture)
    names = {"PICTURE": str(picture), "LINK": str(link)}
    words = [names.get(word, word) for word in arguments]
    result = started(words, redirect.replace("PICTURE", f"'{picture}'"), stdin=None)
    assert (result.returncode, len(lines_of(result.stderr))) == (1, 1)
    assert b"is the input itself; name another output" in result.stderr
    assert picture.read_bytes() == former


def test_single_output_that_exists_is_left_alone_skipped_or_replaced(
    codec: Any, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.clc"
    out.write_bytes(b"old")
    arguments = ["encode", str(picture), str(out)]
    assert main(arguments) == 1
    assert capsys.readouterr().err == (f"error: {out} exists already; remove it, or give another name or --overwrite\n")
    assert main([*arguments, "--skip-existing"]) == 0
    assert capsys.readouterr().out == f"{out}: exists already, skipped\n"
    assert out.read_bytes() == b"old"
    assert codec.asked_for == []
    assert main([*arguments, "--overwrite"]) == 0
    assert out.read_bytes() != b"old"


def test_read_only_output_is_refused_before_the_work(
    codec: Any, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.clc"
    out.write_bytes(b"old")
    out.chmod(0o444)
    for outs in ([str(out)], ["--out", str(tmp_path)]):
        assert main(["encode", str(picture), *outs, "--overwrite"]) == 1
        assert "is read-only; make it writable or remove it first" in capsys.readouterr().err
    assert out.read_bytes() == b"old"
    assert codec.asked_for == []


def test_output_that_appears_meanwhile_is_left_alone(
    codec: Any, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    encode = codec.encode

    def encode_slowly(*arguments: Any, **options: Any) -> bytes:
        (tmp_path / "a.clc").write_bytes(b"of another process")
        return encode(*arguments, **options)

    monkeypatch.setattr(codec, "encode", encode_slowly)
    for outs in ([str(tmp_path / "a.clc")], ["--out", str(tmp_path)]):
        (tmp_path / "a.clc").unlink(missing_ok=True)
        assert main(["encode", str(picture), *outs]) == 1
        assert "exists already" in capsys.readouterr().err
        assert (tmp_path / "a.clc").read_bytes() == b"of another process"


def test_mode_stays_and_a_link_stays_a_link(codec: Any, picture: Path, tmp_path: Path) -> None:
    private, real, link = tmp_path / "private.clc", tmp_path / "real.clc", tmp_path / "link.clc"
    private.write_bytes(b"old")
    private.chmod(0o600)
    link.symlink_to("real.clc")
    for path in (private, link):
        assert main(["encode", str(picture), str(path), "--overwrite"]) == 0
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert link.is_symlink()
    assert real.read_bytes() == private.read_bytes()


def test_links_in_a_circle_and_folders_that_refuse_are_one_line(
    codec: Any, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "loop.clc").symlink_to("loop.clc")
    assert main(["encode", str(picture), str(tmp_path / "loop.clc")]) == 1
    assert capsys.readouterr().err == (
        f"error: {tmp_path}/loop.clc: links that lead in a circle; name another output\n"
    )
    monkeypatch.setattr("os.access", lambda path, mode: False)
    for arguments in ([str(tmp_path / "b.clc")], ["--out", str(tmp_path / "out")]):
        assert main(["encode", str(picture), *arguments]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert "may not be written into" in line
    assert codec.asked_for == []


def test_devices_and_pipes_are_written_into(codec: Any, picture: Path, tmp_path: Path) -> None:
    assert main(["encode", str(picture), os.devnull]) == 0
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)
    os.mkfifo(tmp_path / "pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    assert main(["encode", str(picture), str(tmp_path / "pipe")]) == 0
    reader.join(30)
    assert read == [codec.encode(read_image(picture), 50)]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.parametrize("option", [[], ["--skip-existing"]])
def test_a_disk_is_not_written_over_unless_that_is_asked_for(
    codec: Any, picture: Path, tmp_path: Path, option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    disk = tmp_path / "out" / "a.clc"
    disk.parent.mkdir()
    try:
        os.mknod(disk, 0o600 | stat.S_IFBLK, os.makedev(240, 200))  # for experiments: nothing is there
    except OSError:
        pytest.skip("only root makes a device")
    for output in ([str(disk)], ["--out", str(disk.parent)]):
        assert main(["encode", str(picture), *output, *option]) == 1
        assert "is a disk, whose content would be replaced" in capsys.readouterr().err
    with pytest.raises(AlreadyExists, match="is a disk"):
        write_bytes(disk, b"data", replace=False)


def test_standard_output_by_its_name_holds_the_stream_alone(codec: Any, picture: Path, tmp_path: Path) -> None:
    expected = codec.encode(read_image(picture), 50)
    with (tmp_path / "out").open("wb") as file:
        assert (
            subprocess.call([sys.executable, "-c", PROGRAM, "encode", picture, "/dev/stdout"], stdout=file, cwd=ROOT)
            == 0
        )
    assert (tmp_path / "out").read_bytes() == expected
    assert started(["encode", str(picture), "/dev/stdout"]).stdout == expected


def test_linked_folders_are_read_and_an_unreadable_one_is_named(
    codec: Any, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in"
    (source / "lost+found").mkdir(parents=True)
    (tmp_path / "disk").mkdir()
    picture.rename(tmp_path / "disk/b.png")
    (source / "train").symlink_to(tmp_path / "disk")
    (source / "gone.png").symlink_to("nowhere")
    scandir = os.scandir

    def refusing(path: Path) -> Any:
        if str(path).endswith("lost+found"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("os.scandir", refusing)
    assert main(["encode", str(source), "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"error: {source}/gone.png: is a link to nothing",
        f"error: {source}/lost+found: Permission denied",
    ]
    assert (tmp_path / "out/train/b.clc").is_file()


@pytest.mark.parametrize("name", ["new\nline.clc", "\x1b[31mred.clc", "caf\udce9.clc", "\u202egnp.clc"])
def test_odd_names_are_told_on_one_line(
    codec: Any, picture: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["encode", str(picture), str(tmp_path / name)]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 1
    assert captured.out.removesuffix("\n").isprintable()
    assert (tmp_path / name).is_file()
    for arguments in (["decode", name, "b.png"], ["info", name], ["decode", "no" + name, "c.png"]):
        (tmp_path / name).write_bytes(b"junk")
        given = [arguments[0], *(str(tmp_path / one) for one in arguments[1:])]
        assert main(given) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.isprintable()


@pytest.mark.parametrize("encoding", ["ascii:strict", "cp1252:strict", "utf-8:strict"])
def test_name_that_stdout_cannot_show_fails_nothing(picture: Path, tmp_path: Path, encoding: str) -> None:
    for number, name in enumerate((b"caf\xe9.clc", "\N{GRINNING FACE}.clc".encode())):
        out = os.fsencode(tmp_path) + b"/" + name
        done = started(["encode", str(picture), os.fsdecode(out)], env={**os.environ, "PYTHONIOENCODING": encoding})
        assert done.returncode == 0, done.stderr
        assert done.stderr == b""
        assert Path(os.fsdecode(out)).is_file(), number


@pytest.mark.parametrize("arguments", [["encode", "-", "OUT.clc"], ["decode", "-", "OUT.png"], ["info", "-"]])
def test_closed_standard_input_is_one_line(tmp_path: Path, arguments: list[str]) -> None:
    done = started([one.replace("OUT", str(tmp_path / "out")) for one in arguments], "<&-")
    assert done.returncode == 1
    assert lines_of(done.stderr) == [
        "error: standard input: is closed; pipe a file into it, or name the file instead of -"
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("redirect", "reason"), [(">&-", "it is closed"), (">/dev/full", "No space left on device")])
def test_work_counts_as_done_where_its_summary_cannot_be_said(
    picture: Path, tmp_path: Path, redirect: str, reason: str
) -> None:
    out = tmp_path / "out.clc"
    for arguments in ([str(out)], ["--out", str(tmp_path / "folder")]):
        done = started(["encode", str(picture), *arguments], redirect)
        assert done.returncode == 0
        (line,) = lines_of(done.stderr)
        assert line.startswith(f"warning: standard output: {reason}; it would have said: ")
    assert out.read_bytes() == (tmp_path / "folder/a.clc").read_bytes()
    done = started(["encode", str(picture), "-"], redirect)
    assert done.returncode == 1
    assert len(lines_of(done.stderr)) == 1
    for arguments in (["info", str(out)], ["--help"], ["encode", "--help"]):
        done = started(arguments, redirect)
        assert done.returncode == 1
        assert len(lines_of(done.stderr)) == 1


@pytest.mark.parametrize("redirect", ["2>&-", "2>/dev/full", "<&- >&- 2>&-"])
def test_closed_standard_error_fails_nothing_and_gets_into_no_output(
    picture: Path, tmp_path: Path, redirect: str
) -> None:
    out, coded = tmp_path / "out.clc", tmp_path / "coded"
    assert started(["encode", str(picture), str(out)], redirect).returncode == 0
    assert started(["encode", str(picture), str(tmp_path / "no.png"), "--out", str(coded)], redirect).returncode == 1
    assert out.read_bytes() == (coded / "a.clc").read_bytes()
    assert started(["encode"], redirect).returncode == 2


def test_reader_that_went_away_fails_no_work(picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.clc"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "encode", picture, out],
        stdout=writer,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        timeout=100,
    )
    os.close(writer)
    assert done.returncode == 0
    assert len(lines_of(done.stderr)) == 1
    assert out.is_file()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signal_in_the_middle_leaves_whole_files_and_no_temporaries(
    picture: Path, tmp_path: Path, number: int, status: int
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for index in range(5):
        (source / f"{index}.png").write_bytes(picture.read_bytes())
    slow = PROGRAM.replace(
        "sys.exit",
        "import os, signal, time; fsync = os.fsync\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler); signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        "def slow(handle):\n"
        "    fsync(handle)\n"
        "    if len(os.listdir(sys.argv[-1])) > 2: print('now', flush=True); time.sleep(60)\n"
        "os.fsync = slow\n"
        "sys.exit",
    )
    command = [sys.executable, "-c", slow, "encode", source, "--out", out]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"now\n"
        began = time.monotonic()
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
    assert time.monotonic() - began < 30
    assert process.returncode == status
    assert lines_of(error)[-1].startswith("interrupted: ")
    assert all(path.suffix == ".clc" for path in out.iterdir())
    done = started(["encode", str(source), "--out", str(out), "--skip-existing"])
    assert done.returncode == 0
    assert len(list(out.iterdir())) == 5


@pytest.mark.parametrize(
    ("name", "usage"), [("/usr/bin/clc", "clc encode"), ("x/__main__.py", "python -m clc.codec encode")]
)
def test_usage_names_the_program_as_it_was_started(
    name: str, usage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", [name])
    with pytest.raises(SystemExit):
        main(["encode", "--help"])
    assert capsys.readouterr().out.startswith(f"usage: {usage} ")
    with pytest.raises(SystemExit):
        main(["encode"])
    assert f"(see {usage} --help)" in capsys.readouterr().err


def test_version_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--version"])
    assert exit_.value.code == 0
    assert re.fullmatch(r"clc \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_unexpected_error_is_a_line_and_its_traceback_is_there_to_be_had(
    codec: Any, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any, **__: Any) -> bytes:
        raise KeyError("oops")

    monkeypatch.setattr(codec, "encode", fail)
    assert main(["encode", str(picture), str(tmp_path / "b.clc")]) == 1
    line = f"error: {picture}: unexpected KeyError: 'oops' (CLC_DEBUG=1 shows where)\n"
    assert capsys.readouterr().err == line
    monkeypatch.setenv("CLC_DEBUG", "1")
    assert main(["encode", str(picture), str(tmp_path / "b.clc")]) == 1
    captured = capsys.readouterr().err
    assert captured.startswith("Traceback")
    assert captured.endswith(line)
