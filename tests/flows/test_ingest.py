"""`ingest-images`: good pictures become items, bad ones a row with a reason, and the same work is not done twice."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from prefect.exceptions import ParameterTypeError

from clc.collection.examination import Examined, Refused
from clc.collection.patches import PatchReader
from clc.collection.shards import ShardOfFiles
from clc.collection.thumbnails import KeptThumbnail, Thumbnails
from clc.errors import InputError
from clc.pictures.images import png_bytes, read_image
from clc.pictures.near_duplicates import fingerprint
from clc.pictures.picture import Rectangle
from flows import ingest
from flows.ingest import ingest_images
from flows.intake import examining
from flows.items import ITEMS, read_items
from flows.run_summary import left_out_lines
from flows.runtime.stage import resolve
from flows.runtime.workspace import Workspace
from flows.sources import SourcePicture, read_source
from storage.digest import sha256_file
from storage.tables import read_table, write_table

pytestmark = pytest.mark.usefixtures("prefect_api")

HEIGHT_PX, WIDTH_PX = 40, 70


def picture(seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (HEIGHT_PX, WIDTH_PX, 3), dtype=np.uint8)


def fill(folder: Path, count: int = 6) -> None:
    folder.mkdir()
    for seed in range(count):
        (folder / f"{seed}.png").write_bytes(png_bytes(picture(seed)))


def items(workspace: Workspace, key: str) -> pa.Table:
    return read_table(resolve(workspace, "ingest-images", key).directory / "items.parquet")


def stored(workspace: Workspace, row: dict[str, Any]) -> np.ndarray:
    place = None if row["left"] is None else Rectangle(*(row[name] for name in Rectangle._fields))
    return PatchReader(workspace.blobs).read(row["blob"], place)


def test_a_pipe_in_a_list_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert ingest._file_digest(SourcePicture("pipe.png", tmp_path / "pipe.png", "", "")) == ""


def test_folder_with_a_broken_picture_and_a_copy_costs_two_rows_and_nothing_else(
    workspace: Workspace, tmp_path: Path
) -> None:
    fill(tmp_path / "photos")
    (tmp_path / "photos" / "broken.png").write_bytes(b"\x89PNG and no more")
    (tmp_path / "photos" / "copy.png").write_bytes(png_bytes(picture(3)))
    key = ingest_images(str(tmp_path / "photos"))
    table = items(workspace, key)
    assert table.schema.equals(ITEMS)
    rows = table.to_pylist()
    failed = {row["name"]: row["reason"] for row in rows if row["status"] == "failed"}
    assert failed.keys() == {"broken.png", "copy.png"}
    assert failed["copy.png"] == "the same picture as 3.png"
    good = [row for row in rows if row["status"] == "ok"]
    assert {row["part"] for row in good} == {"dictionary", "training", "evaluation"}
    assert len({row["item_id"] for row in rows}) == len(rows) == 8
    for row in good:
        assert workspace.blobs.get(row["blob"]) == (tmp_path / "photos" / row["name"]).read_bytes(), "own bytes"
        np.testing.assert_array_equal(stored(workspace, row), picture(int(row["name"].split(".")[0])))
        assert (row["width"], row["height"]) == (WIDTH_PX, HEIGHT_PX)


def test_names_that_are_no_utf_8_and_whatever_a_decoder_does_cost_their_own_rows(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "photos"
    fill(folder)
    good, bad = (folder / os.fsdecode(name) for name in (b"caf\xe9.png", b"bad\xe9\n.png"))
    good.write_bytes(png_bytes(picture(77)))
    bad.write_bytes(b"no picture")
    (folder / "changed.png").write_bytes(png_bytes(picture(78)))
    real = examining.examine_shard

    def changes(shard: ShardOfFiles) -> list[Examined | Refused]:
        (folder / "changed.png").write_bytes(png_bytes(picture(79)))
        return real(shard)

    monkeypatch.setattr("clc.collection.wall.EXAMINER", "tests.flows.hostile_decoder:hostile")
    monkeypatch.setattr(examining, "examine_shard", changes)
    rows = items(workspace, ingest_images(str(folder))).to_pylist()
    failed = {row["name"]: row["reason"] for row in rows if row["status"] == "failed"}
    assert failed.keys() == {r"bad\xe9\n.png", "0.png", "1.png", "changed.png"}
    assert failed["0.png"] == "its decoder ended with status 1; export or copy the picture again"
    assert failed["1.png"] == "its decoder ended by SIGABRT; export or copy the picture again"
    assert failed["changed.png"] == "the file changed while it was read; run again"
    assert r"caf\xe9.png" in {row["name"] for row in rows if row["status"] == "ok"}


def test_thumbnails_of_new_and_of_known_files_are_not_in_memory(workspace: Workspace, tmp_path: Path) -> None:
    fill(tmp_path / "photos")
    pictures = read_source(str(tmp_path / "photos")).pictures  # type: ignore[union-attr]
    files = {one.name: sha256_file(one.path) for one in pictures}
    wanted = [fingerprint("", read_image(one.path)).thumbnail.astype(np.uint8).tobytes() for one in pictures]
    for _ in range(2):
        with Thumbnails(workspace.intake) as thumbnails:
            found = examining.examined(workspace, pictures, files, thumbnails)
            kept = [one.thumbnail for one in found if isinstance(one, Examined)]
            assert all(isinstance(one, KeptThumbnail) for one in kept)
            assert list(map(bytes, kept)) == wanted
        assert examining.count_unknown(workspace, pictures, files) == 0


def test_new_pictures_are_examined_and_no_others(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "photos")
    (tmp_path / "photos" / "broken.png").write_bytes(b"no picture")
    asked: list[str] = []
    real = examining.examine_shard

    def counts(shard: ShardOfFiles) -> list[Examined | Refused]:
        asked.extend(one.name for one in shard.files)
        return real(shard)

    monkeypatch.setattr(examining, "examine_shard", counts)
    first = items(workspace, ingest_images(str(tmp_path / "photos"))).to_pylist()
    assert len(asked) == 7
    asked.clear()
    (tmp_path / "photos" / "9.png").write_bytes(png_bytes(picture(9)))
    (tmp_path / "photos" / "0.png").rename(tmp_path / "photos" / "moved.png")
    second = items(workspace, ingest_images(str(tmp_path / "photos"))).to_pylist()
    assert asked == ["9.png"]
    parts = {row["item_id"]: row["part"] for row in second}
    assert all(parts[row["item_id"]] == row["part"] for row in first if row["status"] == "ok")


def test_many_shards_go_to_workers_and_give_what_one_does(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "photos", count=9)
    (tmp_path / "photos" / "4.png").write_bytes(b"no picture")
    here = items(workspace, ingest_images(str(tmp_path / "photos"))).to_pylist()
    (workspace.intake / "examined.db").unlink()
    shutil.rmtree(workspace.stages)
    shutil.rmtree(workspace.blobs.root)
    monkeypatch.setattr(examining, "SHARD_FILES", 2)
    key = ingest_images(str(tmp_path / "photos"))
    assert items(workspace, key).to_pylist() == here
    for item in read_items(resolve(workspace, "ingest-images", key).directory):
        assert workspace.blobs.get(item.blob) == (tmp_path / "photos" / item.name).read_bytes()


def test_a_blob_that_is_gone_comes_back_with_the_next_run(workspace: Workspace, tmp_path: Path) -> None:
    fill(tmp_path / "photos")
    key = ingest_images(str(tmp_path / "photos"))
    (first, *_) = read_items(resolve(workspace, "ingest-images", key).directory)
    workspace.blobs.path(first.blob).unlink()
    assert ingest_images(str(tmp_path / "photos")) == key
    assert workspace.blobs.get(first.blob) == (tmp_path / "photos" / first.name).read_bytes()


def test_an_ingest_of_an_earlier_release_is_read(workspace: Workspace, tmp_path: Path) -> None:
    blobs = [workspace.blobs.put(png_bytes(picture(seed))) for seed in range(3)]
    old = [
        dict.fromkeys(ITEMS.names)
        | {"item_id": f"{seed}", "name": "n", "photo": "p", "part": "dictionary", "row": "natural", "blob": blob}
        | {"width": WIDTH_PX, "height": HEIGHT_PX, "source": "s", "licence": "l", "status": "ok", "reason": ""}
        for seed, blob in enumerate(blobs)
    ]
    write_table(tmp_path / "items.parquet", pa.Table.from_pylist(old, ITEMS).drop_columns(["left", "top"]))
    reader = PatchReader(workspace.blobs)
    for seed, item in enumerate(read_items(tmp_path)):
        assert item.rectangle is None
        np.testing.assert_array_equal(reader.read(item.blob, item.rectangle), picture(seed))


def test_losses_stand_in_the_rows_and_are_counted_and_so_is_what_is_left_out(
    workspace: Workspace, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    fill(folder)
    frames = [Image.fromarray(picture(seed)) for seed in (50, 51)]
    frames[0].save(folder / "film.png", save_all=True, append_images=frames[1:])
    (folder / "notes.txt").write_text("-")
    (folder / "gone").symlink_to("nowhere")
    finished = resolve(workspace, "ingest-images", ingest_images(str(folder)))
    rows = {row["name"]: row for row in items(workspace, finished.key).to_pylist()}
    assert rows["0.png"]["losses"] == []
    (loss,) = rows["film.png"]["losses"]
    assert "frame" in loss
    assert rows["gone"]["status"] == "failed"
    assert rows["gone"]["reason"] == "cannot be searched: is a link to nothing"
    summary = finished.manifest.summary
    assert summary["losses"] == {loss: 1}
    assert summary["passed_over"] == {".txt": 1}
    assert summary["unreadable"] == {"gone": "is a link to nothing"}
    assert (summary["pictures"], summary["failed"]) == (7, 0)
    assert left_out_lines(summary) == [
        "gone cannot be searched: is a link to nothing",
        "passed over: 1 .txt",
        f"1 picture: {loss}",
    ]


def test_pictures_of_one_name_in_two_folders_are_two_photos(workspace: Workspace, tmp_path: Path) -> None:
    for seed in range(4):
        (tmp_path / f"photos/scene{seed}").mkdir(parents=True)
        (tmp_path / f"photos/scene{seed}/image.png").write_bytes(png_bytes(picture(seed)))
    found = read_items(resolve(workspace, "ingest-images", ingest_images(str(tmp_path / "photos"))).directory)
    assert {item.photo for item in found} == {f"scene{seed}/image.png" for seed in range(4)}
    assert len({item.identity for item in found}) == 4


def test_patches_cover_the_picture_and_have_the_size_asked_for(workspace: Workspace, tmp_path: Path) -> None:
    fill(tmp_path / "photos", count=3)
    rows = items(workspace, ingest_images(str(tmp_path / "photos"), patch_px=32)).to_pylist()
    cut = {row["photo"]: row["part"] for row in rows if row["part"] != "evaluation"}
    assert len(rows) == len(cut) * 6 + 3 - len(cut)
    photo = next(iter(cut))
    rebuilt_HW3 = np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8)
    for row in (row for row in rows if row["photo"] == photo):
        left, top = (int(number) for number in row["name"].split(" ")[1].split("-"))
        rebuilt_HW3[top : top + 32, left : left + 32] = stored(workspace, row)
        assert (row["width"], row["height"]) == (32, 32)
    np.testing.assert_array_equal(rebuilt_HW3, picture(int(photo.removesuffix(".png"))))
    whole = [row for row in rows if row["part"] == "evaluation"]
    assert [(row["name"], row["width"], row["height"]) for row in whole] == [
        (row["photo"], WIDTH_PX, HEIGHT_PX) for row in whole
    ]
    assert whole
    kept = [path for path in workspace.blobs.root.rglob("*") if path.is_file()]
    assert len(kept) == 3, "patches are no blobs of their own"


def test_second_ingest_uses_the_first_and_a_changed_picture_makes_another(workspace: Workspace, tmp_path: Path) -> None:
    fill(tmp_path / "photos")
    first = ingest_images(str(tmp_path / "photos"))
    assert ingest_images(str(tmp_path / "photos")) == first
    (tmp_path / "photos" / "0.png").write_bytes(png_bytes(picture(99)))
    assert ingest_images(str(tmp_path / "photos")) != first


def test_built_in_photos_are_evaluated_whole_and_so_is_the_pair(workspace: Workspace) -> None:
    rows = items(workspace, ingest_images()).to_pylist()
    evaluated = [row for row in rows if row["part"] == "evaluation"]
    assert {row["name"]: (row["width"], row["height"]) for row in evaluated} == {
        "astronaut": (512, 512),
        "chelsea": (451, 300),
        "camera": (512, 512),
        "china": (640, 427),
        "flower": (640, 427),
        "motorcycle_right": (741, 500),
    }
    assert all(row["name"] == row["photo"] for row in rows if row["row"] == "pair")
    cut = [row for row in rows if row["part"] != "evaluation" and row["row"] == "natural"]
    assert all((row["status"], row["width"], row["height"]) == ("ok", 256, 256) for row in cut)
    parts_of_photo: dict[str, set[str]] = {}
    for row in rows:
        parts_of_photo.setdefault(row["photo"], set()).add(row["part"])
    assert all(len(parts) == 1 for parts in parts_of_photo.values())
    assert sum(row["part"] == "dictionary" for row in rows) >= 64


@pytest.mark.parametrize("content", [b"", b"no picture at all"])
def test_source_of_broken_pictures_alone_is_refused(workspace: Workspace, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(content)
    with pytest.raises(InputError, match="none of the 1 pictures"):
        ingest_images(str(tmp_path / "photos"))
    assert not list(workspace.stages.rglob("items.parquet"))


def test_empty_folder_and_wrong_parameters_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no picture"):
        ingest_images(str(tmp_path / "empty"))
    with pytest.raises(InputError, match="leave a part empty"):
        ingest_images(dictionary_share=0.5, training_share=0.5)
    with pytest.raises(ParameterTypeError, match="patch_px"):
        ingest_images(patch_px=4)
    assert not workspace.stages.exists()
