"""Inputs that can be read once only: named pipes, and those that a shell's `<(...)` names."""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import clc
from clc.codec.cli.main import main
from clc.pictures.images import png_bytes, read_image
from tests.conftest import Picture


@pytest.fixture
def picture(tmp_path: Path, photo: Picture) -> Path:
    path = tmp_path / "in.png"
    path.write_bytes(png_bytes(np.ascontiguousarray(photo[:40, :50])))
    return path


@contextmanager
def piped(path: Path) -> Iterator[str]:
    """A pipe that gives what a file holds, by the name that a shell would give it."""
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as end:
            end.write(path.read_bytes())

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield f"/dev/fd/{reading}"
    finally:
        os.close(reading)
        writer.join(30)


def test_pipes_give_what_their_files_would(picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stream, same, back = tmp_path / "a.clc", tmp_path / "b.clc", tmp_path / "back.png"
    assert main(["encode", str(picture), str(stream), "--effort", "0"]) == 0
    with piped(picture) as path:
        assert main(["encode", path, str(same), "--effort", "0"]) == 0
    assert same.read_bytes() == stream.read_bytes()
    with piped(stream) as path:
        assert main(["decode", path, str(back)]) == 0
    assert read_image(back).shape == (40, 50, 3)
    capsys.readouterr()
    with piped(stream) as path:
        assert main(["info", path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["total_bytes"] == stream.stat().st_size


def test_the_python_interface_reads_a_named_pipe_once(picture: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(picture.read_bytes()))
    writer.start()
    data = clc.encode(tmp_path / "pipe", 50, references="none", effort=0)
    writer.join(30)
    assert data == clc.encode(picture, 50, references="none", effort=0)


def test_a_pipe_that_gives_more_than_is_allowed_is_not_read_on(
    picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("clc.codec.sources.MAX_PICTURE_FILE_BYTES", 100)
    with piped(picture) as path:
        assert main(["encode", path, str(tmp_path / "a.clc")]) == 1
        assert capsys.readouterr().err == (
            f"error: {path}: has more than the 100 bytes that are allowed; scale or compress the picture first\n"
        )
        assert len(os.read(int(path.rpartition("/")[2]), 10_000)) > 0, "all was read"


def test_a_broken_picture_out_of_a_pipe_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with piped(tmp_path / "broken.png") as path:
        assert main(["encode", path, str(tmp_path / "a.clc")]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: {path}: not a readable picture")
    assert not (tmp_path / "a.clc").exists()


@pytest.mark.parametrize("command", [["encode", "/dev/zero", "a.clc"], ["decode", "/dev/zero", "a.png"]])
def test_devices_are_not_read(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(command) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: /dev/zero: is n")
    assert not list(tmp_path.iterdir())
