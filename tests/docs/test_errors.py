"""docs/errors.md: every row is run in a folder with such files, and says what the page says."""

import json
import os
import re
import shlex
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clc.archive.layout import write_manifest
from clc.archive.manifest import ArchivedPicture, Manifest, check_of
from clc.bitstream.alignment import identity
from clc.bitstream.container import pack, parse
from clc.bitstream.embedding import AV1_PROFILE, Embedding, Reason
from clc.bundle.identity import SHIPPED
from clc.codec import Codec
from clc.codec.__main__ import main
from clc.codec.embedded import sealed
from clc.codec.overfitted import OverfittedCodec
from clc.codec.ways.exact import encode_exact
from clc.payloads.avif import avif_payload
from clc.payloads.exact import Payload
from tests.tiny_autoencoder import make_autoencoder

ROOT = Path(__file__).parents[2]
AUTOENCODERS = ("autoencoder", "other-autoencoder")
PAGE = ROOT / "docs" / "errors.md"
ROW = re.compile(r"^\| (?P<given>[^|]+) \| `(?P<command>[^`]+)` \| `+ ?(?P<said>.+?) ?`+ \| (?P<status>\d+) \|$")


def rows() -> list[tuple[str, str, int]]:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    found = [ROW.match(line) for line in lines[1:]]  # behind the head of the table
    assert all(found), [line for line, match in zip(lines[1:], found, strict=True) if not match]
    return [(match["command"], match["said"].replace("\\|", "|"), int(match["status"])) for match in found if match]


def pattern(said: str) -> re.Pattern[str]:
    """A regular expression of a line, in which `…` stands for anything."""
    return re.compile(".*".join(re.escape(part) for part in said.split("…")))


@pytest.fixture(scope="module")
def stream() -> bytes:
    return Codec.shipped().encode(_noise(), 50, "none")


def _noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png(width: int, height: int, colour: int, data: bytes = b"") -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", zlib.compress(data)) + _chunk(b"IEND", b"")


@pytest.fixture
def folder(tmp_path: Path, stream: bytes, overfitted: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the page's commands name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["clc"])
    monkeypatch.delenv("CLC_BUNDLES", raising=False)
    monkeypatch.setenv("CLC_WORKSPACE", str(tmp_path / "workspace"))
    picture = Image.fromarray(_noise())
    for name in ("folder", "nothing", "texts", "twice", "bundle"):
        (tmp_path / name).mkdir()
    for name in ("photo.png", "photo.jpg", "folder/a.png", "twice/a.png", "twice/a.PNG"):
        picture.save(tmp_path / name)
    whole = (tmp_path / "photo.png").read_bytes()
    damaged, newer = bytearray(stream), bytearray(stream)
    damaged[-5] ^= 64
    newer[4] = 9
    contents = {
        "cut.png": whole[: len(whole) // 2],
        "empty.png": b"",
        "notes.txt": b"no picture",
        "vast.png": _png(60_000, 60_000, 2),
        "long.png": _png(70_000, 10, 2),
        "palette.png": _png(8, 8, 3, (b"\0" + bytes(8)) * 8),
        "scan.pdf": b"%PDF-1.4\n",
        "photo.clc": stream,
        "cut.clc": stream[:-9],
        "damaged.clc": bytes(damaged),
        "longer.clc": stream + b"more",
        "newer.clc": bytes(newer),
        "foreign.clc": pack(replace(parse(stream), bundle_id=bytes.fromhex("0123456789abcdef"))),
        "empty.clc": b"",
        "folder/b.png": b"broken",
        "texts/a.txt": b"x",
        "page.html": b"somebody's",
        "cut.zip": b"PK\3\4 and no more",
        "titles.csv": b"title\na\n",
        "taken.ledger.parquet": b"mine",
        "bundle/manifest.json": b"{",
    }
    contents.update(_of_other_codecs())
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    Image.fromarray(np.zeros((8, 8), np.float32)).save(tmp_path / "height.tif")
    Image.fromarray(np.full((8, 8), -5, np.int32)).save(tmp_path / "signed.tif")
    _broken_bundles(tmp_path)
    for path in overfitted.iterdir():
        (tmp_path / path.name).symlink_to(path)
    _archive(tmp_path / "archive", stream)
    _broken_tables(tmp_path)
    (tmp_path / "other").mkdir()
    picture.rotate(180).save(tmp_path / "other" / "a.png")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "same.clc").symlink_to("photo.png")
    (tmp_path / "circle.clc").symlink_to("circle.clc")
    return tmp_path


@pytest.fixture(scope="module")
def overfitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two autoencoders, one without its decoder, a stream of the first, and a picture that is too wide for them."""
    folder = tmp_path_factory.mktemp("overfitted")
    opened = [OverfittedCodec.load(make_autoencoder(folder / name, seed)) for seed, name in enumerate(AUTOENCODERS)]
    (folder / "overfitted.clc").write_bytes(opened[0].encode(_noise()[:8, :8], effort=0))
    (make_autoencoder(folder / "half-autoencoder") / "decoder.safetensors").unlink()
    Image.new("RGB", (8200, 8)).save(folder / "huge.png")
    return folder


def _of_other_codecs() -> dict[str, bytes]:
    """Streams whose payload is another codec's, each damaged in one way."""
    exact = encode_exact(_noise())
    turned, stream = bytearray(exact), parse(exact)
    turned[-3] ^= 4
    payload = Payload(AV1_PROFILE, avif_payload(Image.fromarray(_noise()), 50, 9))
    lossy = parse(sealed(_noise(), None, payload, Embedding(Reason.CHEAPER, 3200), ())[0])
    return {
        "turned.clc": bytes(turned),
        "broken.clc": pack(replace(stream, payload=bytes(len(stream.payload)))),
        "other-size.clc": pack(replace(lossy, height=25)),
        "screen.clc": pack(replace(lossy, streams=(bytes(range(8)),), alignments=(identity(24, 32),))),
    }


def _archive(folder: Path, stream: bytes) -> None:
    """An archive of a.png, and of c.png, which refers to it."""
    folder.mkdir()
    rows = []
    for number, name in enumerate("ac"):
        (folder / f"{name}.clc").write_bytes(stream)
        references = (rows[0].id,) if rows else ()
        id_, check = f"{number:016x}", check_of(stream)
        row = ArchivedPicture(
            f"{name}.png", f"{name}.clc", id_, len(stream), check, 32, 24, 50.0, references, 9, "0" * 64
        )
        rows.append(row)
    write_manifest(folder, Manifest(parse(stream).bundle_id.hex(), "", tuple(rows)))


def _broken_tables(folder: Path) -> None:
    """Archives with a table that was changed, cut, or written by a later release, and with something in its place."""
    table = (folder / "archive" / "archive.json").read_bytes()
    for name, data in (
        ("changed/archive.json", table.replace(b",32,24,", b",33,24,", 1)),
        ("half/archive.json", table[: len(table) // 2]),
        ("later/archive.json", table.replace(b'"version":2', b'"version":3')),
        ("filed/archive.parquet", b"notes"),
    ):
        (folder / name).parent.mkdir()
        (folder / name).write_bytes(data)


def _broken_bundles(folder: Path) -> None:
    """Bundles of another id than the shipped one, so that no sound copy is found, and records of one in service."""
    manifest = {**json.loads((SHIPPED / "manifest.json").read_bytes()), "parent": "0123456789abcdef"}
    for name, removed in (("lacking", "entries"), ("filled", "prior"), ("swollen", "prior"), ("untested", "selftest")):
        (folder / name).mkdir()
        for path in SHIPPED.iterdir():
            if path.name != "manifest.json" and not path.name.startswith(removed):
                (folder / name / path.name).symlink_to(path)
        (folder / name / "manifest.json").write_text(json.dumps(manifest))
    (folder / "filled" / "prior.safetensors").mkdir()
    with (folder / "swollen" / "prior.safetensors").open("wb") as file:
        file.truncate(10 * 2**30)
    (folder / "piped").mkdir()
    os.mkfifo(folder / "piped" / "manifest.json")
    for name in ("unserved", "ghost"):
        (folder / name / "service").mkdir(parents=True)
    (folder / "unserved" / "service" / "current.json").symlink_to("nowhere")
    (folder / "ghost" / "service" / "current.json").write_text('{"bundle": "gone"}')


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if _is_small_file(path) and "workspace" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def _is_small_file(path: Path) -> bool:
    return path.is_file() and path.stat().st_size < 2**30  # all but the swollen one


@pytest.mark.parametrize(("command", "said", "status"), rows(), ids=[command for command, _, _ in rows()])
def test_a_row_of_the_page(
    command: str,
    said: str,
    status: int,
    folder: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "--device cuda" in command and _has_gpu():
        pytest.skip("this machine has a GPU")
    before = files(folder)
    words = shlex.split(command)
    if words[1:2] == ["clc"]:  # a variable stands in front
        monkeypatch.setenv(*words.pop(0).split("=", 1))
    if words[0] == "clc":
        try:
            found = main(words[1:])
        except SystemExit as ended:
            found = int(str(ended.code))
        errors = capfd.readouterr().err
    else:
        errors, found = _in_a_process(words, folder)
    assert found == status, errors
    first = errors.splitlines()[0]
    assert pattern(said).fullmatch(first), f"said {first!r}"
    assert "Traceback" not in errors
    after = files(folder)
    assert {name: after.get(name) for name in before} == before, "a file was changed or lost"
    new = set(after) - set(before)
    # Of many files those that can be done are.
    assert new <= ({"coded/a.clc"} if "--out coded" in command else set())


def _in_a_process(words: list[str], folder: Path) -> tuple[str, int]:
    variables = [word for word in words if re.match(r"[A-Z_]+=", word)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **dict(word.split("=", 1) for word in variables)}
    command = [sys.executable, *words[len(variables) + 1 :]]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    return done.stderr, done.returncode


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def test_there_are_forty_rows_at_least_and_none_twice() -> None:
    commands = [command for command, _, _ in rows()]
    assert len(commands) >= 40
    assert len(set(commands)) == len(commands)
