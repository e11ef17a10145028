"""Archives of others: what is whole is read, what is hostile or damaged is told, and nothing leaves the archive."""

import gzip
import io
import lzma
import random
import stat
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.archives import ArchiveDamaged, MemberRefused, open_archive

MIB = 2**20
MOST_BYTES = 4 * MIB
PLAIN = {"a.png": b"first" * 200, "deep/b.jpg": bytes(range(256)) * 300, "c d.webp": b"x"}


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(members: dict[str, bytes], mode: str = "w", form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=form) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def contents(name: str, data: bytes, most_bytes: int = MOST_BYTES) -> list[tuple[str, bytes | str]]:
    """Every member with its bytes, or the reason why it is refused; the last is "damaged" where the archive is."""
    found: list[tuple[str, bytes | str]] = []
    try:
        reader = open_archive(name, io.BytesIO(data), most_bytes)
        for member in reader:
            if not member.is_file:
                continue
            into = io.BytesIO()
            try:
                if member.refusal is not None:
                    raise member.refusal
                reader.read(into)
                found.append((member.name, into.getvalue()))
            except MemberRefused as refused:
                found.append((member.name, refused.reason))
    except ArchiveDamaged:
        found.append(("", "damaged"))
    return found


WHOLE = {
    "a.zip": zipped(PLAIN),
    "stored.zip": zipped(PLAIN, zipfile.ZIP_STORED),
    "bzip2.zip": zipped(PLAIN, zipfile.ZIP_BZIP2),
    "a.tar": tarred(PLAIN),
    "gnu.tar": tarred(PLAIN, form=tarfile.GNU_FORMAT),
    "a.tar.gz": tarred(PLAIN, "w:gz"),
    "a.tgz": tarred(PLAIN, "w:gz"),
    "a.tar.bz2": tarred(PLAIN, "w:bz2"),
    "a.tar.xz": tarred(PLAIN, "w:xz"),
    "wrongly-named.tar": tarred(PLAIN, "w:gz"),
    "two-streams.tar.gz": gzip.compress(tarred(PLAIN)[:1000]) + gzip.compress(tarred(PLAIN)[1000:]),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_archive_gives_every_member_as_it_was(name: str) -> None:
    assert contents(name, WHOLE[name]) == list(PLAIN.items())


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_long_names_and_many_members_are_read(form: int) -> None:
    members = {f"{'x' * 300}/{number}.png": b"%d" % number for number in range(2000)}
    assert dict(contents("a.tar", tarred(members, form=form))) == members


@pytest.mark.parametrize("name", WHOLE)
def test_a_cut_archive_is_told_and_gives_nothing_wrong(name: str) -> None:
    whole = WHOLE[name]
    places = sorted({1, 30, len(whole) // 3, len(whole) // 2, len(whole) - 30} | set(range(512, len(whole), 20_480)))
    for cut in places:
        if name.endswith(".tar") and not any(whole[cut:]):
            continue  # a tar ends in zeros
        found = contents(name, whole[:cut])
        assert isinstance(found[-1][1], str), f"cut at {cut} is not told: {found[-1][0]}"
        good = [(member, data) for member, data in found if isinstance(data, bytes)]
        assert good == list(PLAIN.items())[: len(good)]


def test_a_tar_that_is_damaged_in_the_middle_is_told() -> None:
    whole = bytearray(tarred(PLAIN))
    place = whole.index(b"deep/b.jpg")
    whole[place : place + 4] = b"\xff\xfe\xfd\xfc"
    assert contents("a.tar", bytes(whole)) == [("a.png", PLAIN["a.png"]), ("", "damaged")]


@pytest.mark.parametrize("name", ["a.zip", "stored.zip", "a.tar", "a.tar.gz", "a.tar.xz"])
def test_random_damage_raises_nothing_else(name: str) -> None:
    generator = random.Random(7)  # noqa: S311 - the same every time
    for _ in range(150):
        damaged = bytearray(WHOLE[name])
        for _ in range(generator.randrange(1, 6)):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        contents(name, bytes(damaged[: generator.randrange(len(damaged) // 2, len(damaged) + 1)]))


def test_what_lies_behind_the_end_of_a_tar_is_told() -> None:
    assert contents("a.tar", tarred(PLAIN) * 2)[-1] == ("", "damaged")


def test_a_wrong_checksum_behind_packed_members_is_told() -> None:
    whole = bytearray(WHOLE["a.tar.gz"])
    whole[-6] ^= 1
    assert contents("a.tar.gz", bytes(whole))[-1] == ("", "damaged")


OUTWARDS = ("../up.png", "/etc/cron.d/root.png", "a/../../up.png", "C:\\windows.png", "..\\up.png")


def hostile_tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind in (
            ("link.png", tarfile.SYMTYPE),
            ("hard.png", tarfile.LNKTYPE),
            ("pipe.png", tarfile.FIFOTYPE),
            ("disk.png", tarfile.BLKTYPE),
            ("tty.png", tarfile.CHRTYPE),
            ("folder", tarfile.DIRTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        for name in (
            "../up.png",
            "/etc/cron.d/root.png",
            "a/../../up.png",
            "C:\\windows.png",
            "..\\up.png",
            "same.png",
        ):
            info = tarfile.TarInfo(name)
            info.size = 4
            archive.addfile(info, io.BytesIO(b"evil"))
        for data in (b"one", b"two"):
            info = tarfile.TarInfo("same.png")
            info.size = 3
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def hostile_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, mode in (("link.png", stat.S_IFLNK), ("pipe.png", stat.S_IFIFO), ("disk.png", stat.S_IFBLK)):
            info = zipfile.ZipInfo(name)
            info.external_attr = (mode | 0o644) << 16
            archive.writestr(info, "/etc/passwd")
        for name in OUTWARDS:
            archive.writestr(name, b"evil")
        archive.mkdir("folder")
    return buffer.getvalue()


@pytest.mark.parametrize(("name", "data"), [("a.tar", hostile_tar()), ("a.zip", hostile_zip())])
def test_names_links_and_devices_are_refused_and_nothing_is_written(
    name: str, data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    found = contents(name, data)
    reasons = [reason for member, reason in found if "same" not in member]
    assert set(reasons) <= {"member_link", "member_special", "member_name"}, found
    assert [data for member, data in found if member == "same.png"] in ([], [b"evil", b"one", b"two"])
    assert [path.name for path in tmp_path.rglob("*")] == ["in"]


def encrypted_zip() -> bytes:
    data = bytearray(zipped({"a.png": b"secret"}))
    for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(mark) + place] |= 1
    return bytes(data)


def test_an_encrypted_member_and_an_unusual_method_are_named() -> None:
    assert contents("a.zip", encrypted_zip()) == [("a.png", "member_encrypted")]
    assert contents("a.zip", zipped({"a.png": b"x"}, zipfile.ZIP_LZMA)) == [("a.png", "member_packed_otherwise")]


def lying_zip() -> bytes:
    """A zip whose directory says that a member of 32 MiB has 100 bytes."""
    data = bytearray(zipped({"a.png": bytes(32 * MIB)}))
    for mark, place in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        struct.pack_into("<I", data, data.index(mark) + place, 100)
    return bytes(data)


def overlapping_zip(copies: int) -> bytes:
    """A zip bomb whose members share their bytes."""
    data = zipped({"a.png": bytes(MIB)}, zipfile.ZIP_STORED)
    start = data.index(b"PK\1\2")
    end = data.index(b"PK\5\6")
    directory = data[start:end] * copies
    tail = bytearray(data[end:])
    struct.pack_into("<HHI", tail, 8, copies, copies, len(directory))
    return data[:start] + directory + bytes(tail)


def vast_directory_zip() -> bytes:
    tail = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0, 0)
    return b"PK\3\4" + bytes(1000) + tail


def long_header_tar() -> bytes:
    """A tar whose first header claims a name of 64 MiB, packed."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 64 * MIB
    return gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + b"x" * (64 * MIB))


BOMBS: dict[str, Callable[[], tuple[bytes, int]]] = {
    "ratio.zip": lambda: (zipped({"a.png": bytes(64 * MIB)}), 2**40),
    "over-the-cap.zip": lambda: (zipped({"a.png": bytes(8 * MIB)}, zipfile.ZIP_STORED), MOST_BYTES),
    "lying.zip": lambda: (lying_zip(), 2**40),
    "overlapping.zip": lambda: (overlapping_zip(50), 2**40),
    "directory.zip": lambda: (vast_directory_zip(), 2**40),
    "ratio.tar.gz": lambda: (gzip.compress(tarred({"a.png": bytes(64 * MIB)})), 2**40),
    "ratio.tar.xz": lambda: (lzma.compress(tarred({"a.png": bytes(64 * MIB)})), 2**40),
    "skipped.tar.gz": lambda: (gzip.compress(tarred({"skip.txt": bytes(64 * MIB), "a.png": b"x"})), 1000),
    "over-the-cap.tar": lambda: (tarred({"a.png": bytes(8 * MIB)}), MOST_BYTES),
    "header.tar.gz": lambda: (long_header_tar(), MOST_BYTES),
    "dictionary.tar.xz": lambda: (
        lzma.compress(tarred(PLAIN), filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 512 * MIB, "preset": 0}]),
        MOST_BYTES,
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_told_and_takes_no_memory(name: str) -> None:
    data, most_bytes = BOMBS[name]()
    tracemalloc.start()
    reader_sees = []
    try:
        reader = open_archive(name, io.BytesIO(data), most_bytes)
        for member in reader:
            try:
                if member.refusal is not None:
                    raise member.refusal
                reader.read(Nowhere())
            except MemberRefused as refused:
                reader_sees.append(refused.reason)
    except ArchiveDamaged:
        reader_sees.append("damaged")
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert set(reader_sees) & {"member_bomb", "member_too_large", "member_damaged", "damaged"}, reader_sees
    assert peak_bytes < 12 * MIB, f"{peak_bytes / MIB:.0f} MiB"


class Nowhere(io.BytesIO):
    """Takes what is written, at most what a picture may have before it is noticed."""

    count = 0

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.count += len(data)
        assert self.count <= 40 * MIB
        return len(data)
