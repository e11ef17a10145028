"""Wrong parameters are refused before a run exists, a failed run says why at once, and downtime costs one run."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ParameterTypeError, PrefectHTTPStatusError
from prefect.states import Pending, Scheduled
from prefect.utilities.callables import parameter_schema

from clc.archive.packed import MODES, MOST_PSNR_DB, PackOptions
from clc.errors import InputError
from flows.archive.pack import pack_archive
from flows.archive.verify import verify_archive
from flows.dictionary import build_dictionary
from flows.evaluate import evaluate_codec
from flows.features import extract_features
from flows.ingest import ingest_images
from flows.retrain import retrain
from flows.runtime import overtaken as overtaking
from flows.runtime.failing import saying_why
from flows.runtime.workspace import Workspace
from flows.train import train_codec

LIMITS = [
    (ingest_images, "patch_px", 16),
    (ingest_images, "success_rate", 0.0),
    (ingest_images, "workers", 1),
    (extract_features, "shard_items", 1),
    (build_dictionary, "entries", 1),
    (build_dictionary, "components", 1),
    (build_dictionary, "candidates", 1),
    (train_codec, "key_pictures", 0),
    (train_codec, "processes", 1),
    (evaluate_codec, "most_pictures", 1),
    (pack_archive, "quality", 0.0),
    (pack_archive, "target_size", 1),
    (pack_archive, "max_error", 0),
    (pack_archive, "levels", 1),
    (pack_archive, "keys", 0),
    (pack_archive, "effort", 0),
    (pack_archive, "workers", 1),
    (verify_archive, "shard_pictures", 1),
    (verify_archive, "workers", 1),
    (retrain, "entries", 1),
    (retrain, "candidates", 1),
    (retrain, "patch_px", 16),
]


@pytest.mark.parametrize(("called", "name", "least"), LIMITS, ids=lambda one: getattr(one, "name", str(one)))
def test_the_schema_of_a_deployment_has_the_limits_of_its_parameters(called: Any, name: str, least: float) -> None:
    schema = parameter_schema(called.fn).properties[name]
    bounds = [schema, *schema.get("anyOf", ())]
    assert least in [one["minimum"] for one in bounds if "minimum" in one]


def test_a_device_is_one_of_those_that_there_are() -> None:
    for called in (train_codec, retrain):
        assert parameter_schema(called.fn).properties["device"]["enum"] == ["cpu", "cuda"]


@pytest.mark.parametrize(
    ("called", "name", "most"),
    [
        (build_dictionary, "entries", 1_000_000),
        (build_dictionary, "candidates", 1_000_000),
        (retrain, "entries", 4_096),
        (retrain, "candidates", 1_000_000),
    ],
    ids=lambda one: getattr(one, "name", str(one)),
)
def test_the_schema_of_a_deployment_says_how_many_entries_there_may_be(called: Any, name: str, most: int) -> None:
    schema = parameter_schema(called.fn).properties[name]
    bounds = [schema, *schema.get("anyOf", ())]
    assert [one["maximum"] for one in bounds if "maximum" in one] == [most]


def test_a_budget_of_nothing_is_refused_by_the_schema() -> None:
    for called in (train_codec, retrain):
        assert parameter_schema(called.fn).properties["minutes"]["exclusiveMinimum"] == 0.0


def greatest(name: str) -> float:
    """Return the most that the schema of pack-archive allows for a parameter."""
    schema = parameter_schema(pack_archive.fn).properties[name]
    bounds = [schema, *schema.get("anyOf", ())]
    [most] = [one[kind] for one in bounds for kind in ("maximum", "exclusiveMaximum") if kind in one]
    return most


@pytest.mark.parametrize("name", ["quality", "max_error", "levels", "effort"])
def test_the_schema_of_an_archive_allows_what_packing_takes_and_no_more(name: str) -> None:
    most = greatest(name)
    assert PackOptions(**{name: most})
    with pytest.raises(InputError):
        PackOptions(**{name: most + 1})


def test_the_schema_of_an_archive_knows_its_ways_and_its_highest_psnr() -> None:
    assert parameter_schema(pack_archive.fn).properties["mode"]["enum"] == list(MODES)
    assert greatest("target_psnr") == MOST_PSNR_DB


@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize(
    ("called", "given"),
    [
        (pack_archive, {"archive": "archive", "quality": 1000}),
        (pack_archive, {"archive": "archive", "workers": -1}),
        (pack_archive, {"archive": "archive", "mode": "best"}),
        (verify_archive, {"workers": 0}),
    ],
    ids=["quality", "workers of packing", "mode", "workers of verifying"],
)
def test_a_wrong_parameter_of_an_archive_is_refused_when_it_is_submitted(
    workspace: Workspace, tmp_path: Path, called: Any, given: dict[str, Any]
) -> None:
    folder = {"folder": str(tmp_path)} if called is pack_archive else {"archive": str(tmp_path)}
    with get_client(sync_client=True) as client:
        schema = parameter_schema(called.fn)
        deployment = client.create_deployment(
            client.create_flow(called),
            name="submitted",
            parameter_openapi_schema=schema.model_dump_for_openapi(),
            enforce_parameter_schema=True,
        )
        assert client.create_flow_run_from_deployment(deployment, parameters={"archive": "archive", **folder})
        with pytest.raises(PrefectHTTPStatusError, match="409"):
            client.create_flow_run_from_deployment(deployment, parameters={**folder, **given})


@pytest.mark.usefixtures("prefect_api")
def test_why_an_archive_fails_is_the_message_of_its_run(workspace: Workspace, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    state: Any = pack_archive(str(nowhere), str(tmp_path / "archive"), return_state=True)
    assert state.is_failed()
    assert state.message == f"{nowhere}: is no folder; name the folder of the pictures"
    state = verify_archive(str(nowhere), return_state=True)
    assert state.is_failed()
    assert str(state.message).startswith(f"{nowhere}: ")


@pytest.mark.usefixtures("prefect_api")
def test_a_wrong_parameter_ends_a_flow_before_it_begins(workspace: Workspace) -> None:
    with pytest.raises(ParameterTypeError, match="entries"):
        build_dictionary(entries=-5)
    assert not workspace.root.exists()


@pytest.mark.usefixtures("prefect_api")
def test_what_is_raised_on_purpose_is_the_message_of_the_run_and_reaches_the_caller(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @flow(name="refuses")
    @saying_why
    def refuses(count: int = 3) -> str:
        raise InputError(f"{count} pictures are too few; add some")

    with pytest.raises(InputError, match="3 pictures are too few; add some"):
        refuses()
    state: Any = refuses(return_state=True)
    assert state.is_failed()
    assert state.message == "3 pictures are too few; add some"
    assert "Finished in state Failed('3 pictures are too few; add some')" in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.usefixtures("prefect_api")
def test_what_nobody_raised_on_purpose_keeps_its_traceback() -> None:
    @flow(name="breaks")
    @saying_why
    def breaks() -> str:
        raise KeyError("tag")

    with pytest.raises(KeyError):
        breaks()


def scheduled(client: SyncPrefectClient, deployment: Any, weeks_ago: float, **further: Any) -> FlowRun:
    due = datetime.now(UTC) - timedelta(weeks=weeks_ago)
    return client.create_flow_run_from_deployment(deployment, state=Scheduled(scheduled_time=due), **further)


@pytest.mark.usefixtures("prefect_api")
def test_of_the_runs_that_downtime_left_the_last_one_alone_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(retrain)
        deployment = client.create_deployment(flow_id, name="weekly")
        runs = [scheduled(client, deployment, weeks) for weeks in (3, 2, 1)]
        scheduled(client, deployment, -1)
        by_hand = scheduled(client, deployment, 4)
    automatic = {run.id for run in runs}
    real_run, real_runs = SyncPrefectClient.read_flow_run, SyncPrefectClient.read_flow_runs

    def told(run: FlowRun) -> FlowRun:
        return run.model_copy(update={"auto_scheduled": run.id in automatic})

    # A client cannot say that a schedule made a run; only the server's scheduler does.
    monkeypatch.setattr(SyncPrefectClient, "read_flow_run", lambda self, one: told(real_run(self, one)))
    monkeypatch.setattr(
        SyncPrefectClient, "read_flow_runs", lambda self, **filters: [told(run) for run in real_runs(self, **filters)]
    )

    def ends(run: FlowRun) -> bool:
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(run.id, Pending())
        monkeypatch.setattr(overtaking.flow_run, "id", str(run.id), raising=False)
        state = overtaking.overtaken()
        assert state is None or (state.is_completed() and state.name == "Overtaken")
        return state is not None

    assert [ends(run) for run in runs] == [True, True, False]
    assert not ends(by_hand), "a run that a person asked for does what it was asked"
