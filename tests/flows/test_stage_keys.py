"""A stage's key follows the source text that decides what the stage makes, and no other."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from flows import dictionary, evaluate, features, ingest, strip, train
from flows.evaluation import measuring
from flows.reproduction import runs, windows
from tests.import_graph import FILES, ROOT, covers, graph, reached

LISTS = {
    "ingest-images": ingest.MODULES,
    "extract-features": features.MODULES,
    "extract-features, codec": features.MODULES_WITH_CODEC,
    "build-dictionary": dictionary.MODULES,
    "train-codec": train.MODULES,
    "evaluate-codec": evaluate.MODULES,
    "measure-baselines": measuring.BASELINE_MODULES,
    "measure-codec": measuring.CODEC_ROW_MODULES,
    "measure-overfitted": measuring.OVERFITTED_ROW_MODULES,
    "pack-strip": strip.MODULES,
    "reproduction": runs.MODULES,
    "describe-windows": windows.MODULES,
}
STARTS = {
    "ingest-images": ["flows.ingest"],
    "extract-features": ["flows.features"],
    "extract-features, codec": ["flows.features"],
    "build-dictionary": ["flows.dictionary"],
    "train-codec": ["flows.train"],
    "evaluate-codec": ["flows.evaluate"],
    "measure-baselines": ["clc.evaluation.measure", "clc.evaluation.coders", "clc.pictures.images"],
    "measure-codec": ["clc.evaluation.picture_plan"],
    "measure-overfitted": ["clc.evaluation.measure", "clc.evaluation.overfitted", "clc.pictures.images"],
    "pack-strip": ["flows.strip"],
    "reproduction": ["flows.reproduction.runs", "flows.reproduction.tables", "flows.reproduction.trained"],
    "describe-windows": ["flows.reproduction.windows"],
}
"""The modules that hold each stage's work."""

DECIDES_NOTHING = {
    "clc.console": "how an error is said",
    "clc.errors": "what an error is called",
    **dict.fromkeys(
        (
            "flows.intake.gather",
            "flows.intake.journal",
            "flows.intake.origin",
            "flows.intake.packed",
            "flows.intake.stores",
            "flows.intake.url_lists",
            "storage.archives",
        ),
        "how pictures are brought: names and bytes of what came, and reasons for the rest, are inputs of the stage",
    ),
    "flows.codec_modules": "the list itself, of which every name is part of the key",
    "flows.evaluation_page": "how a finished evaluation is shown",
    "flows.runtime": "how a stage runs, is shown and is tracked",
    "storage.atomic": "how a file comes to its place",
    "storage.batches": "how many files come to their places",
    "storage.errors": "what an error is called",
    "storage.extras": "what an installation lacks",
    "storage.locks": "who works on a stage",
    "storage.manifest": "how a finished stage is recorded",
    "storage.regular": "how a file is opened",
}
"""What no list names, with what it is about."""

NOT_USED = {
    "build-dictionary": {"clc.retrieval.descriptors": "has the name of an argument's type: vectors are searched here"},
    "extract-features": {"clc.codec": "opened for the backbone codec alone"},
    "measure-baselines": {
        "clc.codec": "asked by the coder of our own codec, which is no baseline",
        "clc.retrieval": "lets the package of a baseline be imported",
    },
    "measure-overfitted": {
        "clc.codec.search": "has the name of an argument's type, which another codec than this one heeds",
        "clc.retrieval": "lets the package of a baseline be imported",
    },
    "reproduction": {"clc.codec.files": "says whether figures may be written beside, once they are measured"},
    "pack-strip": {
        "clc.codec.codecs": "finds the bundle of an archive, and the strip is packed with the shipped one",
        "clc.evaluation.baselines": "the strip is measured in formats of Pillow",
    },
}
"""What a stage imports and does not run."""

EDGES = graph(FILES)


def imports_of(stage: str) -> set[str]:
    return reached(EDGES, STARTS[stage], [*DECIDES_NOTHING, *NOT_USED.get(stage, ())])


@pytest.mark.parametrize("stage", LISTS)
def test_key_covers_every_module_that_the_stage_imports(stage: str) -> None:
    missing = {module for module in imports_of(stage) if not covers(LISTS[stage], module)}
    assert not missing, f"the modules of {stage} lack {', '.join(sorted(missing))}"


@pytest.mark.parametrize("stage", LISTS)
def test_key_names_nothing_that_the_stage_does_not_import(stage: str) -> None:
    found = imports_of(stage)
    idle = {name for name in LISTS[stage] if not any(covers([name], module) for module in found)}
    assert not idle, f"{stage} imports nothing of {', '.join(sorted(idle))}"


@pytest.mark.parametrize("stage", LISTS)
def test_key_names_nothing_twice(stage: str) -> None:
    names = LISTS[stage]
    assert len(set(names)) == len(names)
    assert not [name for name in names if covers(set(names) - {name}, name)]


def test_missing_and_idle_names_are_seen() -> None:
    edges = graph({"a.py": "def f():\n    import b", "b.py": "import c", "c.py": "", "d.py": ""})
    assert reached(edges, ["a"]) == {"a", "b", "c"}
    assert reached(edges, ["a"], stops=["b"]) == {"a"}
    assert not covers(["a", "bb"], "b")
    assert covers(["a"], "a.b")


KEYS = """
    import json, sys
    from flows.runtime.stage import stage_key
    lists = json.load(sys.stdin)
    print(json.dumps({name: stage_key(name, inputs={}, config={}, modules=names) for name, names in lists.items()}))
"""


def keys_of(root: Path) -> dict[str, str]:
    """Return the key of every stage as computed from the sources below `root`."""
    program = "\n".join(line.strip() for line in KEYS.splitlines())
    done = subprocess.run(
        [sys.executable, "-B", "-c", program],
        cwd=root,
        env={"PYTHONPATH": str(root)},
        input=json.dumps(LISTS),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A copy of the sources, and the keys that they give."""
    root = tmp_path_factory.mktemp("sources")
    for path in FILES:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, root / path)
    return root, keys_of(root)


OF_THE_ITEMS = ["extract-features, codec", "train-codec", "evaluate-codec", "reproduction"]
OF_THE_CODEC = [*OF_THE_ITEMS, "measure-codec", "pack-strip"]


@pytest.mark.parametrize(
    ("path", "stages"),
    [
        ("clc/evaluation/report/report.py", ["evaluate-codec"]),
        ("clc/evaluation/totals.py", ["evaluate-codec", "pack-strip"]),
        ("clc/archive/report.py", ["pack-strip"]),
        ("clc/pages/page.py", ["evaluate-codec", "pack-strip"]),
        ("clc/overfitted/fit.py", ["evaluate-codec", "measure-overfitted"]),
        (
            "clc/evaluation/measure.py",
            ["evaluate-codec", "measure-baselines", "measure-codec", "measure-overfitted", "reproduction"],
        ),
        ("clc/codec/cli/main.py", []),
        ("clc/bundle/description.py", []),
        ("clc/bundle/locate.py", []),
        ("clc/bundle/search.py", []),
        ("clc/bundle/service.py", []),
        ("clc/bundle/export.py", ["train-codec", "reproduction"]),
        ("clc/bundle/bundle.py", [*OF_THE_CODEC, "describe-windows"]),
        ("storage/regular.py", []),
        ("clc/codec/codec.py", OF_THE_CODEC),
        ("clc/model/prior/slices.py", [*OF_THE_CODEC, "describe-windows"]),
        ("clc/training/trainer.py", ["train-codec", "reproduction"]),
        ("clc/dictionary/representatives.py", ["build-dictionary", "reproduction"]),
        ("flows/items.py", ["ingest-images", "extract-features", "describe-windows", *OF_THE_ITEMS]),
        ("flows/runtime/tracking.py", []),
    ],
)
def test_changed_docstring_makes_new_keys_for_the_stages_that_run_the_file_alone(
    copied: tuple[Path, dict[str, str]], path: str, stages: Sequence[str]
) -> None:
    root, before = copied
    text = (root / path).read_text()
    assert text.startswith('"""')
    (root / path).write_text(text.replace('"""', '"""Changed. ', 1))
    try:
        after = keys_of(root)
    finally:
        (root / path).write_text(text)
    assert {stage for stage in LISTS if after[stage] != before[stage]} == set(stages)
