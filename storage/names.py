"""Names of files as text that every table, JSON file, database and terminal takes, and back.

A file's name is bytes. Those that are no UTF-8 (from an old archive or file server) reach Python as lone surrogates,
which Parquet, JSON and databases refuse; and a name may hold a line break. `shown_name` writes both as escapes. The
contract: different names stay different, and `real_name` gives the very name back.

Lines for a terminal are another thing (`clc.console.shown`): whole messages, of which nobody takes a name back, so that
backslashes stay and all is escaped that does not print. Both write the same escapes.
"""

import re
import unicodedata

_SURROGATES = 0xDC00
"""A byte of 128 and more that is no UTF-8 is this plus the byte (PEP 383)."""

_ESCAPED_CATEGORIES = ("Cc", "Cs", "Zl", "Zp")
"""Control characters, surrogates, and separators of lines and paragraphs."""

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}
_LONG = {text: character for character, text in _SHORT.items()}
_ESCAPE = re.compile(r"\\(?:[nrt\\]|x[0-9a-f]{2}|u[0-9a-f]{4})")


def shown_name(name: str) -> str:
    r"""Return a name or path as text of one line that UTF-8 can hold.

    A byte that is no UTF-8 becomes `\xe9`, a line break `\n`, a tab `\t`, any other control character `\x1b` or
    `\u0085`, and a backslash two of them. All other names stay as they are.
    """
    return "".join(_shown(character) for character in name)


def escaped(character: str) -> str:
    """Return the escape of a character that text of one line cannot hold: its byte or its code point in hexadecimal."""
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    if _SURROGATES + 0x80 <= code <= _SURROGATES + 0xFF:
        return f"\\x{code - _SURROGATES:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def real_name(shown: str) -> str:
    """Return the name that `shown_name` made this text of."""
    return _ESCAPE.sub(lambda found: _real(found[0]), shown)


def _shown(character: str) -> str:
    is_plain = character not in _SHORT and unicodedata.category(character) not in _ESCAPED_CATEGORIES
    return character if is_plain else escaped(character)


def _real(escape: str) -> str:
    if escape in _LONG:
        return _LONG[escape]
    code = int(escape[2:], 16)
    return chr(_SURROGATES + code) if escape[1] == "x" and code >= 0x80 else chr(code)
