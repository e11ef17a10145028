"""The pipeline: one file a stage, run by Prefect, tracked by MLflow. The extra `pipeline` brings what it needs."""

from storage.extras import need

need(
    "pipeline",
    "prefect",
    "dask",
    "distributed",
    "fsspec",
    "mlflow",
    "pyarrow",
    "pydantic",
    "skimage",
    "sklearn",
    "sqlalchemy",
    "typer",
    "yaml",
)
