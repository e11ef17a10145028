"""Adding pictures to an archive and removing them: what is left as it was, what is refused, and what a kill leaves."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clc.archive import change
from clc.archive.change import AddOptions, add, remove, usual_quality
from clc.archive.earlier import MOST_LEVELS, EarlierPictures
from clc.archive.layout import WORK_FOLDER, Archive, write_manifest
from clc.archive.manifest import NAME, Manifest
from clc.archive.pack import Packed, PackOptions, pack
from clc.archive.pictures import ReferredPictures
from clc.archive.unpack import ArchiveReader, strangers, verify
from clc.archive.work import PENDING, RECORD, WorkFolder
from clc.codec.__main__ import main
from clc.codec.codec import Codec
from clc.codec.exact_pixels import MARGIN, ExactPicture
from clc.errors import InputError
from storage.digest import sha256_bytes
from tests.clc.archive.conftest import ADD_OPTIONS as OPTIONS
from tests.clc.archive.conftest import EXIF_ARTIST
from tests.clc.archive.test_pack import Stopped, contents, stop_after
from tests.clc.archive.test_table import first_version
from tests.conftest import Picture


def sound(folder: Path, codec: Codec) -> bool:
    archive = Archive(folder)
    return not list(verify(archive, codec)) and not strangers(archive) and not (folder / WORK_FOLDER).exists()


def test_what_an_archive_holds_stays_as_it_is(packed: tuple[Path, Packed], extended: Path, shipped: Codec) -> None:
    before, after = contents(packed[0]), contents(extended)
    assert set(after) - set(before) == {"more/4.clc", "more/5.clc"}
    assert {name for name in before if after[name] != before[name]} == {NAME}
    assert sound(extended, shipped)


def test_later_pictures_stand_beside_earlier_ones_and_cost_less(extended: Path, further: Path) -> None:
    archive = Archive(extended)
    rows = {row.name: row for row in archive.manifest.pictures}
    reader = ArchiveReader(archive, archive.codec())
    for name in ("more/4.png", "more/5.png"):
        row, source = rows[name], (further / name).read_bytes()
        assert row.references
        assert row.bytes < 0.8 * row.alone_bytes
        assert (row.source_bytes, row.source_sha256) == (len(source), sha256_bytes(source))
        assert all(archive.manifest.by_id[one].pixels_sha256 for one in row.references)
    assert max(archive.manifest.depths().values()) < MOST_LEVELS
    decoded = reader.decode(rows["more/5.png"])
    exif = Image.Exif()
    exif.load(decoded.metadata.exif or b"")
    assert exif.get(EXIF_ARTIST) == "Somebody"
    assert decoded.alpha_HW is not None


def test_the_quality_is_that_of_the_pictures_that_are_no_key_pictures(packed: tuple[Path, Packed]) -> None:
    manifest = packed[1].manifest
    assert usual_quality(manifest) == 40.0
    assert usual_quality(Manifest(manifest.model_id, "", ())) == 50.0


def test_the_same_command_again_adds_nothing(extended: Path, further: Path, shipped: Codec) -> None:
    before = contents(extended)
    told = add(extended, [further], shipped, OPTIONS)
    assert (told.added, told.there, told.failed) == ((), ("more/4.png", "more/5.png"), ())
    assert contents(extended) == before


def test_a_picture_alone_can_be_referred_to_once_its_pixels_are_named(
    tmp_path: Path, strip: Path, further: Path, shipped: Codec
) -> None:
    pack(strip, tmp_path / "a", shipped, PackOptions(quality=40.0, levels=1, effort=1))
    before = contents(tmp_path / "a")
    assert not any(row.pixels_sha256 for row in Archive(tmp_path / "a").manifest.pictures)
    add(tmp_path / "a", [further / "more" / "4.png"], shipped, OPTIONS)
    archive = Archive(tmp_path / "a")
    (row,) = (one for one in archive.manifest.pictures if one.name == "4.png")
    named = {one.id for one in archive.manifest.pictures if one.pixels_sha256}
    assert named == set(row.references) != set()
    assert {name for name, data in before.items() if (tmp_path / "a" / name).read_bytes() != data} == {NAME}
    assert sound(tmp_path / "a", shipped)


def test_a_picture_near_a_rounding_edge_is_not_referred_to(
    tmp_path: Path, strip: Path, further: Path, shipped: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(strip, tmp_path / "a", shipped, PackOptions(quality=40.0, levels=1, effort=0))
    exactly = ReferredPictures.exactly

    def unsafe(self: ReferredPictures, data: bytes) -> ExactPicture:
        return exactly(self, data)._replace(clearance=MARGIN / 2)

    monkeypatch.setattr(ReferredPictures, "exactly", unsafe)
    add(tmp_path / "a", [further / "more" / "4.png"], shipped, OPTIONS)
    assert not any(row.pixels_sha256 or row.references for row in Archive(tmp_path / "a").manifest.pictures)


def test_no_chain_grows_longer_than_three(
    copy: Path, photo: Picture, tmp_path: Path, shipped: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clc.archive.earlier._DEEPER", 10.0)  # else key pictures serve here
    depths = []
    for number in range(3):
        left = 90 + 30 * number
        image = Image.fromarray(np.ascontiguousarray(photo[60:252, left : left + 224]))
        image.save(tmp_path / f"{number}.png")
        add(copy, [tmp_path / f"{number}.png"], shipped, OPTIONS)
        manifest = Archive(copy).manifest
        depths.append(next(manifest.depths()[row.id] for row in manifest.pictures if row.name == f"{number}.png"))
    assert max(depths) == MOST_LEVELS - 1
    assert max(Archive(copy).manifest.depths().values()) == MOST_LEVELS - 1
    assert sound(copy, shipped)


def test_of_many_pictures_the_nearest_by_name_are_looked_at(
    copy: Path, shipped: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clc.archive.earlier.ALL_PAIRS", 3)
    monkeypatch.setattr("clc.archive.earlier.NEIGHBOURS", 2)
    archive = Archive(copy)
    key = next(row.name for row in archive.manifest.pictures if row.pixels_sha256)
    earlier = EarlierPictures(archive, shipped, lambda name, sentence: None)
    found = [row.name for row in earlier._in_reach("strip/9.png", archive.manifest.depths())]
    last = next(name for name in ("strip/3.png", "strip/2.png") if name != key)
    assert found == [key, last]


def test_names_that_are_taken_are_refused_and_others_go_on(
    copy: Path, tmp_path: Path, further: Path, strip: Path, shipped: Codec
) -> None:
    (tmp_path / "in" / "strip").mkdir(parents=True)
    shutil.copyfile(strip / "strip" / "0.png", tmp_path / "in" / "strip" / "0.png")
    shutil.copyfile(further / "more" / "4.png", tmp_path / "in" / "strip" / "1.png")
    shutil.copyfile(further / "more" / "4.png", tmp_path / "in" / "strip" / "2.PNG")
    (tmp_path / "in" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n, cut short")
    shutil.copyfile(further / "more" / "4.png", tmp_path / "in" / "strip" / "4.png")
    shutil.copyfile(further / "more" / "4.png", tmp_path / "in" / "a\\b.png")
    (copy / "own.clc").write_bytes(b"of a user")
    shutil.copyfile(further / "more" / "4.png", tmp_path / "in" / "own.png")
    before = contents(copy)
    told = add(copy, [tmp_path / "in", tmp_path / "gone.png"], shipped, AddOptions(effort=0))
    assert (told.added, told.there) == (("strip/4.png",), ("strip/0.png",))
    reasons = dict(told.failed)
    assert set(reasons) == {"strip/1.png", "strip/2.PNG", "broken.png", "a\\b.png", "own.png", "gone.png"}
    assert "another picture of this name" in reasons["strip/1.png"]
    assert "would become strip/2.clc, as strip/2.png did" in reasons["strip/2.PNG"]
    assert "cannot hold this name" in reasons["a\\b.png"]
    assert "archive.json does not name it" in reasons["own.png"]
    after = contents(copy)
    assert {name for name in before if after[name] != before[name]} == {NAME}


@pytest.mark.parametrize("count", [1, 2])
def test_what_an_interrupted_run_added_stays_and_the_same_command_goes_on(
    count: int, copy: Path, extended: Path, further: Path, shipped: Codec
) -> None:
    with pytest.raises(Stopped):
        add(copy, [further], shipped, OPTIONS, stop_after(count))
    assert sound(copy, shipped)
    assert len(Archive(copy).manifest.pictures) == 4 + count
    told = add(copy, [further], shipped, OPTIONS)
    assert (len(told.there), len(told.added)) == (count, 2 - count)
    assert sound(copy, shipped)


def killed(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Runs what a kill ends before the table is written: nothing of it is tidied up."""

    def dies(*_: object) -> None:
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(change, "write_manifest", dies)
        patch.setattr(change, "TABLE_EVERY_S", 1e9)  # on a busy machine the table would be due before the end
        with pytest.raises(Stopped):
            act()


def test_a_stream_that_a_killed_run_left_is_cleared_away(
    copy: Path, further: Path, shipped: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(copy)
    killed(monkeypatch, lambda: add(copy, [further], shipped, AddOptions(effort=0)))
    assert (copy / "more" / "4.clc").exists()
    assert (copy / WORK_FOLDER / PENDING).exists()
    assert strangers(Archive(copy)) == ["more/4.clc", "more/5.clc"]
    (copy / "more" / "4.clc").write_bytes(b"of a user, meanwhile")
    told = add(copy, [further], shipped, OPTIONS)
    assert [name for name, _ in told.failed] == ["more/4.png"]
    assert told.added == ("more/5.png",)
    assert (copy / "more" / "4.clc").read_bytes() == b"of a user, meanwhile"
    assert not (copy / WORK_FOLDER).exists()
    assert {name: data for name, data in contents(copy).items() if name in before and name != NAME} == {
        name: data for name, data in before.items() if name != NAME
    }


def test_files_of_a_removal_that_was_killed_go_with_the_next_change(
    copy: Path, shipped: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Archive(copy).manifest.pictures[-1]
    before = contents(copy)
    killed(monkeypatch, lambda: remove(copy, [row.name]))
    assert {name: data for name, data in contents(copy).items() if WORK_FOLDER not in name} == before
    manifest = Archive(copy).manifest
    write_manifest(copy, Manifest(manifest.model_id, "", manifest.pictures[:-1]))  # as if it died a moment later
    other = next(one for one in manifest.pictures[:-1] if one.references)
    remove(copy, [other.name])
    assert not (copy / row.stream).exists()
    assert sound(copy, shipped)


def test_an_archive_of_version_1_is_whole_and_a_change_writes_version_2(
    copy: Path, packed: tuple[Path, Packed], shipped: Codec
) -> None:
    manifest = packed[1].manifest
    digests = {row.name: sha256_bytes((copy / row.stream).read_bytes()) for row in manifest.pictures}
    (copy / NAME).write_bytes(first_version(manifest, digests))
    assert Archive(copy).manifest == manifest
    assert sound(copy, shipped)
    remove(copy, [next(row.name for row in manifest.pictures if row.references)])
    assert json.loads((copy / NAME).read_bytes())["version"] == 2
    assert sound(copy, shipped)


def test_a_note_without_a_digest_removes_nothing(copy: Path) -> None:
    (copy / "own.clc").write_bytes(b"of a user")
    (copy / WORK_FOLDER).mkdir()
    (copy / WORK_FOLDER / PENDING).write_text(json.dumps({"own.clc": ""}))
    remove(copy, [next(row.name for row in Archive(copy).manifest.pictures if row.references)])
    assert (copy / "own.clc").read_bytes() == b"of a user"


def test_a_note_that_leads_out_of_the_archive_is_not_followed(copy: Path, shipped: Codec) -> None:
    mine = copy.parent / "mine.clc"
    mine.write_bytes(b"mine")
    (copy / WORK_FOLDER).mkdir()
    (copy / WORK_FOLDER / PENDING).write_text(json.dumps({"../mine.clc": sha256_bytes(b"mine")}))
    remove(copy, [next(row.name for row in Archive(copy).manifest.pictures if row.references)])
    assert mine.read_bytes() == b"mine"
    assert sound(copy, shipped)


def test_a_picture_that_others_need_is_not_removed(copy: Path) -> None:
    manifest = Archive(copy).manifest
    key = next(row for row in manifest.pictures if row.pixels_sha256)
    others = [row.name for row in manifest.dependents([key.id])]
    before = contents(copy)
    with pytest.raises(InputError) as refused:
        remove(copy, [key.name])
    assert str(refused.value).endswith(f"coded beside it: {', '.join(others)}")
    assert contents(copy) == before
    told = remove(copy, [key.name, *others])
    assert {row.name for row in told.pictures} == {key.name, *others}


def test_removing_leaves_nothing_of_it_and_all_else(copy: Path, extended: Path, shipped: Codec, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(extended, tmp_path / "extended"))
    (folder / "strip" / "own.txt").write_text("of a user")
    before = contents(folder)
    told = remove(folder, ["more"])
    assert ({row.name for row in told.pictures}, told.left) == ({"more/4.png", "more/5.png"}, 4)
    assert not (folder / "more").exists()
    assert set(before) - set(contents(folder)) == {"more/4.clc", "more/5.clc"}
    remove(folder, ["strip"])
    assert contents(folder).keys() == {NAME, "strip/own.txt"}
    assert Archive(folder).manifest.pictures == ()
    with pytest.raises(InputError, match="no picture of this name"):
        remove(folder, ["strip"])


def test_of_equal_streams_one_takes_over_from_another(
    tmp_path: Path, strip: Path, further: Path, shipped: Codec
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        shutil.copyfile(strip / "strip" / "1.png", tmp_path / "in" / name)
    pack(tmp_path / "in", tmp_path / "a", shipped, PackOptions(quality=40.0, levels=1, effort=1))
    add(tmp_path / "a", [further / "more" / "4.png"], shipped, OPTIONS)
    rows = {row.name: row for row in Archive(tmp_path / "a").manifest.pictures}
    assert rows["4.png"].references == (rows["a.png"].id,) == (rows["b.png"].id,)
    remove(tmp_path / "a", ["a.png"])
    assert sound(tmp_path / "a", shipped)
    with pytest.raises(InputError, match=r"coded beside it: 4\.png"):
        remove(tmp_path / "a", ["b.png"])


def test_a_damaged_picture_is_told_and_not_referred_to(copy: Path, further: Path, shipped: Codec) -> None:
    key = next(row for row in Archive(copy).manifest.pictures if row.pixels_sha256)
    (copy / key.stream).write_bytes(b"damaged")
    told: list[tuple[str, str]] = []
    added = add(
        copy, [further / "more" / "4.png"], shipped, OPTIONS, warn=lambda name, sentence: told.append((name, sentence))
    )
    assert added.added == ("4.png",)
    assert key.name in [name for name, _ in told]
    (row,) = (one for one in Archive(copy).manifest.pictures if one.name == "4.png")
    assert key.id not in row.references


def test_one_process_changes_an_archive_at_a_time(copy: Path, further: Path, shipped: Codec) -> None:
    told = []

    def meanwhile(progress: object) -> None:
        with pytest.raises(InputError, match="another process packs into it or changes it"):
            remove(copy, ["strip/3.png"])
        told.append(progress)

    add(copy, [further / "more" / "4.png"], shipped, AddOptions(effort=0), meanwhile)
    assert told
    assert sound(copy, shipped)


def test_an_archive_whose_packing_is_not_finished_is_not_changed(copy: Path, further: Path, shipped: Codec) -> None:
    (copy / WORK_FOLDER).mkdir()
    (copy / WORK_FOLDER / RECORD).write_text("{}")
    before = contents(copy)
    for act in (lambda: add(copy, [further], shipped, OPTIONS), lambda: remove(copy, ["strip"])):
        with pytest.raises(InputError, match="packing it is not finished"):
            act()
    assert contents(copy) == before


def test_a_folder_of_a_users_in_the_way_is_left_alone(copy: Path) -> None:
    (copy / WORK_FOLDER).mkdir()
    (copy / WORK_FOLDER / "boxes.txt").write_text("packing for the move")
    before = contents(copy)
    with pytest.raises(InputError, match="is in the way"):
        remove(copy, ["strip"])
    with pytest.raises(InputError, match="is no archive"):
        remove(copy / "strip", ["0.png"])
    assert contents(copy) == before


def test_a_change_leaves_no_work_folder(copy: Path) -> None:
    with WorkFolder(copy).held_for_change():
        assert (copy / WORK_FOLDER).is_dir()
    assert not (copy / WORK_FOLDER).exists()


def test_the_commands_tell_what_became_of_each_file(
    copy: Path, further: Path, strip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = str(further / "more" / "4.png")
    assert main(["add", str(copy), picture, str(strip), "--effort", "0"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert f"1 pictures added to {copy}, " in said.out
    assert "there already: strip/0.png, strip/1.png, strip/2.png, strip/3.png\n" in said.out
    assert "passed over: 1 .txt" in said.out
    assert main(["add", str(copy), str(copy.parent / "gone.png")]) == 1
    assert "gone.png: " in capsys.readouterr().err
    assert main(["remove", str(copy), "4.png"]) == 0
    assert "1 pictures removed" in capsys.readouterr().out
    key = next(row.name for row in Archive(copy).manifest.pictures if row.pixels_sha256)
    assert main(["remove", str(copy), key]) == 1
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert "nothing is removed, for other pictures are coded beside it" in said.err


def test_options_and_codecs_that_do_not_fit_are_refused(copy: Path, further: Path, shipped: Codec) -> None:
    with pytest.raises(InputError, match="quality"):
        AddOptions(quality=101.0)
    with pytest.raises(InputError, match="effort"):
        AddOptions(effort=10)
    with pytest.raises(InputError, match="no picture to remove"):
        remove(copy, [])
    write_manifest(copy, Manifest("0123456789abcdef", "", Archive(copy).manifest.pictures))
    with pytest.raises(InputError, match="its model is 0123456789abcdef, not"):
        add(copy, [further], shipped, OPTIONS)


def test_removing_leaves_a_file_that_is_another_than_was_packed(copy: Path) -> None:
    row = next(row for row in Archive(copy).manifest.pictures if row.references)
    (copy / row.stream).write_bytes(b"of a user")
    told = remove(copy, [row.name])
    assert [name for name, _ in told.failed] == [row.stream]
    assert "another file than was packed" in told.failed[0][1]
    assert (copy / row.stream).read_bytes() == b"of a user"
    assert row.name not in [one.name for one in Archive(copy).manifest.pictures]
