"""What a trained bundle says of its making: its parent, and every photo that it was trained on, by whole identity."""

from pathlib import Path

from clc.bundle.identity import SHIPPED, id_of, read_manifest_bytes
from flows.items import Item
from flows.train import _origin


def item(number: int, source: str) -> Item:
    """A picture called image.png, as in every folder of some collections."""
    return Item(
        item_id=f"{number:016x}",
        name="image.png",
        photo="image.png",
        part="training",
        row="natural",
        blob="",
        width=9,
        height=9,
        source=source,
        licence="CC0-1.0",
    )


def test_photos_of_the_same_base_name_count_each() -> None:
    origin = _origin(None, [item(1, "scene1"), item(2, "scene2"), item(3, "scene2")])
    assert origin.training == ("2 x scene2, CC0-1.0", "1 x scene1, CC0-1.0")
    assert origin.parent == ""


def test_the_parent_is_the_bundle_that_training_began_from(tmp_path: Path) -> None:
    assert _origin(SHIPPED, []).parent == id_of(read_manifest_bytes(SHIPPED))
    assert _origin(tmp_path, []).parent == ""  # the folder of a training run is no bundle
