"""Thumbnails out of memory: what was kept is read back in any order, and nothing of it is left in the folder."""

import errno
import os
from pathlib import Path

import pytest

from clc.collection.thumbnails import Thumbnails
from storage.errors import StorageError, StorageFull

LEVELS = [bytes([number]) * 4096 for number in range(5)]


def test_what_was_kept_is_read_in_any_order_and_has_no_name(tmp_path: Path) -> None:
    with Thumbnails(tmp_path / "intake") as thumbnails:
        kept = [thumbnails.keep(levels) for levels in LEVELS]
        assert [bytes(one) for one in reversed(kept)] == LEVELS[::-1]
        assert list((tmp_path / "intake").iterdir()) == []
    with pytest.raises(ValueError, match="closed file"):
        bytes(kept[0])


def test_a_disk_that_takes_a_part_only_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: real(file, data[:1000], at))
    with Thumbnails(tmp_path) as thumbnails:
        assert [bytes(one) for one in map(thumbnails.keep, LEVELS)] == LEVELS


def test_a_full_disk_and_a_cut_file_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with Thumbnails(tmp_path) as thumbnails:
        kept = thumbnails.keep(LEVELS[0])
        os.ftruncate(kept.file.fileno(), 100)
        with pytest.raises(StorageError, match="was cut; run the same again"):
            bytes(kept)
        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(StorageFull, match="thumbnails: No space left on device; make room on the disk"):
            thumbnails.keep(LEVELS[1])
