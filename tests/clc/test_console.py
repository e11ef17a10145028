"""What command lines say: names and errors on one line."""

import subprocess
import sys
from pathlib import Path

import pytest

from clc.console import error_line, one_line, reason_of, say, shown, steady, text_of
from clc.errors import InputError


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.png", "a.png"),
        ("a  b.png", "a  b.png"),
        ("Zürich 絵 \N{GRINNING FACE}.png", "Zürich 絵 \N{GRINNING FACE}.png"),
        ("a\nb\t\x1b[0m", "a\\nb\\t\\x1b[0m"),
        ("caf\udce9", "caf\\xe9"),
        ("\ud800", "\\ud800"),
        ("\u202e\u2028", "\\u202e\\u2028"),
        ("\x85\xa0\U000e0001", "\\u0085\\u00a0\\U000e0001"),
    ],
)
def test_names_are_shown_without_what_a_terminal_obeys(name: str, text: str) -> None:
    assert shown(name) == text
    assert shown(Path(name)) == text


def test_message_is_one_line_and_its_names_are_whole() -> None:
    assert one_line("a\nb.png: is\n  broken", "a\nb.png") == "a\\nb.png: is broken"


def test_reason_is_one_line_without_the_name_in_front() -> None:
    assert reason_of(InputError("x.png: is\n  broken"), Path("x.png")) == "is broken"
    assert reason_of(InputError("x\n.png: is broken"), Path("x\n.png")) == "is broken"
    assert reason_of(PermissionError(13, "Permission denied", "x.png"), Path("x.png")) == "Permission denied"
    assert reason_of(InputError()) == "InputError"
    assert reason_of(TypeError("no")) == "unexpected TypeError: no (CLC_DEBUG=1 shows where)"


def test_an_error_is_a_line_of_text_that_tables_and_logs_take() -> None:
    assert text_of(InputError("caf\udce9\n.png: is\n  broken"), Path("caf\udce9\n.png")) == "is broken"
    assert text_of(InputError("caf\udce9: is broken"), "x.png") == r"caf\xe9: is broken"
    assert text_of(PermissionError(13, "Permission denied", "x.png")) == "Permission denied"
    assert text_of(KeyError("tag")) == "KeyError: 'tag'"
    assert text_of(RecursionError()) == "RecursionError"
    assert text_of(MemoryError()) == "the memory does not suffice; give a smaller picture"


def test_only_what_nobody_planned_is_traced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLC_DEBUG", "1")
    for error in (InputError("x"), PermissionError(13, "x"), MemoryError(), RuntimeError("CUDA out of memory")):
        assert "unexpected" not in reason_of(error)
    assert capsys.readouterr().err == ""
    reason_of(TypeError("no"))
    assert "TypeError: no" in capsys.readouterr().err


def test_the_error_that_ends_a_command_says_where() -> None:
    assert error_line(InputError("x.png: is\n broken")) == "error: x.png: is broken"
    assert error_line(PermissionError(13, "Permission denied", "x\n.png")) == "error: x\\n.png: Permission denied"
    assert error_line(TypeError("no")) == "error: unexpected TypeError: no (CLC_DEBUG=1 shows where)"


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")]
)
def test_too_little_memory_is_said_so(error: Exception) -> None:
    assert reason_of(error, Path("x.png")) == "the memory does not suffice; give a smaller picture"


@pytest.mark.parametrize("redirect", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"])
def test_no_file_gets_the_descriptor_of_a_closed_stream(tmp_path: Path, redirect: str) -> None:
    program = (
        "import sys; from clc.console import complain, say, steady\n"
        "with steady(), open(sys.argv[1], 'wb') as file:\n"
        "    assert file.fileno() > 2; say('out'); complain('err')\n"
    )
    command = ["bash", "-c", f'exec "$@" {redirect}', "bash", sys.executable, "-c", program, str(tmp_path / "file")]
    done = subprocess.run(command, capture_output=True, cwd=Path(__file__).parents[2], check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "file").read_bytes() == b""


def test_inside_steady_what_cannot_be_encoded_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    with steady():
        assert say("caf\udce9")
    assert capsys.readouterr().out == "caf\\udce9\n"
