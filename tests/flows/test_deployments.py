"""Every flow is deployed under its own name, and its page tells what each parameter means."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

ROOT = Path(__file__).parents[2]
DEPLOYMENTS = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=[one["name"] for one in DEPLOYMENTS])
def test_a_deployment_has_the_name_of_its_flow_whose_parameters_are_described(deployment: dict[str, Any]) -> None:
    path, name = deployment["entrypoint"].split(":")
    flow: Flow[..., Any] = load_flow_from_entrypoint(f"{ROOT / path}:{name}")
    assert flow.name == deployment["name"]
    properties = parameter_schema(flow.fn).properties
    assert [name for name, schema in properties.items() if not schema.get("description")] == []


def test_every_flow_is_deployed() -> None:
    with_flows = {path for path in (ROOT / "flows").rglob("*.py") if "\n@flow(" in path.read_text(encoding="utf-8")}
    assert {ROOT / one["entrypoint"].split(":")[0] for one in DEPLOYMENTS} == with_flows
