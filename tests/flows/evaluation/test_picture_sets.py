"""Named sets of pictures: where they are looked for, and what passes for one."""

from pathlib import Path

import numpy as np
import pytest

from clc.errors import InputError
from clc.pictures.images import png_bytes
from flows.evaluate import evaluate_codec
from flows.evaluation.picture_sets import read_picture_set
from flows.runtime.workspace import Workspace


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, "the set kodak is not here: none of the folders of CLC_SETS holds it"),
        (1, "the set kodak has 24 pictures, and this folder 1"),
        (24, "these are not the pictures of the set kodak, for their pixels differ"),
    ],
)
def test_a_named_set_is_that_set_or_refused(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int | None, message: str
) -> None:
    monkeypatch.setenv("CLC_SETS", str(tmp_path))
    if files:
        (tmp_path / "kodak").mkdir()
        for seed in range(files):
            (tmp_path / "kodak" / f"{seed}.png").write_bytes(png_bytes(np.full((8, 8, 3), seed, np.uint8)))
    with pytest.raises(InputError, match=message):
        read_picture_set(workspace, "kodak")


def test_an_ingest_that_is_named_must_be_there_although_pictures_are_given(
    workspace: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "one.png").write_bytes(png_bytes(np.zeros((64, 64, 3), np.uint8)))
    with pytest.raises(InputError, match="there is no finished ingest-images 0123456789abcdef"):
        evaluate_codec.fn(ingest="0123456789abcdef", bundle="shipped", pictures=str(tmp_path))
