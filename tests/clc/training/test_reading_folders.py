"""Training pictures from folders: a photo is known by its whole path and its pixels, never by its base name."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clc.errors import InputError
from clc.pictures.images import png_bytes
from clc.training import __main__ as command
from clc.training import data as reading
from clc.training.__main__ import main as train_command
from clc.training.config import read_config
from clc.training.data import PictureSet, read_folders
from clc.training.distributed import joined
from clc.training.pairs import Pair, split_pairs
from clc.training.run_folder import LOG, WEIGHTS


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (9, 11, 3), dtype=np.uint8)


def fill(folder: Path, *names: str, first: int = 0) -> Path:
    for seed, name in enumerate(names, start=first):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png_bytes(picture(seed)))
    return folder


def held_out(pictures: PictureSet, count: int) -> tuple[set[bytes], set[bytes]]:
    training, apart = pictures.split(count, np.random.default_rng(0))
    return tuple({one.tobytes() for one in part.pictures} for part in (training, apart))


def test_pictures_of_one_base_name_are_photos_of_their_own_and_held_out_apart(tmp_path: Path) -> None:
    found = read_folders([fill(tmp_path, *(f"scene{n}/image.png" for n in range(8)))])
    assert found.photos == [str(tmp_path / f"scene{n}/image.png") for n in range(8)]
    training, apart = held_out(found, 2)
    assert (len(training), len(apart)) == (6, 2)
    assert not training & apart


def test_pictures_of_one_name_in_two_folders_of_one_name_are_two_photos(tmp_path: Path) -> None:
    folders = [fill(tmp_path / part / "data", "image.png", first=first) for first, part in enumerate("ab")]
    assert len(set(read_folders(folders).photos)) == 2


def test_files_of_the_same_pixels_are_one_photo_and_never_on_both_sides(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, *(f"{n}.png" for n in range(6)))
    fill(tmp_path, *(f"copies/{n}.png" for n in range(6)))
    found = read_folders([tmp_path])
    assert len(found) == 12
    assert len(set(found.photos)) == 6
    training, apart = held_out(found, 3)
    assert len(apart) == 2
    assert not training & apart
    assert "counts as the same photo" in caplog.text


def test_a_file_is_read_once_however_many_ways_lead_to_it(tmp_path: Path) -> None:
    fill(tmp_path, "in/a.png", "in/sub/b.png")
    (tmp_path / "in/link.png").symlink_to("a.png")
    (tmp_path / "in/sub/back").symlink_to("..")
    folders = [tmp_path / "in", tmp_path / "in/sub", tmp_path / "in/sub/.."]
    assert read_folders(folders).photos == [str(tmp_path / "in/a.png"), str(tmp_path / "in/sub/b.png")]


def test_key_pictures_of_a_bundle_in_the_folder_are_not_trained_on(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", "bundle/pictures/0000.png")
    (tmp_path / "bundle" / "manifest.json").write_text('{"format": "clc-bundle"}')
    assert read_folders([tmp_path]).photos == [str(tmp_path / "a.png")]


def test_linked_folder_is_followed(tmp_path: Path) -> None:
    fill(tmp_path, "disk/a.png", "in/b.png")
    (tmp_path / "in/more").symlink_to(tmp_path / "disk")
    assert len(read_folders([tmp_path / "in"])) == 2


def test_pairs_of_a_held_out_photo_are_known_by_its_path_wherever_they_were_read(tmp_path: Path) -> None:
    fill(tmp_path, *(f"all/strip{n}/image.png" for n in range(4)))
    everything = read_folders([tmp_path / "all"])
    strip = read_folders([tmp_path / "all/strip2"])
    mask = np.ones((9, 11), np.bool_)
    pairs = [Pair(strip.pictures[0], strip.pictures[0], mask, strip.photos[0])]
    pairs += [Pair(picture(9), picture(9), mask, "another")]
    kept, apart = split_pairs(pairs, {everything.photos[2]})
    assert [pair.photo for pair in kept] == ["another"]
    assert [pair.photo for pair in apart] == strip.photos


def test_validation_on_what_is_trained_on_is_told(caplog: pytest.LogCaptureFixture) -> None:
    PictureSet([picture(0)] * 3, ["one"] * 3).split(1, np.random.default_rng(0))
    assert "held_out=none" in caplog.text
    pair = Pair(picture(0), picture(0), np.ones((9, 11), np.bool_), "one")
    assert split_pairs([pair], set()) == ([pair], [pair])
    assert "held_out_pairs=none" in caplog.text


def test_whatever_a_decoder_raises_costs_one_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, "a.png", "b.png", "c.png")
    real, errors = reading.read_image, {"b.png": RecursionError("too deep"), "c.png": MemoryError()}

    def reads(path: Path) -> np.ndarray:
        if path.name in errors:
            raise errors[path.name]
        return real(path)

    monkeypatch.setattr(reading, "read_image", reads)
    assert read_folders([tmp_path]).photos == [str(tmp_path / "a.png")]
    assert "RecursionError: too deep" in caplog.text
    assert "2 of 3 cannot be read" in caplog.text


def test_names_that_are_no_utf_8_can_be_logged(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    path.write_bytes(png_bytes(picture(0)))
    assert read_folders([tmp_path]).photos == [f"{tmp_path}/caf\\xe9.png"]


def test_what_is_passed_over_and_what_cannot_be_followed_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, "a.png")
    (tmp_path / "notes.txt").write_text("-")
    (tmp_path / "gone").symlink_to("nowhere")
    read_folders([tmp_path])
    assert "passed over in the training folders: 1 .txt" in caplog.text
    assert "gone reason=is a link to nothing" in caplog.text


@pytest.mark.parametrize("name", ["missing", "a.png"])
def test_what_is_no_folder_is_refused_beside_one_that_is(tmp_path: Path, name: str) -> None:
    fill(tmp_path, "a.png")
    with pytest.raises(InputError, match=f"{name}: is no folder of pictures"):
        read_folders([tmp_path, tmp_path / name])


@pytest.mark.parametrize("name", [WEIGHTS, LOG])
def test_a_former_run_is_neither_replaced_nor_touched(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = fill(tmp_path / "data", "a.png"), tmp_path / "out"
    out.mkdir()
    (out / name).write_bytes(b"hours of work")
    assert train_command(["--data", str(data), "--out", str(out), "--minutes", "1"]) == 1
    assert "holds a training run already" in capsys.readouterr().err
    assert [(path.name, path.read_bytes()) for path in out.iterdir()] == [(name, b"hours of work")]


def test_training_goes_on_in_silence_when_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def say(line: str) -> bool:
        said.append(line)
        return line != "second"

    monkeypatch.setattr(command, "say", say)
    tell = command._teller()
    for line in ("first", "second", "third", "fourth"):
        tell(line)
    assert said == ["first", "second"]


def test_whatever_a_run_raises_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", str(tmp_path), "--out", str(tmp_path / "out")]
    for error, status, said in (
        (KeyError("tag"), 1, "error: unexpected KeyError"),
        (PermissionError(13, "Permission denied", "a.png"), 1, "error: a.png: Permission denied"),
        (MemoryError(), 1, "error: the memory does not suffice"),
        (KeyboardInterrupt(), 130, "interrupted; what "),
    ):

        def fail(*_: object, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr(command, "_run", fail)
        assert train_command(arguments) == status
        line = capsys.readouterr().err
        assert line.startswith(said)
        assert line.count("\n") == 1


def test_a_configuration_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b'\xef\xbb\xbf{"steps": 7}')
    assert read_config(path) == replace(read_config(path), steps=7)


@pytest.mark.parametrize(
    ("environment", "device", "said"),
    [({}, "abacus", "no device 'abacus'"), ({"WORLD_SIZE": "two"}, "cpu", "WORLD_SIZE is 'two', no whole number")],
)
def test_wrong_devices_and_variables_are_refused_in_a_sentence(
    environment: dict[str, str], device: str, said: str
) -> None:
    with pytest.raises(InputError, match=said), joined(environment, device):
        raise AssertionError("nothing is joined")
