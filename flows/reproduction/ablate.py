"""The flow `ablate`: the paper's tables of references, dictionaries and components, and one of aligned key pictures.

Rows that need no training share one model, that of a bundle; rows that are trained share a budget of steps, pictures
and random numbers. Every stream is written and decoded again. `docs/reproduction.md` shows what came of it.
"""

from prefect import flow

from clc.errors import InputError
from flows.ingest import ingest_images
from flows.reproduction.grid import read_grid
from flows.reproduction.runs import Table, check_out, run_table
from flows.reproduction.subject import make_subject
from flows.reproduction.tables import measure_alignment, measure_dictionary, measure_references
from flows.reproduction.trained import measure_components
from flows.runtime.failing import saying_why
from flows.runtime.names import run_name
from flows.runtime.parameters import Count
from flows.runtime.workspace import Workspace

TABLES = {
    one.name: one
    for one in (
        Table(
            "references",
            "references",
            "Table 1, number of references",
            lambda found, grid, scratch, _: measure_references(found, grid, scratch),
        ),
        Table(
            "dictionary",
            "dictionary",
            "Table 2, size of the dictionary",
            lambda found, grid, scratch, _: measure_dictionary(found, grid, scratch),
        ),
        Table("components", "components", "Table 3, components", measure_components),
        Table(
            "alignment",
            "alignment",
            "Aligned key pictures",
            lambda found, grid, scratch, _: measure_alignment(found, grid, scratch),
            overlap=True,
        ),
    )
}
INFERENCE = ("references", "dictionary")
"""Tables that take minutes and need no overlapping pictures."""


@flow(name="ablate", flow_run_name=run_name("ablate of {source}"))
@saying_why
def ablate(
    source: str = "builtin",
    evaluation: str = "",
    tables: tuple[str, ...] = INFERENCE,
    grid: str = "",
    bundle: str = "shipped",
    most_pictures: Count = 12,
    out: str = "",
    overwrite: bool = False,
) -> str:
    """Measure tables of the paper with this codec: each row is a variant, held against another by BD-rate.

    Args:
        source: Pictures that dictionaries and trainings are made of: "builtin", or what ingest-images takes. Without
            `evaluation` its evaluation part is coded, and in no dictionary.
        evaluation: Pictures to code instead: a folder, or the name of a set in a folder of `CLC_SETS` ("kodak").
        tables: Which: "references" (1 to 5 of them), "dictionary" (its size, with seconds), "components" (each trained
            for as many steps: minutes a row) and "alignment" (key pictures; for pictures that overlap).
        grid: A YAML file of what is varied; without one flows/reproduction/grid.yaml.
        bundle: The model of the rows that are not trained: "shipped", a key of train-codec, "latest", or a folder.
        most_pictures: Code no more pictures than this; which ones is arbitrary but always the same.
        out: A folder into which the figures are written as well, as ablation-TABLE.json.
        overwrite: Replace such a file that is there.

    Returns:
        The key of the last table's stage. Its folder holds figures.json and rows.parquet, a row a stream.
    """
    asked = read_grid(grid)
    unknown = sorted(set(tables) - set(TABLES))
    if unknown or not tables:
        raise InputError(f"no table {', '.join(unknown) or 'is named'}; choose from {', '.join(TABLES)}")
    chosen = [TABLES[name] for name in dict.fromkeys(tables)]
    check_out(out, chosen, overwrite=overwrite)
    workspace = Workspace.from_environment()
    subject = make_subject(workspace, ingest_images(source=source), evaluation, most_pictures, bundle, asked.crop_px)
    return [run_table(workspace, subject, asked, table, out, overwrite=overwrite) for table in chosen][-1]
