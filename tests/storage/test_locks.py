"""One holder at a time; a dead or silent holder is taken over, a live one is waited for."""

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from storage.errors import LeaseHeld, StorageError
from storage.locks import Lease, in_use


def test_lease_is_gone_after_the_block(tmp_path: Path) -> None:
    with Lease(tmp_path / "lease") as lease:
        lease.confirm()
        assert (tmp_path / "lease").is_file()
    assert not (tmp_path / "lease").exists()


def test_second_holder_waits_for_the_first(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with Lease(tmp_path / "lease", ttl_s=0.2):
            order.append("second")

    with Lease(tmp_path / "lease", ttl_s=0.2):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.7)  # longer than the time to live: the heartbeat is what keeps the lease
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_waiting_ends_at_the_timeout(tmp_path: Path) -> None:
    with (
        Lease(tmp_path / "lease"),
        pytest.raises(StorageError, match="another process holds it"),
        Lease(tmp_path / "lease", timeout_s=0.2),
    ):
        pass


def test_a_lease_that_clears_leaves_nothing_but_what_others_put_there(tmp_path: Path) -> None:
    with Lease(tmp_path / "work" / "lease", clears=True):
        assert (tmp_path / "work" / "lease").exists()
    assert not (tmp_path / "work").exists()
    with Lease(tmp_path / "work" / "lease", clears=True):
        (tmp_path / "work" / "notes").touch()
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["notes"]


def test_leases_that_clear_are_held_by_one_at_a_time(tmp_path: Path) -> None:
    inside, most = [], []

    def work() -> None:
        for _ in range(5):
            with Lease(tmp_path / "work" / "lease", clears=True) as lease:
                inside.append(lease)
                most.append(len(inside))
                lease.confirm()
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 20
    assert not (tmp_path / "work").exists()


def test_a_lease_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str) -> None:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(StorageError, match="No space left"):
        Lease(tmp_path / "lease").__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["lease.guard"]


KILLED_HOLDER = """
    import os, signal, sys
    from pathlib import Path
    from storage.locks import Lease
    with Lease(Path(sys.argv[1]), ttl_s=3600):
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_lease_of_a_killed_process_is_taken_over_at_once(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED_HOLDER), str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert path.is_file()
    with Lease(path, ttl_s=3600, timeout_s=1) as lease:
        lease.confirm()


def test_silent_holder_of_another_machine_is_taken_over_after_its_time_to_live(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    path.write_text(json.dumps({"token": "other", "beat": 3, "pid": os.getpid(), "machine": "elsewhere"}))
    started = time.monotonic()
    with Lease(path, ttl_s=0.4, timeout_s=5):
        assert time.monotonic() - started >= 0.4


def test_former_holder_learns_that_it_was_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    with Lease(path) as lease:
        path.write_text(json.dumps({"token": "other", "beat": 0, "pid": os.getpid(), "machine": "elsewhere"}))
        with pytest.raises(StorageError, match="taken over"):
            lease.confirm()
    assert json.loads(path.read_text())["token"] == "other"  # noqa: S105


def test_unreadable_lease_file_counts_as_silent(tmp_path: Path) -> None:
    (tmp_path / "lease").write_bytes(b"\x00half a record")
    with Lease(tmp_path / "lease", ttl_s=0.2, timeout_s=5) as lease:
        lease.confirm()


def test_a_place_in_use_is_had_alone_by_nobody_and_by_one_when_it_is_free(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "in-use"
    refused = pytest.raises(LeaseHeld, match="held by a run that is at work")
    with in_use(path), in_use(path), refused, in_use(path, alone=True):
        pass
    with in_use(path, alone=True), pytest.raises(LeaseHeld), in_use(path, alone=True):
        pass


def test_a_process_that_is_killed_uses_nothing_any_more(tmp_path: Path) -> None:
    path = tmp_path / "in-use"
    program = "import sys, time, pathlib; from storage.locks import in_use\nwith in_use(pathlib.Path(sys.argv[1])):\n"
    program += "    print('held', flush=True)\n    time.sleep(600)"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], cwd=Path(__file__).parents[2], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LeaseHeld), in_use(path, alone=True):
            pass
        holder.kill()
    with in_use(path, alone=True):
        pass
