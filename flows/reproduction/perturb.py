"""The flow `perturb`: what a random match costs, the paper's Figure 6.

Retrieval is perturbed: with some probability a reference is another entry of the dictionary than the one that was
found. One model codes all rows, and knows nothing of it. `docs/reproduction.md` shows what came of it.
"""

from prefect import flow

from flows.ingest import ingest_images
from flows.reproduction.grid import read_grid
from flows.reproduction.runs import Table, check_out, run_table
from flows.reproduction.subject import make_subject
from flows.reproduction.tables import measure_perturbation
from flows.runtime.failing import saying_why
from flows.runtime.names import run_name
from flows.runtime.parameters import Count
from flows.runtime.workspace import Workspace

PERTURBATION = Table(
    "perturbation",
    "perturbation",
    "Figure 6, random matches",
    lambda found, grid, scratch, _: measure_perturbation(found, grid, scratch),
)


@flow(name="perturb", flow_run_name=run_name("perturb of {source}"))
@saying_why
def perturb(
    source: str = "builtin",
    evaluation: str = "",
    grid: str = "",
    bundle: str = "shipped",
    most_pictures: Count = 12,
    out: str = "",
    overwrite: bool = False,
) -> str:
    """Code pictures with references that are wrong with a probability of 0 to 0.5, and say what that costs.

    Args:
        source: Pictures that the dictionary is made of: "builtin", or what ingest-images takes. Without `evaluation`
            its evaluation part is coded, and in no dictionary.
        evaluation: Pictures to code instead: a folder, or the name of a set in a folder of `CLC_SETS` ("kodak").
        grid: A YAML file with the probabilities; without one flows/reproduction/grid.yaml.
        bundle: The model: "shipped", a key of train-codec, "latest", or a folder.
        most_pictures: Code no more pictures than this; which ones is arbitrary but always the same.
        out: A folder into which the figures are written as well, as ablation-perturbation.json.
        overwrite: Replace such a file that is there.

    Returns:
        The key of the stage. Its folder holds figures.json and rows.parquet, a row a stream.
    """
    asked = read_grid(grid)
    check_out(out, [PERTURBATION], overwrite=overwrite)
    workspace = Workspace.from_environment()
    subject = make_subject(workspace, ingest_images(source=source), evaluation, most_pictures, bundle, asked.crop_px)
    return run_table(workspace, subject, asked, PERTURBATION, out, overwrite=overwrite)
