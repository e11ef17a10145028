"""Names of files as text: every name can be shown, stays apart from all others, and is found again."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.names import real_name, shown_name

NAMES = st.binary().map(os.fsdecode) | st.text(st.characters())
"""Names as a file system gives them, and any text with lone surrogates in it."""


@given(NAMES)
def test_shown_name_is_one_line_of_utf_8_and_leads_back_to_the_name(name: str) -> None:
    shown = shown_name(name)
    assert shown.encode().decode() == shown
    assert len(shown.splitlines()) <= 1
    assert real_name(shown) == name


@given(NAMES, NAMES)
def test_different_names_are_shown_differently(one: str, other: str) -> None:
    assert (shown_name(one) == shown_name(other)) == (one == other)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("holiday/IMG 1.jpg", "holiday/IMG 1.jpg"),
        ("naïve 日本 😀.png", "naïve 日本 😀.png"),
        (os.fsdecode(b"caf\xe9.png"), r"caf\xe9.png"),
        ("café.png", "café.png"),
        ("two\nlines\t.png", r"two\nlines\t.png"),
        ("\x1b[31m.png", r"\x1b[31m.png"),
        ("next\x85line", r"next\u0085line"),
        ("a\\n.png", r"a\\n.png"),
    ],
)
def test_names_read_as_one_expects(name: str, shown: str) -> None:
    assert shown_name(name) == shown
    assert real_name(shown) == name
    assert json.loads(json.dumps(shown, ensure_ascii=False).encode()) == shown
