"""The gate's sentence: who is promoted, who is not, and that a newcomer can read why."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clc.bundle.identity import SHIPPED
from clc.evaluation.measure import FAILED, Row
from flows.runtime.workspace import Workspace
from flows.service import gate
from flows.service.gate import Contender, judge
from tests.clc.evaluation.test_paired import rows


def contender(bundle_id: str, own: list[Row]) -> Contender:
    manifest = SimpleNamespace(
        summary={"bd_rates": [{"anchor": "jpeg", "percent": -40.0}, {"anchor": "webp"}]}, inputs={}
    )
    stage: Any = SimpleNamespace(key="e" * 16, manifest=manifest)
    return Contender(SHIPPED, bundle_id, stage, tuple(replace(row, encode_s=0.2, decode_s=0.1) for row in own))


OLD = contender("0" * 16, rows("clc", [1.0] * 6))
BETTER = rows("clc", [0.95, 0.96, 0.94, 0.95, 0.96, 0.95])


def test_what_is_better_beyond_chance_is_promoted(workspace: Workspace) -> None:
    verdict = judge(workspace, contender("1" * 16, BETTER), OLD)
    assert verdict.is_promoted
    assert verdict.sentence.startswith(
        "Promoted: on 6 photographs it needs 4.7 % fewer bytes than the bundle in service"
    )
    assert "with 95 % certainty between" in verdict.sentence
    assert (verdict.bundle_id, verdict.against, verdict.photos) == ("1" * 16, "0" * 16, 6)
    assert verdict.bd_rates_percent == {"jpeg": -40.0}


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (rows("clc", [0.6, 1.02, 1.01, 1.02, 1.01, 1.02]), "but that may be chance."),
        (rows("clc", [1.05] * 6), "5.0 % more bytes than the bundle in service at equal PSNR"),
        (rows("clc", [0.9] * 6)[: 4 * 4], "but 4 photographs are too few to tell an improvement from chance"),
        ([], "Not promoted: the two were measured on no picture in common."),
    ],
)
def test_what_is_not_better_beyond_chance_is_not_promoted(workspace: Workspace, own: list[Row], said: str) -> None:
    verdict = judge(workspace, contender("1" * 16, own), OLD)
    assert not verdict.is_promoted
    assert verdict.sentence.startswith("Not promoted: ")
    assert said in verdict.sentence


def test_what_serves_already_is_not_promoted_again(workspace: Workspace) -> None:
    assert judge(workspace, OLD, OLD).sentence == "Not promoted: it is the one that serves already."


def test_what_fails_where_the_other_does_not_is_not_promoted(workspace: Workspace) -> None:
    failing = contender("1" * 16, BETTER)
    broken = replace(failing.rows[0], status=FAILED, reason="the latents differ from those of the encoder.")
    verdict = judge(workspace, replace(failing, rows=(broken, *failing.rows[1:])), OLD)
    assert not verdict.is_promoted
    assert "it fails on picture 0 at quality 0: the latents differ from those of the encoder." in verdict.sentence
    both = replace(OLD, rows=(replace(OLD.rows[0], status=FAILED), *OLD.rows[1:]))
    assert "it fails on" not in judge(workspace, replace(failing, rows=(broken, *failing.rows[1:])), both).sentence


@pytest.mark.parametrize(("field", "said"), [("encode_s", "to encode"), ("decode_s", "to decode")])
def test_what_is_far_slower_is_not_promoted(workspace: Workspace, field: str, said: str) -> None:
    better = contender("1" * 16, BETTER)
    for factor, is_promoted in ((1.9, True), (2.5, False)):
        slower = tuple(replace(row, **{field: factor * getattr(row, field)}) for row in better.rows)
        verdict = judge(workspace, replace(better, rows=slower), OLD)
        assert verdict.is_promoted == is_promoted
    assert f"but it takes 2.5 times as long {said}, where 2 are allowed." in verdict.sentence


def test_a_far_larger_model_is_not_promoted(workspace: Workspace, tmp_path: Path) -> None:
    for part in ("transforms", "prior", "tables"):
        name = f"{part}.safetensors"
        size = (SHIPPED / name).stat().st_size
        with (tmp_path / name).open("wb") as file:
            file.truncate(2 * size)
    verdict = judge(workspace, replace(contender("1" * 16, BETTER), folder=tmp_path), OLD)
    assert "its model is 2.0 times as large, where 1.5 are allowed" in verdict.sentence


def test_photographs_are_those_of_the_ingest(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_photos", lambda *_: {f"item{place}": "one" for place in range(6)})
    assert "1 photographs are too few" in judge(workspace, contender("1" * 16, BETTER), OLD).sentence
