"""What is brought is brought once: a run that is killed, repeated or asked to try again fetches what is missing."""

import io
import signal
import subprocess
import sys
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from clc.errors import InputError
from flows.intake.gather import Gathered, gather
from flows.intake.journal import Journal, JournalLine
from flows.runtime.workspace import Workspace
from flows.sources import Source, read_source
from storage.errors import StorageError
from storage.network.fetch import CrawlLimits


class Server(ThreadingHTTPServer):
    """Serves pictures at /ok/N, and what tests put into `says`: a status by path. Counts what it was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.says: dict[str, int] = {}
        self.asked: Counter[str] = Counter()
        self.delay_s = 0.0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        path = self.path.lstrip("/")
        self.server.asked[path] += 1
        status = self.server.says.get(path, 200 if path.startswith("ok") else 404)
        body = picture(path) if status == 200 else b""
        self.send_response(status)
        self.send_header("Content-Type", "image/png")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def picture(name: str) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((24, 16), 40 + len(name)).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server on loopback, which the operator permits, and a crawl in a hurry."""
    monkeypatch.setenv("CLC_CRAWL_ALLOW", "127.0.0.0/8")
    hurried = {"gap_s": 0.0, "pause_s": 0.01, "deadline_s": 5.0}
    monkeypatch.setattr("storage.network.fetch.CrawlLimits", lambda: CrawlLimits(**hurried))
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def listed(path: Path, urls: list[str]) -> str:
    path.write_text("".join(f"{url}\n" for url in urls))
    return str(path)


def gathered(workspace: Workspace, source: str, **options: Any) -> Gathered:
    origin = read_source(source)
    assert not isinstance(origin, Source)
    return gather(workspace, origin, **options)


def reasons(lines: Gathered) -> dict[str, str]:
    return {line.name.rsplit("/", 1)[1]: line.reason for line in lines.lines}


def asked(server: Server) -> Counter[str]:
    return Counter({path: count for path, count in server.asked.items() if path != "robots.txt"})


def test_every_url_is_a_line_and_is_fetched_once(workspace: Workspace, server: Server, tmp_path: Path) -> None:
    source = listed(tmp_path / "a.txt", [server.url("ok/1"), server.url("gone"), "no url/x", server.url("ok/2")])
    first = gathered(workspace, source)
    assert reasons(first) == {"1": "", "gone": "http_404", "x": "bad_url", "2": ""}
    assert [line.number for line in first.lines] == [0, 1, 2, 3]
    assert workspace.blobs.has(first.lines[0].sha256)
    assert first.lines[0].host == "127.0.0.1"
    again = gathered(workspace, source)
    assert again == first
    assert asked(server) == {"ok/1": 1, "gone": 1, "ok/2": 1}


def test_a_list_that_grew_fetches_what_is_new(workspace: Workspace, server: Server, tmp_path: Path) -> None:
    gathered(workspace, listed(tmp_path / "a.txt", [server.url("ok/1")]))
    gathered(workspace, listed(tmp_path / "b.txt", [server.url("ok/2"), server.url("ok/1")]))
    assert asked(server) == {"ok/1": 1, "ok/2": 1}


def test_what_failed_is_tried_again_where_that_is_asked_for(
    workspace: Workspace, server: Server, tmp_path: Path
) -> None:
    server.says = {"bad/1": 404, "bad/2": 410}
    source = listed(tmp_path / "a.txt", [server.url(path) for path in ("ok/1", "ok/2", "bad/1", "bad/2")])
    gathered(workspace, source)
    server.says = {"bad/1": 200, "bad/2": 410}
    assert [line.reason for line in gathered(workspace, source).lines] == ["", "", "http_404", "http_410"]
    assert gathered(workspace, source, retry_failed="http_410").lines[2].reason == "http_404"
    assert asked(server)["bad/1"] == 1
    assert asked(server)["bad/2"] == 2
    assert [line.reason for line in gathered(workspace, source, retry_failed="all").lines] == ["", "", "", "http_410"]
    assert asked(server) == {"ok/1": 1, "ok/2": 1, "bad/1": 2, "bad/2": 3}


def test_a_shard_below_the_rate_is_not_done_and_is_tried_again_for_what_may_pass(
    workspace: Workspace, server: Server, tmp_path: Path
) -> None:
    server.says = {"busy/1": 503, "busy/2": 503, "gone": 410}
    source = listed(tmp_path / "a.txt", [server.url(path) for path in ("ok/1", "busy/1", "busy/2", "gone")])
    with pytest.raises(InputError, match=r"1 of 1 shards of .* wants \(http_503 2, http_410 1\)"):
        gathered(workspace, source)
    low = gathered(workspace, source, success_rate=0.25)
    assert [line.reason for line in low.lines] == ["", "http_503", "http_503", "http_410"]
    counts = asked(server)
    server.says = {"busy/1": 200, "busy/2": 200, "gone": 410}
    assert sum(not line.reason for line in gathered(workspace, source).lines) == 3
    assert asked(server) - counts == {"busy/1": 1, "busy/2": 1}


def test_a_blob_that_is_gone_is_fetched_again(workspace: Workspace, server: Server, tmp_path: Path) -> None:
    source = listed(tmp_path / "a.txt", [server.url("ok/1")])
    sha = gathered(workspace, source).lines[0].sha256
    workspace.blobs.path(sha).unlink()
    assert not gathered(workspace, source).lines[0].reason
    assert asked(server) == {"ok/1": 2}


KILLED = """
import os, sys
from pathlib import Path
import flows.intake.gather as module
from flows.intake.journal import Journal
from flows.runtime.workspace import Workspace
from flows.sources import read_source
import storage.network.fetch as fetch

limits = fetch.CrawlLimits(gap_s=0.0, pause_s=0.01)
fetch.CrawlLimits = lambda: limits
put, left = Journal.put, int(sys.argv[2])

def counted(self, origin, line):
    global left
    put(self, origin, line)
    left -= 1
    if not left:
        os.kill(os.getpid(), 9)

Journal.put = counted
module.gather(Workspace.from_environment(), read_source(sys.argv[1]))
"""


def killed(source: str, after: int) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, source, str(after)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_a_crawl_that_is_killed_goes_on_and_fetches_nothing_twice_that_was_told(
    workspace: Workspace, server: Server, tmp_path: Path
) -> None:
    urls = [server.url(f"ok/{number}") for number in range(40)]
    source = listed(tmp_path / "a.txt", urls)
    killed(source, 7)
    killed(source, 9)
    done = gathered(workspace, source)
    assert not any(line.reason for line in done.lines)
    counts = asked(server)
    assert set(counts) == {f"ok/{number}" for number in range(40)}
    # What was under way when the process died, two to a host, is all that may be asked for again.
    assert sum(counts.values()) <= 40 + 2 * 2


def test_an_archive_that_is_killed_goes_on(workspace: Workspace, tmp_path: Path) -> None:
    members = {f"{number}.png": picture(f"{number}") + bytes([number]) for number in range(20)}
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    killed(str(tmp_path / "a.zip"), 6)
    inodes = {path.name: path.stat().st_ino for path in workspace.blobs.root.rglob("*") if path.is_file()}
    assert len(inodes) == 6
    done = gathered(workspace, str(tmp_path / "a.zip"))
    assert {line.name: workspace.blobs.get(line.sha256) for line in done.lines} == members
    assert [line.name for line in done.lines] == list(members)
    kept = {name: workspace.blobs.path(name).stat().st_ino for name in inodes}
    assert kept == inodes, "what was there is written again"
    assert [path.name for path in workspace.intake.iterdir() if "journal" not in path.name] == []


def test_an_archive_that_changed_is_read_anew_and_one_that_did_not_is_not_read_again(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.zip"
    for data in (b"one", b"other"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.png", data)
        assert workspace.blobs.get(gathered(workspace, str(path)).lines[0].sha256) == data
    origin = read_source(str(path))
    assert not isinstance(origin, Source)
    monkeypatch.setattr("flows.intake.packed.open_archive", lambda *_: pytest.fail("read again"))
    assert gather(workspace, origin).lines[0].name == "a.png"


def test_two_runs_at_once_do_the_work_once(workspace: Workspace, server: Server, tmp_path: Path) -> None:
    source = listed(tmp_path / "a.txt", [server.url(f"ok/{number}") for number in range(30)])
    found: list[Gathered] = []
    threads = [threading.Thread(target=lambda: found.append(gathered(workspace, source))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert set(asked(server).values()) == {1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"success_rate": 1.5}, "success_rate is 1.5"),
        ({"retry_failed": "http 503"}, "retry_failed is 'http 503'"),
    ],
)
def test_wrong_options_are_named(workspace: Workspace, tmp_path: Path, options: Any, message: str) -> None:
    source = listed(tmp_path / "a.txt", ["http://a.example/1.png"])
    with pytest.raises(InputError, match=message):
        gathered(workspace, source, **options)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("CLC_CRAWL_ALLOW", "10.0.0.300", "CLC_CRAWL_ALLOW: '10.0.0.300' is no network"),
        ("CLC_CRAWL_CONTACT", "a\nHost: b", "CLC_CRAWL_CONTACT is"),
    ],
)
def test_wrong_settings_are_named(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match=message):
        gathered(workspace, listed(tmp_path / "a.txt", ["http://a.example/1.png"]))


def test_a_damaged_journal_is_named(workspace: Workspace, tmp_path: Path) -> None:
    workspace.intake.mkdir(parents=True)
    (workspace.intake / "journal.db").write_bytes(b"no database" * 500)
    with pytest.raises(StorageError, match=r"journal\.db: .*; check the disk"):
        gathered(workspace, listed(tmp_path / "a.txt", ["http://a.example/1.png"]))


def test_a_line_comes_back_as_it_was_put(workspace: Workspace) -> None:
    line = JournalLine(name="a", number=3, licence="é", reason="http_503", detail="x'y\"", bytes=2**40, sha256="00")
    with Journal(workspace.root / "odd ?%name" / "journal.db") as journal:
        journal.put("one", line)
        journal.put("other", JournalLine(name="a"))
        assert journal.line("one", "a") == line
        assert journal.lines("one") == [line]
        assert journal.passed_over("one") is None
        journal.finish("one", "label", {".txt": 2})
        assert journal.passed_over("one") == {".txt": 2}
    assert [path.name for path in (workspace.root / "odd ?%name").iterdir()] == ["journal.db"]
