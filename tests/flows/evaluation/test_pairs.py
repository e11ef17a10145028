"""Pictures that are coded beside a twin in the dictionary, with the shipped codec and real streams."""

import numpy as np

from clc.pictures.images import png_bytes
from flows.evaluation_subject import Subject
from flows.items import Item


def test_a_twin_saves_bytes_in_real_streams(workspace, shipped, photo, tmp_path) -> None:
    left, right = (np.ascontiguousarray(photo[:192, start : start + 224]) for start in (0, 24))
    items = [
        Item(
            item_id=part,
            name=part,
            photo=part,
            part=part,
            row="pair",
            blob=workspace.blobs.put(png_bytes(picture)),
            width=224,
            height=192,
            source="a test",
            licence="CC0",
        )
        for part, picture in (("dictionary", left), ("evaluation", right))
    ]
    subject = Subject(codec=shipped, qualities=(40.0,), dataset="-", items=(items[1],), known=(items[0],), left_over=0)
    beside, alone = subject.pair_coders(workspace.blobs, tmp_path / "bundle")
    assert len(beside.encode(right, 40.0)) < 0.8 * len(alone.encode(right, 40.0))
    assert beside.decode(beside.encode(right, 40.0)).shape == right.shape
