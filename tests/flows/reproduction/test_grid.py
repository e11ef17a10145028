"""A grid is checked before any work, and what is wrong with one is a sentence that names the key."""

from pathlib import Path

import pytest

from clc.errors import InputError
from flows.reproduction.grid import DEFAULT, Grid, read_grid


def _grid(tmp_path: Path, text: str) -> str:
    (tmp_path / "grid.yaml").write_text(text)
    return str(tmp_path / "grid.yaml")


def test_the_grid_beside_the_flow_says_what_is_meant_without_one() -> None:
    found = read_grid()
    rows = found.components.rows
    assert found == Grid(components=found.components)
    assert rows["without CLM"] == {"matching": False}
    assert found.dictionary.entries == (1000, 2000, 3000, 4000)


def test_the_small_grid_is_one() -> None:
    assert read_grid(str(DEFAULT.parent / "small.yaml")).crop_px == 256


def test_what_is_left_out_is_as_by_default_and_0_is_measured_in_any_case(tmp_path: Path) -> None:
    found = read_grid(_grid(tmp_path, "perturbation: {probabilities: [0.5, 0.2]}"))
    assert found.perturbation.probabilities == (0.0, 0.2, 0.5)
    assert found.references == Grid().references


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sizes: [1]", "sizes: there is no such key"),
        ("references: {number: [1]}", "references.number: there is no such key"),
        ("references: {numbers: [6]}", "references.numbers.0: .* less than or equal to 5"),
        ("dictionary: {entries: [5000]}", "dictionary.entries.0: .* less than or equal to 4096"),
        ("components: {rows: {a: {matchin: false}}}", "components.rows: .*a model has no matchin"),
        ("components: {rows: {all components: {}}}", "components.rows: .*is measured in any case"),
        ("components: {rows: {a: {narrow: 0}}}", "components: .*every width"),
        ("components: {model: {slices: 8}}", "components: "),
        ("perturbation: {probabilities: [1.5]}", "perturbation.probabilities.0"),
        ("qualities: [1, 2, 3]", "qualities: .* at least 4"),
        ("qualities: [1, 1, 2, 3]", "qualities: .*each quality once"),
        ("- 1", "holds no keys"),
        ("", "holds no keys"),
        ("a: [", "is no YAML"),
        ("a: !!python/object/apply:os.getcwd []", "is no YAML"),
    ],
)
def test_a_wrong_key_or_value_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        read_grid(_grid(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_a_folder_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.yaml", tmp_path):
        with pytest.raises(InputError, match=f"{path.name} cannot be read"):
            read_grid(str(path))
