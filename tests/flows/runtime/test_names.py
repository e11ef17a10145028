"""Runs on Prefect's pages are named by what they work on."""

import inspect
import string
from typing import Any

import pytest
from prefect import flow, get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName

from flows.archive.pack import pack_archive
from flows.archive.verify import verify_archive
from flows.dictionary import build_dictionary
from flows.evaluate import evaluate_codec
from flows.features import extract_features
from flows.ingest import ingest_images
from flows.reproduction.ablate import ablate
from flows.reproduction.perturb import perturb
from flows.retrain import retrain
from flows.runtime.names import collection_name, run_name
from flows.train import train_codec

FLOWS = (
    ingest_images,
    extract_features,
    build_dictionary,
    train_codec,
    evaluate_codec,
    retrain,
    pack_archive,
    verify_archive,
    ablate,
    perturb,
)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("builtin", "builtin"),
        ("a/train", "train"),
        ("a/train/", "train"),
        ("a/train/[bcg]*/**/*", "train"),
        ("a/b.zip", "b.zip"),
        ("*", "*"),
        (".", "."),
        ("", ""),
        ("s3://bucket/survey", "survey"),
        ("https://host/list.csv?token=secret", "list.csv"),
        ("what?/strip", "strip"),
        ("two\nlines", "two\\nlines"),
    ],
)
def test_a_collection_has_the_name_of_its_folder_in_one_line(source: str, name: str) -> None:
    assert collection_name(source) == name


@pytest.mark.parametrize("one", FLOWS, ids=lambda one: one.name)
def test_the_name_of_a_run_begins_with_its_flow_and_asks_for_parameters_that_it_has(one: Any) -> None:
    closure = inspect.getclosurevars(one.flow_run_name).nonlocals
    fields = [field for _, field, _, _ in string.Formatter().parse(closure["template"]) if field]
    assert closure["template"].startswith(f"{one.name} ")
    parameters = inspect.signature(one.fn).parameters
    assert set(fields) <= set(parameters)
    assert {field for field in fields if parameters[field].default == ""} == set(closure["instead"])


@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"source": "data/strip"}, "naming of strip on the ingest"),
        ({"source": "data/strip", "pictures": "data/kodak"}, "naming of strip on kodak"),
        ({"source": ""}, "naming of no source on the ingest"),
    ],
)
def test_prefect_shows_the_name(given: dict[str, str], name: str) -> None:
    @flow(name="naming", flow_run_name=run_name("naming of {source} on {pictures}", pictures="the ingest"))
    def naming(source: str, pictures: str = "") -> str:
        return source + pictures

    naming(**given)
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=["naming"])))
    assert name in [run.name for run in runs]
