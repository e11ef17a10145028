"""`ingest-images` from what must be brought first: URLs and archives become items and rows of the ledger."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from clc.errors import InputError
from clc.pictures.near_duplicates import perceptual_hash
from flows.ingest import ingest_images
from flows.intake.ledger import LEDGER, LedgerRow, hosts, read_ledger, reasons, report
from flows.items import read_items
from flows.outcomes import ARTIFACT
from flows.run_summary import left_out_lines
from flows.runtime.stage import resolve
from flows.runtime.workspace import Workspace
from storage.digest import sha256_bytes
from storage.errors import StorageError
from storage.tables import read_table, write_table
from tests.flows.intake.test_gather import Server, listed, server

pytestmark = pytest.mark.usefixtures("prefect_api")
__all__ = ["server"]  # a fixture


def picture(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((40, 30), 20 + seed).convert("RGB").save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


MEMBERS = {f"{seed}.jpg": picture(seed) for seed in range(6)}


def ledger(workspace: Workspace, key: str) -> dict[str, LedgerRow]:
    folder = resolve(workspace, "ingest-images", key).directory
    assert read_table(folder / "ledger.parquet").schema.equals(LEDGER)
    return {row.name: row for row in read_ledger(folder)}


def test_an_archive_becomes_items_and_every_member_a_row(workspace: Workspace, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, data in MEMBERS.items():
            archive.writestr(name, data)
        archive.writestr("copy.jpg", MEMBERS["0.jpg"])
        archive.writestr("broken.jpg", MEMBERS["1.jpg"][:300])
        archive.writestr("text.jpg", b"no picture")
        archive.writestr("../up.jpg", MEMBERS["2.jpg"])
        archive.writestr("notes.txt", b"x")
    key = ingest_images(str(tmp_path / "a.zip"))
    result = resolve(workspace, "ingest-images", key)
    rows = ledger(workspace, key)
    found = {name: row.reason for name, row in rows.items()}
    assert found == {
        **dict.fromkeys(MEMBERS, ""),
        "copy.jpg": "same_picture",
        "broken.jpg": "broken_picture",
        "text.jpg": "not_a_picture",
        "../up.jpg": "member_name",
    }
    assert {item.name for item in read_items(result.directory)} == set(MEMBERS)
    assert result.manifest.summary["passed_over"] == {".txt": 1}
    assert result.manifest.summary["failed"] == 4
    one = rows["0.jpg"]
    with Image.open(io.BytesIO(MEMBERS["0.jpg"])) as image:
        assert one.perceptual_hash == perceptual_hash(np.asarray(image))
    assert (one.status, one.width, one.height, one.bytes) == ("ok", 40, 30, len(MEMBERS["0.jpg"]))
    assert one.sha256 == sha256_bytes(MEMBERS["0.jpg"])
    assert workspace.blobs.get(one.sha256) == MEMBERS["0.jpg"], "the source's own bytes are kept"
    assert one.started_utc <= one.finished_utc
    lines = left_out_lines(result.manifest.summary)
    assert lines[0].startswith("4 pictures cannot be used (")
    assert "member_name 1" in lines[0]
    assert ingest_images(str(tmp_path / "a.zip")) == key


def test_a_list_of_urls_becomes_items_and_the_tables_are_an_artifact(
    workspace: Workspace, server: Server, tmp_path: Path
) -> None:
    from prefect import get_client
    from prefect.client.schemas.filters import ArtifactCollectionFilter

    server.says = {"bad/1": 404, "bad/2": 503}
    urls = [server.url(path) for path in ("ok/1", "ok/22", "ok/333", "ok/4444", "bad/1", "bad/2")]
    key = ingest_images(listed(tmp_path / "a.txt", urls))
    rows = ledger(workspace, key)
    assert [row.reason for row in rows.values()] == ["", "", "", "", "http_404", "http_503"]
    assert rows[urls[5]].attempts == 3
    assert rows[urls[0]].final_url == urls[0]
    with get_client(sync_client=True) as client:
        (shown,) = client.read_latest_artifacts(artifact_filter=ArtifactCollectionFilter(key={"any_": [ARTIFACT]}))
    assert "**4 of 6 pictures of" in str(shown.data)
    assert "| http\\_404 | 1 |" in str(shown.data)
    assert "| 127.0.0.1 | 4 | 2 |" in str(shown.data)
    server.says = {"bad/1": 404, "bad/2": 200}
    again = ingest_images(str(tmp_path / "a.txt"), retry_failed="http_503")
    assert again != key
    assert [row.reason for row in ledger(workspace, again).values()] == [*[""] * 5, "http_404"]


def test_a_source_of_which_nothing_comes_is_one_sentence(workspace: Workspace, server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no picture came of .*a\.txt: .*gone: the server answers 404; check it"):
        ingest_images(listed(tmp_path / "a.txt", [server.url("gone")]), success_rate=0.0)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("notes.txt", b"x")
    with pytest.raises(InputError, match=r"no picture came of .*a\.zip; it holds 1 \.txt"):
        ingest_images(str(tmp_path / "a.zip"))


def test_a_folder_has_a_ledger_too(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, data in MEMBERS.items():
        (tmp_path / "in" / name).write_bytes(data)
    (tmp_path / "in" / "broken.png").write_bytes(b"\x89PNG and no more")
    (tmp_path / "in" / "gone.png").symlink_to("nowhere")
    rows = ledger(workspace, ingest_images(str(tmp_path / "in")))
    assert {name: row.reason for name, row in rows.items() if row.reason} == {
        "broken.png": "not_a_picture",
        "gone.png": "not_searched",
    }
    assert rows["0.jpg"].sha256 == sha256_bytes(MEMBERS["0.jpg"])
    assert rows["broken.png"].bytes == len(b"\x89PNG and no more")


def row(number: int, reason: str = "", host: str = "") -> LedgerRow:
    return LedgerRow(
        name=f"{number}", source="a", licence="", status="failed" if reason else "ok", reason=reason, host=host
    )


def test_the_report_counts_reasons_and_hosts_and_says_how_many_it_left_out() -> None:
    rows = [row(n, "http_503" if n % 3 else "", f"h{n % 25:02d}.example") for n in range(100)]
    rows.append(row(100, "bad|url"))
    assert reasons(rows) == {"http_503": 66, "bad|url": 1}
    assert sum(one["ok"] for one in hosts(rows).values()) == 34
    text = report("a*b", rows)
    assert text.startswith("**34 of 101 pictures of a\\*b can be used**")
    assert "| bad\\|url | 1 |" in text
    assert "| 5 others |" in text


def test_a_ledger_of_another_version_is_named(tmp_path: Path) -> None:
    write_table(tmp_path / "ledger.parquet", pa.table({"name": ["a"]}))
    with pytest.raises(StorageError, match=r"ledger\.parquet"):
        read_ledger(tmp_path)
