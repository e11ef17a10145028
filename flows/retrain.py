"""The flow `retrain`, and the command behind `make run`: all five stages in order, then promote or keep.

Stages whose inputs, parameters and code have not changed are used again. The flows of the stages are imported where
they run, so that the command checks its arguments and starts a server before torch and MLflow load.
"""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from prefect import flow
from rich.console import Console

from clc.bundle.identity import SHIPPED as SHIPPED_FOLDER
from clc.bundle.identity import id_of, read_manifest_bytes
from clc.errors import ClcError
from flows.run_summary import Outcome, read_outcome, show_outcome, write_decided_report, write_outcome
from flows.runtime import options
from flows.runtime.artifacts import publish_text
from flows.runtime.command import log_to_terminal, run_command
from flows.runtime.failing import saying_why
from flows.runtime.names import run_name
from flows.runtime.overtaken import overtaken
from flows.runtime.parameters import Above0, Candidates, Count, Device, Entries, PatchSide, Share, Some
from flows.runtime.prefect_server import api_from_environment, saying_when_gone, wait_until_healthy
from flows.runtime.settled import is_settled, run_settled
from flows.runtime.stage import STAGES, StageResult, resolve
from flows.runtime.workspace import Workspace
from flows.service.notice import failed
from flows.service.promotion import SHIPPED, bundle_in_service, settle
from flows.sources import BUILTIN, read_source
from storage.locks import Lease
from storage.names import shown_name

if TYPE_CHECKING:
    from flows.service.gate import Contender

logger = logging.getLogger(__name__)

IN_ITS_PLACE = "the shipped bundle (the one in service has seen some of these pictures)"
_HEALTH_S = 20.0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What one run asks of the five stages: the parameters of `retrain`, under their names."""

    source: str
    retry_failed: str | None
    success_rate: float
    patch_px: int | None
    backbone: str
    entries: int
    components: int
    candidates: int | None
    fold: bool
    minutes: float
    start: str
    key_pictures: int
    device: Device
    processes: int
    dask_scheduler: str | None


@flow(name="retrain", flow_run_name=run_name("retrain of {source}"), on_failure=[failed], on_crashed=[failed])
@saying_why
def retrain(
    source: str = "builtin",
    retry_failed: str | None = None,
    success_rate: Share = 0.5,
    patch_px: PatchSide | None = None,
    backbone: str = "codec",
    entries: Entries = 64,
    components: Count = 256,
    candidates: Candidates | None = None,
    fold: bool = False,
    minutes: Above0 = 1.0,
    start: str = "shipped",
    key_pictures: Some = 0,
    device: Device = "cpu",
    processes: Count = 1,
    dask_scheduler: str | None = None,
) -> str:
    """Run the five stages in order, and put the new codec in service if it is better by more than chance.

    Args:
        source: "builtin", a folder of pictures, a list of paths or URLs, an archive, a table or a store; see
            ingest-images.
        retry_failed: Try again what failed to come before for this reason, or "all"; see ingest-images.
        success_rate: Least share of 1,000 URLs or members that must come, 0 to 1.
        patch_px: Side of the patches that pictures are cut into, in pixels; see ingest-images for the default.
        backbone: What describes pictures for the dictionary: "codec", "resnet50" or the path of an .onnx file;
            extract-features says when each pays.
        entries: Pictures in the dictionary.
        components: Length of a dictionary key after PCA.
        candidates: Choose so many pictures first, and evict all but the `entries` that the collection draws on most;
            see build-dictionary.
        fold: Fold new pictures into the newest dictionary of the same parameters instead of choosing all anew; see
            `former` of build-dictionary.
        minutes: How long to train.
        start: The model to start from: "shipped", a key of train-codec, or a bundle folder.
        key_pictures: How many pictures the bundle keeps whole for overlapping ones to be aligned with.
        device: What to train on, on the machine where this runs: "cpu" or "cuda"; see train-codec.
        processes: How many processes train together; see train-codec.
        dask_scheduler: Address of a running Dask scheduler; without one, a local cluster.

    Returns:
        The key of train-codec, whether or not its bundle was promoted. A scheduled run behind which a later one of the
        schedule is due ends at once, as "Overtaken": after downtime, work is caught up with once.
    """
    recipe = Recipe(**locals())  # must stay first: here the parameters, and nothing else, are local
    from flows.service.gate import Contender, judge
    from flows.service.registry import mirror

    ended = overtaken()
    if ended is not None:
        return cast(str, cast(Any, ended))  # a flow may return a state of its own
    workspace = Workspace.from_environment()
    started_utc = datetime.now(UTC).isoformat(timespec="microseconds")
    with Lease(workspace.locks / "service"):
        serving = bundle_in_service(workspace)
        keys, service_evaluation = _run_stages(recipe, serving)
        results = {stage: resolve(workspace, stage, key) for stage, key in keys.items()}
        service = resolve(workspace, "evaluate-codec", service_evaluation)
        bundle = results["train-codec"].directory / "bundle"
        verdict = judge(
            workspace,
            Contender.of(bundle, results["evaluate-codec"]),
            _other(serving, service),
        )
        settle(workspace, bundle, verdict)
        outcome = Outcome.of(started_utc, results, service, verdict)
        write_outcome(workspace, outcome)
        write_decided_report(workspace, outcome)
    try:
        mirror(workspace)
    except ClcError as error:  # a verdict of another bundle that is damaged must not cost this run
        logger.warning("registry_not_told reason=%r", str(error))
    publish_text("verdict", f"Bundle `{verdict.bundle_id}`, `{bundle}`.", verdict.sentence)
    logger.info("retrain_finished promoted=%s reason=%r", verdict.is_promoted, verdict.sentence)
    return keys["train-codec"]


def _run_stages(recipe: Recipe, serving: str) -> tuple[dict[str, str], str]:
    """Run the five flows; return their keys by stage, and the key of the evaluation of the bundle in service."""
    from flows.dictionary import build_dictionary
    from flows.evaluate import evaluate_codec
    from flows.features import extract_features
    from flows.ingest import ingest_images
    from flows.train import train_codec

    ingest = ingest_images(
        source=recipe.source,
        patch_px=recipe.patch_px,
        retry_failed=recipe.retry_failed,
        success_rate=recipe.success_rate,
        dask_scheduler=recipe.dask_scheduler,
    )
    features = extract_features(
        ingest=ingest, backbone=recipe.backbone, part="dictionary", dask_scheduler=recipe.dask_scheduler
    )
    dictionary = build_dictionary(
        features=features,
        entries=recipe.entries,
        components=recipe.components,
        candidates=recipe.candidates,
        former="latest" if recipe.fold else None,
    )
    bundle = train_codec(
        ingest=ingest,
        dictionary=dictionary,
        start=recipe.start,
        minutes=recipe.minutes,
        key_pictures=recipe.key_pictures,
        device=recipe.device,
        processes=recipe.processes,
    )
    evaluation = evaluate_codec(ingest=ingest, bundle=bundle)
    service_evaluation = _evaluate_service(ingest, serving)
    keys = dict(zip(STAGES, (ingest, features, dictionary, bundle, evaluation), strict=True))
    return keys, service_evaluation


def _evaluate_service(ingest: str, serving: str) -> str:
    """Evaluate the bundle in service, or the shipped one in its place where that has seen evaluation pictures.

    Parts change now and then: where two scenes turn out to be one, or a release splits pictures in another way. The
    bundle in service then cannot be measured on these pictures any more, and no later run could replace it.
    """
    from flows.evaluate import evaluate_codec
    from flows.leakage import Leak

    try:
        return evaluate_codec(ingest=ingest, bundle=serving)
    except Leak as leak:
        if serving == SHIPPED:
            raise
        logger.warning("service_not_comparable bundle=%s reason=%s", serving, leak)
        return evaluate_codec(ingest=ingest, bundle=SHIPPED)


def _other(serving: str, service: StageResult) -> "Contender":
    """What a candidate is held against: the bundle in service, or the shipped one where that was evaluated instead."""
    from flows.service.gate import Contender

    if serving == SHIPPED:
        return Contender.of(None, service)
    shipped_id = id_of(read_manifest_bytes(SHIPPED_FOLDER))
    if service.manifest.inputs.get("bundle") == shipped_id != id_of(read_manifest_bytes(Path(serving))):
        return Contender.of(None, service, IN_ITS_PLACE)
    return Contender.of(Path(serving), service)


def command(
    source: options.Source = "builtin",
    retry_failed: Annotated[
        str | None, typer.Option(help='Try again what failed to come for this reason, or "all".', metavar="REASON")
    ] = None,
    success_rate: Annotated[
        float, typer.Option(help="Least share of 1,000 URLs or members that must come.", min=0.0, max=1.0)
    ] = 0.5,
    patch_px: options.PatchSide = None,
    backbone: options.Backbone = "codec",
    entries: options.Entries = 64,
    components: options.Components = 256,
    candidates: options.Candidates = None,
    fold: options.Fold = False,
    minutes: options.Minutes = 1.0,
    start: options.Start = "shipped",
    key_pictures: options.KeyPictures = 0,
    device: options.Device = "cpu",
    processes: options.Processes = 1,
    dask_scheduler: Annotated[str | None, typer.Option(help="Address of a Dask scheduler.")] = None,
) -> int:
    """Build a codec from pictures in five stages, and put it in service if it is better than the one there.

    With the built-in photos, a strip of overlapping pictures is packed into an archive at the end, as an example.
    """
    parameters = dict(locals())  # must stay first: here the parameters, and nothing else, are local
    workspace = Workspace.from_environment()
    address = api_from_environment()
    if address is None or not is_settled(workspace):
        read_source(source)  # what is wrong with it is said before a server starts
        return run_settled(workspace.writable(), "flows.retrain")
    log_to_terminal()
    wait_until_healthy(address, _HEALTH_S)
    with saying_when_gone(address):
        retrain(**{**parameters, "source": _as_parameter(source)})
    show_outcome(Console(), workspace, read_outcome(workspace))
    if source == BUILTIN:
        from flows.strip import pack_strip, show_strip

        show_strip(Console(), pack_strip(workspace))
    return 0


def _as_parameter(source: str) -> str:
    """Return a source as a flow's parameter, which goes to the server as JSON: a path that is no UTF-8 is escaped."""
    try:
        source.encode()
    except UnicodeEncodeError:
        return shown_name(source)
    return source


if __name__ == "__main__":
    run_command(command)
