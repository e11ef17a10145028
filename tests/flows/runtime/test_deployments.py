"""Every flow is deployed under its own name, and its page tells what each parameter means."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from flows.service.worker import GPU_POOL, POOL

ROOT = Path(__file__).parents[3]
DEPLOYMENTS = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=[one["name"] for one in DEPLOYMENTS])
def test_a_deployment_has_the_name_of_its_flow_whose_parameters_are_described(deployment: dict[str, Any]) -> None:
    path, name = deployment["entrypoint"].split(":")
    flow: Flow[..., Any] = load_flow_from_entrypoint(f"{ROOT / path}:{name}")
    on_gpus = deployment["work_pool"]["name"] == GPU_POOL
    assert deployment["name"] == (f"{flow.name}-gpu" if on_gpus else flow.name)
    properties = parameter_schema(flow.fn).properties
    assert [name for name, schema in properties.items() if not schema.get("description")] == []


def test_what_is_for_gpus_says_so_and_is_deployed_without_one_too() -> None:
    on_gpus = {one["name"]: one for one in DEPLOYMENTS if one["work_pool"]["name"] == GPU_POOL}
    assert on_gpus.keys() == {"train-codec-gpu"}
    assert on_gpus["train-codec-gpu"]["parameters"] == {"device": "cuda"}
    rest = [one for one in DEPLOYMENTS if one["name"] not in on_gpus]
    assert {one["work_pool"]["name"] for one in rest} == {POOL}
    assert not [one["name"] for one in rest if one.get("parameters")]
    assert not [one["name"] for one in on_gpus.values() if one.get("schedules")], "nobody may be there to run it"


def test_every_flow_is_deployed() -> None:
    with_flows = {path for path in (ROOT / "flows").rglob("*.py") if "\n@flow(" in path.read_text(encoding="utf-8")}
    assert {ROOT / one["entrypoint"].split(":")[0] for one in DEPLOYMENTS} == with_flows
